"""Opening, state by state (RFC 9293 §3.5, §3.9.1.1, §3.10.7.1 to §3.10.7.3)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MINUTE, mss, scale
from tests.stack.l4.tcp.states import (
    STATES,
    in_syn_received,
    in_syn_sent,
)
from usernat.stack.addr import parse_ip
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.layer import TableFullError
from usernat.stack.l4.tcp.state import State, TcpError

TIME_WAIT_US = MINUTE


@pytest.mark.parametrize("name", STATES)
def test_each_fixture_is_in_its_state(name: str) -> None:
    assert STATES[name]().conn.state.name == name


@pytest.mark.rfc("9293", "3.10.7.2-c", "3.10.7.4-i")
def test_passive_open() -> None:
    """RFC 9293 3.10.7.2-c, 3.10.7.4-i."""
    peer = Peer().listens()
    peer.sends("S")
    peer.expects("SA", seq=0, ack=1)
    assert peer.listener.accept() is None
    peer.ack = 1
    peer.sends("A")
    assert peer.ready() == [peer.listener]
    conn = peer.listener.accept()
    assert isinstance(conn, Connection)
    assert conn.state is State.ESTABLISHED
    peer.silence(until=10 * MINUTE)


@pytest.mark.rfc("9293", "3.10.7.3-c")
def test_active_open() -> None:
    """RFC 9293 3.10.7.3-c."""
    peer = in_syn_sent()
    assert not peer.conn.established
    peer.sends("SA")
    peer.expects("A", seq=1, ack=1)
    assert peer.conn.established
    assert peer.ready() == [peer.conn]


@pytest.mark.rfc("9293", "MUST-10", "3.10.7.3-c")
def test_simultaneous_open() -> None:
    """RFC 9293 MUST-10, figure 8: SYNs cross."""
    peer = in_syn_sent()
    peer.sends("S")
    peer.expects("SA", seq=0, ack=1)
    peer.assert_state(State.SYN_RECEIVED)
    peer.sends("SA", seq=0, ack=1)
    peer.assert_state(State.ESTABLISHED)
    peer.sends("A", data=b"x")
    assert peer.conn.recv(10) == b"x"


@pytest.mark.rfc("9293", "MUST-10")
def test_simultaneous_open_ends_by_a_plain_ack_too() -> None:
    """RFC 9293 MUST-10."""
    peer = in_syn_sent()
    peer.sends("S")
    peer.expects("SA")
    peer.sends("A", ack=1)
    peer.assert_state(State.ESTABLISHED)


@pytest.mark.rfc("7323", "2.2-c")
def test_simultaneous_open_takes_no_scaled_window_from_a_syn() -> None:
    """RFC 7323 2.2-c: SYN,ACKs included."""
    peer = Peer().is_called()
    peer.sends("S", options=mss(1460) + scale(7), window=1000)
    peer.expects("SA")
    peer.sends("SA", seq=0, options=mss(1460) + scale(7), window=1000)
    peer.assert_state(State.ESTABLISHED)
    assert peer.conn.snd.snd_wnd == 1000
    peer.sends("A", window=1000)
    assert peer.conn.snd.snd_wnd == 1000 << 7


@pytest.mark.rfc("9293", "MUST-11", "3.10.7.4-e")
def test_syn_received_reached_actively_remembers_it() -> None:
    """RFC 9293 MUST-11, 3.10.7.4-e: RST then means refused."""
    peer = in_syn_sent()
    peer.sends("S")
    peer.expects("SA")
    peer.sends("R")
    assert peer.conn.error is TcpError.REFUSED
    peer.assert_nothing_held()


@pytest.mark.rfc("9293", "MUST-11", "3.10.7.4-e")
def test_syn_received_reached_passively_goes_back_to_listen() -> None:
    """RFC 9293 MUST-11, 3.10.7.4-e."""
    peer = in_syn_received()
    peer.sends("R")
    peer.silence()
    peer.assert_state(State.CLOSED)
    assert peer.ready() == [], "nobody knew of it"
    peer.assert_nothing_held()
    peer.seq = 0
    peer.sends("S")
    peer.expects("SA")


@pytest.mark.rfc("9293", "3.10.7.3-a")
@pytest.mark.parametrize("ack", [0, 2, -1, 100_000])
def test_syn_sent_bad_ack_draws_a_reset(ack: int) -> None:
    """RFC 9293 3.10.7.3-a."""
    peer = in_syn_sent()
    peer.sends("SA", ack=ack)
    peer.expects("R", seq=ack & 0xFFFFFFFF)
    peer.assert_state(State.SYN_SENT)
    peer.sends("RA", ack=ack)
    peer.silence()
    peer.assert_state(State.SYN_SENT)


@pytest.mark.rfc("9293", "3.10.7.3-b")
@pytest.mark.rfc("5961", "3.2-e")
def test_syn_sent_reset_needs_an_ack() -> None:
    """RFC 9293 3.10.7.3-b, RFC 5961 3.2-e."""
    peer = in_syn_sent()
    peer.sends("R")
    peer.assert_state(State.SYN_SENT)
    assert peer.count("blind_reset") == 1
    peer.sends("RA", ack=1)
    assert peer.conn.error is TcpError.REFUSED
    assert peer.ready() == [peer.conn]
    peer.assert_nothing_held()


@pytest.mark.rfc("9293", "3.10.7.3-d", "3.10.7.4-p")
def test_syn_sent_ignores_the_rest() -> None:
    """RFC 9293 3.10.7.3-d, 3.10.7.4-p."""
    peer = in_syn_sent()
    for flags in ("A", "FA", "PA", "F", ""):
        peer.sends(flags, ack=1)
    peer.silence()
    peer.assert_state(State.SYN_SENT)
    assert peer.count("no_syn") == 5


def test_syn_ack_with_text_and_fin() -> None:
    """RFC 9293 3.10.7.3, fifth step: text and FIN are taken at once."""
    peer = in_syn_sent()
    peer.sends("SFA", data=b"hello")
    peer.expects("A", seq=1, ack=7)
    peer.assert_state(State.CLOSE_WAIT)
    assert peer.conn.recv(100) == b"hello"
    assert peer.conn.at_eof


@pytest.mark.rfc("9293", "3.10.7.4-i")
@pytest.mark.parametrize("ack", [0, 2, 70_000])
def test_syn_received_bad_ack_draws_a_reset(ack: int) -> None:
    """RFC 9293 3.10.7.4-i."""
    peer = in_syn_received()
    peer.sends("A", ack=ack)
    peer.expects("R", seq=ack)
    peer.assert_state(State.SYN_RECEIVED)


def test_text_on_the_last_ack_of_the_handshake() -> None:
    peer = in_syn_received()
    peer.sends("A", ack=1, data=b"early")
    conn = peer.listener.accept()
    assert isinstance(conn, Connection)
    assert conn.recv(10) == b"early"


@pytest.mark.rfc("9293", "3.10.7.1-a", "3.10.7.1-b", "3.10.7.1-c")
def test_closed_draws_resets() -> None:
    """RFC 9293 3.10.7.1-a, -b, -c."""
    peer = Peer()
    peer.iss = 0
    peer.sends("S", data=b"12345")
    peer.expects("RA", seq=0, ack=6)
    peer.sends("A", ack=77)
    peer.expects("R", seq=77)
    peer.sends("R")
    peer.sends("RA")
    peer.silence()
    assert peer.count("resets_sent") == 2
    assert peer.count("stray_reset") == 2


@pytest.mark.rfc("9293", "3.10.7.2-a", "3.10.7.2-b", "3.10.7.2-d")
def test_listen_answers_only_syn_and_ack() -> None:
    """RFC 9293 3.10.7.2-a, -b, -d."""
    peer = Peer().listens()
    peer.iss = 0
    for flags in ("R", "RA", "F", "U", ""):
        peer.sends(flags)
    peer.silence()
    for flags in ("A", "SA", "FA"):
        peer.sends(flags, ack=9)
        peer.expects("R", seq=9)
    assert peer.layer.report()["table"] == 0


@pytest.mark.rfc("9293", "3.10.7.2-c")
def test_text_on_a_syn_is_sent_again_by_the_peer() -> None:
    """RFC 9293 3.10.7.2-c: it is not acknowledged, so it is not lost."""
    peer = Peer().listens()
    peer.sends("S", data=b"abc")
    peer.expects("SA", ack=1)
    peer.ack = 1
    peer.sends("A", seq=1, data=b"abc")
    conn = peer.listener.accept()
    assert isinstance(conn, Connection)
    assert conn.recv(10) == b"abc"


@pytest.mark.rfc("9293", "MUST-46")
def test_connect_to_impossible_addresses() -> None:
    """RFC 9293 MUST-46."""
    layer = Peer().layer
    for address in ("255.255.255.255", "224.0.0.1", "0.0.0.0", "127.0.0.1", "10.0.2.255"):
        with pytest.raises(ValueError, match="cannot connect"):
            layer.connect(parse_ip(address), 80)
    for port in (0, 65536, -1):
        with pytest.raises(ValueError, match="port"):
            layer.connect(parse_ip("10.0.2.15"), port)
    with pytest.raises(ValueError, match="no route"):
        layer.connect(parse_ip("192.0.2.1"), 80)
    with pytest.raises(ValueError, match="cannot connect from"):
        layer.connect(parse_ip("10.0.2.15"), 80, local=parse_ip("10.0.2.77"))


def test_connect_twice_from_one_port() -> None:
    peer = in_syn_sent()
    with pytest.raises(ValueError, match="in use"):
        peer.layer.connect(peer.conn.remote, peer.conn.remote_port, local_port=peer.conn.local_port)


def test_connect_when_the_table_is_full() -> None:
    peer = in_syn_sent(max_connections=1)
    with pytest.raises(TableFullError):
        peer.layer.connect(peer.conn.remote, 81)


@pytest.mark.rfc("9293", "MUST-41", "MUST-42")
def test_listen_twice() -> None:
    """RFC 9293 MUST-41, MUST-42."""
    peer = in_syn_sent()
    peer.layer.listen(None, 49152)
    with pytest.raises(ValueError, match="listens"):
        peer.layer.listen(None, 49152)
    peer.assert_state(State.SYN_SENT)
