"""The road between a link and its other end: how long frames take on it, in which order they come, and what it does not hold."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from usernat.fuzz.delayline import DelayLine, Distance
from usernat.fuzz.faultylink import Faults, FaultyLink
from usernat.links.link import HELD_MAX
from usernat.links.memory import memory_pair
from usernat.stack.device import Frame

GAPS = st.lists(st.integers(0, 3000), max_size=50)  # µs between frames
LATER = 10**9


def travel(line: DelayLine[int], gaps: list[int], size: int = 100) -> list[tuple[int, int, int]]:
    """Numbered frames that set out with these gaps: number, departure and arrival of each, as `poll_at` says they arrive."""
    now, departures = 0, []
    for number, gap in enumerate(gaps):
        now += gap
        departures.append(now)
        line.put(number, size, now)
    arrived = []
    while (at := line.poll_at()) is not None:
        assert not line.take(at - 1, 100)
        arrived += [(number, departures[number], at) for number in line.take(at, 100)]
    return arrived


@given(GAPS, st.integers(0, 5000), st.integers(0, 5000), st.integers())
def test_each_frame_takes_the_delay_and_some_jitter(
    gaps: list[int], delay: int, jitter: int, seed: int
) -> None:
    arrived = travel(DelayLine(Distance(delay_us=delay, jitter_us=jitter), Random(seed)), gaps)
    assert sorted(number for number, _, _ in arrived) == list(range(len(gaps)))
    assert all(delay <= at - left <= delay + jitter for _, left, at in arrived)
    if not jitter:
        assert [number for number, _, _ in arrived] == list(range(len(gaps)))


@given(GAPS, st.integers(1, 2000))
def test_no_more_pass_than_the_rate_allows(gaps: list[int], size: int) -> None:
    """At a million bytes a second a frame takes as many µs as it has bytes, and waits for those before it."""
    arrived = travel(DelayLine(Distance(bytes_per_second=1_000_000), Random(0)), gaps, size)
    free_at = 0
    for _, left, at in arrived:
        free_at = max(left, free_at) + size
        assert at == free_at


@given(st.integers(0, 30), st.integers(1, 20))
def test_what_the_road_does_not_hold_is_dropped(count: int, queue: int) -> None:
    line: DelayLine[int] = DelayLine(Distance(delay_us=1, queue=queue), Random(0))
    for number in range(count):
        line.put(number, 1, 0)
    assert (len(line), line.dropped) == (min(count, queue), max(0, count - queue))
    assert line.take(1, LATER) == list(range(min(count, queue)))


def test_a_far_link_tells_when_it_has_something_to_do() -> None:
    """By `poll_at`; then `pending` is true for what has come, `held` for what is to go on."""
    inner, guest = memory_pair()
    now = 0
    link = FaultyLink(inner, Faults(), Random(0), distance=Distance(delay_us=10), now=lambda: now)
    assert (link.poll_at(), link.room()) == (None, HELD_MAX)
    guest.send([Frame([b"from the guest"])])
    assert link.receive(10) == []
    now = 4
    link.send([Frame([b"to the guest"])])
    assert (link.poll_at(), link.pending, link.held) == (10, False, 0)
    now = 10
    assert (link.pending, link.held) == (True, 0)
    assert link.receive(10) == [(b"from the guest", False)]
    assert (link.poll_at(), link.pending) == (14, False)
    now = 14
    assert link.held == 1
    assert guest.receive(10) == []
    link.flush()
    assert guest.receive(10) == [(b"to the guest", False)]
    assert (link.poll_at(), link.held, link.dropped) == (None, 0, 0)
    guest.close()
    link.close()
