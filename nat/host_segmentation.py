"""Many datagrams in one system call, both ways, where the host's kernel can do that (Linux: UDP_SEGMENT and UDP_GRO, since 4.18 and 5.0).

    out   `sendmsg` with the datagrams of a run one behind the other, and their size in a control message: the kernel cuts
    in    what the kernel has put together, or never taken apart, comes from one `recvmsg`, with the size at which it is to be cut here

A system call and the wake-up of whoever waits for the datagram cost several times what is done to its bytes. The kernel puts together
what came from one endpoint, with one TTL, in equal sizes but for the last (`stack/l4/udp_run.py`), so nothing of a datagram is lost by it; what comes singly
comes as it always did.

Out, the kernel takes all or nothing. It refuses a run whose datagrams are larger than the path's MTU, and one for a device that makes no checksums; then each is to
be sent by itself, which tells what is wrong with which.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.stack.device import Buffer

# <linux/udp.h>: Python names neither
_UDP_SEGMENT = 103
UDP_GRO = 104
MOST_AT_ONCE = 128  # datagrams that one `recvmsg` may bring (UDP_MAX_SEGMENTS of <linux/udp.h>)
_SIZE = struct.Struct("=H")


def _can_segment() -> bool:
    """Whether the kernel knows the option. One that is set to 0 does nothing."""
    if not sys.platform.startswith("linux"):
        return False
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
        return True
    return False


CAN_SEGMENT = _can_segment()


def segmented(size: int) -> list[tuple[int, int, bytes]]:
    """The control messages by which a `sendmsg` is cut into datagrams of so many bytes."""
    return [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SIZE.pack(size))]


def gather(sock: socket.socket) -> None:
    """Have the kernel leave together what it has put together."""
    if CAN_SEGMENT:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)


def cut(data: bytes, size: int) -> list[Buffer]:
    """The datagrams of `size` bytes, the last of what is left; views of `data`. size: 0 where it is one datagram."""
    if not size or len(data) <= size:
        return [data]
    view = memoryview(data)
    return [view[at : at + size] for at in range(0, len(data), size)]
