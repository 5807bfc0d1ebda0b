"""Who is measured when.

Rows that can share a guest form a stage: all guests of a stage stand ready, and the runs go round, every peer once for each row, then all of it
again. So a machine that is slower for a while is so for all of them, and the median of the rounds is what counts. Rows that need a guest of
their own make it themselves.

What fails is noted with the row and the peer that it concerns, and the others go on.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.rows.row import GuestRow, OwnRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.micro.row import MicroRow
    from bench.peers.peer import Seat
    from bench.rows.row import Row
    from tests.lab.netns import Place

# What goes wrong in others' programs and in ours: no start, no answer, no sense in the answer. Anything else is a bug of the harness, told
# the same way: hours of figures are not lost to it.
FAILURES = (Exception,)


@dataclass(frozen=True)
class Plan:
    """rounds: samples of each. seconds: the length of a run, of which a row may take its share. say: told what is being done."""

    rounds: int
    seconds: float
    say: Callable[[str], None]

    def tell(self, number: int, row: Row, name: str) -> None:
        self.say(f"round {number + 1} of {self.rounds}: {row.name}, {name}")


def run(host: Place, rows: Iterable[Row], plan: Plan) -> None:
    """Measure all rows; the figures are in their lines afterwards."""
    given = list(rows)
    stages: dict[tuple[str, int], list[GuestRow]] = {}
    for row in given:
        if isinstance(row, GuestRow):
            stages.setdefault(row.stage, []).append(row)
    for stage in stages.values():
        run_stage(host, stage, plan)
    for row in given:
        if isinstance(row, OwnRow):
            run_own(host, row, plan)


def run_stage(host: Place, rows: list[GuestRow], plan: Plan) -> None:
    """Rows that share their guests."""
    peers = list(dict.fromkeys(peer for row in rows for peer in row.peers))
    with ExitStack() as stack:
        seats: dict[str, Seat] = {}
        for peer in peers:
            mine = [row for row in rows if peer in row.peers]
            if reason := peer.why_not():
                fail(mine, peer.name, reason)
                continue
            try:
                seats[peer.name] = stack.enter_context(peer.guest(host, rows[0].mtu))
            except FAILURES as error:
                fail(mine, peer.name, one_line(error))
        for number in range(plan.rounds):
            for row in rows:
                for peer in row.peers:
                    if peer.name in seats:
                        plan.tell(number, row, peer.name)
                        attempt(row, peer.name, partial(row.measure, seats[peer.name], plan.seconds))


def run_own(host: Place, row: OwnRow, plan: Plan) -> None:
    """A row that makes what it needs."""
    for number in range(min(plan.rounds, row.most_rounds)):
        for peer in row.peers:
            if reason := peer.why_not():
                fail([row], peer.name, reason)
                continue
            plan.tell(number, row, peer.name)
            attempt(row, peer.name, partial(row.measure, host, peer, plan.seconds))


def run_micro(rows: Iterable[MicroRow], plan: Plan) -> None:
    """Rows without a guest."""
    given = list(rows)
    for number in range(plan.rounds):
        for row in given:
            for name in row.names:
                plan.tell(number, row, name)
                attempt(row, name, partial(row.measure, name, plan.seconds))


def attempt(row: Row, name: str, measure: Callable[[], dict[str, float]]) -> None:
    """One run: its figures, or why there are none."""
    try:
        figures = measure()
    except FAILURES as error:
        fail([row], name, one_line(error))
    else:
        row.add(name, figures)


def fail(rows: Iterable[Row], name: str, reason: str) -> None:
    for row in rows:
        for line in row.lines.values():
            line.fail(name, reason)


def one_line(error: BaseException) -> str:
    """What went wrong, in a line for the report."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no end within {error.timeout:.0f} s"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
