"""Loss recovery and congestion control at their boundaries: to the octet, to the microsecond, and at the event that is just none."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.losing import RTO, SIZE, indices, recovery, sacks, sender
from usernat.stack.l4.tcp.congestion import UNLIMITED, initial_window
from usernat.stack.l4.tcp.cubic import Cubic
from usernat.stack.l4.tcp.flight import Flight, Sent, round_trip
from usernat.stack.l4.tcp.newreno import NewReno
from usernat.stack.l4.tcp.prr import Prr
from usernat.stack.l4.tcp.rack import Rack
from usernat.stack.l4.tcp.scoreboard import Scoreboard
from usernat.stack.l4.tcp.spurious import FRTO_NEW_SEGMENTS, Frto, Undo
from usernat.stack.l4.tcp.timestamps import TICK_US
from usernat.stack.rangeset import RangeSet


class TestWithoutSack:
    @pytest.mark.rfc("5681", "3.2-c", "3.2-g")
    def test_new_text_in_fast_recovery_waits_until_the_window_reaches_beyond_what_is_out(self) -> None:
        """12 segments are out when cwnd becomes 8; each further duplicate adds one; the fifth of them lets one out."""
        peer = sender(sack=False)
        for _ in range(3):
            sacks(peer, 0)
        assert peer.conn.snd.cc.cwnd == 8 * SIZE
        for _ in range(4):
            assert not sacks(peer, 0)
        assert indices(sacks(peer, 0)) == [12]
        assert indices(sacks(peer, 0)) == [13]

    @pytest.mark.rfc("6582", "3.2-3d")
    @pytest.mark.parametrize(("acked", "change"), [(1, 0), (2, -1), (0.5, -0.5)])
    def test_a_partial_ack_deflates_by_what_it_acknowledges_and_adds_a_whole_segment(
        self, acked: float, change: float
    ) -> None:
        peer = sender(sack=False, extra=0)
        for _ in range(5):
            sacks(peer, 0)
        before = peer.conn.snd.cc.cwnd
        sacks(peer, acked)
        assert peer.conn.snd.cc.cwnd == before + change * SIZE

    @pytest.mark.rfc("5681", "3.2-d")
    def test_limited_transmit_lets_out_two_segments_and_no_more(self) -> None:
        """Where fast retransmit may not begin, further duplicates bring nothing."""
        peer = sender(sack=False, extra=0)
        peer.wait(RTO)
        peer.drain()
        peer.sends("A", ack=1 + 10 * SIZE)
        peer.conn.snd.cc.cwnd = 5 * SIZE
        peer.conn.send(bytes(20 * SIZE))
        assert len(peer.drain()) == 5
        assert [indices(sacks(peer, 10)) for _ in range(5)] == [[15], [16], [], [], []]


@pytest.mark.rfc("5681", "3.1-i")
@pytest.mark.parametrize("sack", [False, True])
def test_the_second_time_out_in_a_row_leaves_ssthresh_alone(sack: bool) -> None:
    peer = sender(sack=sack, extra=0)
    times = 0
    while times < 3:
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
        peer.drain()
        if peer.count("retransmit_timeouts") > times:
            times += 1
            assert peer.conn.snd.cc.ssthresh == 5 * SIZE
            assert recovery(peer).point == peer.conn.snd.snd_nxt


class TestWithSack:
    @pytest.mark.rfc("6937", "3-a")
    def test_what_was_sacked_before_is_not_delivered_again(self) -> None:
        """DeliveredData counts each octet once: with the hole's ACK it is the hole."""
        peer = sender(sack=True)
        sacks(peer, 0, (1, 4))
        prr = recovery(peer)._prr  # type: ignore[attr-defined] # of recovery with SACK
        assert prr.delivered == 3 * SIZE
        sacks(peer, 4)
        assert prr.delivered == 4 * SIZE
        sacks(peer, 4, (5, 6))
        assert prr.delivered == 5 * SIZE
        sacks(peer, 4, (5, 6))
        assert prr.delivered == 5 * SIZE

    @pytest.mark.rfc("6675", "4-a")
    def test_three_separate_octets_above_are_enough(self) -> None:
        flight = Flight()
        flight.sent(0, 10_000, 0)
        board = Scoreboard(flight, 0)
        for start in (5_000, 7_000):
            board.sack(start, start + 1, 0, 10_000, 1_000)
            assert board.is_lost(1_000) is None
        board.sack(3_000, 3_001, 0, 10_000, 1_000)
        assert board.is_lost(1_000) == 3_000

    @pytest.mark.rfc("6675", "4-a")
    @pytest.mark.parametrize(("octets", "lost"), [(2_000, None), (2_001, 5_000)])
    def test_more_than_two_segments_above_are_enough(self, octets: int, lost: int | None) -> None:
        flight = Flight()
        flight.sent(0, 10_000, 0)
        board = Scoreboard(flight, 0)
        board.sack(5_000, 5_000 + octets, 0, 10_000, 1_000)
        assert board.is_lost(1_000) == lost

    @pytest.mark.parametrize("end", [11, 10])
    def test_a_sack_of_the_last_that_left_before_the_time_out_shows_it_spurious(self, end: int) -> None:
        """F-RTO: what left before the timer expired ends at SND.NXT of then, and that is not beyond it."""
        peer = sender(sack=True)
        while not peer.count("retransmit_timeouts"):
            due = peer.layer.poll_at()
            assert due is not None
            peer.wait(due - peer.start)
        peer.drain()  # a tail loss probe, segment 10, and then the first again
        assert indices(sacks(peer, 1)) == [11, 12]
        sacks(peer, 1, (end - 1, end))
        assert peer.conn.snd.undone == 1


