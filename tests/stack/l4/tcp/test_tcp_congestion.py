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

    @pytest.mark.rfc("6928", "2-a")
    @pytest.mark.rfc("5681", "3.1-a", "3.1-d")
    @pytest.mark.parametrize(
        ("smss", "window"), [(536, 5360), (1460, 14600), (2000, 14600), (8960, 17920), (65480, 130960)]
    )
    def test_initial_window(self, smss: int, window: int) -> None:
        cc = NewReno(smss)
        assert cc.cwnd == initial_window(smss) == window
        assert cc.ssthresh >= 1 << 30

    @pytest.mark.rfc("5681", "3.1-e")
    @pytest.mark.rfc("9438", "4.10-a")
    @pytest.mark.parametrize("kind", [NewReno, Cubic])
    def test_slow_start(self, kind: type[NewReno | Cubic]) -> None:
        """At most SMSS for an ACK, however much it covers; as long as cwnd is below ssthresh."""
        cc = kind(self.SMSS)
        cc.on_timeout(80_000, 0, again=False)
        cwnd = cc.cwnd
        cc.on_ack(300, 0, 1000.0)
        assert cc.cwnd == cwnd + 300
        cc.on_ack(50_000, 0, 1000.0)
        assert cc.cwnd == cwnd + 300 + self.SMSS
        for _ in range(100):
            cc.on_ack(self.SMSS, 0, 1000.0)
        assert cc.ssthresh <= cc.cwnd <= cc.ssthresh + 2 * self.SMSS

    @pytest.mark.rfc("9406", "4.2-d", "4.3-b")
    @pytest.mark.parametrize("kind", [NewReno, Cubic])
    def test_first_slow_start(self, kind: type[NewReno | Cubic]) -> None:
        """Which HyStart++ watches: at most eight segments for an ACK."""
        cc = kind(self.SMSS)
        cwnd = cc.cwnd
        cc.on_ack(300, 0, 1000.0)
        assert cc.cwnd == cwnd + 300
        cc.on_ack(50_000, 0, 1000.0)
        assert cc.cwnd == cwnd + 300 + 8 * self.SMSS

    @pytest.mark.rfc("5681", "3-a", "3.1-f", "3.1-g")
    def test_newreno_avoidance(self) -> None:
        """One segment a round trip, however many octets one ACK covers."""
        cc = NewReno(self.SMSS)
        cc.ssthresh = cc.cwnd = 20_000
        for _ in range(20):
            cc.on_ack(self.SMSS, 0, 1000.0)
        assert cc.cwnd == 21_000
        cc.on_ack(500_000, 0, 1000.0)
        assert cc.cwnd == 22_000

    @pytest.mark.rfc("5681", "3.1-h", "3.1-i", "3.1-j", "3.2-e")
    @pytest.mark.rfc("6928", "2-e")
    @given(st.integers(0, 1 << 22))
    def test_newreno_reduction(self, flight: int) -> None:
        cc = NewReno(self.SMSS)
        cc.on_loss(flight, 0)
        assert cc.cwnd == cc.ssthresh == max(flight // 2, 2000)
        cc.on_timeout(flight, 0, again=False)
        assert (cc.cwnd, cc.ssthresh) == (1000, max(flight // 2, 2000))
        cc.on_timeout(1000, 0, again=True)
        assert cc.ssthresh == max(flight // 2, 2000)

    @pytest.mark.rfc("5681", "4.1-a")
    @pytest.mark.rfc("6928", "2-f")
    def test_idle(self) -> None:
        cc = NewReno(self.SMSS)
        cc.cwnd = 50_000
        cc.on_idle()
        assert cc.cwnd == 10_000
        cc.cwnd = 3000
        cc.on_idle()
        assert cc.cwnd == 3000

    @pytest.mark.parametrize(
        ("cwnd", "ssthresh", "remembered"),
        [
            (40_000, 20_000, 30_000),
            (40_000, 35_000, 35_000),
            (8_000, 4_000, 4_000),
            (40_000, 1 << 30, 1 << 30),
        ],
    )
    def test_idle_does_not_forget_the_path(self, cwnd: int, ssthresh: int, remembered: int) -> None:
        """RFC 2861 §3.2, RFC 7661 §4.4.3: slow start goes up to three quarters of what had been reached; nothing that was not
        reached by way of a loss is a limit.
        """
        cc = NewReno(self.SMSS)
        cc.cwnd, cc.ssthresh = cwnd, ssthresh
        for _ in range(3):
            cc.on_idle()
        assert cc.ssthresh == remembered
        assert cc.cwnd == min(cwnd, 10_000)

    def test_smaller_segments(self) -> None:
        cc = NewReno(1460)
        cc.set_smss(500)
        assert cc.cwnd == 5000
        cc.cwnd = 400
        cc.set_smss(600)
        assert cc.cwnd == 600

    @pytest.mark.rfc("9438", "4.1-a", "4.6-a", "4.6-b", "4.7-a")
    @pytest.mark.parametrize("kind", [NewReno, Cubic])
    def test_larger_segments(self, kind: type[NewReno | Cubic]) -> None:
        """A window of octets stays; but no threshold falls below two segments, or recovery would end with less than one."""
        cc = kind(500)
        cc.on_loss(1500, 0)
        assert cc.ssthresh < 2 * 1460
        cc.set_smss(1460)
        assert cc.ssthresh == 2 * 1460

    def test_cubic_keeps_its_course_in_segments_of_another_size(self) -> None:
        """W_max and the rest are counted in segments: as many octets as before."""
        cc = Cubic(1000)
        cc.cwnd = 100_000
        cc.on_loss(100_000, 0)
        cc.on_ack(1000, 0, 100_000.0)
        cc.set_smss(500)
        assert cc.w_max * 500 == pytest.approx(100_000)
        assert cc.w_cubic(cc.k) * 500 == pytest.approx(100_000)
        assert cc.w_cubic(0.0) * 500 == pytest.approx(cc.cwnd, rel=0.02)

    def test_cubic_reduction(self) -> None:
        """Of what is in flight, be cwnd what it may."""
        cc = Cubic(self.SMSS)
        cc.cwnd = 100_000
        cc.on_loss(90_000, 0)
        assert cc.cwnd == cc.ssthresh == 63_000
        assert cc.w_max == 100
        cc.on_loss(60_000, 0)
        assert cc.w_max == pytest.approx(63 * 0.85), "fast convergence"
        cc.on_loss(1, 0)
        assert cc.ssthresh == 2000

    @pytest.mark.rfc("9438", "4.2-a", "4.2-b", "4.4-a", "4.5-a")
    def test_cubic_curve(self) -> None:
        """The window follows W_cubic, back to W_max after K seconds and beyond."""
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

    @pytest.mark.rfc("9438", "4.3-a")
    def test_cubic_is_friendly_to_reno(self) -> None:
        """Where round trips are short, Reno's estimate leads."""
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

    @pytest.mark.rfc("9438", "4.2-b")
    def test_cubic_growth_in_a_round_trip_is_bounded(self) -> None:
        cc = Cubic(self.SMSS)
        cc.cwnd = cc.ssthresh = 10_000
        cc.on_ack(10_000, 0, 1000.0)
        cc.on_ack(10_000_000, 3600 * SECOND, 1000.0)
        assert cc.cwnd <= 25_000

    @pytest.mark.rfc("9438", "4.2-c")
    def test_cubic_leaves_out_idle_time(self) -> None:
        one, other = Cubic(self.SMSS), Cubic(self.SMSS)
        for cc, pause in ((one, 0), (other, 1000 * SECOND)):
            cc.cwnd = cc.ssthresh = 100_000
            cc.on_ack(1000, 0, 1000.0)
            cc.on_pause(pause)
            cc.on_ack(1000, pause + SECOND, 1000.0)
        assert one.cwnd == other.cwnd

    @pytest.mark.rfc("9438", "4.8-a")
    def test_cubic_timeout(self) -> None:
        """K = 0 and W_max = cwnd in the stage that follows."""
        cc = Cubic(self.SMSS)
        cc.cwnd = 100_000
        cc.on_timeout(80_000, 0, again=False)
        assert (cc.cwnd, cc.ssthresh) == (1000, 56_000)
        cc.cwnd = 56_000
        cc.on_ack(1000, SECOND, 1000.0)
        assert cc.k == 0
        assert cc.w_max == pytest.approx(56)

    @pytest.mark.rfc("9438", "4.6-a", "4.6-c")
    @pytest.mark.parametrize(("kind", "share"), [(NewReno, 0.5), (Cubic, 0.7)])
    def test_marks(self, kind: type[NewReno | Cubic], share: float) -> None:
        """A mark lowers cwnd as a loss does, but as far as one segment; ssthresh stays at two."""
        cc = kind(self.SMSS)
        cc.on_mark(20_000, 0)
        assert cc.cwnd == cc.ssthresh == 20_000 * share
        cc.on_mark(2000, 0)
        assert (cc.cwnd, cc.ssthresh) == (2000 * share, 2000)
        cc.on_mark(1000, 0)
        assert (cc.cwnd, cc.ssthresh) == (1000, 2000)
        cc.on_loss(1000, 0)
        assert (cc.cwnd, cc.ssthresh) == (2000, 2000)
