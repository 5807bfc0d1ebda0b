"""TCP of a QEMU guest, by iperf3 in there, beside QEMU's own user network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.results import Line
from bench.rows.bulk import GIGABIT, WAYS, WORDS, iperf
from bench.rows.row import GuestRow

if TYPE_CHECKING:
    from bench.peers.peer import Peer, Seat

SHARE = 2 / 3  # of the run's length
MEGABITS = 1000  # in a gigabit


class QemuBulk(GuestRow):
    """way: of WAYS."""

    kind = "qemu"

    def __init__(self, way: str, mtu: int, peers: tuple[Peer, ...]) -> None:
        name = f"qemu-{way}-{mtu}"
        super().__init__(name, {"rate": Line(name, f"QEMU, {WORDS[way]}, MTU {mtu}", "Mbit/s")}, peers, mtu)
        self.way = way

    def measure(self, seat: Seat, seconds: float) -> dict[str, float]:
        length = max(1, round(seconds * SHARE))
        end = iperf(seat, *WAYS[self.way], "-t", str(length), seconds=length)
        return {"rate": end["sum_received"]["bits_per_second"] / GIGABIT * MEGABITS}
