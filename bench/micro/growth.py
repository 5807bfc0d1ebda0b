"""Whether a packet costs more where there are more flows: one that is busy beside 10 and beside 10,000 idle connections.

Two gateways take turns, so that a busy moment of the machine is both's.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import TYPE_CHECKING

from bench.micro.packets import UP, tcp_cost
from bench.micro.rig import LOCAL, make_rig
from bench.micro.row import MicroRow
from bench.results import OURS, Line
from bench.servers import load
from tests.lab.netns import REPOSITORY, end

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW, MANY = 10, 10_000
TURNS = 7  # of each gateway; the median of them counts
BATCHES_A_TURN = 50


class Growth(MicroRow):
    """way: UP or DOWN. many: 10,000, or fewer for a look."""

    def __init__(self, way: str, many: int = MANY) -> None:
        name = f"growth-{'up' if way == UP else 'down'}"
        words = "frame to host socket" if way == UP else "host socket to frame"
        lines = {
            "few": Line(f"{name}.few", f"{words} beside {FEW} idle flows", "µs a packet", less=True),
            "many": Line(f"{name}.many", f"{words} beside {many:,}", "µs a packet", less=True),
            "ratio": Line(f"{name}.ratio", f"{words}: growth", "ratio", less=True),
        }
        super().__init__(name, lines, (OURS,))
        self.way = way
        self.many = many

    def measure(self, variant: str, seconds: float) -> dict[str, float]:  # noqa: ARG002  # one variant, of a length of its own
        costs: dict[str, list[float]] = {"few": [], "many": []}
        with ExitStack() as stack:
            port = stack.enter_context(acceptor())
            gateways = []
            for name, idle in (("many", self.many), ("few", FEW)):
                rig = stack.enter_context(make_rig(offload=True))
                stream, server = rig.connect()
                stack.enter_context(server)
                for _ in range(idle):
                    rig.open(port)
                gateways.append((name, rig, stream, server))
            for _ in range(TURNS):
                for name, rig, stream, server in gateways:
                    costs[name].append(tcp_cost(rig, stream, server, self.way, batches=BATCHES_A_TURN))
        figures = {name: median(found) for name, found in costs.items()}
        return figures | {"ratio": figures["many"] / figures["few"]}


@contextmanager
def acceptor() -> Iterator[int]:
    """The port of somebody who accepts: another process, since one alone may not have 20,000 descriptors."""
    process = subprocess.Popen(load("idle", "serve", LOCAL, 0), stdout=subprocess.PIPE, cwd=REPOSITORY)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        end(process)
