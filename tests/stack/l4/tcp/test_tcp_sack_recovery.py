"""Loss recovery on the wire with SACK: what is sent again, when, and in which order (RFC 6675, RFC 8985, RFC 2018)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.losing import (
    PTO,
    REO_WND,
    RTO,
    RTT,
    SIZE,
    indices,
    on_a_path,
    pipe,
    recovery,
    sacks,
    sender,
)
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, SACK_PERMITTED, mss
from usernat.stack.l4.tcp.recovery import FAST, TIMEOUT


@pytest.mark.rfc("6675", "2-a", "3-a", "4-a", "4-b", "4-c", "5-a", "5-b", "5-c", "5-e", "5-f", "5-g", "5-i")
def test_sack_recovery() -> None:
    """Only what is missing goes again."""
    peer = sender(sack=True, extra=0)
    assert not sacks(peer, 0, (1, 2))
    assert not sacks(peer, 0, (1, 2), (3, 4))
    assert indices(sacks(peer, 0, (1, 2), (3, 4), (5, 6))) == [0]
    assert recovery(peer).phase == FAST
    assert peer.conn.snd.cc.ssthresh == peer.conn.snd.cc.cwnd == 5 * SIZE
    # 10 out, 3 SACKed; lost are 0, which has left again, and by time (RFC 8985 §6.2-d) 2 and 4 too
    assert pipe(peer) == 5 * SIZE
    out = []
    out += sacks(peer, 0, (1, 2), (3, 4), (5, 10))
    assert indices(out) == [2, 4]
    assert not sacks(peer, 2, (3, 4), (5, 10))
    assert not sacks(peer, 10)
    assert peer.conn.snd.recovery is None


@pytest.mark.rfc("6675", "4-a", "5-c")
def test_sack_recovery_by_octets_alone() -> None:
    """More than (DupThresh - 1) * SMSS above, in one ACK."""
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 4))) == [0]


@pytest.mark.rfc("6675", "5-c")
def test_three_duplicates_of_small_segments() -> None:
    """DupThresh counts ACKs, however few octets they SACK."""
    peer = on_a_path(Peer(congestion="newreno").connected(options=mss(SIZE) + SACK_PERMITTED))
    peer.conn.nodelay = True
    for _ in range(6):
        peer.conn.send(bytes(10))
        peer.drain()
    for count, end in enumerate((0.020, 0.030, 0.040), 1):
        out = sacks(peer, 0, (0.010, end))
        assert [(seg.seq, len(seg.data)) for seg in out] == ([(1, 10)] if count == 3 else [])


@pytest.mark.rfc("6675", "5-h")
def test_small_gap_needs_little_room() -> None:
    """A gap of less than a segment is filled as soon as that much fits."""
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 2.9), (3, 8)))[0] == 0
    snd, first = peer.conn.snd, peer.conn.snd.iss + 1
    board = recovery(peer).board
    board.mark_lost(first + 2900, first + 3000)
    snd.cc.cwnd = pipe(peer) + 100
    assert recovery(peer).retransmission(SIZE) == (first + 2900, first + 3000)
    snd.cc.cwnd -= 1
    assert recovery(peer).retransmission(SIZE) is None


@pytest.mark.rfc("6675", "4-d", "5-d", "5-h")
def test_new_data_rides_in_recovery() -> None:
    peer = sender(sack=True)
    assert indices(sacks(peer, 0, (1, 2))) == [10], "limited transmit"
    # cwnd falls to 5; 9 and 10 are out, 0 goes again: two more fit
    assert indices(sacks(peer, 0, (1, 9))) == [0, 11, 12]
    assert indices(sacks(peer, 0, (1, 11))) == [13, 14]


def reordered() -> Peer:
    """FAST for 0, which went again; RACK waits with all that comes after, since the path reorders. Nothing new is there to send."""
    peer = sender(sack=True, extra=0)
    peer.conn.snd.rack_state().reordering_seen = True
    assert not sacks(peer, 0, (1, 3), at=RTT)
    peer.wait(RTT + REO_WND)
    assert indices(peer.drain())[0] == 0
    assert recovery(peer).phase == FAST
    assert not recovery(peer).board.lost
    return peer


def let_one_out(peer: Peer) -> list[int]:
    """cwnd has room for one segment; returns what takes it."""
    peer.conn.snd.cc.cwnd = pipe(peer) + SIZE
    peer.conn.wake()
    return indices(peer.drain())


@pytest.mark.rfc("6675", "4-e")
def test_with_nothing_better_to_do_what_is_missing_goes_again_lost_or_not() -> None:
    """Rule 3 of NextSeg: below the highest that was SACKed, each once."""
    peer = reordered()
    assert not sacks(peer, 0, (1, 3), (5, 6), at=RTT + REO_WND + MS)
    assert not recovery(peer).board.lost
    assert [let_one_out(peer), let_one_out(peer)] == [[3], [4]]


@pytest.mark.rfc("6675", "4-f", "5-i")
def test_rescue_does_not_hide_what_is_missing_below() -> None:
    """Rule 4 sends the last segment, once, and HighRxt stays: rule 3 goes on below it."""
    peer = reordered()
    assert let_one_out(peer) == [9]
    assert let_one_out(peer) == []
    assert not sacks(peer, 0, (1, 3), (5, 6), at=RTT + REO_WND + MS)
    assert let_one_out(peer) == [3]


@pytest.mark.rfc("6675", "4-f", "5-i")
def test_rescue_retransmission() -> None:
    """The tail is lost too, and nothing above it can be SACKed."""
    peer = sender(sack=True, extra=0)
    out = indices(sacks(peer, 0, (1, 8)))
    assert out[0] == 0
    rest = out[1:] + indices(sacks(peer, 1, (1, 8)))
    rest += indices(sacks(peer, 8))
    assert 9 in rest, "the highest octet outstanding"


@pytest.mark.rfc("6675", "2-a")
@pytest.mark.rfc("5681", "3.2-d")
def test_old_sack_blocks_are_no_duplicate_acks() -> None:
    peer = sender(sack=True, extra=0)
    for _ in range(5):
        assert not sacks(peer, 0, (1, 2))
    assert recovery(peer).dup_acks == 1


def test_dsack_is_no_sign_of_loss() -> None:
    """RFC 2883 §5-a."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 5)
    for _ in range(5):
        assert not sacks(peer, 5, (1, 2))
    assert peer.conn.snd.recovery is None


