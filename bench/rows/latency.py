"""How long things take: a ping of an address of the host, through the gateway, and the start until the first ping is answered."""

from __future__ import annotations

import re
from statistics import median, quantiles
from typing import TYPE_CHECKING

from bench.host import PINGED
from bench.peers.peer import NamespacePeer
from bench.results import Line
from bench.rows.row import GuestRow, OwnRow

if TYPE_CHECKING:
    from bench.peers.peer import Peer, Seat
    from tests.lab.netns import Place

INTERVAL_SECONDS = 0.005
TIME = re.compile(r"time=([\d.]+) ms")
SPARE_SECONDS = 10.0
LEAST = 20  # replies that make a percentile
THOUSAND = 1000


class Ping(GuestRow):
    """One every 5 ms, for half of the run."""

    def __init__(self, peers: tuple[Peer, ...]) -> None:
        lines = {
            "median": Line("ping", "ping, median", "µs", less=True),
            "p99": Line("ping.p99", "ping, 99th percentile", "µs", less=True),
        }
        super().__init__("ping", lines, peers)

    def measure(self, seat: Seat, seconds: float) -> dict[str, float]:
        number = max(2 * LEAST, int(seconds / 2 / INTERVAL_SECONDS))
        told = seat.run(
            *("ping", "-n", "-i", str(INTERVAL_SECONDS), "-c", str(number), PINGED),
            timeout=seconds + SPARE_SECONDS,
        )
        times = [float(time) * THOUSAND for time in TIME.findall(told)]
        if len(times) < LEAST:
            raise AssertionError(f"{len(times)} of {number} pings were answered")
        return {"median": median(times), "p99": quantiles(times, n=100)[-1]}


class Start(OwnRow):
    """From exec to the first reply."""

    def __init__(self, peers: tuple[Peer, ...]) -> None:
        super().__init__("start", {"time": Line("start", "start to first reply", "ms", less=True)}, peers)

    def measure(self, host: Place, peer: Peer, seconds: float) -> dict[str, float]:  # noqa: ARG002  # it takes what it takes
        assert isinstance(peer, NamespacePeer)
        return {"time": peer.first_reply(host) * THOUSAND}
