"""What loss recovery stands on, at its boundaries: congestion control, the flight and its clock, undoing and F-RTO."""

from __future__ import annotations

import pytest

from usernat.stack.l4.tcp.congestion import UNLIMITED, initial_window
from usernat.stack.l4.tcp.cubic import ALPHA, Cubic
from usernat.stack.l4.tcp.flight import Flight, Sent, round_trip
from usernat.stack.l4.tcp.newreno import NewReno
from usernat.stack.l4.tcp.rtt import RttEstimator
from usernat.stack.l4.tcp.scoreboard import Scoreboard
from usernat.stack.l4.tcp.spurious import FRTO_NEW_SEGMENTS, Frto, Undo
from usernat.stack.l4.tcp.timestamps import TICK_US
from usernat.stack.rangeset import RangeSet


@pytest.mark.rfc("7323", "4.2-a")
def test_many_samples_in_a_round_trip_weigh_as_one() -> None:
    rtt = RttEstimator(initial_rto_us=1_000_000, min_rto_us=1, max_rto_us=60_000_000)
    rtt.sample(1_000, 0)
    assert (rtt.srtt_us, rtt.rttvar_us) == (1_000, 500)
    rtt.sample(2_600, 0, 4)
    assert (rtt.srtt_us, rtt.rttvar_us) == (1_050, 500 + 1_100 / 16)


class TestUndo:
    """A congestion event of `NewReno(1000)`."""

    @pytest.mark.rfc("2883", "5-b")
    def test_every_octet_that_was_sent_again_must_be_a_duplicate(self) -> None:
        undo = Undo(NewReno(1000))
        assert not undo.on_dsack(0, 10), "nothing was sent again"
        undo.on_resent(0, 10, 0)
        assert not undo.on_dsack(20, 30), "something else"
        assert not undo.on_dsack(0, 9)
        assert undo.on_dsack(9, 10), "and one octet is enough to be the last"
        assert not undo.on_dsack(9, 10), "said once"

    def test_an_echo_from_before_the_first_retransmission(self) -> None:
        undo = Undo(NewReno(1000))
        assert not undo.is_original(5 * TICK_US, 100 * TICK_US), "nothing was sent again"
        undo.on_resent(0, 10, 50 * TICK_US)
        undo.on_resent(10, 20, 60 * TICK_US)
        now = 100 * TICK_US
        assert undo.is_original(51 * TICK_US, now)
        assert not undo.is_original(50 * TICK_US, now), "the same tick tells nothing"
        assert not undo.is_original(51 * TICK_US - 1, now), "nor does a part of one"
        assert not undo.is_original(None, now)

    def test_a_part_of_a_tick_is_none(self) -> None:
        undo = Undo(NewReno(1000))
        undo.on_resent(0, 10, 51 * TICK_US - 1)
        assert not undo.is_original(50 * TICK_US, 100 * TICK_US)
        assert undo.is_original(51 * TICK_US, 100 * TICK_US)

    @pytest.mark.rfc("9438", "4.9-a")
    @pytest.mark.parametrize("kind", [NewReno, Cubic])
    def test_it_is_as_it_was(self, kind: type[NewReno | Cubic]) -> None:
        cc = kind(1000)
        before = cc.save()
        undo = Undo(cc)
        cc.on_loss(8_000, 0)
        cc.avoid(1_000, 0, 0.1)
        undo.restore(cc)
        assert cc.save() == before
        assert all(type(now) is type(then) for now, then in zip(cc.save()[:2], before[:2], strict=True))


class TestFrto:
    """SND.NXT was 5000 when the timer expired."""

    def test_new_text_only_once_the_first_ack_has_moved(self) -> None:
        frto = Frto(5000, RangeSet())
        assert frto.new_data(5000, 1000) == 0
        assert frto.on_ack(1000, [], moved=True, beyond=False) is None
        assert frto.new_data(5000, 1000) == FRTO_NEW_SEGMENTS * 1000
        assert frto.new_data(6500, 1000) == 500
        assert frto.is_stuck(5000)
        assert not frto.is_stuck(5001)

    @pytest.mark.parametrize(("una", "moved"), [(5000, True), (5001, True), (0, False)])
    def test_an_ack_for_all_of_it_or_for_nothing_decides_against(self, una: int, moved: bool) -> None:
        assert Frto(5000, RangeSet()).on_ack(una, [], moved=moved, beyond=False) is False

    @pytest.mark.parametrize(
        ("start", "end", "resent", "beyond", "spurious"),
        [
            (4000, 5000, False, False, True),
            (4000, 5001, False, False, False),
            (4000, 5000, True, False, False),
            (4000, 5000, False, True, False),
            (2000, 3000, False, False, False),
            (1999, 3000, False, False, True),
        ],
    )
    def test_what_left_before_and_not_again_is_the_witness(
        self, start: int, end: int, resent: bool, beyond: bool, spurious: bool
    ) -> None:
        """But for what was SACKed before the time-out: 2000 to 3000."""
        sacked = RangeSet()
        sacked.add(2000, 3000)
        frto = Frto(5000, sacked)
        frto.on_ack(1000, [], moved=True, beyond=False)
        piece = Sent(start, end, 0, 1, retransmitted=resent)
        assert frto.on_ack(end, [piece], moved=True, beyond=beyond) is spurious


