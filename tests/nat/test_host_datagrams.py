"""The real host sockets on loopback: UDP and echo."""

from __future__ import annotations

import errno
import logging
import random
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.nat.host_kit import LOOPBACK, Loop, Recorder, free_port, receive

if TYPE_CHECKING:
    from usernat.nat.host_datagram import HostEcho


PORT_UNREACHABLE = (3, 3)


def test_udp_goes_out_with_its_ttl_and_comes_back_with_the_peers(loop: Loop, udp_peer: socket.socket) -> None:
    udp_peer.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    udp_peer.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
    sock = loop.host.open_udp(Recorder())
    for ttl, df in ((17, True), (18, False)):
        sock.send(b"ping", LOOPBACK, udp_peer.getsockname()[1], ttl, df)
        data, ancillary, _, source = udp_peer.recvmsg(100, 64)
        assert (data, int.from_bytes(ancillary[0][2], sys.byteorder)) == (b"ping", ttl)
        udp_peer.sendto(b"pong", source)
        assert receive(sock) == (b"pong", LOOPBACK, udp_peer.getsockname()[1], 33)
    assert sock.receive() is None
    assert sock.errors() == []


def test_c47_the_largest_datagram_both_ways(loop: Loop, udp_peer: socket.socket) -> None:
    sock = loop.host.open_udp(Recorder())
    largest = bytes(range(256)) * 256
    sock.send(largest[:65507], LOOPBACK, udp_peer.getsockname()[1], 64, df=False)
    data, source = udp_peer.recvfrom(70000)
    assert data == largest[:65507]
    udp_peer.sendto(data, source)
    assert receive(sock)[0] == largest[:65507]


@pytest.mark.rfc("4787", "REQ-12", "REQ-12b")
def test_a_closed_udp_port_comes_from_the_error_queue_and_the_socket_lives_on(
    loop: Loop, udp_peer: socket.socket
) -> None:
    """RFC 4787 REQ-12, REQ-12b."""
    owner = Recorder()
    sock = loop.host.open_udp(owner)
    port = free_port(socket.SOCK_DGRAM)
    loop.host.watch(sock, readable=True, writable=False)
    sock.send(b"x" * 20, LOOPBACK, port, 64, df=False)
    loop.turn()
    assert owner.events == [(True, False)]
    with pytest.raises(ConnectionRefusedError):
        sock.receive()
    (report,) = sock.errors()
    assert report.icmp
    assert (report.type, report.code) == PORT_UNREACHABLE
    assert (report.address, report.port, report.offender) == (LOOPBACK, port, LOOPBACK)
    sock.send(b"again", LOOPBACK, udp_peer.getsockname()[1], 64, df=False)
    assert udp_peer.recv(100) == b"again"


def open_echo(loop: Loop, owner: Recorder) -> HostEcho:
    sock = loop.host.open_echo(owner)
    if sock is None:
        pytest.skip("needs CAP_NET_RAW, or a group in net.ipv4.ping_group_range")
    return sock


def test_c46_two_echo_sockets_on_one_host_do_not_take_each_others_replies(loop: Loop) -> None:
    first, second = open_echo(loop, Recorder()), open_echo(loop, Recorder())
    first.send(b"first", LOOPBACK, 7, 64, df=False)
    second.send(b"second", LOOPBACK, 7, 64, df=False)
    assert receive(first)[:3] == (b"first", LOOPBACK, 7)
    assert receive(second)[:3] == (b"second", LOOPBACK, 7)
    assert first.receive() is None
    assert second.receive() is None


def test_c46_raw_identifiers_are_never_shared() -> None:
    """Every raw socket sees all replies, so chance must not give two of them one identifier."""

    class Stuck(random.Random):
        def __init__(self) -> None:
            super().__init__(1)
            self.draws = [5, 5, 6, 6, 5, 7]

        def getrandbits(self, k: int, /) -> int:
            return self.draws.pop(0)

    loop = Loop()
    loop.host._rng = Stuck()
    socks = [open_echo(loop, Recorder()) for _ in range(3)]
    if socks[0].raw_ident is None:
        pytest.skip("needs raw sockets to be what is used: net.ipv4.ping_group_range is open here")
    assert [sock.raw_ident for sock in socks] == [5, 6, 7]
    loop.close()


def test_no_echo_socket_at_all_warns_once(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Forbidding(socket.socket):
        def __init__(self, family: int = -1, type: int = -1, proto: int = -1) -> None:  # noqa: A002
            if proto == socket.IPPROTO_ICMP:
                raise PermissionError(errno.EPERM, "forbidden")
            super().__init__(family, type, proto)

    monkeypatch.setattr(socket, "socket", Forbidding)
    with caplog.at_level(logging.WARNING):
        assert loop.host.open_echo(Recorder()) is None
        assert loop.host.open_echo(Recorder()) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "ping_group_range" in caplog.text


@pytest.mark.rfc("5452", "9.1-a", "9.1-b")
@pytest.mark.parametrize("forged", ["address", "port", "both"])
def test_c53_a_dns_answer_counts_only_from_where_it_was_asked_for(
    loop: Loop, udp_peer: socket.socket, forged: str
) -> None:
    """The kernel lets nothing else through to the socket, and the true answer still comes."""
    port = udp_peer.getsockname()[1]
    sock = loop.host.connect_udp(LOOPBACK, port, Recorder())
    sock.send(b"question")
    _, asker = udp_peer.recvfrom(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.bind(("127.0.0.1" if forged == "port" else "127.0.0.2", port if forged == "address" else 0))
        forger.sendto(b"forged", asker)
        with pytest.raises(BlockingIOError):
            sock.recv(100)
    udp_peer.sendto(b"true", asker)
    loop.host.watch(sock, readable=True, writable=False)
    loop.turn()
    assert sock.recv(100) == b"true"
