"""Proportional rate reduction (RFC 6937, RFC 9937): against the words of the RFC, and on the wire."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.l4.tcp.losing import RTT, SIZE, indices, pipe, recovery, sacks, sender
from tests.stack.l4.tcp.segments import MS
from usernat.stack.l4.tcp.prr import Prr
from usernat.stack.l4.tcp.recovery import FAST, RESEND, SIGNS

ACKS = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3), st.integers(0, 9)), max_size=40
)


@pytest.mark.rfc("6937", "3-a", "3-b", "3-c", "3-d")
@given(ACKS, st.integers(5, 60), st.integers(2, 30), st.integers(1, 1500))
def test_against_the_words(
    acks: list[tuple[int, bool, int, int]], flight: int, ssthresh: int, smss: int
) -> None:
    """acks: segments that arrived, whether the ACK is safe, segments newly found lost, how many of what may leave does."""
    recover_fs, ssthresh = flight * smss, min(ssthresh, flight) * smss
    prr = Prr(recover_fs)
    on_the_way, prr_delivered, prr_out = recover_fs, 0, 0
    for arrived, safe, lost, leaving in acks:
        delivered = min(arrived * smss, on_the_way)
        on_the_way -= delivered
        on_the_way -= min(lost * smss, on_the_way)
        prr_delivered += delivered
        if on_the_way > ssthresh:
            sndcnt = ceil(Fraction(prr_delivered * ssthresh, recover_fs)) - prr_out
        else:
            limit = max(prr_delivered - prr_out, delivered)
            if safe:
                limit += smss
            sndcnt = min(ssthresh - on_the_way, limit)
        if prr_out == 0:
            sndcnt = max(sndcnt, smss)
        sndcnt = max(sndcnt, 0)
        assert prr.on_ack(delivered, on_the_way, ssthresh, smss, safe=safe) == on_the_way + sndcnt
        sent = min(leaving, sndcnt // smss) * smss
        prr_out += sent
        prr.out += sent
        on_the_way += sent


@pytest.mark.rfc("6937", "3-a", "3-e")
def test_one_segment_for_two_that_arrived() -> None:
    """One of forty is lost: ssthresh is half, and so every second ACK lets a segment out, until pipe is there."""
    peer = sender(sack=True, segments=40, extra=60)
    sacks(peer, 0, (1, 3), at=RTT)
    assert indices(sacks(peer, 0, (1, 4)))[0] == 0
    assert peer.conn.snd.cc.ssthresh == 20 * SIZE
    out = [len(sacks(peer, 0, (1, top), at=RTT + top)) for top in range(5, 41)]
    assert max(out) == 1, "no burst"
    assert sum(out[:30]) in {14, 15, 16}
    assert abs(pipe(peer) - 20 * SIZE) <= SIZE
    snd = peer.conn.snd
    peer.sends("A", ack=snd.snd_nxt - snd.iss, at=2 * RTT)
    assert snd.recovery is None
    assert snd.cc.cwnd == snd.cc.ssthresh == 20 * SIZE


@pytest.mark.rfc("6937", "3-d")
def test_first_retransmission_leaves_whatever_the_arithmetic_says() -> None:
    peer = sender(sack=True, segments=40, extra=0)
    assert indices(sacks(peer, 0, (1, 4), at=RTT)) == [0]
    assert pipe(peer) == 37 * SIZE > peer.conn.snd.cc.ssthresh


@pytest.mark.rfc("6937", "3-b", "3-c", "3-e")
def test_after_heavy_losses_each_safe_ack_lets_one_more_out() -> None:
    """Three of forty arrive: not ssthresh - pipe at once, but what arrives, and one more for an ACK that moves SND.UNA."""
    peer = sender(sack=True, segments=40, extra=0)
    assert indices(sacks(peer, 0, (37, 40), at=RTT)) == [0, 1, 2], "three arrived, three leave"
    assert pipe(peer) == 3 * SIZE
    assert indices(sacks(peer, 1, (37, 40), at=2 * RTT)) == [3, 4], "one that arrived, one more"
    assert indices(sacks(peer, 3, (37, 40), at=2 * RTT + MS)) == [5, 6, 7]
    assert peer.conn.snd.cc.cwnd < peer.conn.snd.cc.ssthresh == 20 * SIZE
    sacks(peer, 40, at=3 * RTT)
    assert peer.conn.snd.cc.cwnd == 20 * SIZE


@pytest.mark.rfc("6937", "3-b")
def test_further_losses_are_not_made_good_by_more_than_arrives() -> None:
    """The ACK moves SND.UNA, but shows that a retransmission was lost: it is not safe."""
    peer = sender(sack=True, segments=40, extra=0)
    assert indices(sacks(peer, 0, (37, 40), at=RTT)) == [0, 1, 2]
    out = indices(sacks(peer, 1, (2, 3), (37, 40), at=2 * RTT))
    assert out[0] == 1, "sent before 2, which has arrived"
    assert len(out) == 2


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.rfc("5681", "3.2-i")
def test_a_reduction_outlives_what_interrupts_it(sack: bool) -> None:
    """A path MTU that falls in the middle of recovery is no reason to forget that there was congestion."""
    peer = sender(sack=sack, segments=40, extra=0)
    if sack:
        sacks(peer, 0, (1, 4), at=RTT)
    else:
        for _ in range(20):
            sacks(peer, 0)
    cc = peer.conn.snd.cc
    assert recovery(peer).phase == FAST
    assert cc.cwnd > cc.ssthresh == 20 * SIZE
    peer.conn.snd.resend()
    assert recovery(peer).phase == RESEND
    assert cc.cwnd == 20 * SIZE


def test_limited_transmit_before_that() -> None:
    """RFC 6675 §5-d: nothing was decided, and PRR has no say."""
    peer = sender(sack=True)
    assert indices(sacks(peer, 0, (1, 2), at=RTT)) == [10]
    assert recovery(peer).phase == SIGNS
    assert peer.conn.snd.cc.cwnd == 10 * SIZE


@pytest.mark.rfc("5681", "4.3-a")
@pytest.mark.parametrize("lost", [False, True])
def test_what_is_lost_of_what_went_again_is_congestion(lost: bool) -> None:
    """All goes again for a smaller path MTU, cwnd as it is; what is missing among that has no such excuse."""
    peer = sender(sack=True, segments=20, extra=40)
    peer.wait(RTT)
    peer.conn.snd.resend()
    peer.conn.wake()
    assert indices(peer.drain()) == list(range(20))
    cwnd = peer.conn.snd.cc.cwnd
    if lost:
        assert indices(sacks(peer, 2, (3, 8), at=2 * RTT))[0] == 2
        assert recovery(peer).phase == FAST
        assert peer.conn.snd.cc.ssthresh < cwnd
    else:
        sacks(peer, 8, at=2 * RTT)
        assert recovery(peer).phase == RESEND
        assert peer.conn.snd.cc.ssthresh >= 1 << 30
        assert peer.conn.snd.cc.cwnd >= cwnd
