"""Whether a packet costs more where there are more flows: one that is busy beside 10 and beside 10,000 idle connections."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
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
        with make_rig(offload=True) as rig, acceptor() as port:
            stream, server = rig.connect()
            figures = {}
            opened = 0
            with server:
                for name, number in (("few", FEW), ("many", self.many)):
                    while opened < number:
                        rig.open(port)
                        opened += 1
                    figures[name] = tcp_cost(rig, stream, server, self.way)
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
