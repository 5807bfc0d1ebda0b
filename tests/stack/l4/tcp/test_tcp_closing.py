"""Closing, aborting and being reset, state by state (RFC 9293 §3.6, §3.10.4, §3.10.5, §3.10.7.4)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MINUTE, MS, SECOND
from tests.stack.l4.tcp.states import (
    STATES,
    SYNCHRONIZED,
    in_close_wait,
    in_closing,
    in_established,
    in_fin_wait_1,
    in_fin_wait_2,
    in_last_ack,
    in_time_wait,
)
from usernat.stack.l4.tcp.state import State, TcpError

TIME_WAIT_US = MINUTE


@pytest.mark.rfc("9293", "MUST-13", "3.10.7.4-l", "3.10.8-c")
def test_we_close_first() -> None:
    """RFC 9293 3.10.7.4-l, MUST-13, 3.10.8-c."""
    peer = in_fin_wait_1()
    peer.assert_state(State.FIN_WAIT_1)
    peer.sends("A", ack=2)
    peer.assert_state(State.FIN_WAIT_2)
    peer.sends("FA", ack=2)
    peer.expects("A", seq=2, ack=2)
    peer.assert_state(State.TIME_WAIT)
    assert peer.conn.closed
    assert peer.conn.error is None
    assert peer.layer.report()["time_wait"] == 1
    peer.silence(until=TIME_WAIT_US - 1)
    peer.assert_state(State.TIME_WAIT)
    peer.silence(until=TIME_WAIT_US)
    peer.assert_state(State.CLOSED)
    peer.assert_nothing_held()


def test_fin_and_its_ack_in_one_segment() -> None:
    peer = in_fin_wait_1()
    peer.sends("FA", ack=2)
    peer.expects("A", seq=2, ack=2)
    peer.assert_state(State.TIME_WAIT)


@pytest.mark.rfc("9293", "3.10.7.4-l", "3.10.7.4-o")
def test_they_close_first() -> None:
    """RFC 9293 3.10.7.4-o, -l: LAST-ACK to CLOSED."""
    peer = in_close_wait()
    assert peer.conn.at_eof
    peer.assert_state(State.CLOSE_WAIT)
    peer.conn.send(b"bye")
    peer.expects("PA", data=b"bye")
    peer.conn.shutdown()
    peer.expects("FA", seq=4)
    peer.sends("A", ack=5)
    peer.assert_state(State.CLOSED)
    assert peer.conn.error is None
    peer.assert_nothing_held()


@pytest.mark.rfc("9293", "3.10.7.4-l")
def test_simultaneous_close() -> None:
    """RFC 9293 §3.6 figure 13, 3.10.7.4-l."""
    peer = in_closing()
    peer.assert_state(State.CLOSING)
    peer.sends("A", ack=2)
    peer.assert_state(State.TIME_WAIT)
    peer.silence(until=peer.now + TIME_WAIT_US)  # their FIN has been acknowledged before
    peer.assert_nothing_held()


def test_their_fin_and_the_ack_of_ours_in_one_batch() -> None:
    """RFC 9293 MUST-58: one ACK, in whichever order they come; a peer that is gone with it would answer a second one with RST."""
    for first, second in ((("A", 2), ("FA", 2)), (("FA", 1), ("A", 2))):
        peer = in_established()
        peer.conn.shutdown()
        peer.expects("FA")
        peer.sends(first[0], ack=first[1], flush=False)
        peer.sends(second[0], ack=second[1], flush=False)
        peer.expects("A", seq=2, ack=2)
        peer.assert_state(State.TIME_WAIT)
        peer.silence(until=peer.now + 10 * SECOND)


def test_fin_rides_on_the_last_text() -> None:
    peer = in_established()
    peer.conn.send(b"last words")
    peer.conn.shutdown()
    peer.expects("FPA", seq=1, data=b"last words")
    peer.silence(until=100 * MS)


def test_fin_waits_where_the_text_fills_the_window() -> None:
    """RFC 9293 3.4: the FIN occupies a number, which must lie in the window like any other."""
    peer = Peer().connected(window=100)
    peer.conn.send(bytes(100))
    peer.conn.shutdown()
    peer.expects("PA", data=bytes(100))
    peer.silence()
    peer.sends("A", window=100)
    peer.expects("FA", seq=101)


def test_fin_alone_carries_no_push() -> None:
    peer = in_established()
    peer.conn.shutdown()
    assert peer.expects("FA").flags == "FA"


@pytest.mark.rfc("9293", "3.10.7.4-m")
def test_time_wait_answers_a_repeated_fin_and_waits_again() -> None:
    """RFC 9293 3.10.7.4-m."""
    peer = in_time_wait()
    peer.sends("FA", at=30 * SECOND, seq=1, ack=2)
    peer.expects("A", seq=2, ack=2)
    peer.silence(until=90 * SECOND - 1)
    assert peer.layer.report()["time_wait"] == 1
    peer.wait(90 * SECOND)
    peer.assert_nothing_held()


@pytest.mark.rfc("5961", "3.2-f")
def test_time_wait_ends_with_an_exact_reset_only() -> None:
    """RFC 5961 3.2-f."""
    peer = in_time_wait()
    peer.sends("R", seq=3)
    assert peer.layer.report()["time_wait"] == 1
    peer.sends("R", seq=2)
    peer.assert_nothing_held()


def test_unread_bytes_survive_the_end() -> None:
    peer = in_fin_wait_2()
    peer.sends("FA", ack=2, data=b"rest")
    peer.expects("A", ack=6)
    peer.assert_state(State.TIME_WAIT)
    assert peer.conn.recv(100) == b"rest"
    assert peer.conn.at_eof


@pytest.mark.rfc("9293", "SHLD-3", "MAY-1")
def test_close_with_unread_bytes_resets() -> None:
    """RFC 9293 SHLD-3."""
    peer = in_established()
    peer.sends("A", data=b"unread")
    peer.conn.close()
    peer.expects("RA", seq=1, ack=7)
    peer.assert_nothing_held()


@pytest.mark.rfc("9293", "SHLD-3", "MAY-1")
def test_bytes_after_close_reset() -> None:
    """RFC 9293 SHLD-3."""
    peer = in_established()
    peer.conn.close()
    peer.expects("FA")
    peer.sends("A", ack=2, data=b"late")
    peer.expects("RA")
    assert peer.count("text_after_close") == 1
    peer.assert_nothing_held()


def test_old_bytes_with_a_fin_after_close_do_not_reset() -> None:
    """RFC 9293 SHLD-3 is about data that is lost; this has been read."""
    peer = in_established()
    peer.sends("A", data=b"bye")
    assert peer.conn.recv(10) == b"bye"
    peer.conn.close()
    peer.expects("FA", ack=4)
    peer.sends("FA", seq=1, ack=2, data=b"bye")
    peer.expects("A", seq=2, ack=5)
    peer.assert_state(State.TIME_WAIT)


def test_bytes_after_shutdown_are_read() -> None:
    peer = in_fin_wait_2()
    peer.sends("A", ack=2, data=b"still talking")
    assert peer.conn.recv(100) == b"still talking"
    peer.silence(until=39 * MS)


def test_close_gives_the_peer_a_while_to_finish() -> None:
    """A departure from RFC 9293, which would wait for ever: fin_wait_2_us."""
    peer = in_established()
    peer.conn.close()
    peer.expects("FA")
    peer.sends("A", ack=2)
    peer.silence(until=MINUTE - 1)
    peer.assert_state(State.FIN_WAIT_2)
    peer.silence(until=MINUTE)
    peer.assert_state(State.CLOSED)
    assert peer.count("fin_wait_2_timeouts") == 1
    peer.assert_nothing_held()


def test_shutdown_waits_for_ever() -> None:
    peer = in_fin_wait_2()
    peer.silence(until=1000 * MINUTE)
    peer.assert_state(State.FIN_WAIT_2)


@pytest.mark.parametrize("name", STATES)
def test_abort_in_every_state(name: str) -> None:
    """RFC 9293 §3.10.5."""
    peer = STATES[name]()
    peer.drain()
    peer.conn.abort()
    segments = peer.drain()
    if name in {"SYN_SENT", "TIME_WAIT"}:
        assert not segments
    else:
        assert [seg.flags for seg in segments] == ["RA"]
        assert segments[0].seq == peer.ack
    if name != "TIME_WAIT":
        peer.assert_state(State.CLOSED)
        peer.assert_nothing_held()


@pytest.mark.rfc("9293", "MUST-12", "SHLD-2")
@pytest.mark.rfc("5961", "3.2-c")
@pytest.mark.parametrize("name", STATES)
def test_reset_by_the_peer_in_every_state(name: str) -> None:
    """RFC 5961 3.2-c, RFC 9293 MUST-12: told apart from a normal end."""
    peer = STATES[name]()
    conn = peer.conn
    peer.sends("RA" if name == "SYN_SENT" else "R", ack=1, data=b"why" if name == "ESTABLISHED" else b"")
    peer.silence()
    if name == "TIME_WAIT":
        assert conn.error is None
    else:
        assert conn.error is (TcpError.REFUSED if name == "SYN_SENT" else TcpError.RESET)
    assert conn.closed
    peer.assert_nothing_held()


@pytest.mark.rfc("9293", "3.10.7.4-h")
@pytest.mark.parametrize("name", SYNCHRONIZED)
def test_segments_without_ack_are_dropped(name: str) -> None:
    """RFC 9293 3.10.7.4-h."""
    peer = SYNCHRONIZED[name]()
    state = peer.conn.state
    peer.sends("", data=b"x")
    peer.sends("F")
    peer.silence()
    assert peer.count("no_ack") == 2
    peer.assert_state(state)


@pytest.mark.rfc("9293", "3.10.7.4-n")
@pytest.mark.parametrize("make", [in_close_wait, in_closing, in_last_ack])
def test_text_after_fin_is_ignored(make: object) -> None:
    """RFC 9293 3.10.7.4-n."""
    peer = make()  # type: ignore[operator] # one of the fixtures
    peer.sends("A", ack=1, data=b"ghost")
    assert peer.conn.readable == 0
    assert peer.count("text_after_fin") == 1


@pytest.mark.rfc("9293", "3.10.7.4-o")
def test_fin_before_its_text_is_held() -> None:
    """RFC 9293 3.10.7.4-o."""
    peer = in_established()
    peer.sends("FA", seq=4, data=b"def")
    peer.expects("A", ack=1)
    peer.assert_state(State.ESTABLISHED)
    peer.sends("A", seq=1, data=b"abc")
    peer.expects("A", ack=8)
    peer.assert_state(State.CLOSE_WAIT)
    assert peer.conn.recv(10) == b"abcdef"


def test_nothing_follows_on_a_fin() -> None:
    """Text beyond a FIN that came early, and a FIN before text that came early: RCV.NXT never moves back."""
    peer = in_established()
    peer.sends("FA", seq=4)
    peer.sends("A", seq=1, data=b"abcdefgh")
    assert peer.drain()[-1].ack == 5
    assert peer.conn.recv(10) == b"abc"
    assert peer.conn.at_eof
    peer = in_established()
    peer.sends("A", seq=3, data=b"cdef")
    peer.sends("FA", seq=4)
    peer.sends("A", seq=1, data=b"ab")
    assert peer.drain()[-1].ack == 7
    assert peer.conn.recv(10) == b"abcdef"
    peer.assert_state(State.ESTABLISHED)
    peer.sends("FA", seq=2)
    peer.assert_state(State.ESTABLISHED)
    peer.sends("FA", seq=7)
    peer.assert_state(State.CLOSE_WAIT)
