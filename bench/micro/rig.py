"""A whole gateway in this process, between frames made by hand and real sockets on the loopback.

Only `UserNat.process` is timed: from frames to host sockets and from host sockets to frames, with the loop, the system calls and the ACKs
that belong to it. What the guest and the server do is not.
"""

from __future__ import annotations

import gc
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bench import roomy
from bench.micro import guest
from bench.micro.feed import Feed
from usernat import Config, UserNat
from usernat.stack.device import MAX_DATAGRAM, Capabilities

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = "127.0.0.1"
FIRST_PORT = 20000
BUFFER = 8 << 20  # bytes: of the server's sockets, so that what is measured never waits for them
PATIENCE = 5.0  # seconds


class Rig:
    """nat: the gateway. link: its guest's end."""

    def __init__(self, nat: UserNat, link: Feed, listening: socket.socket, *, offload: bool) -> None:
        self.nat = nat
        self.link = link
        self.offload = offload
        self.spent = 0  # ns inside `process`
        self._listening = listening
        self._ports = FIRST_PORT

    def process(self) -> list[bytes]:
        """One step, timed; what the gateway has sent."""
        begin = time.perf_counter_ns()
        self.nat.process(0)
        self.spent += time.perf_counter_ns() - begin
        sent, self.link.outgoing = self.link.outgoing, []
        return [bytes(frame) for frame in sent]

    def feed(self, *frames: bytes) -> None:
        """Have the guest send these."""
        self.link.incoming += [(frame, self.offload) for frame in frames]

    def connect(self) -> tuple[guest.Stream, socket.socket]:
        """A connection of the guest, and the server's end of it. Raises OSError where it does not come about."""
        stream = self.open(self._listening.getsockname()[1])
        accepted, _ = self._listening.accept()
        accepted.setblocking(False)
        return stream, accepted

    def open(self, to_port: int) -> guest.Stream:
        """A connection of the guest to somebody on the loopback."""
        self._ports += 1
        stream = guest.Stream(self._ports, to_port, complete=not self.offload)
        self.feed(stream.syn())
        deadline = time.monotonic() + PATIENCE
        while not (frames := self._tcp(self.process())):
            if time.monotonic() > deadline:
                raise OSError(f"connection {self._ports - FIRST_PORT} is not answered")
        stream.arrived(frames[0])
        self.feed(stream.ack())
        self.process()
        return stream

    @staticmethod
    def _tcp(frames: list[bytes]) -> list[bytes]:
        return [frame for frame in frames if frame[12:14] == b"\x08\x00" and frame[23] == 6]


@contextmanager
def make_rig(*, offload: bool, mtu: int = 1500) -> Iterator[Rig]:
    """offload: whether the guest's device completes checksums and segments, as a TAP does. Raises OSError."""
    segmentation = MAX_DATAGRAM if offload else 0
    link = Feed(Capabilities(mtu=mtu, tx_checksum=offload, tx_segmentation=segmentation))
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((LOCAL, 0), backlog=128))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        stack.enter_context(roomy.limits())
        nat = UserNat(Config(host_loopback=True, mtu=mtu), link)
        stack.callback(nat.stop)
        rig = Rig(nat, link, listening, offload=offload)
        rig.feed(guest.arp_request())
        rig.process()
        gc.collect()
        rig.spent = 0
        yield rig
