"""RACK on the wire: loss is a matter of time (RFC 8985 §4, §6). Segments 0 to 9 leave at 0; a round trip takes 40 ms."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.losing import (
    PTO,
    REO_WND,
    RTO,
    RTT,
    SIZE,
    blocks,
    indices,
    on_a_path,
    pipe,
    recovery,
    sacks,
    sender,
)
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, SACK_PERMITTED, SECOND, mss, stamps
from usernat.stack.l4.tcp.rack import REO_WND_PERSIST, Rack
from usernat.stack.l4.tcp.recovery import FAST, SIGNS, TIMEOUT
from usernat.stack.l4.tcp.rtt import MIN_RTT_WINDOW_US, RttEstimator


def rack(peer: Peer) -> Rack:
    return peer.conn.snd.rack_state()


@pytest.mark.rfc("8985", "6.2-h", "6.2-e", "4-b")
def test_what_is_late_gets_a_quarter_of_a_round_trip() -> None:
    """One segment is SACKed: those sent before are lost once a round trip and a reordering window have passed, to the microsecond."""
    peer = sender(sack=True, extra=0)
    assert not sacks(peer, 0, (2, 3), at=RTT)
    peer.silence(until=RTT + REO_WND - 1)
    assert recovery(peer).phase == SIGNS
    assert peer.expects("A", at=RTT + REO_WND).seq == 1
    assert recovery(peer).phase == FAST
    assert pipe(peer) == 8 * SIZE, "1 is lost too, and what was sent after 2 is not"


@pytest.mark.rfc("8985", "6.2-h")
def test_what_comes_within_the_window_is_not_lost() -> None:
    """And the reordering timer is off once nothing is late."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 0, (2, 3), at=RTT)
    sacks(peer, 1, (2, 3), at=RTT + 2 * MS)
    assert not sacks(peer, 3, at=RTT + 4 * MS)
    assert peer.conn.snd.recovery is None
    peer.silence(until=PTO)
    assert peer.conn.snd.cc.ssthresh >= 1 << 30


@pytest.mark.rfc("8985", "6.2-g", "6.2-d")
def test_three_sacked_segments_leave_no_time() -> None:
    """No reordering was seen: reo_wnd is nothing once DupThresh segments are SACKed."""
    peer = sender(sack=True, extra=0)
    assert not sacks(peer, 0, (2, 4), at=RTT)
    assert indices(sacks(peer, 0, (2, 5))) == [0]
    assert list(recovery(peer).board.lost) == [
        (peer.conn.snd.iss + 1 + SIZE, peer.conn.snd.iss + 1 + 2 * SIZE)
    ]


@pytest.mark.rfc("8985", "6.2-g")
def test_what_was_sent_after_the_newest_that_arrived_is_never_lost() -> None:
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 4), at=RTT)) == [0]
    peer.silence(until=RTO - 1)
    assert pipe(peer) == 7 * SIZE


@pytest.mark.rfc("8985", "6.2-c", "6.2-d")
def test_reordering_once_seen_gives_everything_time() -> None:
    """What was SACKed and what came below it, sent once: from now on DupThresh says nothing any more."""
    peer = sender(sack=True, segments=5, extra=20)
    sacks(peer, 0, (1, 2), at=RTT)
    assert not rack(peer).reordering_seen
    sacks(peer, 2, at=RTT + MS)
    assert rack(peer).reordering_seen
    snd = peer.conn.snd
    first = (snd.snd_nxt - snd.iss - 1) // SIZE
    snd.cc.cwnd = 10 * SIZE
    start = 3 * RTT
    assert indices(sacks(peer, first, at=start))[0] == first
    assert first not in indices(sacks(peer, first, (first + 1, first + 9), at=start + RTT))
    assert recovery(peer).phase == SIGNS
    assert indices([peer.expects("A", at=start + RTT + REO_WND)]) == [first]


