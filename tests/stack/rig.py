"""One interface on a bench: datagrams in, frames out, time by hand."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from tests.stack.packets import BROADCAST_MAC, GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, Ip, read_ipv4
from usernat.stack.device import Capabilities
from usernat.stack.interface import Interface

if TYPE_CHECKING:
    from usernat.stack.device import Frame

SECOND = 1_000_000


class Rig:
    """An interface at 10.0.2.2/24 that knows the MAC address of its one neighbour, 10.0.2.15."""

    def __init__(
        self,
        *,
        mtu: int = 1500,
        tx_checksum: bool = False,
        tx_segmentation: int = 0,
        addresses: tuple[tuple[int, int], ...] = ((GATEWAY, 24),),
        seed: int = 1,
        **options: Any,
    ) -> None:
        self.now = 1_000 * SECOND
        self.interface = Interface(
            mac=GATEWAY_MAC,
            capabilities=Capabilities(mtu=mtu, tx_checksum=tx_checksum, tx_segmentation=tx_segmentation),
            rng=Random(seed),
            now=self.now,
            addresses=addresses,
            **options,
        )
        self.interface.ethernet.neighbours.learn(GUEST, GUEST_MAC, self.now)
        self.frames()  # the announcements

    def receive(
        self, datagram: bytes, *, group: bool = False, checksum_ok: bool = False, padding: bytes = b""
    ) -> None:
        """A datagram comes from the neighbour."""
        to = BROADCAST_MAC if group else GATEWAY_MAC
        frame = to + GUEST_MAC + b"\x08\x00" + datagram + padding
        self.interface.receive(frame, self.now, checksum_ok)

    def frames(self) -> list[Frame]:
        """Everything that leaves now."""
        frames: list[Frame] = []
        while batch := self.interface.transmit(self.now):
            frames += batch
        return frames

    def sent(self) -> list[Ip]:
        """The IPv4 datagrams that leave now, taken apart."""
        return [read_ipv4(frame[14:]) for frame in map(bytes, self.frames()) if frame[12:14] == b"\x08\x00"]

    def silent(self) -> bool:
        """Whether no datagram leaves now."""
        return not self.sent()

    def pass_time(self, duration: int) -> None:
        """Let time go by, with every timer served when it is due."""
        until = self.now + duration
        while (due := self.interface.poll_at()) is not None and due <= until:
            self.now = max(self.now, due)
            self.interface.on_time(self.now)
            after = self.interface.poll_at()
            assert after is None or after > self.now
        self.now = until

    def count(self, name: str) -> int:
        """One counter."""
        return self.interface.counters()[name]

    def counted(self) -> dict[str, int]:
        """All counters that are not zero."""
        return {name: value for name, value in self.interface.counters().items() if value}
