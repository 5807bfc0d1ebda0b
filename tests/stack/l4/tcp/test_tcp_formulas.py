"""Round-trip times, congestion windows and budgets against their formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.stack.l4.tcp.challenge import ChallengeAllowance
from usernat.stack.l4.tcp.config import TcpConfig, window_scale
from usernat.stack.l4.tcp.congestion import initial_window
from usernat.stack.l4.tcp.cubic import Cubic
from usernat.stack.l4.tcp.flight import MAX_RECORDS, Flight
from usernat.stack.l4.tcp.memory import FLOOR, MemoryBudget
from usernat.stack.l4.tcp.newreno import NewReno
from usernat.stack.l4.tcp.rtt import RttEstimator
from usernat.stack.l4.tcp.seq import MASK

WORD = st.integers(0, MASK)
SECOND = 1_000_000


class TestRoundTripTime:
    """RFC 6298."""

    def make(self, **limits: int) -> RttEstimator:
        return RttEstimator(
            **{"initial_rto_us": SECOND, "min_rto_us": 1, "max_rto_us": 60 * SECOND, **limits}
        )

    @given(st.lists(st.integers(1000, 2_000_000), min_size=1, max_size=30))
    def test_formulas(self, samples: list[int]) -> None:
        """2.1-a, 2.2-a, 2.3-a, 2.3-b."""
        rtt = self.make()
        assert rtt.rto_us == SECOND
        srtt = rttvar = 0.0
        for index, sample in enumerate(samples):
            if index == 0:
                srtt, rttvar = sample, sample / 2
            else:
                rttvar = 0.75 * rttvar + 0.25 * abs(srtt - sample)
                srtt = 0.875 * srtt + 0.125 * sample
            rtt.sample(sample)
            assert math.isclose(rtt.srtt_us, srtt, rel_tol=1e-9)
            assert rtt.rto_us == pytest.approx(min(srtt + max(1000, 4 * rttvar), 60 * SECOND), abs=2)

    def test_weights_of_many_samples(self) -> None:
        """RFC 7323 appendix G: as many samples as come in a round trip weigh what one did."""
        one, many = self.make(), self.make()
        one.sample(100_000)
        many.sample(100_000)
        one.sample(200_000)
        for _ in range(10):
            many.sample(200_000, 10)
        assert many.srtt_us == pytest.approx(one.srtt_us, rel=0.01)

    def test_bounds(self) -> None:
        """2.4-a (200 ms here), 2.5-a, 5.5-a."""
        rtt = self.make(min_rto_us=200_000)
        rtt.sample(100)
        assert rtt.rto_us == 200_000
        for _ in range(20):
            rtt.back_off()
        assert rtt.rto_us == 60 * SECOND
        rtt.sample(100)
        assert rtt.rto_us == 200_000

    def test_after_a_lost_syn(self) -> None:
        """5.7-a."""
        rtt = self.make()
        rtt.after_syn_timeout()
        assert rtt.rto_us == 3 * SECOND

    def test_flight_samples(self) -> None:
        """3-a, 3-b: the newest piece acknowledged, and none where anything was sent twice."""
        flight = Flight()
        flight.sent(0, 10, 100)
        flight.sent(10, 20, 200)
        flight.sent(20, 30, 300)
        assert flight.acknowledged(15, 1000, None) == 800
        assert flight.acknowledged(20, 1000, 7) == 800, "measured better than by the echo's clock"
        flight.resent(20, 25, 900)
        flight.sent(30, 40, 950)
        assert flight.acknowledged(40, 1000, None) is None
        assert len(flight) == 0
        assert flight.acknowledged(40, 1000, 100) is None

    @pytest.mark.parametrize(("echo_us", "sample"), [(5000, 5000), (6000, 6000), (6999, 6999), (7000, None)])
    def test_echo_of_what_was_sent_again(self, echo_us: int, sample: int | None) -> None:
        """An echo older than the first retransmission among what is acknowledged, by a tick of the clock, measures a time-out."""
        flight = Flight()
        flight.sent(0, 10, 0)
        flight.sent(10, 20, 1)
        flight.sent(20, 30, 2)
        flight.resent(0, 10, 200_000)
        flight.resent(10, 20, 204_000)
        assert flight.acknowledged(30, 206_000, echo_us) == sample

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
            assert flight.acknowledged(at, 10, None) == (None if again else 10)

    def test_flight_is_bounded(self) -> None:
        flight = Flight()
        for start in range(10_000):
            flight.sent(start, start + 1, start)
        assert len(flight) == MAX_RECORDS
        assert flight.acknowledged(10_000, 20_000, None) is None


class TestCongestion:
    SMSS = 1000

    @pytest.mark.parametrize(
        ("smss", "window"), [(536, 5360), (1460, 14600), (2000, 14600), (8960, 17920), (65480, 130960)]
    )
    def test_initial_window(self, smss: int, window: int) -> None:
        """RFC 6928 2-a, RFC 5681 3.1-d."""
        cc = NewReno(smss)
        assert cc.cwnd == initial_window(smss) == window
        assert cc.ssthresh >= 1 << 30

    @pytest.mark.parametrize("kind", [NewReno, Cubic])
    def test_slow_start(self, kind: type[NewReno | Cubic]) -> None:
        """RFC 5681 3.1-e: at most SMSS for an ACK, however much it covers. RFC 9438 4.10-a."""
        cc = kind(self.SMSS)
        cwnd = cc.cwnd
        cc.on_ack(300, 0, 1000.0)
        assert cc.cwnd == cwnd + 300
        cc.on_ack(50_000, 0, 1000.0)
        assert cc.cwnd == cwnd + 300 + self.SMSS

    def test_newreno_avoidance(self) -> None:
        """RFC 5681 3.1-f, 3.1-g: one segment a round trip."""
        cc = NewReno(self.SMSS)
        cc.ssthresh = cc.cwnd = 20_000
        for _ in range(20):
            cc.on_ack(self.SMSS, 0, 1000.0)
        assert cc.cwnd == 21_000

    @given(st.integers(0, 1 << 22))
    def test_newreno_reduction(self, flight: int) -> None:
        """RFC 5681 3.1-h, 3.1-i, 3.1-j, 3.2-e, 4.3-a, RFC 6928 2-e."""
        cc = NewReno(self.SMSS)
        cc.on_loss(flight, 0)
        assert cc.cwnd == cc.ssthresh == max(flight // 2, 2000)
        cc.on_timeout(flight, 0, again=False)
        assert (cc.cwnd, cc.ssthresh) == (1000, max(flight // 2, 2000))
        cc.on_timeout(1000, 0, again=True)
        assert cc.ssthresh == max(flight // 2, 2000)

    def test_idle(self) -> None:
        """RFC 5681 4.1-a."""
        cc = NewReno(self.SMSS)
        cc.cwnd = 50_000
        cc.on_idle()
        assert cc.cwnd == 10_000
        cc.cwnd = 3000
        cc.on_idle()
        assert cc.cwnd == 3000

    def test_smaller_segments(self) -> None:
        cc = NewReno(1460)
        cc.set_smss(500)
        assert cc.cwnd == 5000
        cc.cwnd = 400
        cc.set_smss(600)
        assert cc.cwnd == 600

    def test_cubic_reduction(self) -> None:
        """RFC 9438 4.1-a, 4.6-a, 4.7-a."""
        cc = Cubic(self.SMSS)
        cc.cwnd = 100_000
        cc.on_loss(90_000, 0)
        assert cc.cwnd == cc.ssthresh == 63_000
        assert cc.w_max == 100
        cc.on_loss(60_000, 0)
        assert cc.w_max == pytest.approx(63 * 0.85), "fast convergence"
        cc.on_loss(1, 0)
        assert cc.ssthresh == 2000

    def test_cubic_curve(self) -> None:
        """RFC 9438 4.2-a, 4.2-b, 4.4-a, 4.5-a: the window follows W_cubic, back to W_max after K seconds and beyond."""
        cc, rtt = Cubic(self.SMSS), 0.1
        cc.cwnd = 1_000_000
        cc.on_loss(1_000_000, 0)
        k = ((1000 - 700) / 0.4) ** (1 / 3)
        now = 0.0
        while now < k + 5:
            for _ in range(max(1, cc.cwnd // self.SMSS)):
                cc.on_ack(self.SMSS, int(now * SECOND), rtt * SECOND)
            now += rtt
            expected = 0.4 * (now - k) ** 3 + 1000
            assert cc.cwnd / self.SMSS == pytest.approx(expected, rel=0.03)
        assert cc.k == pytest.approx(k)

    def test_cubic_is_friendly_to_reno(self) -> None:
        """RFC 9438 4.3-a: where round trips are short, Reno's estimate leads."""
        cc, rtt = Cubic(self.SMSS), 0.002
        cc.cwnd = 20_000
        cc.on_loss(20_000, 0)
        now, start = 0.0, cc.cwnd
        for _ in range(8):
            for _ in range(cc.cwnd // self.SMSS):
                cc.on_ack(self.SMSS, int(now * SECOND), rtt * SECOND)
            now += rtt
        grown = (cc.cwnd - start) / self.SMSS
        assert grown == pytest.approx(8 * 3 * 0.3 / 1.7, rel=0.05)

    def test_cubic_growth_in_a_round_trip_is_bounded(self) -> None:
        cc = Cubic(self.SMSS)
        cc.cwnd = cc.ssthresh = 10_000
        cc.on_ack(10_000, 0, 1000.0)
        cc.on_ack(10_000_000, 3600 * SECOND, 1000.0)
        assert cc.cwnd <= 25_000

    def test_cubic_leaves_out_idle_time(self) -> None:
        """RFC 9438 4.2-c."""
        one, other = Cubic(self.SMSS), Cubic(self.SMSS)
        for cc, pause in ((one, 0), (other, 1000 * SECOND)):
            cc.cwnd = cc.ssthresh = 100_000
            cc.on_ack(1000, 0, 1000.0)
            cc.on_pause(pause)
            cc.on_ack(1000, pause + SECOND, 1000.0)
        assert one.cwnd == other.cwnd

    def test_cubic_timeout(self) -> None:
        """RFC 9438 4.8-a: K = 0 and W_max = cwnd in the stage that follows."""
        cc = Cubic(self.SMSS)
        cc.cwnd = 100_000
        cc.on_timeout(80_000, 0, again=False)
        assert (cc.cwnd, cc.ssthresh) == (1000, 56_000)
        cc.cwnd = 56_000
        cc.on_ack(1000, SECOND, 1000.0)
        assert cc.k == 0
        assert cc.w_max == pytest.approx(56)


class TestBudgets:
    @given(st.integers(0, 2_000_000), st.integers(1, 1 << 20))
    def test_shares(self, used: int, buffer: int) -> None:
        memory = MemoryBudget(1_000_000)
        memory.used = used
        share = memory.share(buffer)
        assert min(buffer, FLOOR) <= share <= buffer
        if used <= 500_000:
            assert share == buffer
        if used >= 1_000_000:
            assert share == min(buffer, FLOOR)

    def test_challenges(self) -> None:
        """RFC 5961 7-a, 7-b."""
        allowance = ChallengeAllowance(3, 100)
        assert [allowance.take(10) for _ in range(5)] == [True] * 3 + [False] * 2
        assert not allowance.take(109)
        assert allowance.take(110)


class TestConfig:
    @pytest.mark.parametrize(
        ("buffer", "shift"), [(1, 0), (65535, 0), (65536, 1), (1 << 20, 5), (1 << 30, 14)]
    )
    def test_window_scale(self, buffer: int, shift: int) -> None:
        assert window_scale(buffer) == shift

    @pytest.mark.parametrize(
        "wrong",
        [
            {"congestion": "vegas"},
            {"receive_buffer": 0},
            {"receive_buffer": 1 << 31},
            {"delayed_ack_us": 500_000},
            {"syn_timeout_us": 179 * SECOND},
            {"memory": 0},
            {"max_half_open": 0},
        ],
    )
    def test_what_cannot_be(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"."):
            TcpConfig(**wrong)  # type: ignore[arg-type] # wrong on purpose