@pytest.mark.rfc("8985", "6.2-c")
def test_one_ack_that_tells_of_two_runs_shows_no_reordering() -> None:
    """An ACK was lost: the newest block comes first in the option, which is not the order of arrival."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 0, (5, 6), (2, 3), at=RTT)
    assert not rack(peer).reordering_seen
    sacks(peer, 0, (3, 4), (5, 6))
    assert rack(peer).reordering_seen, "but this one came late"


@pytest.mark.rfc("8985", "6.2-c")
def test_what_was_sent_twice_shows_no_reordering() -> None:
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 10), at=RTT)) == [0]
    sacks(peer, 10, at=2 * RTT)
    assert not rack(peer).reordering_seen


@pytest.mark.rfc("8985", "6.2-g", "6.1-a")
def test_lost_retransmission_is_found_without_a_timeout() -> None:
    """0 goes again with new text behind it; that arrives, and 0 has not: it leaves a third time, and cwnd falls a second time."""
    peer = sender(sack=True, extra=20)
    out = sacks(peer, 0, (1, 10), at=RTT)
    assert indices(out) == [0, 10, 11, 12, 13]
    ssthresh = peer.conn.snd.cc.ssthresh
    again = sacks(peer, 0, (1, 12), at=2 * RTT)
    assert indices(again)[0] == 0
    assert peer.count("retransmit_timeouts") == 0
    assert peer.conn.snd.cc.ssthresh < ssthresh
    assert recovery(peer).phase == FAST


@pytest.mark.rfc("5681", "4.3-a")
def test_loss_of_a_retransmission_lowers_cwnd_twice() -> None:
    peer = sender(sack=True, segments=40, extra=20)
    sacks(peer, 0, (1, 40), at=RTT)
    assert peer.conn.snd.cc.ssthresh == 20 * SIZE
    sacks(peer, 0, (1, 41), at=2 * RTT)
    assert peer.conn.snd.cc.ssthresh == 10 * SIZE
    sacks(peer, 0, (1, 43), at=2 * RTT + MS)
    assert peer.conn.snd.cc.ssthresh == 10 * SIZE, "not again for what left before"
    peer.sends("A", ack=peer.conn.snd.snd_nxt - peer.conn.snd.iss, at=3 * RTT)
    assert peer.conn.snd.cc.cwnd == 10 * SIZE


@pytest.mark.rfc("5681", "4.3-a")
def test_retransmissions_lost_together_lower_cwnd_once() -> None:
    """0 and 1 leave again 5 ms apart and both are lost, which the path's reordering lets show 5 ms apart, too."""
    peer = sender(sack=True, segments=40, extra=20)
    assert indices(sacks(peer, 0, (2, 5), at=RTT)) == [0]
    assert indices(sacks(peer, 0, (2, 8), at=RTT + 5 * MS))[0] == 1
    rack(peer).reordering_seen = True
    newest = indices(sacks(peer, 0, (2, 30), at=RTT + 10 * MS))[-1]
    assert newest >= 40
    assert indices(sacks(peer, 0, (2, 30), (newest, newest + 1), at=2 * RTT + REO_WND))[0] == 0
    assert peer.conn.snd.cc.ssthresh == 10 * SIZE
    peer.wait(2 * RTT + 2 * REO_WND)
    found = recovery(peer).board
    assert 1 in indices(peer.drain()) or found.lost.first is not None
    assert peer.conn.snd.cc.ssthresh == 10 * SIZE


@pytest.mark.rfc("8985", "6.1-a")
def test_old_text_behind_new_in_one_batch_is_not_lost_by_that() -> None:
    """All leave in one microsecond: it is the order of transmission that counts, not that of the numbers."""
    peer = sender(sack=True, segments=10, extra=1)
    peer.conn.shutdown()
    out = indices(sacks(peer, 0, (2, 4), (5, 9), at=RTT))
    assert out[0] == 0
    newest = max(out)
    later = [index for index in out[out.index(newest) + 1 :] if index < newest]
    before = peer.conn.snd.cc.ssthresh
    sacks(peer, 1, (2, 4), (5, 9), (newest, newest + 1), at=2 * RTT)
    assert peer.conn.snd.cc.ssthresh == before or not later


