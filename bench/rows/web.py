"""Requests by wrk to nginx: over connections that stay, and with a connection for each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.meter import cpu
from bench.results import Line
from bench.rows.row import GuestRow
from bench.servers import HTTP_PORT

if TYPE_CHECKING:
    from bench.peers.peer import Peer, Seat

RATE = re.compile(r"Requests/sec:\s*([\d.]+)")
ERRORS = re.compile(r"(Socket errors: .*|Non-2xx.*)")
SPARE_SECONDS = 15.0
SHARE = 2 / 3  # of the run's length: these settle fast
THOUSAND = 1000


class Web(GuestRow):
    """connections: at once. close: each request has a connection of its own."""

    def __init__(self, connections: int, peers: tuple[Peer, ...], *, close: bool = False) -> None:
        if close:
            name, title = "connections", f"connections a second, {connections} at once"
        else:
            name, title = f"requests-{connections}", f"requests a second, {connections} kept alive"
        lines = {
            "rate": Line(name, title, "/s"),
            "gateway": Line(f"{name}.cpu", f"{title}: the gateway", "CPU s/1000", less=True),
        }
        super().__init__(name, lines, peers)
        self.connections = connections
        self.close = close

    def measure(self, seat: Seat, seconds: float) -> dict[str, float]:
        length = max(1, round(seconds * SHARE))
        options = [
            "-t1",
            f"-c{self.connections}",
            f"-d{length}s",
            *(["-H", "Connection: close"] if self.close else []),
        ]
        before = cpu(seat.gateway)
        told = seat.run("wrk", *options, f"http://{seat.server}:{HTTP_PORT}/", timeout=length + SPARE_SECONDS)
        used = cpu(seat.gateway).since(before)
        if (errors := ERRORS.search(told)) and not self.close:
            raise AssertionError(f"wrk: {errors[1]}")
        found = RATE.search(told)
        if found is None or not float(found[1]):
            raise AssertionError(f"wrk: {errors[1] if errors else told}")
        rate = float(found[1])
        return {"rate": rate} | (
            {"gateway": used.gateway / (rate * length) * THOUSAND} if seat.gateway else {}
        )
