"""The sending half on the wire: Nagle, silly windows, the peer's window, probes, sizes (RFC 9293 §3.7.4, §3.8.6)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MINUTE, MS, SECOND, mss, stamps
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.state import State, TcpError

RTO = 200 * MS


@pytest.mark.rfc("9293", "MUST-60")
def test_small_write_leaves_at_once() -> None:
    """RFC 9293 MUST-60."""
    peer = in_established()
    peer.conn.send(b"x")
    peer.expects("PA", at=0, data=b"x")


@pytest.mark.rfc("9293", "SHLD-7", "MUST-60")
def test_nagle() -> None:
    """RFC 9293 SHLD-7: the second small write waits for the ACK of the first, and is joined with what follows."""
    peer = in_established()
    peer.conn.send(b"a")
    peer.expects("PA", data=b"a")
    peer.conn.send(b"b")
    peer.conn.send(b"c")
    peer.silence(until=50 * MS)
    peer.sends("A", ack=2)
    peer.expects("PA", data=b"bc")


@pytest.mark.rfc("9293", "SHLD-7")
def test_nagle_holds_the_rest_of_a_super_segment() -> None:
    """RFC 9293 SHLD-7, MUST-17; cwnd, which is not what holds it back, does not grow (RFC 5681 3-a)."""
    peer = Peer(tx_checksum=True, tx_segmentation=65535).connected(options=mss(1460))
    cwnd = peer.conn.snd.cc.cwnd
    peer.conn.send(bytes(3000))
    peer.expects("A", data=bytes(2920))
    peer.silence()
    peer.sends("A", ack=2921)
    assert peer.conn.snd.cc.cwnd == cwnd
    peer.expects("PA", data=bytes(80))


def test_nagle_lets_full_segments_go() -> None:
    peer = in_established()
    peer.conn.send(b"a")
    peer.expects("PA")
    peer.conn.send(b"b" * 600)
    assert len(peer.expects("A").data) == 536
    peer.silence()


@pytest.mark.rfc("9293", "MUST-17")
def test_nodelay() -> None:
    """RFC 9293 MUST-17."""
    peer = in_established()
    peer.conn.nodelay = True
    for _ in range(2):
        peer.conn.send(b"x")
        peer.expects("PA", data=b"x")


@pytest.mark.rfc("9293", "MUST-61", "SHLD-27", "SHLD-28")
def test_push_on_the_last_only() -> None:
    """RFC 9293 MUST-61, SHLD-27, SHLD-28."""
    peer = in_established()
    peer.conn.nodelay = True
    for _ in range(3 * 536 + 1):
        peer.conn.send(b"x")
    segments = peer.drain()
    assert [len(seg.data) for seg in segments] == [536, 536, 536, 1]
    assert ["P" in seg.flags for seg in segments] == [False, False, False, True]


@pytest.mark.rfc("9293", "MUST-36")
def test_c03_nothing_beyond_the_window() -> None:
    """Windows of 0, 1 and more: nothing beyond them but a probe's octet; then it resumes."""
    peer = Peer().connected(window=1000)
    peer.conn.nodelay = True
    data = bytes(range(250)) * 20
    peer.conn.send(data)
    received = bytearray()
    for window in (1000, 0, 0, 1, 1, 0, 3000, 200, *[65535] * 8):
        edge = 1 + len(received) + window
        peer.sends("A", at=peer.now + SECOND, ack=1 + len(received), window=window)
        peer.wait(peer.now + SECOND)
        for seg in sorted(peer.drain(), key=lambda seg: seg.seq):
            assert seg.seq + len(seg.data) <= max(edge, 1 + len(received) + 1)
            if window:
                received += seg.data[1 + len(received) - seg.seq :]
    assert received == data


@pytest.mark.rfc("9293", "MUST-1")
def test_window_is_unsigned() -> None:
    """RFC 9293 MUST-1."""
    peer = Peer().connected(window=65535)
    peer.conn.snd.cc.cwnd = 1 << 20
    peer.conn.send(bytes(100_000))
    assert sum(len(seg.data) for seg in peer.drain()) == 65535 // 536 * 536


@pytest.mark.rfc("9293", "3.10.7.4-k")
def test_old_segments_do_not_change_the_window() -> None:
    """RFC 9293 3.10.7.4-k: older by their SEQ; of the same SEQ the later one counts."""
    peer = in_established()
    peer.sends("A", seq=51, data=b"x", window=3000)
    peer.sends("A", seq=1, data=b"x", window=10)
    assert peer.conn.snd.snd_wnd == 3000
    peer.sends("A", seq=51, data=b"x", window=20)
    assert peer.conn.snd.snd_wnd == 20


