"""Blind attacks and impossible segments (RFC 5961, RFC 9293 §3.9.2.3, §3.10.7.4 first to fourth check)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import SECOND
from tests.stack.l4.tcp.states import SYNCHRONIZED, in_established
from tests.stack.packets import TCP, ipv4
from usernat.stack.addr import parse_ip
from usernat.stack.l4.tcp.state import State, TcpError

WINDOW = 65535


@pytest.mark.rfc("5961", "3.2-b")
@pytest.mark.parametrize("seq", [0, -1, 1 + WINDOW, 1 + WINDOW + 5, 1 << 31])
def test_c10_reset_outside_the_window(seq: int) -> None:
    """RFC 5961 3.2-b: silently dropped."""
    peer = in_established()
    peer.sends("R", seq=seq)
    peer.silence()
    peer.assert_state(State.ESTABLISHED)
    assert peer.count("blind_reset") == 1


@pytest.mark.rfc("5961", "3.2-a", "3.2-d")
@pytest.mark.parametrize("seq", [2, 1000, WINDOW])
def test_c10_reset_in_the_window_but_not_exact(seq: int) -> None:
    """RFC 5961 3.2-d: a challenge ACK."""
    peer = in_established()
    peer.sends("R", seq=seq)
    peer.expects("A", seq=1, ack=1)
    peer.assert_state(State.ESTABLISHED)
    assert peer.count("challenge_acks") == 1


@pytest.mark.rfc("5961", "3.2-c")
def test_c10_reset_exact() -> None:
    """RFC 5961 3.2-c."""
    peer = in_established()
    peer.sends("R", seq=1)
    peer.silence()
    assert peer.conn.error is TcpError.RESET


@pytest.mark.rfc("5961", "3.2-f")
def test_c10_reset_in_the_window_of_a_half_open_call() -> None:
    """RFC 5961 3.2-f: SYN-RECEIVED too; and the ACK leaves, once."""
    peer = Peer().calls()
    peer.sends("R", seq=77)
    peer.expects("A", seq=1, ack=1)
    peer.silence(until=SECOND - 1)
    peer.assert_state(State.SYN_RECEIVED)


@pytest.mark.rfc("5961", "3.2-b")
@pytest.mark.parametrize("flags", ["SR", "SRA"])
def test_reset_with_a_syn_on_it_needs_the_right_number_too(flags: str) -> None:
    """In SYN-RECEIVED, with the number of the peer's SYN: one below what is awaited."""
    peer = Peer().calls()
    peer.sends(flags, seq=0, ack=1)
    peer.silence()
    peer.assert_state(State.SYN_RECEIVED)
    assert peer.count("blind_reset") == 1
    peer.sends("R", seq=1)
    peer.assert_state(State.CLOSED)


@pytest.mark.rfc("5961", "4.2-a", "4.2-b", "4.2-c")
@pytest.mark.rfc("9293", "3.10.7.4-f")
@pytest.mark.parametrize("seq", [0, 1, 5000, 1 << 30, -7])
def test_c10_syn_of_any_number(seq: int) -> None:
    """RFC 5961 4.2-b, -c, RFC 9293 3.10.7.4-f."""
    peer = in_established()
    peer.sends("S", seq=seq)
    peer.expects("A", seq=1, ack=1)
    peer.assert_state(State.ESTABLISHED)
    peer.sends("R", seq=1)  # the answer of a peer that has lost its memory
    peer.assert_state(State.CLOSED)
    peer.sends("S", seq=seq + 9)
    peer.expects("SA", ack=(seq + 10) & 0xFFFFFFFF)


@pytest.mark.rfc("5961", "3.2-f")
@pytest.mark.parametrize("name", SYNCHRONIZED)
def test_c10_in_every_synchronized_state(name: str) -> None:
    """RFC 5961 3.2-f."""
    peer = SYNCHRONIZED[name]()
    state, expected = peer.conn.state, peer.seq
    for flags, seq in (
        ("R", 500_000),
        ("R", expected - 1),
        ("S", 0),
        ("SA", 7),
        ("R", expected + 1),
        ("R", expected + 100),
    ):
        peer.sends(flags, seq=seq)
    assert all(seg.flags == "A" for seg in peer.drain())
    peer.assert_state(state)


@pytest.mark.rfc("9293", "3.10.7.4-g")
def test_syn_received_new_syn_goes_back_to_listen() -> None:
    """RFC 9293 3.10.7.4-g: in the window, not the one we know."""
    peer = Peer().calls()
    peer.sends("S", seq=77)
    peer.silence()
    peer.assert_state(State.CLOSED)
    peer.sends("S", seq=77)
    peer.expects("SA", ack=78)


