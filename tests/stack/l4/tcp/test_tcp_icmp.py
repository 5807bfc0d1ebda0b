"""What ICMP errors do to connections, and which are believed (RFC 9293 §3.9.2.2, RFC 5927, RFC 1191)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, SACK_PERMITTED, SECOND, mss
from tests.stack.l4.tcp.states import in_established, in_syn_sent
from tests.stack.packets import GUEST
from usernat.stack.l4.tcp.state import State, TcpError


@pytest.mark.rfc("9293", "MUST-54")
@pytest.mark.parametrize(
    ("code", "error"), [(2, TcpError.UNREACHABLE), (3, TcpError.REFUSED), (13, TcpError.UNREACHABLE)]
)
def test_hard_icmp_errors_end_what_is_being_opened(code: int, error: TcpError) -> None:
    """RFC 9293 SHLD-26, MUST-54."""
    peer = in_syn_sent()
    peer.icmp(3, code, peer.quote(0))
    assert peer.conn.error is error
    peer.assert_nothing_held()


@pytest.mark.rfc("9293", "MUST-47", "MUST-56", "SHLD-25")
@pytest.mark.parametrize(
    ("type_", "code"), [(3, 0), (3, 1), (3, 2), (3, 3), (3, 5), (3, 13), (11, 0), (12, 0)]
)
def test_icmp_errors_are_soft_once_it_stands(type_: int, code: int) -> None:
    """RFC 9293 MUST-56, MUST-47, SHLD-25, RFC 5927 6.1, RFC 5382 REQ-10."""
    peer = in_established()
    peer.conn.send(b"x")
    peer.drain()
    peer.ready()
    peer.icmp(type_, code, peer.quote(1))
    peer.assert_state(State.ESTABLISHED)
    assert peer.conn.soft_error == (type_, code)
    assert peer.ready() == [peer.conn]


@pytest.mark.rfc("1191", "6.2-a")
@pytest.mark.parametrize("seq", [0, 2, 1000, -1])
def test_icmp_errors_must_quote_what_is_in_flight(seq: int) -> None:
    """RFC 5927 4.1, RFC 1191 6.2-a."""
    peer = in_established()
    peer.conn.send(b"x")
    peer.drain()
    peer.icmp(3, 4, peer.quote(seq), mtu=600)
    peer.icmp(3, 1, peer.quote(seq))
    assert peer.conn.soft_error is None
    assert peer.count("icmp_not_in_flight") == 2
    assert peer.conn.snd.smss == 536


@pytest.mark.rfc("9293", "MUST-54")
def test_icmp_errors_about_nobody() -> None:
    peer = in_established()
    peer.port = 4242
    peer.icmp(3, 3, peer.quote(1))
    assert peer.count("icmp_unknown") == 1


@pytest.mark.rfc("9293", "MUST-55")
def test_source_quench_is_ignored() -> None:
    """RFC 9293 MUST-55."""
    peer = in_established()
    peer.conn.send(b"x")
    cwnd = peer.conn.snd.cc.cwnd
    peer.drain()
    peer.icmp(4, 0, peer.quote(1))
    assert peer.conn.snd.cc.cwnd == cwnd
    assert peer.conn.soft_error is None


@pytest.mark.rfc("1191", "3-a", "6.4-a")
def test_path_mtu() -> None:
    """RFC 1191 3-a, 6.4-a: smaller pieces at once, and no congestion."""
    peer = Peer().connected(options=mss(1460))
    peer.conn.send(bytes(5000))
    assert [len(seg.data) for seg in peer.drain()] == [1460] * 3
    cwnd = peer.conn.snd.cc.cwnd
    peer.icmp(3, 4, peer.quote(1), mtu=1000)
    again = peer.drain()
    assert all(len(seg.data) <= 960 for seg in again)
    assert again[0].seq == 1
    assert peer.conn.snd.cc.cwnd >= cwnd - 14600 + 9600
    assert peer.conn.snd.cc.ssthresh >= 1 << 30
    peer.sends("A", ack=1 + sum(len(seg.data) for seg in again))
    peer.drain()


@pytest.mark.parametrize("options", [LINUX_SYN, mss(1460) + SACK_PERMITTED])
def test_narrowest_path_with_much_to_sack(options: bytes) -> None:
    """RFC 2018 4-e: as many blocks as fit, into the datagram and beside text; with all of them nothing could leave."""
    peer = Peer().connected(options=options)
    peer.conn.send(bytes(300))
    peer.drain()
    peer.icmp(3, 4, peer.quote(1), mtu=68, source=GUEST)
    peer.drain()
    for seq in (101, 201, 301):
        peer.sends("A", seq=seq, data=b"x" * 50)
        assert 5 in peer.expects("A").options
    peer.wait(peer.now + 2 * SECOND)
    segments = peer.drain()
    assert segments
    for seg in segments:
        assert seg.data
        assert 40 + len(seg.option_bytes) + len(seg.data) <= 68
    assert peer.rig.count("ipv4_output.too_big") == 0