@pytest.mark.rfc("9293", "3.10.7.4-k")
def test_window_of_a_segment_that_fills_a_gap() -> None:
    """RFC 9293 3.10.7.4-k: its SEQ is old, but what moves SND.UNA is news; SND.WL1 stays at the highest SEQ all the same."""
    peer = in_established()
    peer.conn.send(bytes(3000))
    peer.drain()
    peer.sends("A", seq=51, ack=1, data=b"x" * 50, window=5000)
    peer.sends("A", seq=1, ack=1461, data=b"x" * 50, window=2000)
    assert peer.conn.snd.snd_wnd == 2000
    peer.sends("A", seq=40, ack=1461, data=b"x" * 90, window=9000)
    assert peer.conn.snd.snd_wnd == 2000, "older than one that was heeded"


@pytest.mark.rfc("9293", "MUST-36", "MUST-37", "SHLD-29", "SHLD-30")
def test_zero_window_probes() -> None:
    """RFC 9293 MUST-35, MUST-36, MUST-37, SHLD-29, SHLD-30: one octet, after one RTO, then ever more slowly."""
    peer = Peer().connected(window=0)
    peer.conn.send(b"hello")
    rto = peer.conn.snd.rtt.rto_us
    peer.silence(until=rto - 1)
    times = []
    while peer.now < 60 * MINUTE:
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
        probe = peer.expects("A", seq=1, data=b"h")
        times.append(probe.at)
        peer.sends("A", ack=1, window=0)
    assert times[0] == rto
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] == 2 * rto
    assert all(second == min(2 * first, MINUTE) for first, second in pairwise(gaps))
    peer.assert_state(State.ESTABLISHED)
    peer.sends("A", ack=1, window=1000)
    peer.expects("A", seq=1, data=b"h")
    peer.sends("A", ack=2, window=1000)
    peer.expects("PA", seq=2, data=b"ello")


@pytest.mark.rfc("9293", "MUST-36")
def test_zero_window_probe_finds_a_lost_update() -> None:
    """RFC 9293 MUST-36."""
    peer = Peer().connected(window=0)
    peer.conn.send(b"hello")
    peer.wait(peer.conn.snd.rtt.rto_us)
    peer.expects("A", data=b"h")
    peer.sends("A", ack=2, window=1000)
    peer.expects("PA", seq=2, data=b"ello")