@pytest.mark.rfc("8985", "6.2-b")
def test_a_retransmission_that_cannot_have_arrived_yet_says_nothing() -> None:
    """The ACK comes sooner than any round trip: it is the original that has arrived."""
    peer = sender(sack=True, extra=20)
    assert indices(sacks(peer, 0, (1, 4), at=RTT))[0] == 0
    order, end_seq = rack(peer).order, rack(peer).end_seq
    sacks(peer, 1, (1, 4), at=RTT + 10 * MS)
    assert (rack(peer).order, rack(peer).end_seq) == (order, end_seq)
    peer = sender(sack=True, extra=20)
    assert indices(sacks(peer, 0, (1, 4), at=RTT))[0] == 0
    sacks(peer, 1, (1, 4), at=2 * RTT)
    assert rack(peer).order > order, "but after a round trip it has"
    assert rack(peer).rtt_us == RTT


@pytest.mark.rfc("8985", "6.2-b")
@pytest.mark.parametrize("original", [False, True])
def test_time_stamps_tell_the_original_from_the_retransmission(original: bool) -> None:
    """It is late by more than a round trip, but the echo tells: TSecr is older than the retransmission."""
    peer = sender(sack=True, extra=20, stamped=True)
    first = peer.tsecr
    assert indices(sacks(peer, 0, (1, 4), at=RTT))[0] == 0
    order = rack(peer).order
    peer.tsecr = first if original else first + RTT // MS
    sacks(peer, 1, (1, 4), at=2 * RTT + 10 * MS)
    assert (rack(peer).order == order) is original


@pytest.mark.rfc("8985", "6.2-f", "4-c")
def test_dsack_widens_the_window_once_a_round_trip() -> None:
    """RACK.reo_wnd_mult, and sixteen recoveries later it is forgotten."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 5, at=RTT)
    state = rack(peer)
    assert state.reo_wnd_mult == 1
    sacks(peer, 5, (1, 2))
    assert state.reo_wnd_mult == 2
    sacks(peer, 5, (2, 3))
    assert state.reo_wnd_mult == 2, "the same round trip"
    sacks(peer, 10, (3, 4))
    assert state.reo_wnd_mult == 3
    rtt = peer.conn.snd.rtt
    assert state.reo_wnd_us(rtt, eager=False) == 3 * REO_WND
    state.reordering_seen = True
    assert state.reo_wnd_us(rtt, eager=True) == 3 * REO_WND
    for _ in range(REO_WND_PERSIST - 1):
        state.on_recovered()
    assert state.reo_wnd_mult == 3
    state.on_recovered()
    assert state.reo_wnd_mult == 1


@pytest.mark.rfc("8985", "6.2-f")
def test_each_recovery_counts() -> None:
    """The end of a fast recovery and that of a time-out, on the wire."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 1, at=RTT)
    sacks(peer, 1, (0, 1))
    assert rack(peer).reo_wnd_persist == REO_WND_PERSIST
    sacks(peer, 1, (2, 9))
    sacks(peer, 10, at=2 * RTT)
    assert rack(peer).reo_wnd_persist == REO_WND_PERSIST - 1
    peer.conn.send(bytes(SIZE))
    peer.wait(3 * SECOND)
    peer.drain()
    sacks(peer, 11)
    assert rack(peer).reo_wnd_persist == REO_WND_PERSIST - 2


@pytest.mark.rfc("8985", "6.2-e", "6.2-d")
def test_reordering_window() -> None:
    """A quarter of the smallest round trip, at most SRTT, nothing where losses are being repaired and no reordering was seen."""
    rtt = RttEstimator(initial_rto_us=SECOND, min_rto_us=1, max_rto_us=60 * SECOND)
    rtt.sample(40_000, 0)
    state = Rack(0)
    assert state.reo_wnd_us(rtt, eager=False) == 10_000
    assert state.reo_wnd_us(rtt, eager=True) == 0
    state.reordering_seen = True
    assert state.reo_wnd_us(rtt, eager=True) == 10_000
    state.reo_wnd_mult = 100
    assert state.reo_wnd_us(rtt, eager=True) == 40_000


