"""A Linux TAP device as a guest link, with checksum and segmentation offload.

Every frame on the descriptor is preceded by a virtio_net_hdr, by which two kernels tell each other what work is left to do:

    flags        1   NEEDS_CSUM: the sum from csum_start on is still to be made; DATA_VALID: it was checked already
    gso_type     1   0: one frame; 1: a large TCP/IPv4 segment to be cut at gso_size; with 0x80: that uses ECN; 5: a run of UDP datagrams
    hdr_len      2   Ethernet, IP and TCP or UDP header together
    gso_size     2   payload bytes a segment
    csum_start   2   where summing begins
    csum_offset  2   where, from there, the sum goes

A guest kernel hands us segments of up to 64 KiB this way and takes ours; nobody computes a checksum over them, because
they never cross a wire that could damage them. This is most of the speed of this gateway.

One read is one frame, into fresh memory, since the stack keeps views of frames for as long as it needs them. A run of UDP datagrams is cut here
(`datagram_cut.py`): it takes no part in what the stack decides about each of them, and one read in place of many is what it is for.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from functools import lru_cache
from typing import Final

from construct import Int8ul, Int16ul, Struct

from usernat.links.datagram_cut import cut
from usernat.links.link import MAX_FRAME, LinkClosed, PacketLink, Received, raise_if_gone
from usernat.links.scatter import IOV_MAX, at_most
from usernat.netdevice import VNET_HEADER_SIZE, cuts_datagrams
from usernat.stack.device import MAX_DATAGRAM, UDP_CHECKSUM_OFFSET, Capabilities, Frame

NEEDS_CSUM = 1
DATA_VALID = 2
GSO_NONE = 0
GSO_TCPV4 = 1
GSO_UDP_L4 = 5
GSO_ECN = 0x80

VNET_HEADER = Struct(
    "flags" / Int8ul,
    "gso_type" / Int8ul,
    "hdr_len" / Int16ul,
    "gso_size" / Int16ul,
    "csum_start" / Int16ul,
    "csum_offset" / Int16ul,
)

_KNOWN_GSO: Final = frozenset({GSO_NONE, GSO_TCPV4, GSO_TCPV4 | GSO_ECN})
_READ_SIZE = VNET_HEADER_SIZE + MAX_FRAME


class TapLink(PacketLink):
    """The gateway's end of a TAP device that `usernat.netdevice.open_tap` made. Owns the descriptor."""

    def __init__(self, descriptor: int, mtu: int = 1500) -> None:
        super().__init__(
            Capabilities(
                mtu=mtu,
                tx_checksum=True,
                tx_segmentation=MAX_DATAGRAM,
                tx_udp_segmentation=cuts_datagrams(),
            )
        )
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._cut: deque[Received] = deque()  # of a run, beyond the limit of the last `receive`

    def fileno(self) -> int:
        """The TAP's descriptor."""
        return self._descriptor

    def receive(self, limit: int) -> list[Received]:
        """Frames that the guest kernel sent."""
        frames: list[Received] = []
        counters = self.counters
        while self._cut and len(frames) < limit:
            frames.append(self._cut.popleft())
        while len(frames) < limit:
            try:
                data = os.read(self._descriptor, _READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if frames:
                    break  # whatever it is comes again with the next call
                raise_if_gone(error)
                raise LinkClosed(f"the TAP device failed: {error.strerror}") from error
            if not data:
                if frames:
                    break
                raise LinkClosed("the TAP device has ended")
            if len(data) < VNET_HEADER_SIZE:
                counters.truncated += 1
            elif data[1] == GSO_UDP_L4:
                self._receive_run(data, frames, limit)
            elif data[1] not in _KNOWN_GSO:
                counters.unknown_offload += 1
            else:
                counters.bytes_in += len(data) - VNET_HEADER_SIZE
                # Either the sum was never made, or somebody checked it: both ways the bytes are as the sender wrote them.
                vouched = data[0] & (NEEDS_CSUM | DATA_VALID) != 0
                frames.append((memoryview(data)[VNET_HEADER_SIZE:], vouched))
        counters.frames_in += len(frames)
        return frames

    @property
    def pending(self) -> bool:
        """Whether datagrams of a run wait."""
        return bool(self._cut)

    def _receive_run(self, data: bytes, frames: list[Received], limit: int) -> None:
        """Take what a run of datagrams is cut into, as far as the limit goes; the rest waits."""
        pieces = cut(memoryview(data)[VNET_HEADER_SIZE:], int.from_bytes(data[4:6], "little"))
        if pieces is None or not data[0] & NEEDS_CSUM:
            self.counters.unknown_offload += 1
            return
        self.counters.bytes_in += sum(map(len, pieces))
        for piece in pieces:
            (frames if len(frames) < limit else self._cut).append((piece, True))

    def close(self) -> None:
        """Give the TAP back; the kernel removes the device."""
        self._held.clear()
        self._cut.clear()
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _write(self, frame: Frame) -> int:
        header = vnet_header(frame.gso_size, frame.header_length, frame.csum_start, frame.csum_offset)
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "the TAP is closed")
        return os.writev(self._descriptor, [header, *at_most(frame.parts, IOV_MAX - 1)]) - VNET_HEADER_SIZE


@lru_cache(maxsize=1024)
def vnet_header(gso_size: int, header_length: int, csum_start: int, csum_offset: int) -> bytes:
    """The header for a frame with these marks. Flows use few different ones, so building them is kept off the hot path."""
    gso_type = GSO_UDP_L4 if csum_offset == UDP_CHECKSUM_OFFSET else GSO_TCPV4
    fields = {
        "flags": NEEDS_CSUM if csum_start else 0,
        "gso_type": gso_type if gso_size else GSO_NONE,
        "hdr_len": header_length if gso_size else 0,
        "gso_size": gso_size,
        "csum_start": csum_start,
        "csum_offset": csum_offset,
    }
    header: bytes = VNET_HEADER.build(fields)
    return header
