"""How long a connection waits for an answer, whom it tells meanwhile, and what keep-alive does (RFC 9293 §3.8.3, §3.8.4)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MINUTE, SECOND, Seg
from tests.stack.l4.tcp.states import in_established, in_syn_received, in_syn_sent
from tests.stack.packets import GUEST, REMOTE
from tests.stack.rig import Rig
from usernat.stack.addr import parse_ip
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.state import State, TcpError

OTHER_ROUTER = parse_ip("10.0.2.16")
OTHER_MAC = bytes.fromhex("525400abcdef")


def next_event(peer: Peer) -> list[Seg]:
    """The clock goes to the next timer; what leaves then."""
    due = peer.layer.poll_at()
    assert due is not None
    peer.wait(due - peer.start)
    return peer.drain()


def trouble(peer: Peer) -> Peer:
    """Three retransmissions of one segment have gone unanswered: R1."""
    peer.conn.send(b"x")
    peer.drain()
    peer.ready()
    for _ in range(3):
        assert not peer.conn.in_trouble
        assert next_event(peer)
    return peer


# -- R1 and R2 of text ------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "MUST-20", "SHLD-9", "SHLD-10", "3.10.8-a")
def test_trouble_is_told_and_then_it_ends() -> None:
    """The application hears of R1 once; at R2 the queues are flushed, the error is said and the record is gone."""
    peer = trouble(in_established(user_timeout_us=100 * SECOND))
    assert peer.conn.in_trouble
    assert peer.ready() == [peer.conn]
    peer.wait(100 * SECOND - 1)
    peer.assert_state(State.ESTABLISHED)
    assert peer.ready() == []
    assert peer.conn.unacknowledged == 1
    peer.wait(100 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT
    assert peer.conn.unacknowledged == 0
    assert peer.ready() == [peer.conn]
    peer.drain()
    peer.assert_nothing_held()


def test_trouble_ends_with_the_first_acknowledgement() -> None:
    peer = trouble(in_established())
    peer.sends("A", ack=2)
    assert not peer.conn.in_trouble


@pytest.mark.rfc("9293", "MUST-21")
@pytest.mark.parametrize("limit", [5 * SECOND, 1000 * SECOND, None])
def test_each_connection_has_its_own_patience(limit: int | None) -> None:
    peer = in_established()
    peer.conn.user_timeout_us = limit
    peer.conn.send(b"x")
    end = limit if limit is not None else 600 * MINUTE
    peer.wait(end - 1)
    peer.assert_state(State.ESTABLISHED)
    peer.wait(end)
    assert peer.conn.error is (None if limit is None else TcpError.TIMED_OUT)


@pytest.mark.rfc("9293", "SHLD-11")
def test_patience_by_default() -> None:
    """R2 is at least 100 seconds where nobody says otherwise."""
    peer = in_established()
    peer.conn.send(b"x")
    peer.wait(100 * SECOND)
    peer.assert_state(State.ESTABLISHED)
    peer.wait(60 * MINUTE)
    assert peer.conn.error is TcpError.TIMED_OUT


# -- R1: advice to IP -------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "MUST-20")
def test_another_gateway_is_taken_when_the_first_is_dead() -> None:
    """RFC 1122 §3.3.1.4: ARP still believes in the first one; TCP, which hears nothing, has it asked."""
    rig = Rig(gateways=(GUEST, OTHER_ROUTER))
    rig.interface.ethernet.neighbours.learn(OTHER_ROUTER, OTHER_MAC, rig.now)
    conn = rig.interface.tcp.connect(REMOTE, 80)
    started = rig.now
    used = []
    while rig.now < started + 30 * SECOND:
        rig.interface.ethernet.neighbours.learn(OTHER_ROUTER, OTHER_MAC, rig.now)
        used += [bytes(frame)[:6] for frame in rig.frames() if bytes(frame)[12:14] == b"\x08\x00"]
        due = rig.interface.poll_at()
        assert due is not None
        rig.pass_time(max(1, due - rig.now))
    assert conn.in_trouble
    assert used[0] != OTHER_MAC
    assert used[-1] == OTHER_MAC
    assert rig.count("neighbours.failed") == 1


@pytest.mark.rfc("9293", "MUST-20")
def test_a_next_hop_that_lives_is_asked_once() -> None:
    """The advice costs one request for a datagram, not one for each connection that despairs."""
    rig = Rig()
    rig.interface.tcp.listen(None, 80)
    peers = []
    for port in range(41001, 41011):
        peer = Peer(rig=rig, port=port)
        peer.listener = rig.interface.tcp.listeners[None, 80]
        peers.append(peer.connected())
    rig.pass_time(2 * SECOND)
    rig.frames()  # announcements
    for peer in peers:
        peer.conn.report_trouble(rig.now)
    assert GUEST not in rig.interface.ethernet.neighbours.headers
    for peer in peers:
        peer.conn.send(b"still there?")
    frames = [bytes(frame) for frame in rig.frames()]
    assert sum(frame[12:14] == b"\x08\x06" for frame in frames) == 1
    assert sum(frame[12:14] == b"\x08\x00" for frame in frames) == 10, "and nothing waits for the answer"


@pytest.mark.rfc("9293", "MUST-20")
def test_fresh_news_of_a_neighbour_outweigh_the_advice() -> None:
    """RFC 1122 §2.3.2.1: no more than a request a second."""
    peer = in_established()
    neighbours = peer.rig.interface.ethernet.neighbours
    now = peer.rig.now
    peer.conn.report_trouble(now)
    assert GUEST in neighbours.headers
    peer.conn.report_trouble(now + SECOND)
    assert GUEST not in neighbours.headers
    neighbours.doubt(GUEST, now + SECOND)
    neighbours.doubt(REMOTE, now + SECOND)
    assert neighbours.mac_of(GUEST) is not None


# -- SYNs -------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "MUST-20", "MUST-22", "MUST-23")
def test_syn_is_repeated_for_three_minutes() -> None:
    """By the same two thresholds: trouble after three, the end after three minutes, ever longer between."""
    peer = in_syn_sent()
    times = [0]
    while len(times) < 4:
        assert not peer.conn.in_trouble
        times += [seg.at for seg in next_event(peer)]
    assert peer.conn.in_trouble
    assert peer.ready() == [peer.conn]
    while peer.conn.state is State.SYN_SENT:
        times += [seg.at for seg in next_event(peer)]
    assert peer.now >= 180 * SECOND
    assert peer.conn.error is TcpError.TIMED_OUT
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(second == min(2 * first, MINUTE) for first, second in pairwise(gaps))
    peer.assert_nothing_held()


def test_trouble_of_a_syn_is_over_when_it_is_answered() -> None:
    peer = in_syn_sent()
    for _ in range(3):
        next_event(peer)
    assert peer.conn.in_trouble
    peer.sends("SA", ack=1)
    assert peer.conn.established
    assert not peer.conn.in_trouble


@pytest.mark.rfc("9293", "MUST-22", "MUST-23")
def test_syn_ack_is_repeated_for_three_minutes() -> None:
    peer = in_syn_received()
    peer.wait(180 * SECOND - 1)
    peer.assert_state(State.SYN_RECEIVED)
    assert len(peer.drain()) > 3
    peer.wait(10 * MINUTE)
    peer.drain()
    peer.assert_nothing_held()


# -- soft errors ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "SHLD-20")
def test_soft_reports_can_be_switched_off() -> None:
    """Neither ICMP errors nor R1 wake the application; R2 does."""
    peer = in_established(user_timeout_us=100 * SECOND)
    peer.conn.soft_reports = False
    peer.conn.send(b"x")
    peer.drain()
    peer.ready()
    peer.icmp(3, 1, peer.quote(1))
    assert peer.conn.soft_error is None
    for _ in range(4):
        next_event(peer)
    assert not peer.conn.in_trouble
    assert peer.ready() == []
    peer.conn.soft_reports = True
    peer.icmp(3, 1, peer.quote(1))
    assert peer.conn.soft_error == (3, 1)
    assert peer.ready() == [peer.conn]
    peer.conn.soft_reports = False
    peer.wait(100 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT
    assert peer.ready() == [peer.conn]


# -- keep-alive -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "MUST-25")
def test_keep_alive_is_off_by_default() -> None:
    peer = in_established()
    peer.silence(until=1000 * MINUTE)
    peer.assert_state(State.ESTABLISHED)


@pytest.mark.rfc("9293", "MUST-28")
def test_keep_alive_waits_two_hours_by_default() -> None:
    peer = in_established()
    peer.conn.keep_alive(True)
    peer.silence(until=120 * MINUTE - 1)
    peer.wait(121 * MINUTE)
    assert peer.drain()


@pytest.mark.rfc("9293", "MUST-24", "MUST-26", "MUST-27", "MUST-29", "SHLD-12", "MAY-5")
def test_keep_alive() -> None:
    """Of one connection, at its own interval: an empty segment below SND.NXT; answers begin the wait anew, one lost answer is nothing."""
    peer = in_established()
    other = Peer(rig=peer.rig, port=40001)
    other.listener = peer.listener
    other.connected()
    peer.conn.keep_alive(True, idle_us=10 * SECOND)
    peer.expects("A", at=10 * SECOND, seq=0, data=b"")
    peer.sends("A", at=12 * SECOND, ack=1)
    peer.silence(until=22 * SECOND - 1)
    for probe in range(9):
        peer.expects("A", at=(22 + 10 * probe) * SECOND, seq=0, data=b"")
        peer.assert_state(State.ESTABLISHED)
    peer.silence(until=112 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT
    other.silence()
    assert other.conn.state is State.ESTABLISHED


@pytest.mark.rfc("9293", "MUST-24")
def test_keep_alive_can_be_switched_off_again() -> None:
    peer = in_established()
    peer.conn.keep_alive(True, idle_us=SECOND)
    peer.expects("A", at=SECOND, seq=0)
    peer.conn.keep_alive(False)
    peer.silence(until=MINUTE)


@pytest.mark.rfc("9293", "MUST-26")
def test_keep_alive_waits_while_something_is_out() -> None:
    peer = in_established()
    peer.conn.keep_alive(True, idle_us=SECOND)
    peer.conn.send(b"x")
    peer.wait(10 * SECOND)
    assert peer.count("keepalive_probes") == 0


def test_configured_patience() -> None:
    """Of the layer, for connections that say nothing."""
    peer = Peer(rig=Rig(tcp=TcpConfig(user_timeout_us=7 * SECOND))).connected()
    assert isinstance(peer.conn, Connection)
    peer.conn.send(b"x")
    peer.wait(7 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT
