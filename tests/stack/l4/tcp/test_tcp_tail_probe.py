"""Tail loss probes on the wire (RFC 8985 §7, §8). Segments 0 to 9 leave at 0; a round trip takes 40 ms, so that PTO is 82 ms."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.losing import (
    PTO,
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
from tests.stack.l4.tcp.segments import MS, SACK_PERMITTED, SECOND, mss
from usernat.stack.l4.tcp.recovery import FAST, SIGNS
from usernat.stack.l4.tcp.rtt import RttEstimator
from usernat.stack.l4.tcp.tail_probe import MAX_ACK_DELAY_US, pto_us
from usernat.stack.l4.tcp.timers import NEVER


@pytest.mark.rfc("8985", "7.2-b", "7.3-c", "7.3-e")
def test_last_segment_goes_again_after_two_round_trips() -> None:
    """And the time-out begins anew behind the probe; no second probe comes before it."""
    peer = sender(sack=True, extra=0)
    seg = peer.expects("PA", at=PTO)
    assert (indices([seg]), len(seg.data)) == ([9], SIZE)
    assert peer.count("tail_loss_probes") == 1
    peer.silence(until=PTO + RTO - 1)
    assert indices([peer.expects("A", at=PTO + RTO)]) == [0]
    assert peer.count("retransmit_timeouts") == 1


@pytest.mark.rfc("8985", "7.3-c")
def test_probe_carries_new_text_where_there_is_some() -> None:
    """Beyond cwnd by one segment, and without a word of cwnd."""
    peer = sender(sack=True)
    cwnd = peer.conn.snd.cc.cwnd
    assert indices([peer.expects("A", at=PTO)]) == [10]
    assert peer.conn.snd.snd_nxt - peer.conn.snd.snd_una == cwnd + SIZE
    assert peer.count("retransmissions") == 0


@pytest.mark.rfc("8985", "7.3-c")
def test_probe_stays_within_the_peers_window() -> None:
    """There is new text, but no room for it: the last segment goes again."""
    peer = on_a_path(Peer().connected(options=mss(SIZE) + SACK_PERMITTED, window=10 * SIZE))
    peer.conn.send(bytes(20 * SIZE))
    assert len(peer.drain()) == 10
    assert indices([peer.expects("A", at=PTO)]) == [9]


@pytest.mark.rfc("8985", "7.3-c")
@pytest.mark.rfc("9438", "4.2-c")
def test_probe_does_not_pass_for_a_full_cwnd() -> None:
    """Nagle holds a few octets back; the application, not cwnd, is the limit, before the probe and after."""
    peer = on_a_path(Peer().connected(options=mss(SIZE) + SACK_PERMITTED))
    peer.conn.send(bytes(3 * SIZE + 100))
    assert indices(peer.drain()) == [0, 1, 2]
    assert indices([peer.expects("A", at=PTO)]) == [2]
    cwnd = peer.conn.snd.cc.cwnd
    sacks(peer, 3, at=PTO + RTT)
    assert peer.conn.snd.cc.cwnd == cwnd


@pytest.mark.rfc("8985", "7.2-b")
@pytest.mark.parametrize(
    ("srtt_us", "in_flight", "expected"),
    [
        (0, 1, SECOND),
        (RTT, 10_000, 2 * RTT + 2 * MS),
        (RTT, SIZE, 2 * RTT + 2 * MS + MAX_ACK_DELAY_US),
        (RTT, SIZE + 1, 2 * RTT + 2 * MS),
    ],
)
def test_pto(srtt_us: int, in_flight: int, expected: int) -> None:
    """Two round trips; more where the peer may delay the ACK of a lone segment; a second where nothing is known."""
    rtt = RttEstimator(initial_rto_us=SECOND, min_rto_us=1, max_rto_us=60 * SECOND)
    if srtt_us:
        rtt.sample(srtt_us, 0)
    assert pto_us(rtt, in_flight, SIZE) == expected


@pytest.mark.rfc("8985", "7.2-b")
def test_probe_is_never_later_than_the_timeout() -> None:
    """A lone segment: PTO would be 282 ms, RTO is 200 ms. The probe goes out in its place and cwnd stays."""
    peer = sender(sack=True, segments=1, extra=0)
    assert indices([peer.expects("PA", at=RTO)]) == [0]
    assert peer.count("retransmit_timeouts") == 0
    assert peer.conn.snd.cc.ssthresh >= 1 << 30
    peer.silence(until=2 * RTO - 1)
    assert peer.expects("PA", at=2 * RTO).seq == 1
    assert peer.count("retransmit_timeouts") == 1


@pytest.mark.rfc("8985", "7.2-a")
def test_new_text_and_progress_start_the_wait_anew() -> None:
    peer = sender(sack=True, extra=0)
    peer.conn.snd.cc.cwnd = 20 * SIZE
    peer.wait(50 * MS)
    peer.conn.send(bytes(SIZE))
    assert indices(peer.drain()) == [10]
    peer.silence(until=50 * MS + PTO - 1)
    sacks(peer, 1)
    rtt = peer.conn.snd.rtt
    start, pto = peer.now, pto_us(rtt, 10 * SIZE, SIZE)
    peer.silence(until=start + pto - 1)
    assert indices([peer.expects("PA", at=start + pto)]) == [10]


@pytest.mark.rfc("8985", "7.2-a", "8-a")
def test_no_probe_where_something_was_sacked() -> None:
    """RACK has its own timer then, and what it sees needs no probe; of the three just one is set."""
    peer = sender(sack=True, extra=0)
    assert peer.conn.timers.probe < NEVER
    assert peer.conn.timers.reorder == NEVER
    sacks(peer, 0, (8, 9), at=RTT)
    assert peer.conn.timers.probe == NEVER
    assert peer.conn.timers.reorder < peer.conn.timers.retransmit
    peer.wait(RTO - 1)
    assert recovery(peer).phase == FAST
    assert (peer.conn.timers.probe, peer.conn.timers.reorder) == (NEVER, NEVER)
    assert peer.count("tail_loss_probes") == 0


@pytest.mark.rfc("8985", "8-a")
def test_no_timer_of_these_beside_that_of_a_closed_window() -> None:
    peer = sender(sack=True, extra=0)
    sacks(peer, 1, at=RTT, window=0)
    timers = peer.conn.timers
    assert (timers.probe, timers.reorder, timers.retransmit) == (NEVER, NEVER, NEVER)
    assert timers.persist < NEVER


@pytest.mark.rfc("8985", "7.3-a", "7.3-b")
def test_one_probe_for_one_round_trip_measured() -> None:
    """The ACK that ends a probe measures nothing, for the segment left twice: the next loss waits for the time-out."""
    peer = sender(sack=True, segments=2, extra=0)
    assert indices([peer.expects("PA", at=PTO)]) == [1]
    sacks(peer, 2, (1, 2), at=PTO + RTT)
    assert peer.conn.snd.probe.end_seq is None
    peer.conn.send(bytes(2 * SIZE))
    start = peer.now
    assert indices(peer.drain()) == [2, 3]
    rto = peer.conn.snd.rtt.rto_us
    peer.silence(until=start + rto - 1)
    assert indices([peer.expects("A", at=start + rto)]) == [2]
    assert peer.count("tail_loss_probes") == 1
    sacks(peer, 4)
    peer.conn.send(bytes(SIZE))
    peer.drain()
    sacks(peer, 5, at=peer.now + RTT)
    peer.conn.send(bytes(2 * SIZE))
    peer.drain()
    peer.wait(peer.now + 3 * RTT)
    assert peer.count("tail_loss_probes") == 2, "measured"


@pytest.mark.rfc("8985", "7.3-a", "7.3-b")
def test_no_second_probe_beside_the_first() -> None:
    """A round trip was measured meanwhile, but nobody knows yet what became of the probe."""
    peer = sender(sack=True, extra=0)
    peer.expects("PA", at=PTO)
    sacks(peer, 5, at=PTO + MS)
    assert peer.conn.snd.probe.sampled
    start, rto = peer.now, peer.conn.snd.rtt.rto_us
    peer.silence(until=start + rto - 1)
    assert indices([peer.expects("A", at=start + rto)]) == [5]


@pytest.mark.rfc("8985", "7.4-a")
def test_probe_that_mended_a_loss_lowers_cwnd() -> None:
    """9 was lost, the probe brought it, and new text behind it is acknowledged: one loss, one reduction."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 9, at=RTT)
    start = peer.now
    assert indices([peer.expects("PA", at=peer.conn.timers.probe - peer.start)]) == [9]
    assert peer.now > start
    sacks(peer, 10, at=peer.now + RTT)
    peer.conn.send(bytes(SIZE))
    peer.drain()
    assert peer.conn.snd.cc.ssthresh >= 1 << 30, "both may have arrived"
    sacks(peer, 11, at=peer.now + RTT)
    assert peer.conn.snd.cc.ssthresh == 2 * SIZE
    assert peer.conn.snd.probe.end_seq is None


