"""Listeners, held calls and bounded tables (RFC 9293 §3.9.1.1, C21, C60)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MINUTE, SECOND, mss
from tests.stack.l4.tcp.states import in_established
from tests.stack.packets import GATEWAY, GUEST, REMOTE
from tests.stack.rig import Rig
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.incoming import Incoming
from usernat.stack.l4.tcp.state import State, TcpError


def holding(**config: Any) -> tuple[Peer, Incoming]:
    """A call is held."""
    peer = Peer(**config).listens(hold=True)
    peer.sends("S", options=mss(1460))
    peer.silence()
    assert peer.ready() == [peer.listener]
    held = peer.listener.accept()
    assert isinstance(held, Incoming)
    assert (held.remote, held.remote_port, held.local, held.local_port) == (GUEST, peer.port, GATEWAY, 80)
    return peer, held


def test_held_call_is_accepted() -> None:
    peer, held = holding()
    peer.silence(until=5 * SECOND)
    peer.conn = held.accept()
    peer.conn.send(b"220 ready")
    peer.expects("SA", seq=0, ack=1)
    peer.ack = 1
    peer.sends("A")
    assert peer.ready() == [peer.conn]
    peer.expects("PA", data=b"220 ready")
    assert peer.listener.accept() is None, "it is the holder's, not the listener's"


def test_held_call_is_refused() -> None:
    peer, held = holding()
    held.refuse()
    peer.expects("RA", seq=0, ack=1)
    peer.assert_nothing_held()


@pytest.mark.parametrize("code", [0, 1, 3, 13])
def test_held_call_is_unreachable(code: int) -> None:
    peer, held = holding()
    held.unreachable(code)
    (datagram,) = peer.rig.sent()
    assert datagram.proto == 1
    assert datagram.payload[:2] == bytes((3, code))
    assert datagram.payload[8:] == bytes(held.packet.datagram)
    peer.assert_nothing_held()


def test_held_call_is_dropped() -> None:
    peer, held = holding()
    held.drop()
    peer.silence(until=SECOND)
    peer.assert_nothing_held()
    peer.sends("S", seq=0)
    assert isinstance(peer.listener.accept(), Incoming)


def test_repeated_syn_is_absorbed_while_held() -> None:
    peer, held = holding()
    for second in range(1, 4):
        peer.sends("S", at=second * SECOND, seq=0, options=mss(1460))
    peer.silence()
    assert peer.listener.accept() is None
    assert not held.cancelled
    assert peer.count("duplicate_syn") == 3


@pytest.mark.parametrize(
    ("seq", "cancelled"), [(0, True), (1, True), (2, False), (-1, False), (70000, False)]
)
def test_reset_cancels_a_held_call(seq: int, cancelled: bool) -> None:
    peer, held = holding()
    peer.sends("R", seq=seq)
    assert held.cancelled is cancelled
    assert peer.ready() == ([held] if cancelled else [])
    if cancelled:
        held.refuse()
        peer.silence()
        late = held.accept()
        assert late.closed
        assert late.error is TcpError.RESET
        peer.silence()
        peer.assert_nothing_held()


def test_call_cancelled_in_the_queue_is_not_handed_out() -> None:
    peer = Peer().listens(hold=True, backlog=1)
    for port in (41001, 41002, 41003):
        peer.sends("S", src_port=port, seq=0)
        peer.sends("R", src_port=port, seq=1)
    assert peer.count("backlog_full") == 0
    assert peer.listener.accept() is None


def test_new_call_from_the_same_port_replaces_a_held_one() -> None:
    peer, held = holding()
    peer.sends("S", seq=1_000_000)
    assert held.cancelled
    assert isinstance(peer.listener.accept(), Incoming)


def test_ack_to_a_held_call_draws_a_reset() -> None:
    """RFC 9293 3.10.7.2-b: to the peer this is still LISTEN."""
    peer, held = holding()
    peer.iss = 0
    peer.sends("A", ack=9)
    peer.expects("R", seq=9)
    assert not held.cancelled


def test_answering_twice_does_no_harm() -> None:
    peer, held = holding()
    conn = held.accept()
    held.refuse()
    held.drop()
    held.unreachable(1)
    assert held.accept().closed
    peer.expects("SA")
    peer.silence()
    assert conn.state is State.SYN_RECEIVED


def test_most_specific_listener_takes_the_call() -> None:
    peer = Peer()
    layer = peer.layer
    order = [(GATEWAY, 80), (None, 80), (GATEWAY, None), (None, None)]
    listeners = {where: layer.listen(*where, hold=True) for where in order}
    for port, where in enumerate(order, 41000):
        peer.port = port
        peer.seq = 0
        peer.sends("S")
        assert isinstance(listeners[where].accept(), Incoming), where
        listeners[where].close()
    peer.port = 42000
    peer.seq = 0
    peer.sends("S")
    peer.expects("RA")


def test_gateway_takes_calls_for_every_address() -> None:
    rig = Rig(any_ip=True)
    listener = rig.interface.tcp.listen(None, None, hold=True)
    peer = Peer(rig=rig)
    tcp = peer.segment("S")
    peer.raw(tcp, dst=REMOTE)
    assert listener.accept() is None, "its checksum is over another address"
    total = int.from_bytes(tcp[16:18], "big")
    fixed = ~(((~total & 0xFFFF) - GATEWAY % 65535 + REMOTE % 65535) % 65535) & 0xFFFF
    peer.raw(tcp[:16] + fixed.to_bytes(2, "big") + tcp[18:], dst=REMOTE)
    held = listener.accept()
    assert isinstance(held, Incoming)
    assert held.local == REMOTE
    assert held.packet.forwarded
    held.accept()
    (answer,) = rig.sent()
    assert answer.src == REMOTE


def test_backlog() -> None:
    """What is not accepted is bounded; calls beyond it are met with silence."""
    peer = Peer().listens(backlog=2)
    for port in (41001, 41002):
        other = Peer(rig=peer.rig, port=port)
        other.listener = peer.listener
        other.calls()
        other.sends("A")
    peer.sends("S")
    peer.silence()
    assert peer.count("backlog_full") == 1
    assert peer.listener.accept() is not None
    peer.sends("S", seq=0)
    peer.expects("SA")


def test_backlog_full_when_the_handshake_is_complete() -> None:
    """One RST, whatever else the segment brings, and nobody is told."""
    peer = Peer().listens(backlog=1)
    other = Peer(rig=peer.rig, port=41001)
    other.listener = peer.listener
    peer.calls()
    other.calls()
    peer.sends("A")
    other.sends("FA", data=b"too late")
    other.expects("RA", seq=1)
    other.silence()
    assert peer.layer.memory.used == 0
    assert peer.listener.accept() is peer.conn


def test_close_of_a_listener() -> None:
    """RFC 9293 §3.10.4: the queue is reset; what was accepted lives on; handshakes in progress end."""
    peer = in_established()
    waiting = Peer(rig=peer.rig, port=41001)
    waiting.listener = peer.listener
    waiting.calls()
    waiting.sends("A")
    half = Peer(rig=peer.rig, port=41002)
    half.listener = peer.listener
    half.calls()
    peer.rig.frames()
    peer.listener.close()
    resets = peer.rig.sent()
    assert len(resets) == 2
    assert {int.from_bytes(reset.payload[2:4], "big") for reset in resets} == {41001, 41002}
    assert {reset.payload[13] for reset in resets} == {0x14}
    peer.assert_state(State.ESTABLISHED)
    assert waiting.conn.closed
    assert half.conn.closed
    assert peer.layer.report()["half_open"] == 0
    peer.sends("S", src_port=41005, flush=False)
    assert peer.layer.report()["table"] == 1, "nobody listens any more"


def test_c21_resets_free_half_open_slots() -> None:
    """1,000 SYN, each then RST; then a normal call succeeds at once."""
    peer = Peer(max_half_open=64).listens()
    for port in range(10_000, 11_000):
        peer.port = port
        peer.sends("S", seq=0, flush=False)
        peer.sends("R", seq=1, flush=False)
    peer.rig.frames()
    assert peer.layer.report()["half_open"] == 0
    fresh = Peer(rig=peer.rig, port=50_000)
    fresh.listener = peer.listener
    fresh.connected()


@pytest.mark.parametrize("hold", [False, True])
def test_c21_c60_half_open_is_bounded(hold: bool) -> None:
    """1,000 SYN never completed: the oldest make room; then a normal call succeeds at once."""
    peer = Peer(max_half_open=64).listens(hold=hold, backlog=10_000)
    for port in range(10_000, 11_000):
        peer.port = port
        peer.sends("S", seq=0, flush=False)
    assert peer.layer.report()["half_open"] == 64
    assert peer.count("half_open_evicted") == 936
    peer.rig.frames()
    peer.rig.interface.ready()
    fresh = Peer(rig=peer.rig, port=50_000)
    if hold:
        fresh.sends("S")
        held = [peer.listener.accept() for _ in range(64)]
        last = held[-1]
        assert isinstance(last, Incoming)
        assert last.remote_port == 50_000
        fresh.conn = last.accept()
        fresh.expects("SA")
        fresh.ack = 1
        fresh.sends("A")
        assert fresh.conn.established
    else:
        fresh.listener = peer.listener
        fresh.connected()


def test_evicted_held_calls_are_cancelled() -> None:
    peer, held = holding(max_half_open=1)
    peer.sends("S", src_port=41001, seq=0)
    assert held.cancelled
    assert set(peer.ready()) == {held, peer.listener}


def test_evicted_accepted_calls_say_so() -> None:
    peer, held = holding(max_half_open=1)
    conn = held.accept()
    peer.expects("SA")
    peer.sends("S", src_port=41001, seq=0)
    assert conn.error is TcpError.EVICTED


def test_c60_connections_are_bounded() -> None:
    peer = Peer(max_connections=5).listens()
    for port in range(10_000, 10_010):
        peer.sends("S", src_port=port, seq=0, flush=False)
    assert peer.layer.report()["table"] == 5
    assert peer.count("table_full") == 5


def test_user_timeout_of_a_half_open_call() -> None:
    """Nobody completes it: it ends by itself (RFC 9293 MUST-23 bounds it from below)."""
    peer = Peer().calls()
    peer.wait(10 * MINUTE)
    peer.drain()
    peer.assert_nothing_held()


def test_config_is_the_layers() -> None:
    rig = Rig(tcp=TcpConfig(receive_buffer=1234))
    peer = Peer(rig=rig).connected()
    assert isinstance(peer.conn, Connection)
    assert peer.layer.config.receive_buffer == 1234
    assert peer.conn.rcv.limit == 1234
