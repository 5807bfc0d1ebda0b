"""When the receiving half acknowledges, as the sender of RFC 5681 counts on it (§3.2, §4.2), and what the sender learns of round trips."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.losing import RTT, SIZE, indices, pipe, sacks, sender
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, mss
from tests.stack.l4.tcp.states import in_established


@pytest.mark.rfc("5681", "4.2-a", "4.2-b")
def test_every_second_segment_within_half_a_second() -> None:
    """One ACK for two full segments, one for a lone one after a while, and never two for one."""
    peer = Peer().connected(options=mss(1460))
    text = bytes(1460)
    acks = []
    for _ in range(8):
        peer.sends("A", data=text)
        acks.append(len(peer.drain()))
    assert set(acks) == {0, 1}
    assert sum(acks) == 4
    peer.sends("A", data=text)
    peer.silence()
    peer.wait(500 * MS)
    assert len(peer.drain()) == 1
    peer.silence(until=1000 * MS)


@pytest.mark.rfc("5681", "3.2-a", "3.2-b", "4.2-b")
@pytest.mark.rfc("6582", "5-a")
def test_out_of_order_text_is_answered_at_once() -> None:
    """A duplicate ACK for each segment behind a gap, and at once an ACK where one fills it, in part or altogether."""
    peer = in_established()
    for start in (201, 301, 401):
        peer.sends("A", seq=start, data=bytes(100))
        peer.expects("A", ack=1)
        peer.silence()
    peer.sends("A", seq=1, data=bytes(100))
    peer.expects("A", ack=101)
    peer.sends("A", seq=101, data=bytes(100))
    peer.expects("A", ack=501)
    peer.silence()


@pytest.mark.rfc("6298", "3-b")
@pytest.mark.parametrize("sack", [False, True])
def test_every_round_trip_is_measured(sack: bool) -> None:
    """Whatever ACK can give a sample gives one: the estimate follows a path that gets longer by the round."""
    peer = sender(sack=sack, segments=4, extra=0)
    seen = []
    for number in range(1, 6):
        taken = RTT + number * 10 * MS
        top = (peer.conn.snd.snd_nxt - peer.conn.snd.iss - 1) // SIZE
        sacks(peer, top, at=peer.now + taken)
        seen.append(peer.conn.snd.rtt.srtt_us)
        peer.conn.send(bytes(4 * SIZE))
        peer.drain()
    assert seen == sorted(set(seen))


@pytest.mark.rfc("6675", "4-g", "4-f")
def test_nothing_to_send_is_nothing_sent() -> None:
    """Rule 5 of NextSeg: all that is missing has gone again, the rescue too, and there is no new text, though cwnd would let some out."""
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 8), at=RTT)) == [0, 9]
    assert peer.conn.snd.cc.cwnd - pipe(peer) >= SIZE
    assert not sacks(peer, 0, (1, 8))
    assert not sacks(peer, 0, (1, 8.5))


@pytest.mark.rfc("6582", "3.2-0a")
def test_recover_begins_with_the_first_number() -> None:
    """So that the first segment of all can be found lost by duplicate ACKs."""
    peer = in_established(congestion="newreno")
    assert peer.conn.snd.recover == peer.conn.snd.iss
    peer.conn.snd.nodelay = True
    for _ in range(5):
        peer.conn.send(b"x")
        peer.drain()
    for _ in range(3):
        peer.sends("A", ack=1)
    assert [seg.seq for seg in peer.drain()] == [1]
