"""What the peer's window, shrunk or scaled, and its acknowledgements allow (RFC 9293 §3.8.6, RFC 7323 §2.4, RFC 5961 §5.2)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, SECOND, mss, scale
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.state import State, TcpError

MINUTE = 60 * SECOND


def shrunk(*, window: int) -> Peer:
    """Three segments are out and more is queued; now the peer offers less than what is out."""
    peer = Peer().connected(options=mss(1000), window=3000)
    peer.conn.nodelay = True
    peer.conn.send(bytes(9000))
    assert [len(seg.data) for seg in peer.drain()] == [1000] * 3
    peer.sends("A", ack=1, window=window)
    return peer


@pytest.mark.rfc("9293", "MUST-34", "SHLD-15")
@pytest.mark.parametrize("window", [0, 1, 999, 1500, 2999])
def test_nothing_new_leaves_once_the_window_has_shrunk(window: int) -> None:
    """The usable window is negative for minutes; what is sent meanwhile is old and inside the window, or a probe's octet."""
    peer = shrunk(window=window)
    for _ in range(8):
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
        for seg in peer.drain():
            assert seg.seq + len(seg.data) <= 1 + max(window, 1)
        peer.sends("A", ack=1, window=window)
    assert peer.conn.snd.snd_nxt == peer.conn.snd.iss + 3001
    peer.sends("A", ack=3001, window=1000)
    assert [(seg.seq, len(seg.data)) for seg in peer.drain()] == [(3001, 1000)]


@pytest.mark.rfc("9293", "SHLD-16")
def test_what_lies_inside_a_shrunk_window_goes_again() -> None:
    """By the ordinary timer, cut at the new edge; and then the rest as the edge moves on."""
    peer = shrunk(window=1500)
    rto = peer.conn.snd.rtt.rto_us
    first = peer.expects("A", at=rto, seq=1)
    assert len(first.data) == 1000
    peer.sends("A", ack=1001, window=500)
    again = peer.expects("A", seq=1001)
    assert len(again.data) == 500


@pytest.mark.rfc("9293", "SHLD-17", "MUST-35", "MUST-37")
@pytest.mark.parametrize("window", [0, 1000])
def test_what_lies_beyond_a_shrunk_window_ends_nothing(window: int) -> None:
    """For an hour the peer takes nothing beyond its edge, and answers all the same."""
    peer = Peer(user_timeout_us=100 * SECOND).connected(options=mss(1000), window=3000)
    peer.conn.send(bytes(3000))
    peer.drain()
    peer.sends("A", ack=1001, window=0)
    while peer.now < 60 * MINUTE:
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
        if peer.drain():
            peer.sends("A", ack=1001, window=0)
    peer.assert_state(State.ESTABLISHED)
    peer.sends("A", ack=3001, window=window)
    assert not peer.conn.unacknowledged


def test_a_peer_that_does_not_answer_probes_is_given_up() -> None:
    """The other half of the rule: it is the answers that keep the connection."""
    peer = Peer(user_timeout_us=100 * SECOND).connected(window=0)
    peer.conn.send(b"hello")
    peer.wait(100 * SECOND + MINUTE)
    assert peer.conn.error is TcpError.TIMED_OUT


@pytest.mark.rfc("5961", "5.2-c", "5.2-b")
@pytest.mark.parametrize(("ack", "taken"), [(6001 - 4000, True), (6001 - 4001, False), (6002, False)])
def test_old_acks_count_as_far_back_as_the_largest_window(ack: int, taken: bool) -> None:
    """4,000, scaled, long ago; now it is 80, and the SYN's own 500 was less. What is too old is challenged and its text is not taken."""
    peer = Peer().connected(options=mss(1000) + scale(3), window=500)
    peer.sends("A", window=500)
    peer.conn.send(bytes(6000))
    while segments := peer.drain():
        peer.sends("A", ack=segments[-1].seq + len(segments[-1].data), window=500)
    assert peer.conn.snd.snd_una == peer.conn.snd.iss + 6001
    assert peer.conn.snd.max_window == 4000
    peer.sends("A", ack=6001, window=10)
    peer.drain()
    peer.sends("A", ack=ack, data=b"late", window=10)
    assert peer.conn.readable == (4 if taken else 0)
    assert peer.count("challenge_acks") == (0 if taken else 1)


@pytest.mark.rfc("7323", "2.4-a")
@pytest.mark.rfc("9293", "SHLD-14", "3.10.7.4-q")
@pytest.mark.parametrize("size", [1, 7, 100, 1459])
def test_the_edge_that_the_peer_sees_never_moves_back(size: int) -> None:
    """With a scale of 2**5 and segments that are no multiple of it, while nobody reads."""
    peer = Peer(initial_receive_window=20_000).connected(options=mss(1460) + scale(2))
    assert peer.scale == 5
    edge = 0
    for _ in range(200):
        if peer.conn.rcv.edge - peer.conn.rcv.rcv_nxt < size:
            break
        peer.sends("A", data=b"x" * size)
        peer.wait(peer.now + 40 * MS)
        for seg in peer.drain():
            assert seg.ack + (seg.window << 5) >= edge
            edge = seg.ack + (seg.window << 5)
    assert edge > 1


@pytest.mark.rfc("7323", "2.4-a")
@pytest.mark.rfc("9293", "MUST-34")
def test_a_peer_that_rounds_down_is_borne_with() -> None:
    """3,000 octets of room, shown in units of 128: its edge moves back below what is out. Nothing is taken for lost, nothing is sent twice."""
    peer = Peer().connected(options=mss(100) + scale(7), window=3000 >> 7 << 7)
    peer.conn.nodelay = True
    peer.conn.snd.cc.cwnd = 10_000
    peer.conn.send(bytes(5000))
    sent = peer.drain()
    assert sum(len(seg.data) for seg in sent) == 2900
    beyond = 0
    for taken in range(100, 3000, 100):
        peer.sends("A", ack=1 + taken, window=(3000 - taken) >> 7)
        snd = peer.conn.snd
        beyond += snd.snd_una + snd.snd_wnd < snd.snd_nxt
        sent += peer.drain()
    assert beyond
    peer.sends("A", ack=2901, window=3000 >> 7)
    sent += peer.drain()
    assert [seg.seq for seg in sent] == list(range(1, 5001, 100))
    assert peer.count("retransmissions") == 0


@pytest.mark.rfc("9293", "MUST-1", "REC-1")
def test_windows_larger_than_any_header_field() -> None:
    """The largest of all, and one with the top bit of the field set: as many octets leave as cwnd allows."""
    for field, shift in ((0xFFFF, 14), (0x8000, 0), (0xFFFF, 0)):
        peer = in_established() if not shift else Peer().connected(options=mss(1460) + scale(shift))
        peer.sends("A", window=field)
        peer.conn.snd.cc.cwnd = 90_000
        peer.conn.send(bytes(200_000))
        total = sum(len(seg.data) for seg in peer.drain())
        assert min(90_000, field << shift) - 1460 < total <= min(90_000, field << shift)
