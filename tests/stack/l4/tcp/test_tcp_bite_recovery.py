"""Loss recovery at its boundaries: to the octet, to the microsecond, and at the event that is just none."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.losing import RTO, SIZE, indices, recovery, sacks, sender
from usernat.stack.l4.tcp.flight import Flight, Sent
from usernat.stack.l4.tcp.prr import Prr
from usernat.stack.l4.tcp.rack import Rack
from usernat.stack.l4.tcp.recovery import FAST, SIGNS
from usernat.stack.l4.tcp.scoreboard import Scoreboard
from usernat.stack.l4.tcp.timestamps import TICK_US


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
            assert peer.conn.snd.cc.ssthresh == (5 if times == 1 else 7) * SIZE
            assert recovery(peer).point == peer.conn.snd.snd_nxt
            peer.conn.snd.cc.ssthresh = 7 * SIZE  # whatever it is


@pytest.mark.parametrize("sack", [False, True])
def test_a_time_out_in_fast_recovery_is_not_put_to_the_test(sack: bool) -> None:
    """RFC 5682 §3.1: a loss has been found already. The first ACK brings old text, not new."""
    peer = sender(sack=sack)
    for _ in range(3):
        sacks(peer, 0, *[(1, 5)] * sack)
    assert recovery(peer).phase == FAST
    while not peer.count("retransmit_timeouts"):
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
    peer.drain()
    assert min(indices(sacks(peer, 1))) < 10


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
    def test_what_lies_above_counts_together(self) -> None:
        """Two runs, neither of which would be enough."""
        flight = Flight()
        flight.sent(0, 10_000, 0)
        board = Scoreboard(flight, 0)
        board.sack(8_000, 9_001, 0, 10_000, 1_000)
        board.sack(5_000, 6_000, 0, 10_000, 1_000)
        assert board.is_lost(1_000) == 5_000

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

    @pytest.mark.rfc("6675", "4-f")
    def test_the_rescue_is_made_once_and_leaves_no_trace(self) -> None:
        """Of the last segment, when all else was sent again; HighRxt stays, so that the rest of the gap can still be sent."""
        peer = sender(sack=True, extra=0)
        sent = indices(sacks(peer, 0, (4, 7)))
        for ack in (1, 2, 3):
            sent += indices(sacks(peer, ack, (4, 7)))
        assert sent.count(9) == 1
        assert recovery(peer).board.high_rxt <= peer.conn.snd.iss + 1 + 4 * SIZE
        for _ in range(3):
            assert 9 not in indices(sacks(peer, 3, (4, 7)))


@pytest.mark.rfc("9438", "4.9-a")
def test_a_second_time_out_does_not_make_forget_what_the_first_took() -> None:
    """Neither was called for, says the echo of the original: cwnd is that of before both."""
    peer = sender(sack=True, stamped=True, extra=0)
    while peer.count("retransmit_timeouts") < 2:
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
        peer.drain()
    assert peer.conn.snd.cc.cwnd == SIZE
    sacks(peer, 1, at=peer.now + 1_000)
    assert peer.conn.snd.undone == 1
    assert peer.conn.snd.cc.cwnd >= 10 * SIZE


@pytest.mark.rfc("3168", "6.1.2-b")
def test_a_mark_is_none_where_a_loss_is_answered() -> None:
    for sack in (False, True):
        peer = sender(sack=sack, extra=0)
        snd = peer.conn.snd
        for _ in range(3):
            sacks(peer, 0, *[(1, 5)] * sack)
        assert recovery(peer).phase == FAST
        before = (snd.cc.cwnd, snd.cc.ssthresh)
        snd.on_congestion(peer.rig.now)
        assert (snd.cc.cwnd, snd.cc.ssthresh) == before
    peer = sender(sack=True, extra=0)
    sacks(peer, 0, (1, 2))
    assert recovery(peer).phase == SIGNS
    peer.conn.snd.on_congestion(peer.rig.now)
    assert peer.conn.snd.cc.cwnd == 5 * SIZE


@pytest.mark.parametrize(("window", "octets"), [(9 * SIZE, 0), (9 * SIZE + 1, 1)])
def test_a_probe_keeps_to_a_window_that_has_shrunk(window: int, octets: int) -> None:
    """Of the last segment, what the peer still takes; nothing, and no empty segment, where that is nothing."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 0, window=window)
    while not peer.count("tail_loss_probes"):
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
    assert [(seg.seq, len(seg.data)) for seg in peer.drain()] == [(1 + 9 * SIZE, octets)] * bool(octets)


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

    @pytest.mark.parametrize(("echo_us", "believed"), [(500 + TICK_US - 1, True), (500 + TICK_US, False)])
    def test_an_echo_of_before_a_retransmission_is_the_originals(self, echo_us: int, believed: bool) -> None:
        """By a whole tick of the clock that it was read from."""
        rack = Rack(0)
        rack.delivered([Sent(0, 10, 500, 3, retransmitted=True)], 1_000, echo_us, 100)
        assert (rack.rtt_us == 500) is believed

    @pytest.mark.rfc("8985", "6.2-g", "6.2-h")
    def test_lost_is_what_was_sent_before_and_a_window_ago(self) -> None:
        """And the last of the others says when to look again."""
        flight = Flight()
        flight.keep_time()
        for number, sent_at in enumerate((100, 200, 250, 300)):
            flight.sent(10 * number, 10 * number + 10, sent_at)
        rack = Rack(0)
        rack.delivered(flight.sacked(30, 40), 400, None, 0)
        assert rack.rtt_us == 100
        lost, again = rack.find_lost(flight, 350, 50)
        assert ([piece.start for piece in lost], again) == ([0, 10], 250 + 100 + 50)
        lost, again = rack.find_lost(flight, 400, 50)
        assert ([piece.start for piece in lost], again) == ([0, 10, 20], None)

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