def test_forged_sack_blocks() -> None:
    peer = sender(sack=True, extra=0)
    for block in ((20, 30), (-5, -1), (3, 2), (0, 2), (9, 11)):
        assert not sacks(peer, 0, block)
    assert peer.conn.snd.recovery is None


@pytest.mark.rfc("2018", "5-c")
@pytest.mark.rfc("6675", "5.1-a", "5.1-b")
@pytest.mark.rfc("5681", "3.1-h", "3.1-j")
@pytest.mark.rfc("6928", "2-e")
@pytest.mark.rfc("6298", "5-a", "5.4-a")
def test_timeout_goes_back_without_trusting_sack() -> None:
    """One RTO after the retransmission, not after the last progress. What was SACKed is sent again, unless it is SACKed once more."""
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 4), at=RTT)) == [0]
    cwnd = peer.conn.snd.cc.cwnd
    seg = peer.expects("A", at=RTT + RTO, seq=1)
    assert len(seg.data) == SIZE
    assert recovery(peer).phase == TIMEOUT
    assert not recovery(peer).board.sacked
    assert peer.conn.snd.cc.cwnd == SIZE < cwnd
    assert peer.conn.snd.cc.ssthresh == 10 * SIZE // 4, (
        "twice: the retransmission was lost, too (RFC 5681 §4.3-a)"
    )
    assert indices(sacks(peer, 1, at=2 * RTT + RTO)) == [1, 2], "slow start"
    assert indices(sacks(peer, 2, (5, 10))) == [3, 4], "new SACK information is used"
    assert not sacks(peer, 5, (5, 10))
    assert recovery(peer).phase == TIMEOUT, "until all that was out then is acknowledged"
    assert not sacks(peer, 10)
    assert peer.conn.snd.recovery is None


@pytest.mark.rfc("6675", "5.1-a")
def test_sack_info_after_timeout_skips() -> None:
    """With SACK a tail loss probe comes before the time-out."""
    peer = sender(sack=True, extra=0)
    assert [peer.expects("PA", at=PTO).seq, peer.expects("A", at=PTO + RTO).seq] == [9001, 1]
    assert indices(sacks(peer, 1, (2, 9))) == [1, 9]
