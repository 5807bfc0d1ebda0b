"""What time does: lost SYNs and FINs, user time-outs, keep-alive (RFC 9293 §3.8.3, §3.8.4; RFC 6298)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MINUTE, MS, SECOND, mss
from tests.stack.l4.tcp.states import in_established, in_syn_sent
from usernat.stack.l4.tcp.state import State, TcpError

SIZE = 1000
RTO = 200 * MS


@pytest.mark.rfc("6298", "2.1-a")
def test_lost_syn_is_repeated_for_three_minutes() -> None:
    """RFC 9293 MUST-20, MUST-22, MUST-23."""
    peer = in_syn_sent()
    times = []
    while peer.conn.state is State.SYN_SENT:
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
        times += [seg.at for seg in peer.drain()]
    assert times[0] == SECOND, "RFC 6298 2.1-a"
    assert times[1] == 3 * SECOND
    assert peer.now >= 180 * SECOND
    assert peer.conn.error is TcpError.TIMED_OUT
    peer.assert_nothing_held()


@pytest.mark.rfc("6298", "5.7-a")
@pytest.mark.rfc("6928", "2-d")
@pytest.mark.rfc("5681", "3.1-c")
def test_lost_syn_makes_data_start_slowly() -> None:
    """RFC 6298 5.7-a, RFC 6928 2-d: RTO of 3 s; IW stays after one lost SYN, and is one segment after more."""
    peer = in_syn_sent()
    peer.wait(SECOND)
    peer.drain()
    peer.sends("SA", at=SECOND + MS, options=mss(1000))
    assert peer.conn.snd.rtt.rto_us >= 3 * SECOND
    assert peer.conn.snd.cc.cwnd == 10_000
    peer = in_syn_sent()
    peer.wait(3 * SECOND)
    peer.drain()
    peer.sends("SA", options=mss(1000))
    assert peer.conn.snd.cc.cwnd == 1000


def test_c09_lost_syn_ack() -> None:
    """RFC 9293 3.10.7.4-g: the peer's SYN again, and our own timer, bring the SYN,ACK again."""
    peer = Peer().listens()
    peer.sends("S")
    first = peer.expects("SA")
    peer.sends("S", at=500 * MS, seq=0)
    again = peer.expects("SA", seq=0, ack=1)
    assert again.options == first.options
    peer.silence(until=SECOND - 1)
    peer.wait(2 * SECOND)
    peer.expects("SA", seq=0)
    assert peer.layer.report()["half_open"] == 1


def test_c02_lost_data_and_fin() -> None:
    peer = in_established()
    peer.conn.send(b"all")
    peer.conn.shutdown()
    peer.expects("FPA", seq=1, data=b"all")
    peer.expects("FPA", at=RTO, seq=1, data=b"all")
    peer.sends("A", ack=4)
    peer.expects("FA", at=RTO + peer.conn.snd.rtt.rto_us, seq=4)
    peer.sends("A", ack=5)
    peer.assert_state(State.FIN_WAIT_2)


def test_user_timeout() -> None:
    """RFC 9293 MUST-20, MUST-21, SHLD-9, SHLD-10, SHLD-11, 3.10.8-a: R1 is reported, R2 ends."""
    peer = in_established(user_timeout_us=100 * SECOND)
    peer.conn.send(b"x")
    peer.drain()
    peer.ready()
    for _ in range(3):
        assert not peer.conn.in_trouble
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
    assert peer.conn.in_trouble
    assert peer.ready() == [peer.conn]
    peer.wait(100 * SECOND - 1)
    peer.assert_state(State.ESTABLISHED)
    assert peer.ready() == [], "reported once"
    peer.wait(100 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT
    peer.drain()
    peer.assert_nothing_held()


def test_answers_without_progress_do_not_put_off_the_user_timeout() -> None:
    """RFC 9293 §3.8.3 R2: MUST-37 excuses a closed window, not a peer that repeats an old ACK with an open one."""
    peer = in_established(user_timeout_us=100 * SECOND)
    peer.conn.send(b"x")
    for number in range(1, 10):
        peer.sends("A", ack=1, at=number * 10 * SECOND)
    peer.wait(100 * SECOND - 1)
    peer.assert_state(State.ESTABLISHED)
    peer.wait(100 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT


def test_user_timeout_per_connection() -> None:
    """RFC 9293 MUST-21: five seconds, or for ever."""
    peer = in_established()
    peer.conn.user_timeout_us = 5 * SECOND
    peer.conn.send(b"x")
    peer.wait(5 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT
    peer = in_established()
    peer.conn.user_timeout_us = None
    peer.conn.send(b"x")
    peer.wait(600 * MINUTE)
    peer.assert_state(State.ESTABLISHED)


def test_progress_restarts_the_user_timeout() -> None:
    peer = in_established(user_timeout_us=100 * SECOND)
    peer.conn.send(b"xy")
    peer.drain()
    peer.sends("A", at=99 * SECOND, ack=2)
    peer.wait(150 * SECOND)
    peer.assert_state(State.ESTABLISHED)


def test_keep_alive() -> None:
    """RFC 9293 MUST-24 to MUST-29, SHLD-12."""
    peer = in_established()
    peer.silence(until=180 * MINUTE)
    peer.conn.keep_alive(True, idle_us=10 * SECOND)
    start = peer.now
    peer.conn.heard_at = peer.rig.now
    peer.expects("A", at=start + 10 * SECOND, seq=0, data=b"")
    peer.sends("A", ack=1)
    for probe in range(1, 10):
        peer.expects("A", at=start + 10 * SECOND + probe * 10 * SECOND, seq=0)
        peer.assert_state(State.ESTABLISHED)
    peer.wait(start + 110 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT


def test_keep_alive_waits_while_something_is_out() -> None:
    """RFC 9293 MUST-26."""
    peer = in_established()
    peer.conn.keep_alive(True, idle_us=SECOND)
    peer.conn.send(b"x")
    peer.wait(10 * SECOND)
    assert peer.count("keepalive_probes") == 0