@pytest.mark.rfc("8985", "6.2-a")
def test_smallest_round_trip_of_a_while() -> None:
    """A path that has become longer is believed at last, and a shorter one at once."""
    rtt = RttEstimator(initial_rto_us=SECOND, min_rto_us=1, max_rto_us=60 * SECOND)
    rtt.sample(40_000, 0)
    rtt.sample(30_000, SECOND)
    rtt.sample(90_000, 2 * SECOND)
    assert rtt.min_rtt_us == 30_000
    for half in range(1, 4):
        rtt.sample(90_000, 2 * SECOND + half * MIN_RTT_WINDOW_US)
    assert rtt.min_rtt_us == 90_000


@pytest.mark.rfc("8985", "6.3-a")
def test_a_timeout_gives_up_the_first_and_what_is_overdue() -> None:
    """What left a moment ago is not taken for lost with the rest."""
    peer = sender(sack=True, segments=3, extra=0)
    assert indices([peer.expects("PA", at=PTO)]) == [2], "a tail loss probe"
    peer.wait(PTO + RTO - 20 * MS)
    peer.conn.snd.cc.cwnd = 20 * SIZE
    peer.conn.send(bytes(2 * SIZE))
    assert indices(peer.drain()) == [3, 4]
    rack(peer).rtt_us = RTT
    assert peer.expects("A", at=PTO + RTO).seq == 1
    first = peer.conn.snd.iss + 1
    assert recovery(peer).phase == TIMEOUT
    assert list(recovery(peer).board.lost) == [(first + SIZE, first + 3 * SIZE)]
    assert pipe(peer) == 3 * SIZE, "the first, again, and the two young ones"


@pytest.mark.rfc("8985", "4-a")
def test_nothing_of_this_without_sack() -> None:
    """No scoreboard, no RACK, no probe: NewReno and the retransmission time-out."""
    peer = sender(sack=False, extra=0)
    peer.silence(until=RTO - 1)
    assert peer.expects("A", at=RTO).seq == 1
    assert peer.count("tail_loss_probes") == 0
    assert peer.conn.snd.flight.by_time is None


def test_super_segment_with_a_hole_is_cut() -> None:
    """What the device has cut is SACKed in part: just the hole goes again."""
    peer = sender(sack=True, extra=0, segments=20, tx_checksum=True, tx_segmentation=65535)
    assert any(piece.end - piece.start > 2 * SIZE for piece in peer.conn.snd.flight.between(0, 1 << 62))
    out = sacks(peer, 2, (3, 20), at=RTT)
    assert [(seg.seq, len(seg.data)) for seg in out] == [(2 * SIZE + 1, SIZE)]
    assert not sacks(peer, 20, at=2 * RTT)
    assert peer.conn.snd.recovery is None


def test_lost_fin() -> None:
    """A FIN has no octet and is found lost like one."""
    peer = on_a_path(Peer().connected(options=mss(SIZE) + SACK_PERMITTED + stamps(1000)))
    peer.conn.send(bytes(3 * (SIZE - 12)))
    peer.conn.shutdown()
    sent = peer.drain()
    assert "F" in sent[-1].flags
    peer.tsecr = sent[0].tsval
    end = sent[-1].seq + len(sent[-1].data)
    options = blocks(peer, ((SIZE - 12) / SIZE, (end - 1) / SIZE)) + stamps(peer.tsval or 0, peer.tsecr)
    peer.sends("A", at=RTT, ack=1, options=options)
    assert peer.expects("A", at=RTT + REO_WND if not peer.sent else None).seq == 1
    peer.sends("A", ack=end, at=2 * RTT)
    assert peer.expects("FA", at=2 * RTT + peer.conn.snd.rtt.rto_us if not peer.sent else None).seq == end
    peer.sends("A", ack=end + 1)
    assert peer.conn.snd.fin_acknowledged
