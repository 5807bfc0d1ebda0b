"""The four figures of `docs/simulator.md`: what they are said to show is what happens."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.sim import classics
from tests.sim.report import DOCS, PAGE, read_table
from tests.sim.theory import CUBIC_BETA, RENO_BETA, TEXT

if TYPE_CHECKING:
    from tests.sim.trace import Trace

FIGURES = ("slow-start", "one-loss", "tail-loss", "cubic-newreno")


@cache
def long_run(congestion: str) -> Trace:
    return classics.long_run(congestion)


def falls(trace: Trace) -> list[tuple[float, float]]:
    """When ssthresh is set anew, and to what part of cwnd; cwnd follows at once or by and by (RFC 6937)."""
    changes = [pair for pair in pairwise(trace.samples) if pair[0].ssthresh != pair[1].ssthresh]
    return [(after.time, (after.ssthresh or 0) / before.cwnd) for before, after in changes]


def test_slow_start_overflow() -> None:
    trace = classics.slow_start_overflow()
    before = [sample for sample in trace.samples if sample.ssthresh is None]
    assert before[0].cwnd == 10 * TEXT
    assert before[-1].cwnd > 100 * TEXT
    assert max(sample.queue for sample in before) == 40
    assert len(trace.lost) > 20
    # Each is sent again once, within a few round trips, and the flow goes on.
    assert {one.seq for one in trace.lost} == {one.seq for one in trace.again}
    assert trace.again[-1].time - trace.lost[0].time < 0.5
    assert trace.samples[-1].snd_una > max(one.seq for one in trace.lost) + 100 * TEXT


def test_one_loss() -> None:
    trace = classics.one_loss()
    lost = trace.lost[-1]
    assert lost.time > 2  # the one before has ended slow start
    (again,) = [one for one in trace.again if one.time > lost.time]
    assert again.seq == lost.seq
    assert 0.1 < again.time - lost.time < 0.15  # a round trip, and three segments behind it: no timer
    time, part = falls(trace)[-1]
    assert time == pytest.approx(again.time, abs=0.001)
    assert part == pytest.approx(RENO_BETA, abs=0.05)
    # the flow never falls silent for longer than a round trip
    times = [one.time for one in trace.sendings if one.time > lost.time]
    assert max(after - before for before, after in pairwise(times)) < 0.11


@pytest.mark.parametrize("closes", [False, True])
def test_tail_loss(closes: bool) -> None:
    """RFC 8985 §7: a probe after two round trips, and RACK finds the other loss by the probe's SACK, a round trip later."""
    trace = classics.tail_loss(closes=closes)
    assert [one.seq for one in trace.lost] == [28 * TEXT, 29 * TEXT]
    assert trace.samples[-1].snd_una == 30 * TEXT + closes
    probe, other = trace.again
    assert (probe.seq, other.seq) == (29 * TEXT, 28 * TEXT)
    assert 0.2 < probe.time - trace.lost[-1].time < 0.4
    assert other.time == pytest.approx(probe.time + 0.1, abs=0.01)
    assert not trace.timeouts


def test_cubic_and_newreno_fall_by_their_factors_and_cubic_gets_more() -> None:
    newreno, cubic = long_run("newreno"), long_run("cubic")
    assert falls(newreno)[-1][1] == pytest.approx(RENO_BETA, abs=0.05)
    assert falls(cubic)[-1][1] == pytest.approx(CUBIC_BETA, abs=0.05)
    assert cubic.samples[-1].snd_una > newreno.samples[-1].snd_una


def test_newreno_grows_by_a_segment_a_round_trip() -> None:
    """Soon after a loss, while the queue is empty and a round trip is 100 ms."""
    trace = long_run("newreno")
    began = falls(trace)[-1][0] + 0.5
    windows = [one.cwnd for one in trace.samples if began <= one.time <= began + 1]
    assert (windows[-1] - windows[0]) / TEXT == pytest.approx(10, abs=1)


def test_the_page_has_the_figures_and_the_tables_of_today() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for figure in FIGURES:
        assert f"({figure}.svg)" in page
        assert (DOCS / f"{figure}.svg").is_file()
    for row in read_table(DOCS / "goodput.tsv"):
        assert f"| {row['condition']} | {row['model']} | {row['theory']:,} | {row['measured']:,} |" in page
    for row in read_table(DOCS / "fairness.tsv"):
        assert f"| {row['congestion']} | {row['flows']} | **{row['jain']:.3f}** |" in page
