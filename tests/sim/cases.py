"""The runs behind the table of goodput: what is run, what a model says of it, and whether the model has to be met there.

Each function makes one case. Those that are `exact` are where the model's assumptions hold, and must come within 10 % of it; the others are there
to show what happens where they do not, and the page says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim import theory
from tests.sim.dumbbell import Dumbbell
from tests.sim.faults import BurstLoss, Faults, PeriodicLoss, RandomLoss
from tests.sim.link import Queue
from tests.sim.loop import MS, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

FAST = 1_000_000_000  # bit/s: a link on which nothing ever waits
SETTLING = 15  # round trips of slow start
INITIAL_WINDOW = 10
# Round trips of each cycle in which no window grows: until the loss shows, and until it is mended.
RECOVERY = 2
LONG_CYCLE = 30  # round trips of a cycle beside which RECOVERY is small


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run. make: the network. begin_us, end_us: what is measured. theory: bit/s. exact: it must be met."""

    section: str
    congestion: str
    rtt_ms: int
    condition: str
    model: str
    theory: float
    exact: bool
    make: Callable[[], Dumbbell] = field(compare=False)
    begin_us: int
    end_us: int

    @property
    def key(self) -> str:
        """Names the case in tables and tests."""
        return f"{self.section}: {self.congestion}, {self.rtt_ms} ms, {self.condition}"


