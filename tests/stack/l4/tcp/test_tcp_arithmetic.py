"""Sequence numbers, time stamps, windows and RTO as plain arithmetic, against the words of the RFCs.

All of these functions are pure, so that besides sampling, hypothesis may solve for counterexamples: `HYPOTHESIS_PROFILE=crosshair`.
"""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from usernat.stack.l4.tcp.config import MAX_RECEIVE_BUFFER, MAX_WINDOW_SCALE, window_scale
from usernat.stack.l4.tcp.receiver import is_acceptable
from usernat.stack.l4.tcp.rtt import GRANULARITY_US, RttEstimator
from usernat.stack.l4.tcp.seq import is_before, unwrap, wrap
from usernat.stack.l4.tcp.timestamps import STALE_US, TICK_US, Timestamps

CIRCLE = 1 << 32
HALF = CIRCLE // 2

numbers = st.integers(0, CIRCLE - 1)
anywhere = st.integers(-(1 << 40), 1 << 40)
ahead = st.integers(1, HALF - 1)  # less than half the circle
DAY_US = 24 * 3600 * 1_000_000


# -- RFC 9293 §3.4 ---------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.4-a")
@given(wire=numbers, near=anywhere)
@example(wire=0, near=0)
@example(wire=CIRCLE - 1, near=0)
@example(wire=0, near=CIRCLE - 1)
@example(wire=HALF, near=0)
@example(wire=HALF - 1, near=0)
@example(wire=0, near=-HALF)
@example(wire=0, near=HALF)
def test_unwrap_finds_the_nearest(wire: int, near: int) -> None:
    """The one integer of [near - 2**31, near + 2**31) that has these 32 bits."""
    number = unwrap(wire, near)
    assert wrap(number) == wire
    assert near - HALF <= number < near + HALF


@given(number=anywhere, away=st.integers(-HALF + 1, HALF))
@example(number=0, away=-HALF + 1)
@example(number=CIRCLE - 1, away=HALF)
@example(number=-1, away=HALF)
def test_what_was_wrapped_is_found_again(number: int, away: int) -> None:
    """From anything that is less than half the circle away."""
    assert unwrap(wrap(number), number + away) == number


@pytest.mark.rfc("9293", "3.4-a")
@given(base=numbers, a=st.integers(0, HALF - 1), b=st.integers(0, HALF - 1))
@example(base=CIRCLE - 1, a=0, b=1)
@example(base=HALF - 1, a=0, b=1)
@example(base=CIRCLE - 1, a=0, b=HALF - 1)
def test_within_half_the_circle_the_order_is_total(base: int, a: int, b: int) -> None:
    """Wherever the window lies, its numbers are ordered as they lie in it; and unwrapped numbers are ordered alike."""
    one, other = wrap(base + a), wrap(base + b)
    assert is_before(one, other) == (a < b)
    assert is_before(other, one) == (b < a)
    assert (one == other) == (a == b)
    assert (unwrap(one, base) < unwrap(other, base)) == (a < b)


@given(base=numbers, a=ahead, b=ahead)
@example(base=CIRCLE - 1, a=1, b=1)
def test_order_is_transitive_while_the_sum_stays_below_half(base: int, a: int, b: int) -> None:
    assume(a + b < HALF)
    middle, last = wrap(base + a), wrap(base + a + b)
    assert is_before(base, middle)
    assert is_before(middle, last)
    assert is_before(base, last)


# -- RFC 9293 §3.10.7.4, table 6 ---------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.10.7.4-a")
@given(nxt=numbers, window=st.integers(0, 40), seq=st.integers(-90, 90), length=st.integers(0, 90))
def test_acceptable_is_table_6(nxt: int, window: int, seq: int, length: int) -> None:
    """As the table has it, and where a segment reaches over both ends of the window."""
    inside = range(nxt, nxt + window)
    seq += nxt
    if length == 0:
        expected = seq == nxt if window == 0 else seq in inside
    else:
        over = window > 0 and seq < nxt and seq + length > nxt + window
        expected = seq in inside or seq + length - 1 in inside or over
    assert is_acceptable(nxt, nxt + window, seq, length) == expected


# -- RFC 7323 ------------------------------------------------------------------------------------------------------------