class TestPrr:
    @pytest.mark.rfc("6937", "3-a", "3-d")
    def test_in_proportion_to_what_arrives_rounded_up(self) -> None:
        prr = Prr(10_000)
        assert prr.on_ack(1, pipe=9_000, ssthresh=5_000, smss=1_000, safe=True) == 10_000, (
            "the first leaves in any case"
        )
        prr.out = 1_000
        assert prr.on_ack(2_000, pipe=8_000, ssthresh=5_000, smss=1_000, safe=True) == 8_001
        assert prr.on_ack(1, pipe=8_000, ssthresh=5_000, smss=1_000, safe=True) == 8_001

    def test_the_smallest_flights(self) -> None:
        assert Prr(0).on_ack(0, pipe=0, ssthresh=2_000, smss=1_000, safe=False) == 1_000
        one = Prr(1)
        assert one.on_ack(1, pipe=10, ssthresh=5, smss=1, safe=False) == 15


class TestRack:
    def test_overdue_from_the_very_microsecond_on(self) -> None:
        rack = Rack(0)
        rack.rtt_us = 100
        piece = Sent(0, 10, 1_000, 1)
        assert not rack.is_overdue(piece, 1_149, 50)
        assert rack.is_overdue(piece, 1_150, 50)

    def test_an_original_that_came_late_hides_nothing_behind_it(self) -> None:
        """An answer faster than the path allows is that of the original, and says nothing of when; the next piece does."""
        rack = Rack(0)
        resent = Sent(0, 10, 990, 3, retransmitted=True)
        rack.delivered([resent, Sent(10, 20, 500, 2)], 1_000, None, 100)
        assert (rack.rtt_us, rack.order, rack.end_seq) == (500, 2, 20)
        assert rack.fack == 20
        assert not rack.reordering_seen

    @pytest.mark.rfc("8985", "6.2-f")
    def test_a_wider_window_lasts_sixteen_recoveries(self) -> None:
        rack = Rack(0)
        rack.on_dsack(0, 100)
        rack.on_dsack(99, 200)
        assert rack.reo_wnd_mult == 2, "once a round trip"
        rack.on_dsack(100, 200)
        assert rack.reo_wnd_mult == 3
        for _ in range(15):
            rack.on_recovered()
        assert rack.reo_wnd_mult == 3
        rack.on_recovered()
        assert rack.reo_wnd_mult == 1


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


class TestCubic:
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


class TestFlight:
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
        assert [piece.end for piece in flight.acknowledged(100)] == [50, 60, 100]
        assert len(flight) == 0
        assert flight.acknowledged(100) == []
