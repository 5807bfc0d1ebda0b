"""Congestion windows against their formulas (RFC 5681, RFC 6928, RFC 9406, RFC 9438)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.stack.l4.tcp.congestion import initial_window
from usernat.stack.l4.tcp.cubic import Cubic
from usernat.stack.l4.tcp.newreno import NewReno

SECOND = 1_000_000


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