@given(buffer=st.integers(1, MAX_RECEIVE_BUFFER))
@example(buffer=0xFFFF)
@example(buffer=0x10000)
@example(buffer=MAX_RECEIVE_BUFFER)
def test_the_smallest_scale_that_reaches(buffer: int) -> None:
    scale = window_scale(buffer)
    assert 0 <= scale <= MAX_WINDOW_SCALE
    assert 0xFFFF << scale >= buffer
    assert scale == 0 or 0xFFFF << scale - 1 < buffer


@pytest.mark.rfc("7323", "5.5-a")
@given(recent=numbers, step=st.integers(-HALF, HALF - 1), idle=st.integers(0, 2 * STALE_US))
@example(recent=0, step=-1, idle=STALE_US - 1)
@example(recent=0, step=-1, idle=STALE_US)
@example(recent=CIRCLE - 1, step=1, idle=0)
@example(recent=0, step=-HALF, idle=0)
def test_a_time_stamp_is_old_if_it_is_before_and_the_clock_has_not_turned(
    recent: int, step: int, idle: int
) -> None:
    stamps = Timestamps(0, recent, 100, 0)
    assert stamps.is_old(wrap(recent + step), idle) == (step < 0 and idle < STALE_US)


@pytest.mark.rfc("7323", "4.3-a")
@given(
    recent=numbers,
    arrivals=st.lists(
        st.tuples(st.integers(-5, 5), st.integers(90, 110), st.integers(0, 12 * DAY_US)), max_size=8
    ),
)
def test_what_is_echoed_never_goes_back(recent: int, arrivals: list[tuple[int, int, int]]) -> None:
    """TS.Recent moves on with segments at or before Last.ACK.sent, and back only once it is stale."""
    stamps = Timestamps(0, recent, 100, 0)
    now = 0
    for step, seq, pause in arrivals:
        now += pause
        before, age = stamps.recent, now - stamps.recent_at
        stamps.take(wrap(before + step), seq, now)
        moves = seq <= 100 and (step >= 0 or age >= STALE_US)
        assert stamps.recent == (wrap(before + step) if moves else before)
        assert stamps.recent_at == (now if moves else now - age)


@pytest.mark.rfc("7323", "4.1-a")
@given(offset=numbers, start=st.integers(0, 1 << 50), rtt=st.integers(0, (1 << 20) * TICK_US - 1))
def test_an_echo_measures_the_round_trip(offset: int, start: int, rtt: int) -> None:
    """To a tick, whatever the offset, across the wrap."""
    stamps = Timestamps(offset, 0, 0, 0)
    measured = stamps.rtt_us(stamps.value(start), start + rtt)
    assert measured is None or abs(measured - rtt) <= TICK_US
    assert measured is not None or rtt > ((1 << 20) - 2) * TICK_US


# -- RFC 6298 ------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("6298", "2.2-a", "2.3-a", "2.3-b", "2.5-a", "5.5-a")
@given(
    events=st.lists(st.one_of(st.none(), st.integers(1, 100_000_000)), max_size=30),
    low=st.sampled_from([1, 200_000, 1_000_000]),
    high=st.sampled_from([60_000_000, 120_000_000]),
)
def test_rto_is_that_of_the_formulas(events: list[int | None], low: int, high: int) -> None:
    """Samples and time-outs (None) in any order, in exact fractions; floating point is within a microsecond or two."""
    rtt = RttEstimator(initial_rto_us=1_000_000, min_rto_us=low, max_rto_us=high)
    srtt = rttvar = Fraction(0)
    rto = Fraction(1_000_000)
    for number, event in enumerate(events):
        if event is None:
            rtt.back_off()
            rto = min(max(2 * rto, Fraction(low)), Fraction(high))
        else:
            rtt.sample(event, number * 1000)
            if srtt:
                rttvar = Fraction(3, 4) * rttvar + Fraction(1, 4) * abs(srtt - event)
                srtt = Fraction(7, 8) * srtt + Fraction(1, 8) * event
            else:
                srtt, rttvar = Fraction(event), Fraction(event, 2)
            rto = min(srtt + max(Fraction(GRANULARITY_US), Fraction(low), 4 * rttvar), Fraction(high))
        assert abs(rtt.rto_us - rto) <= 2 << (events[: number + 1].count(None))
        assert abs(rtt.srtt_us - srtt) < 1
        assert low <= rtt.rto_us <= high
