"""UDP without loss, each way: small datagrams by number, large ones by throughput. How is told in `bench/load/datagrams.py`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.results import Line
from bench.rows.row import GuestRow
from bench.servers import DATAGRAM_PORT, load

if TYPE_CHECKING:
    from bench.peers.peer import Peer, Seat

SHARE = 1 / 3  # of the run's length
SPARE_SECONDS = 15.0
SMALL = 64  # bytes of payload
WINDOWS = {64: 128, 1200: 64}  # datagrams on their way, by their size: a socket's buffer holds twice that
SMALLEST = 4
MEGABIT = 1e6
WORDS = {"up": "guest to host", "down": "host to guest"}


class Datagrams(GuestRow):
    """way: up or down. size: bytes of payload."""

    def __init__(self, way: str, size: int, peers: tuple[Peer, ...]) -> None:
        name = f"udp-{way}-{size}"
        unit = "datagrams/s" if size == SMALL else "Mbit/s"
        super().__init__(name, {"rate": Line(name, f"UDP {WORDS[way]}, {size} bytes", unit)}, peers)
        self.way = way
        self.size = size

    def measure(self, seat: Seat, seconds: float) -> dict[str, float]:
        window = WINDOWS[self.size]
        while window >= SMALLEST:
            command = load(
                "datagrams", self.way, seat.server, DATAGRAM_PORT, self.size, window, seconds * SHARE
            )
            report = json.loads(seat.run(*command, timeout=seconds + SPARE_SECONDS))
            if not report["lost"]:
                return {"rate": self._rate(report["arrived"] / report["seconds"])}
            window //= 2
        raise AssertionError(f"loses datagrams even if only {SMALLEST} are on their way")

    def _rate(self, datagrams: float) -> float:
        return datagrams if self.size == SMALL else datagrams * self.size * 8 / MEGABIT
