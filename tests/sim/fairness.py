"""Fairness: 2 to 64 flows of one kind through one drop-tail bottleneck, and Jain's index of what each of them gets.

Each flow's share of the rate and of the buffer is the same whatever their number, so that the window of each is some 8 to 16 segments: small, as
windows are where many share a link. Flows begin at random moments of the first second, and their hosts take up to the time of one segment
on the bottleneck for each they send (`dumbbell.py` says why).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

from tests.sim import theory
from tests.sim.dumbbell import Dumbbell
from tests.sim.link import Queue
from tests.sim.loop import MS, SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE_EACH = 1_000_000  # bit/s
BUFFER_EACH = 12  # packets
RTT_US = 50 * MS
BEGIN_US = 10 * SECOND
FLOWS = (2, 4, 8, 16, 32, 64)
CONGESTION = ("newreno", "cubic")


class Fairness(NamedTuple):
    """One line of the table. slowest, fastest: kbit/s of one flow. used: of what the link could carry. dropped: frames; resent: segments."""

    congestion: str
    flows: int
    jain: float
    slowest: int
    fastest: int
    used: float
    dropped: int
    resent: int
    timeouts: int


def duration_us(flows: int) -> int:
    """How long is measured: the fewer flows, the longer, for one loss then weighs more and costs the run less."""
    return max(30, min(120, 960 // flows)) * SECOND


def make(congestion: str, flows: int, starts: Sequence[int] = ()) -> Dumbbell:
    """The network. starts: µs, if they are not to be random."""
    rng = Random(flows)
    rate = flows * RATE_EACH
    return Dumbbell(
        flows,
        rate=rate,
        rtt_us=RTT_US,
        queue=Queue(packets=flows * BUFFER_EACH),
        jitter_us=8 * theory.FRAME * SECOND // rate,
        starts=starts or [rng.randrange(SECOND) for _ in range(flows)],
        congestion=congestion,
    )


def measure(congestion: str, flows: int) -> Fairness:
    """Run it."""
    network = make(congestion, flows)
    goodputs = network.goodputs(BEGIN_US, BEGIN_US + duration_us(flows))
    return Fairness(
        congestion,
        flows,
        round(theory.jain(goodputs), 4),
        round(min(goodputs) / 1000),
        round(max(goodputs) / 1000),
        round(sum(goodputs) / theory.link_goodput(flows * RATE_EACH), 3),
        network.bottleneck.counts["dropped"],
        network.counter("retransmissions"),
        network.counter("retransmit_timeouts"),
    )
