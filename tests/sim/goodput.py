"""Measures one line of the table of goodput; `python -m tests.sim` makes all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.sim.cases import Case


class Row(NamedTuple):
    """One line of the table. theory, measured: kbit/s of text that the far application reads. ratio: measured / theory.

    exact: 1 where the model has to be met. carried, gone: text and other frames at the bottleneck, those lost or dropped there. resent: segments.
    timeouts: of the retransmission timer. All of the whole run, its beginning included, but for `measured`.
    """

    section: str
    congestion: str
    rtt_ms: int
    condition: str
    model: str
    theory: int
    measured: int
    ratio: float
    exact: int
    carried: int
    gone: int
    resent: int
    timeouts: int


def measure(case: Case) -> Row:
    """Run it."""
    network = case.make()
    (goodput,) = network.goodputs(case.begin_us, case.end_us)
    counts = network.bottleneck.counts
    return Row(
        case.section,
        case.congestion,
        case.rtt_ms,
        case.condition,
        case.model,
        round(case.theory / 1000),
        round(goodput / 1000),
        round(goodput / case.theory, 3),
        int(case.exact),
        counts["carried"],
        counts["lost"] + counts["dropped"],
        network.counter("retransmissions"),
        network.counter("retransmit_timeouts"),
    )