@pytest.mark.rfc("8985", "7.4-a")
def test_probe_that_mended_a_loss_beside_signs_of_another() -> None:
    """11 is SACKed over 10, which is on its way: what the probe has mended counts all the same."""
    peer = sender(sack=True, segments=10, extra=0)
    sacks(peer, 9, at=RTT)
    assert indices([peer.expects("PA", at=peer.conn.timers.probe - peer.start)]) == [9]
    sacks(peer, 10, at=peer.now + RTT)
    peer.conn.send(bytes(3 * SIZE))
    peer.drain()
    start = peer.now
    sacks(peer, 10, (11, 12), at=start + RTT)
    assert recovery(peer).phase == SIGNS
    sacks(peer, 11, (11, 12))
    assert peer.conn.snd.cc.ssthresh == 2 * SIZE


@pytest.mark.rfc("8985", "7.4-a")
@pytest.mark.parametrize("how", ["dsack", "duplicate"])
def test_probe_that_was_not_needed_costs_nothing(how: str) -> None:
    """Both copies arrived: a D-SACK says so, or a duplicate ACK of a peer that has no D-SACK."""
    peer = sender(sack=True, extra=0)
    assert indices([peer.expects("PA", at=PTO)]) == [9]
    sacks(peer, 10, at=PTO + MS)
    sacks(peer, 10, *([(9, 10)] if how == "dsack" else []), at=PTO + RTT)
    assert peer.conn.snd.probe.end_seq is None
    peer.conn.send(bytes(SIZE))
    peer.drain()
    sacks(peer, 11, at=PTO + 2 * RTT)
    assert peer.conn.snd.cc.ssthresh >= 1 << 30


