"""DNS: queries a second by each gateway's own forwarder, 32 on their way. How is told in `bench/load/names.py`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.results import Line
from bench.rows.row import GuestRow
from bench.servers import load

if TYPE_CHECKING:
    from bench.peers.peer import Peer, Seat

SHARE = 2 / 3  # of the run's length
SPARE_SECONDS = 10.0
LOSS = 0.01  # of the queries, beyond which a rate means nothing


class Names(GuestRow):
    def __init__(self, peers: tuple[Peer, ...]) -> None:
        super().__init__("dns", {"rate": Line("dns", "DNS queries a second, 32 at once", "/s")}, peers)

    def measure(self, seat: Seat, seconds: float) -> dict[str, float]:
        command = load("names", "ask", seat.resolver, seconds * SHARE)
        report = json.loads(seat.run(*command, timeout=seconds + SPARE_SECONDS))
        if report["lost"] > LOSS * report["answers"]:
            raise AssertionError(f"{report['lost']} queries without an answer, {report['answers']} with one")
        return {"rate": report["answers"] / report["seconds"]}