@pytest.mark.rfc("5961", "5.2-b")
@pytest.mark.rfc("9293", "3.10.7.4-j")
@pytest.mark.parametrize("ack", [1 - WINDOW - 1, 2, 1 << 30])
def test_ack_out_of_range(ack: int) -> None:
    """RFC 5961 5.2-b, -c, RFC 9293 3.10.7.4-j: answered, and its text not taken."""
    peer = in_established()
    peer.sends("A", ack=ack, data=b"evil")
    peer.expects("A", ack=1)
    assert peer.conn.readable == 0
    assert peer.count("bad_ack") == 1


def test_old_ack_in_range_may_carry_text() -> None:
    peer = in_established()
    peer.conn.send(b"x" * 100)
    peer.expects("PA")
    peer.sends("A", ack=101)
    peer.sends("A", ack=1, data=b"late")
    assert peer.conn.recv(9) == b"late"


@pytest.mark.rfc("5961", "7-a", "7-b", "7-c")
def test_challenge_acks_are_throttled_per_connection() -> None:
    """RFC 5961 7-a, 7-b, 7-c."""
    peer = in_established(challenge_acks=10, challenge_window_us=5 * SECOND)
    for _ in range(50):
        peer.sends("R", seq=1000)
    assert len(peer.drain()) == 10
    assert peer.count("challenge_acks_throttled") == 40
    other = Peer(rig=peer.rig, port=40001)
    other.listener = peer.listener
    other.connected()
    other.sends("R", seq=1000)
    other.expects("A")
    peer.sends("R", seq=1000, at=5 * SECOND)
    peer.expects("A")


def test_two_ends_that_disagree_do_not_answer_each_other_for_ever() -> None:
    peer = in_established()
    for _ in range(100):
        peer.sends("A", seq=500_000)
    assert len(peer.drain()) == 10


def test_c16_port_zero() -> None:
    peer = Peer().listens()
    peer.sends("S", src_port=0)
    peer.sends("S", dst_port=0)
    peer.silence()
    assert peer.count("port_zero") == 2


@pytest.mark.rfc("9293", "MUST-3")
def test_c13_bad_checksum() -> None:
    """RFC 9293 MUST-3; a device that vouches is believed."""
    peer = in_established()
    peer.sends("A", data=b"x", spoil=1)
    peer.silence()
    assert peer.conn.readable == 0
    assert peer.count("bad_checksum") == 1
    peer.seq = 1
    peer.rig.receive(ipv4(peer.segment("A", data=b"x", spoil=1), proto=TCP), checksum_ok=True)
    assert peer.conn.readable == 1


def test_truncated_header() -> None:
    peer = in_established()
    for size in range(20):
        peer.raw(peer.segment("A")[:size])
    assert peer.count("truncated") == 20


@pytest.mark.rfc("9293", "MUST-57")
@pytest.mark.parametrize("address", ["10.0.2.255", "255.255.255.255", "224.0.0.1"])
def test_broadcast_is_dropped(address: str) -> None:
    """RFC 9293 MUST-57."""
    peer = Peer().listens()
    peer.rig.receive(ipv4(peer.segment("S"), proto=TCP, dst=parse_ip(address)), checksum_ok=True)
    peer.silence()
    assert peer.layer.report()["table"] == 0
    assert peer.count("broadcast") == 1


@pytest.mark.rfc("9293", "MUST-63")
@pytest.mark.parametrize("address", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "10.0.2.2", "10.0.2.255"])
def test_impossible_sources_are_dropped(address: str) -> None:
    """RFC 9293 MUST-63."""
    peer = Peer().listens()
    peer.rig.receive(ipv4(peer.segment("S"), proto=TCP, src=parse_ip(address)), checksum_ok=True)
    assert peer.layer.report()["table"] == 0
    assert not peer.count("segments_received"), "IP knows better"
    assert peer.rig.count("ipv4.martian_source") + peer.rig.count("ipv4.own_source") == 1


def test_c19_resets_are_limited() -> None:
    peer = Peer(resets_per_second=100)
    peer.iss = 0
    for _ in range(1000):
        peer.sends("S", seq=0, flush=False)
    assert len(peer.drain()) == 200
    assert peer.count("resets_limited") == 800
    peer.wait(2 * SECOND)
    peer.sends("S", seq=0)
    peer.expects("RA")


def test_c19_reset_generation() -> None:
    """SYN to a closed port: RST with ACK; ACK to a closed port: RST without; RST to a closed port: nothing."""
    peer = Peer()
    peer.iss = 0
    peer.sends("S")
    peer.expects("RA", seq=0, ack=1)
    peer.sends("A", ack=5)
    peer.expects("R", seq=5)
    peer.sends("R")
    peer.silence()