def test_unanswered_probes_end() -> None:
    """RFC 9293 §3.8.3: R2 counts where the peer is silent."""
    peer = Peer(user_timeout_us=100 * SECOND).connected(window=0)
    peer.conn.send(b"hello")
    peer.wait(101 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT


def test_closed_by_us_and_never_read_by_the_peer() -> None:
    """RFC 9293 §3.8.6.1 lets a host reclaim: nobody holds this connection any more."""
    peer = Peer(user_timeout_us=100 * SECOND).connected(window=0)
    peer.conn.send(b"hello")
    peer.conn.close()
    for second in range(1, 110):
        peer.wait(second * SECOND)
        if peer.drain():
            peer.sends("A", ack=1, window=0)
    peer.drain()
    peer.assert_nothing_held()


def test_fin_is_a_probe_too() -> None:
    peer = Peer().connected(window=0)
    peer.conn.shutdown()
    peer.wait(peer.conn.snd.rtt.rto_us)
    peer.expects("FA", seq=1)
    peer.sends("A", ack=2, window=0)
    peer.assert_state(State.FIN_WAIT_2)


@pytest.mark.rfc("9293", "MUST-35", "SHLD-17")
def test_c20_window_shrinks_below_what_is_out() -> None:
    """RFC 9293 MUST-34, MUST-35, SHLD-15, SHLD-16, SHLD-17: to zero, for ten minutes, and back."""
    peer = in_established()
    peer.conn.send(bytes(3000))
    assert len(peer.drain()) == 5
    peer.sends("A", ack=537, window=0)
    for _ in range(40):
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
        probe = peer.expects("A", seq=537)
        assert len(probe.data) == 1
        peer.sends("A", ack=537, window=0)
        assert peer.conn.snd.recovery is None, "nothing is known to be lost while the window is shut"
    assert peer.now > 10 * MINUTE
    peer.sends("A", ack=537, window=65535)
    got = {}
    for _ in range(20):
        for seg in peer.drain():
            got[seg.seq] = seg.data
            peer.sends("A", ack=seg.seq + len(seg.data), window=65535)
    assert peer.conn.snd.snd_una == peer.conn.snd.iss + 3001


@pytest.mark.rfc("9293", "SHLD-16")
def test_shrunk_but_not_closed() -> None:
    """RFC 9293 SHLD-16: the segment at SND.UNA goes again, cut to the new window."""
    peer = in_established()
    peer.conn.send(bytes(3000))
    peer.drain()
    peer.sends("A", ack=1, window=100)
    peer.silence()
    seg = peer.expects("A", at=peer.conn.snd.rtt.rto_us, seq=1)
    assert len(seg.data) == 100


@pytest.mark.rfc("9293", "MUST-38")
def test_sender_silly_window() -> None:
    """RFC 9293 MUST-38: a window that opens by a little is not used, until the override time-out."""
    peer = Peer().connected(window=10_000, options=mss(1460))
    peer.conn.send(bytes(20_000))
    sent = sum(len(seg.data) for seg in peer.drain())
    assert sent == 10_000 // 1460 * 1460
    peer.sends("A", ack=sent + 1, window=500)
    start = peer.now
    peer.silence(until=start + 100 * MS)
    seg = peer.expects("A", at=start + min(peer.conn.snd.rtt.rto_us, 500 * MS))
    assert len(seg.data) == 500


@pytest.mark.rfc("9293", "MUST-38")
def test_half_the_largest_window_is_enough() -> None:
    """RFC 9293 §3.8.6.2.1 (3)."""
    peer = Peer().connected(window=1000, options=mss(1460))
    peer.conn.send(bytes(3000))
    assert len(peer.expects("A").data) == 1000
    peer.sends("A", ack=1001, window=500)
    assert len(peer.expects("A").data) == 500


def test_two_ends_with_closed_windows_still_hear_each_other() -> None:
    """An ACK never comes from beyond the peer's window, where it would not be taken (C25)."""
    peer = Peer(receive_buffer=1000, initial_receive_window=1000).connected(window=0)
    peer.conn.send(b"stuck")
    peer.wait(peer.conn.snd.rtt.rto_us)
    peer.expects("A", seq=1, data=b"s")
    peer.sends("A", data=b"x" * 1000, ack=1, window=0)
    assert peer.expects("A", ack=1001, window=0).seq == 1


def test_send_before_the_connection_stands() -> None:
    peer = Peer()
    peer.stack_port = 49152
    conn = peer.layer.connect(peer_address(), peer.port, local_port=49152)
    conn.send(b"early")
    conn.shutdown()
    peer.expects("S")
    peer.conn = conn
    peer.ack = 1
    peer.sends("SA")
    peer.expects("FPA", data=b"early")


def peer_address() -> int:
    from tests.stack.packets import GUEST  # noqa: PLC0415 - a constant, beside the one test that needs it

    return GUEST


@pytest.mark.rfc("9293", "MUST-16", "SHLD-28")
@pytest.mark.parametrize("segmentation", [0, 3000, 20_000, 65535])
def test_super_segments(segmentation: int) -> None:
    """Multiples of the MSS, within what the device segments; RFC 9293 MUST-16."""
    peer = Peer(tx_checksum=True, tx_segmentation=segmentation).connected(options=mss(1460) + stamps(1))
    peer.conn.snd.cc.cwnd = 60_000
    peer.conn.send(bytes(100_000))
    segments = peer.drain()
    assert sum(len(seg.data) for seg in segments) == 60_000 // 1448 * 1448
    for seg in segments:
        assert 20 + 20 + len(seg.option_bytes) + len(seg.data) <= max(segmentation, 1500)
        assert len(seg.data) % 1448 == 0
        assert seg.gso_size == (1448 if len(seg.data) > 1448 else 0)
    if segmentation == 65535:
        # RFC 6675 §4-a: the loss of one of four shows by the other three
        assert [len(seg.data) for seg in segments] == [14480] * 4 + [1448]


@pytest.mark.rfc("9293", "MUST-62")
def test_urgent_data_leaves_in_single_segments() -> None:
    """RFC 9293 MUST-62: a device would put one and the same urgent pointer on all segments that it cuts."""
    peer = Peer(tx_checksum=True, tx_segmentation=65535).connected(options=mss(1460))
    assert peer.conn.send(bytes(3000), urgent=True) == 3000
    peer.conn.send(bytes(5840))
    for seg in peer.drain():
        if "U" in seg.flags:
            assert len(seg.data) <= 1460
            assert seg.seq + seg.urgent == 3001
        else:
            assert seg.seq >= 3001


@pytest.mark.rfc("9293", "SHLD-28")
@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    st.integers(48, 1460),
    st.booleans(),
    st.integers(1000, 65535),
)
def test_segmentation(writes: list[int], size: int, nodelay: bool, window: int) -> None:
    """Whatever is written in whatever pieces: the stream is whole, no segment is above the MSS or beyond the window, and but for
    the last every one is full (RFC 9293 SHLD-28).
    """
    peer = Peer().connected(options=mss(size), window=window)
    peer.conn.nodelay = nodelay
    peer.conn.snd.cc.cwnd = 1 << 20
    stream = b""
    for index, length in enumerate(writes):
        data = bytes([index]) * length
        stream += data
        assert peer.conn.send(data) == length
    peer.conn.shutdown()
    received = bytearray()
    finished = False
    for _ in range(5000):
        segments = peer.drain()
        for seg in segments:
            assert seg.seq == len(received) + 1
            assert len(seg.data) <= size
            received += seg.data
            finished = finished or "F" in seg.flags
        if finished:
            break
        assert len(received) <= len(stream)
        peer.sends("A", at=peer.now + (0 if segments else SECOND), ack=1 + len(received), window=window)
    assert received == stream
