"""Round-trip times, the retransmission time-out and the records of what is in flight (RFC 6298, RFC 7323, RFC 8985)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.stack.l4.tcp.flight import MAX_RECORDS, Flight, round_trip
from usernat.stack.l4.tcp.rtt import RttEstimator

SECOND = 1_000_000


class TestRoundTripTime:
    """RFC 6298."""

    def make(self, **limits: int) -> RttEstimator:
        return RttEstimator(
            **{"initial_rto_us": SECOND, "min_rto_us": 1, "max_rto_us": 60 * SECOND, **limits}
        )

    @pytest.mark.rfc("6298", "2.1-a", "2.2-a", "2.3-a", "2.3-b", "4-a")
    @given(st.lists(st.integers(1000, 2_000_000), min_size=1, max_size=30))
    def test_formulas(self, samples: list[int]) -> None:
        rtt = self.make()
        assert rtt.rto_us == SECOND
        srtt = rttvar = 0.0
        for index, sample in enumerate(samples):
            if index == 0:
                srtt, rttvar = sample, sample / 2
            else:
                rttvar = 0.75 * rttvar + 0.25 * abs(srtt - sample)
                srtt = 0.875 * srtt + 0.125 * sample
            rtt.sample(sample, 0)
            assert math.isclose(rtt.srtt_us, srtt, rel_tol=1e-9)
            assert rtt.rto_us == pytest.approx(min(srtt + max(1000, 4 * rttvar), 60 * SECOND), abs=2)

    def test_weights_of_many_samples(self) -> None:
        """RFC 7323 appendix G: as many samples as come in a round trip weigh what one did."""
        one, many = self.make(), self.make()
        one.sample(100_000, 0)
        many.sample(100_000, 0)
        one.sample(200_000, 0)
        for _ in range(10):
            many.sample(200_000, 0, 10)
        assert many.srtt_us == pytest.approx(one.srtt_us, rel=0.01)

    @pytest.mark.rfc("6298", "2.5-a", "5.5-a")
    def test_bounds(self) -> None:
        """RFC 6298 §2.4: 200 ms here."""
        rtt = self.make(min_rto_us=200_000)
        rtt.sample(100, 0)
        assert rtt.rto_us == 200_100
        for _ in range(20):
            rtt.back_off()
        assert rtt.rto_us == 60 * SECOND
        rtt.sample(100, 0)
        assert rtt.rto_us == 200_100

    def test_a_long_steady_round_trip_leaves_time_to_wait(self) -> None:
        """The floor stands under the variance: SRTT + 1 ms would expire in every fast recovery, which takes a round trip and a bit."""
        rtt = self.make(min_rto_us=200_000)
        for _ in range(200):
            rtt.sample(250_000, 0)
        assert rtt.rto_us == 450_000

    @pytest.mark.rfc("6298", "5.7-a")
    def test_after_a_lost_syn(self) -> None:
        rtt = self.make()
        rtt.after_syn_timeout()
        assert rtt.rto_us == 3 * SECOND

    @pytest.mark.rfc("6298", "3-a", "3-b")
    def test_flight_samples(self) -> None:
        """The newest piece acknowledged, and none where anything was sent twice."""
        flight = Flight()
        flight.sent(0, 10, 100)
        flight.sent(10, 20, 200)
        flight.sent(20, 30, 300)
        assert round_trip(flight.acknowledged(15), 1000, None) == 800
        assert round_trip(flight.acknowledged(20), 1000, 7) == 800, "measured better than by the echo's clock"
        flight.resent(20, 25, 900)
        flight.sent(30, 40, 950)
        assert round_trip(flight.acknowledged(40), 1000, None) is None
        assert len(flight) == 0
        assert round_trip(flight.acknowledged(40), 1000, 100) is None

    @pytest.mark.rfc("6298", "3-a")
    @pytest.mark.parametrize(("echo_us", "sample"), [(5000, 5000), (6000, 6000), (6999, 6999), (7000, None)])
    def test_echo_of_what_was_sent_again(self, echo_us: int, sample: int | None) -> None:
        """An echo older than the first retransmission among what is acknowledged, by a tick of the clock, measures a time-out."""
        flight = Flight()
        flight.sent(0, 10, 0)
        flight.sent(10, 20, 1)
        flight.sent(20, 30, 2)
        flight.resent(0, 10, 200_000)
        flight.resent(10, 20, 204_000)
        assert round_trip(flight.acknowledged(30), 206_000, echo_us) == sample

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 80), st.integers(1, 30))
    def test_flight_marks_what_was_sent_again(self, sizes: list[int], start: int, size: int) -> None:
        flight, at = Flight(), 0
        for number in sizes:
            flight.sent(at, at + number, 0)
            at += number
        flight.resent(start, start + size, 5)
        at = 0
        for number in sizes:
            again = at < start + size and start < at + number
            at += number
            assert round_trip(flight.acknowledged(at), 10, None) == (None if again else 10)

    def test_flight_is_bounded(self) -> None:
        flight = Flight()
        for start in range(10_000):
            flight.sent(start, start + 1, start)
        assert len(flight) == MAX_RECORDS
        assert round_trip(flight.acknowledged(10_000), 20_000, None) is None