def window_limited(window: int, rtt_ms: int) -> Case:
    """Neither loss nor queue: what the receiver offers in each round trip."""
    rtt_us = rtt_ms * MS

    def make() -> Dumbbell:
        return Dumbbell(rate=FAST, rtt_us=rtt_us, receive_buffer=window, initial_receive_window=window)

    segments = window // theory.TEXT
    begin = SETTLING * rtt_us
    return Case(
        section="window",
        congestion="cubic",
        rtt_ms=rtt_ms,
        condition=f"window {window:,} bytes",
        model="window / RTT",
        theory=8 * window * SECOND / rtt_us,
        exact=segments >= 40,
        make=make,
        begin_us=begin,
        end_us=begin + max(40, 4000 // segments) * rtt_us,
    )


def link_limited(congestion: str, share: float, *, rate: int = 5_000_000, rtt_ms: int = 100) -> Case:
    """A drop-tail bottleneck with a buffer of `share` bandwidth-delay products: the losses are the flow's own."""
    rtt_us = rtt_ms * MS
    product = rate * rtt_us / SECOND / 8 / theory.FRAME
    packets = round(share * product)

    def make() -> Dumbbell:
        return Dumbbell(rate=rate, rtt_us=rtt_us, queue=Queue(packets=packets), congestion=congestion)

    beta = theory.RENO_BETA if congestion == "newreno" else theory.CUBIC_BETA
    return Case(
        section="buffer",
        congestion=congestion,
        rtt_ms=rtt_ms,
        condition=f"{rate / 1e6:g} Mbit/s, buffer {packets} packets = {share:g} BDP",
        model="AIMD over a buffer",
        theory=theory.link_goodput(rate) * theory.utilisation(share, beta),
        exact=share >= 0.25,
        make=make,
        begin_us=15 * SECOND,
        end_us=60 * SECOND,
    )


def periodic_loss(congestion: str, every: int, rtt_ms: int, *, cycles: int = 7) -> Case:
    """One segment in `every` is lost on a link that is never full.

    The first loss ends slow start close to where the model wants the window, so that what is measured is the cycle and not the way to it;
    a little below, because fast convergence (RFC 9438 §4.7) drives a CUBIC flow that begins above its cycle far below it.
    """
    rtt_us = rtt_ms * MS
    average, region = _model(congestion, 1 / every, rtt_ms / 1000)
    peak = theory.peak_of(average, congestion, reno_friendly=region != "cubic")
    peak *= 1 - RECOVERY / (every / average)
    # Slow start grows by a segment for each that arrived.
    first = max(INITIAL_WINDOW, round(peak) - INITIAL_WINDOW)

    def make() -> Dumbbell:
        return Dumbbell(rate=FAST, rtt_us=rtt_us, losses=[PeriodicLoss(every, first)], congestion=congestion)

    return _loss_case(
        "loss",
        congestion,
        rtt_ms,
        f"1/{every} periodic",
        region,
        average,
        make,
        exact=every / average >= LONG_CYCLE,
        segments=cycles * every,
        warm_up=2 * every,
    )


def random_loss(congestion: str, every: int, rtt_ms: int, *, segments: int = 12_000) -> Case:
    """Each segment is lost with probability 1/every."""
    condition = f"1/{every} random"
    return _by_chance(
        congestion, every, rtt_ms, condition, lambda: RandomLoss(1 / every, Random(every)), segments
    )


def bursts(congestion: str, every: int, length: int, rtt_ms: int, *, segments: int = 12_000) -> Case:
    """Bursts of `length` losses on average, one in `every` segments: one event each for a sender with SACK."""

    def pattern() -> BurstLoss:
        return BurstLoss(1 / every, 1 / length, Random(every))

    return _by_chance(congestion, every, rtt_ms, f"1/{every} bursts of {length}", pattern, segments)


def _by_chance(
    congestion: str,
    every: int,
    rtt_ms: int,
    condition: str,
    pattern: Callable[[], RandomLoss | BurstLoss],
    segments: int,
) -> Case:
    average, region = _model(congestion, 1 / every, rtt_ms / 1000)

    def make() -> Dumbbell:
        return Dumbbell(rate=FAST, rtt_us=rtt_ms * MS, losses=[pattern()], congestion=congestion)

    return _loss_case(
        "loss",
        congestion,
        rtt_ms,
        condition,
        region,
        average,
        make,
        exact=False,
        segments=segments,
        warm_up=segments // 4,
    )


def reordering(chance: float, late_ms: int, *, rate: int = 5_000_000, rtt_ms: int = 100) -> Case:
    """No loss but frames that come late: beyond DupThresh segments, an order that looks like loss."""
    case = link_limited("cubic", 1, rate=rate, rtt_ms=rtt_ms)
    packets = round(rate * rtt_ms / 8000 / theory.FRAME)

    def make() -> Dumbbell:
        faults = Faults(reorder=chance, late_us=late_ms * MS)
        return Dumbbell(rate=rate, rtt_us=rtt_ms * MS, queue=Queue(packets=packets), faults=faults)

    values: dict[str, Any] = {name: getattr(case, name) for name in Case.__slots__}
    values |= {
        "section": "order",
        "condition": f"{rate / 1e6:g} Mbit/s, {chance:.1%} are {late_ms} ms late",
        "model": "the link",
        "make": make,
        "exact": False,
    }
    return Case(**values)


def _model(congestion: str, p: float, rtt: float) -> tuple[float, str]:
    """The average window, and whose formula it is."""
    reno = theory.aimd_window(p)
    if congestion == "newreno":
        return reno, "Mathis"
    cubic = theory.pure_cubic_window(p, rtt)
    return (cubic, "cubic") if cubic > reno else (reno, "Reno-friendly")


def _loss_case(
    section: str,
    congestion: str,
    rtt_ms: int,
    condition: str,
    model: str,
    average: float,
    make: Callable[[], Dumbbell],
    *,
    exact: bool,
    segments: int,
    warm_up: int,
) -> Case:
    """A case that lasts for as long as so many segments take by the model."""
    round_trip = rtt_ms * MS
    begin = SETTLING * round_trip + round(warm_up / average * round_trip)
    return Case(
        section=section,
        congestion=congestion,
        rtt_ms=rtt_ms,
        condition=condition,
        model=model,
        theory=theory.goodput(average, rtt_ms / 1000),
        exact=exact,
        make=make,
        begin_us=begin,
        end_us=begin + round(segments / average * round_trip),
    )


CONGESTION = ("newreno", "cubic")
PERIODS = ((100, 100), (400, 100), (1600, 20), (1600, 100), (1600, 200), (6400, 100))

CASES: tuple[Case, ...] = (
    *(window_limited(window, rtt) for window in (16_384, 65_535, 262_144) for rtt in (10, 100)),
    *(link_limited(name, share) for name in CONGESTION for share in (0.1, 0.25, 0.5, 1, 2)),
    *(periodic_loss(name, every, rtt) for name in CONGESTION for every, rtt in PERIODS),
    *(random_loss(name, every, 100) for name in CONGESTION for every in (20, 100, 400)),
    *(bursts(name, 400, length, 100) for name in CONGESTION for length in (2, 4)),
    *(reordering(chance, late) for chance, late in ((0.01, 5), (0.01, 20))),
)