class TestCongestionControl:
    @pytest.mark.rfc("5681", "4.1-a")
    def test_idleness_remembers_three_quarters_of_a_window_beyond_the_initial_one(self) -> None:
        cc = NewReno(1000)
        for cwnd, ssthresh, remembered in (
            (initial_window(1000) + 1, 2000, 3 * (initial_window(1000) + 1) // 4),
            (initial_window(1000), 2000, 2000),
            (30_001, 2000, 22_500),
            (30_001, 25_000, 25_000),
            (30_001, UNLIMITED, UNLIMITED),
        ):
            cc.cwnd, cc.ssthresh = cwnd, ssthresh
            cc.on_idle()
            assert (cc.cwnd, cc.ssthresh) == (initial_window(1000), remembered)
        cc.cwnd = 3_000
        cc.on_idle()
        assert cc.cwnd == 3_000

    @pytest.mark.rfc("5681", "3.1-f")
    def test_avoidance_grows_by_a_segment_for_each_window_counted_anew_after_a_loss(self) -> None:
        cc = NewReno(1000)
        cc.cwnd = cc.ssthresh = 5_000
        cc.avoid(4_999, 0, 0.0)
        assert cc.cwnd == 5_000
        cc.on_loss(10_000, 0)
        assert (cc.cwnd, cc.ssthresh) == (5_000, 5_000)
        cc.avoid(4_999, 0, 0.0)
        assert cc.cwnd == 5_000
        cc.avoid(1, 0, 0.0)
        assert cc.cwnd == 6_000
        cc.avoid(3_000, 0, 0.0)
        cc.on_loss(10_000, 0)
        cc.avoid(4_999, 0, 0.0)
        assert cc.cwnd == 5_000, "what was counted before the loss is forgotten"

    def test_slow_start_ends_at_ssthresh_itself(self) -> None:
        cc = NewReno(1000)
        cc.hystart = None
        cc.cwnd, cc.ssthresh = 4_999, 5_000
        cc.on_ack(400, 0, 0.0)
        assert cc.cwnd == 5_399, "by what was acknowledged"
        cc.cwnd = 5_000
        cc.on_ack(400, 0, 0.0)
        assert cc.cwnd == 5_000
        cc.cwnd = 4_000
        cc.on_ack(3_000, 0, 0.0)
        assert cc.cwnd == 5_000, "by a segment at most"


@pytest.mark.rfc("5681", "3.1-i")
@pytest.mark.parametrize("kind", [NewReno, Cubic])
def test_only_the_first_time_out_lowers_ssthresh(kind: type[NewReno | Cubic]) -> None:
    cc = kind(1000)
    cc.on_timeout(10_000, 0, again=False)
    first = cc.ssthresh
    assert (cc.cwnd, first < 10_000) == (1_000, True)
    cc.on_timeout(100_000, 0, again=True)
    assert (cc.cwnd, cc.ssthresh) == (1_000, first)
    cc.on_timeout(100_000, 0, again=False)
    assert cc.ssthresh > first


class TestCubic:
    @pytest.mark.rfc("9438", "4.9-a")
    def test_a_time_out_that_was_none_leaves_the_old_maximum(self) -> None:
        """After a real one the curve starts flat from where it is."""
        for undone in (False, True):
            cc = Cubic(1000)
            cc.cwnd = cc.ssthresh = 50_000
            cc.w_max = 100.0
            saved = cc.save()
            cc.on_timeout(50_000, 0, again=True)
            if undone:
                cc.restore(saved)
            cc.avoid(1000, 0, 100_000.0)
            assert (cc.w_max == 100.0) is undone

    @pytest.mark.rfc("9438", "4.2-c")
    def test_pauses_are_no_part_of_the_epoch(self) -> None:
        cc = Cubic(1000)
        cc.on_pause(7)
        assert cc.epoch_us is None, "it has not begun"
        cc.on_loss(100_000, 0)
        cc.avoid(1000, 5_000, 100_000.0)
        cc.on_pause(300)
        cc.on_pause(20)
        assert cc.epoch_us == 5_320

    @pytest.mark.rfc("9438", "4.4-a")
    def test_growth_is_in_proportion_to_what_was_acknowledged(self) -> None:
        def grown(acked: int) -> float:
            cc = Cubic(1000)
            cc.cwnd = 100_000
            cc.on_loss(100_000, 0)
            cc.avoid(0, 0, 100_000.0)
            before = cc.cwnd
            cc.avoid(acked, 2_000_000, 100_000.0)
            return cc.cwnd - before

        assert grown(1_000) > 100
        assert grown(4_000) == pytest.approx(4 * grown(1_000), abs=4)

    @pytest.mark.rfc("9438", "4.3-a")
    def test_like_reno_once_the_old_window_is_reached(self) -> None:
        """Where no time passes the cube stands still: alpha segments a window, and one from where the loss was."""
        cc = Cubic(1000)
        cc.cwnd = 10_000
        cc.on_loss(10_000, 0)
        assert cc.cwnd == 7_000

        def acks_for_a_segment() -> int:
            target, count = cc.cwnd + 1_000, 0
            while cc.cwnd < target:
                cc.avoid(1_000, 0, 0.0)
                count += 1
            return count

        while cc.cwnd < 8_000:
            cc.avoid(1_000, 0, 0.0)
        assert acks_for_a_segment() == pytest.approx(8.5 / ALPHA, abs=1.5)
        while cc.cwnd < 20_000:
            cc.avoid(1_000, 0, 0.0)
        assert acks_for_a_segment() == pytest.approx(20.5, abs=1.5)

    def test_parts_of_an_octet_are_not_lost(self) -> None:
        """A thousand ACKs of one octet are worth one of a thousand."""
        grown = []
        for size in (1, 1_000):
            cc = Cubic(1000)
            cc.cwnd = 10_000
            cc.on_loss(10_000, 0)
            cc.avoid(0, 0, 0.0)
            for _ in range(1_000 // size):
                cc.avoid(size, 0, 0.0)
            grown.append(cc.cwnd - 7_000)
        assert grown[0] == pytest.approx(grown[1], abs=5)
        assert grown[1] > 50

    @pytest.mark.rfc("9438", "4.2-b")
    def test_however_far_the_curve_has_gone_half_a_window_in_a_round_trip(self) -> None:
        cc = Cubic(1000)
        cc.cwnd = 10_000
        cc.on_loss(10_000, 0)
        cc.avoid(0, 0, 100_000.0)
        cc.avoid(3_500, 3_600_000_000, 100_000.0)
        assert cc.cwnd == pytest.approx(7_000 + 1_750, abs=2)


class TestFlight:
    def test_what_may_still_arrive_in_the_order_of_time(self) -> None:
        flight = Flight()
        for start in (0, 10, 20):
            flight.sent(start, start + 10, start)
        flight.keep_time()
        assert flight.by_time is not None
        flight.resent(0, 10, 30)
        assert [piece.start for piece in flight.by_time.values()] == [10, 20, 0]
        flight.sacked(20, 30)
        flight.lost(10, 20)
        assert [piece.start for piece in flight.by_time.values()] == [0]
        board = Scoreboard(flight, 0)
        board.none_lost()
        assert [piece.start for piece in flight.by_time.values()] == [10, 0], (
            "it was a mistake, but for what has arrived"
        )
        flight.forget_sacks()
        flight.rebuild_time()
        assert [piece.start for piece in flight.by_time.values()] == [10, 20, 0]
        flight.let_time_go()
        flight.acknowledged(29)
        assert flight.by_time is not None
        flight.acknowledged(30)
        assert flight.by_time is None
        board.none_lost()
        assert flight.by_time is None, "nobody asks"

    def test_what_is_shown(self) -> None:
        assert repr(Sent(1, 2, 30, 1)) == "[1, 2) @30"
        assert repr(Sent(1, 2, 30, 1, retransmitted=True, sacked=True)) == "[1, 2) @30RS"

    @pytest.mark.rfc("6298", "3-a")
    def test_the_newest_piece_is_the_sample(self) -> None:
        one, two = Sent(0, 10, 100, 1), Sent(10, 20, 300, 2)
        assert round_trip([one, two], 1_000, None) == 700
        two.sacked = True
        assert round_trip([one, two], 1_000, None) == 900, "what was SACKed before says nothing"
        one.retransmitted = True
        assert round_trip([one, two], 1_000, None) is None
        assert round_trip([one, two], 1_000, 900 + TICK_US) is None
        assert round_trip([one, two], 1_000, 899 + TICK_US) == 899 + TICK_US
        assert round_trip([], 1_000, 5) is None

    def test_a_cut_keeps_what_is_known_of_both_halves(self) -> None:
        flight = Flight()
        flight.sent(0, 100, 7)
        flight.resent(20, 60, 9)
        flight.sacked(50, 100)
        assert [repr(piece) for piece in flight.between(0, 100)] == [
            "[0, 20) @7",
            "[20, 50) @9R",
            "[50, 60) @9RS",
            "[60, 100) @7S",
        ]
        assert [piece.order for piece in flight.between(0, 100)] == [1, 2, 2, 1]
        assert [repr(piece) for piece in flight.acknowledged(30)] == ["[0, 20) @7", "[20, 30) @9R"]
        assert len(flight) == 3
        assert [repr(piece) for piece in flight.acknowledged(70)] == [
            "[30, 50) @9R",
            "[50, 60) @9RS",
            "[60, 70) @7S",
        ]
        assert [repr(piece) for piece in flight.acknowledged(100)] == ["[70, 100) @7S"]
        assert len(flight) == 0
        assert flight.acknowledged(100) == []