@pytest.mark.rfc("8985", "7.4-a")
@pytest.mark.rfc("5681", "2-a")
def test_window_update_is_no_duplicate_of_a_probe() -> None:
    """The application has read: the peer says so, which tells nothing of the probe."""
    peer = sender(sack=True, extra=0)
    assert indices([peer.expects("PA", at=PTO)]) == [9]
    sacks(peer, 10, at=PTO + RTT, window=30_000)
    sacks(peer, 10, window=60_000)
    assert peer.conn.snd.probe.end_seq is not None
    peer.conn.send(bytes(SIZE))
    peer.drain()
    sacks(peer, 11, at=PTO + 2 * RTT)
    assert peer.conn.snd.cc.ssthresh == 2 * SIZE


@pytest.mark.rfc("8985", "7.1-a")
def test_recovery_forgets_the_probe() -> None:
    """Fast recovery finds what the probe looked for, and lowers cwnd itself: once."""
    peer = sender(sack=True, extra=0)
    peer.expects("PA", at=PTO)
    sacks(peer, 0, (4, 10), at=PTO + RTT)
    assert recovery(peer).phase == FAST
    assert peer.conn.snd.probe.end_seq is None
    peer = sender(sack=True, extra=0)
    assert peer.conn.snd.probe.is_allowed
    peer.expects("PA", at=PTO)
    peer.expects("A", at=PTO + RTO)
    assert peer.conn.snd.probe.end_seq is None, "and so does a time-out"


@pytest.mark.rfc("8985", "7.3-d")
def test_probe_is_a_transmission_like_any_other() -> None:
    """RACK knows when it left and that it was a second time: what it shows to be lost is found without a time-out."""
    peer = sender(sack=True, extra=0)
    peer.expects("PA", at=PTO)
    last = peer.conn.snd.flight.between(peer.conn.snd.snd_nxt - 1, peer.conn.snd.snd_nxt)[-1]
    assert last.retransmitted
    assert last.sent_at == peer.rig.now
    assert indices(sacks(peer, 0, (9, 10), at=PTO + RTT)) == [0]
    assert peer.count("retransmit_timeouts") == 0


@pytest.mark.rfc("8985", "7.3-b", "7.3-e")
def test_window_that_has_shrunk_leaves_nothing_to_probe_with() -> None:
    """Not a word beyond the peer's window, and the time-out takes over."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 0, at=RTT, window=SIZE)
    peer.silence(until=RTO - 1)
    assert indices([peer.expects("A", at=peer.conn.timers.retransmit - peer.start)]) == [0]


@pytest.mark.rfc("8985", "7.2-a")
def test_probe_that_is_due_does_not_leave_once_there_is_sack_information() -> None:
    """The timer has expired, and before the link takes anything an ACK shows what is missing: RACK goes on by itself."""
    peer = sender(sack=True, extra=0)
    peer.rig.now = peer.conn.timers.probe
    peer.rig.interface.on_time(peer.rig.now)
    assert peer.conn.snd.probe.due
    peer.sends("A", ack=1, options=blocks(peer, (9, 10)), flush=False)
    assert 9 not in indices(peer.drain())
    assert not recovery(peer).board.doubled
    assert pipe(peer) == (9 - recovery(peer).board.lost.total // SIZE) * SIZE


def test_last_is_a_fin() -> None:
    peer = on_a_path(Peer().connected(options=mss(SIZE) + SACK_PERMITTED))
    peer.conn.send(bytes(2 * SIZE))
    peer.conn.shutdown()
    assert "F" in peer.drain()[-1].flags
    seg = peer.expects("FPA", at=PTO)
    assert seg.seq + len(seg.data) == 2 * SIZE + 1
    sacks(peer, 2 + 1 / SIZE, at=PTO + RTT)
    assert peer.conn.snd.fin_acknowledged
