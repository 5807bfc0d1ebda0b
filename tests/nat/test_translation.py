"""What holds for every kind of flow: it does not depend on load, kinds do not mix, payloads pass, the embedder decides."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import pytest

from tests.nat.kit import GATEWAY, GUEST, MS, OTHER, SECOND, SECOND_GUEST, SERVER, Lab
from tests.nat.tcp_kit import connect, icmp_at_guest, listening
from tests.nat.udp_kit import PORT, echo, received, talking
from usernat.fuzz.fakehost import BLACK_HOLE
from usernat.fuzz.fakepeers import AnswersAtEof, Echo
from usernat.fuzz.fakesockets import FakeDatagrams
from usernat.nat.config import Limits, Timeouts
from usernat.policy import FlowRequest, Policy, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.nat.real_kit import RealLab

DNS_QUERY = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\x01a\x04test\0\0\1\0\1"


# -- the same under every load: RFC 4787 §8 -------------------------------------------------------------------------------


@pytest.mark.rfc("4787", "REQ-11", "REQ-1", "REQ-8")
@pytest.mark.parametrize("others", [0, 1, 1500])
@pytest.mark.parametrize("limit", [2048, 1501])
def test_mapping_and_filter_are_the_same_under_every_load(others: int, limit: int) -> None:
    """Also where another guest has the same port, and where no more mappings fit."""
    lab = Lab(limits=Limits(udp=limit, total=limit + others))
    lab.host.udp[None, PORT] = echo
    for number in range(others):
        lab.guest.udp.bind(GUEST, 10_000 + number).send(b"load", OTHER, 9)
        if number % 50 == 49:
            lab.run(50 * MS)
    conflicting = talking(lab, 4000, SECOND_GUEST)
    before = set(lab.host.sockets)
    sock = talking(lab, 4000, GUEST)
    for address in (OTHER, SERVER + 9):
        sock.send(b"one mapping", address, PORT)
    lab.run(100 * MS)
    (host,) = set(lab.host.sockets) - before
    assert isinstance(host, FakeDatagrams)
    assert [source for _, source, _ in received(sock)] == [SERVER, OTHER, SERVER + 9]
    host.arrive(b"its own", SERVER, 1)
    host.arrive(b"a stranger's", SERVER + 50, PORT)
    lab.run(100 * MS)
    assert received(sock) == [(b"its own", SERVER, 1)]
    assert len(received(conflicting)) == 1


# -- time-outs are the embedder's ------------------------------------------------------------------------------------------


@pytest.mark.rfc("5508", "REQ-2a")
@pytest.mark.parametrize(("timeout", "replies"), [(60, 0), (70, 1)])
def test_how_long_a_ping_waits_can_be_configured(timeout: int, replies: int) -> None:
    lab = Lab(timeouts=Timeouts(echo=timeout))
    sock = lab.guest.echo.bind(1)
    sock.request(SERVER, 5, b"")
    lab.run(SECOND)
    (host,) = lab.host.sockets
    assert isinstance(host, FakeDatagrams)
    lab.run(64 * SECOND)
    host.arrive(b"late", SERVER, 5)
    lab.run(100 * MS)
    assert len(sock.inbox) == replies


@pytest.mark.rfc("5382", "REQ-5a")
@pytest.mark.rfc("7857", "2.1-a")
@pytest.mark.parametrize(("opening", "closing"), [(30, 300), (300, 30)])
def test_opening_and_closing_connections_have_time_outs_of_their_own(opening: int, closing: int) -> None:
    lab = Lab(timeouts=Timeouts(tcp_connect=opening, tcp_transitory=closing))
    lab.host.tcp[OTHER, 80] = BLACK_HOLE
    listening(lab, AnswersAtEof, b"r" * 500_000)
    connect(lab).shutdown()
    lab.run(SECOND)
    lab.wire.lose = lambda frame, to_b: to_b and frame[30:34] == SERVER.to_bytes(4, "big")
    lab.guest.tcp.connect(OTHER, 80)
    states = []
    for _ in range(2):
        lab.run(100 * SECOND)
        states.append({info.state for info in lab.gateway.flows()})
    assert states == [{"closing"} if opening < closing else {"connecting"}] * 2


@pytest.mark.rfc("5382", "REQ-5")
@pytest.mark.rfc("7857", "2.1-b")
def test_a_connection_that_opens_has_four_minutes() -> None:
    lab = Lab()
    listening(lab, Echo, delay_us=239 * SECOND)
    lab.guest.tcp.connect(SERVER, 80)
    lab.run(238 * SECOND)
    assert [info.state for info in lab.gateway.flows()] == ["connecting"]
    lab.run(2 * SECOND)
    assert lab.count("nat.tcp.connected") == 1


# -- kinds do not mix ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("7857", "5-a", "6-a")
def test_udp_and_tcp_of_one_port_have_nothing_to_do_with_each_other() -> None:
    lab = Lab()
    listening(lab, Echo)
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"hello", OTHER, PORT)
    lab.run(100 * MS)
    (host,) = lab.host.sockets
    assert isinstance(host, FakeDatagrams)
    connection = lab.guest.tcp.connect(SERVER, 80, local=GUEST, local_port=4000)
    lab.run(100 * MS)
    assert connection.established
    assert {(info.protocol, info.guest_port) for info in lab.gateway.flows()} == {(17, 4000), (6, 4000)}
    host.arrive(b"from whom TCP has called", SERVER, 80)
    lab.run(100 * MS)
    assert received(sock) == []
    assert lab.count("nat.udp.filtered") == 1
    connection.abort()
    lab.run(100 * MS)
    assert [info.protocol for info in lab.gateway.flows()] == [17]


# -- payloads pass ---------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5382", "REQ-6")
@pytest.mark.parametrize(
    ("port", "line"),
    [
        (21, b"PORT 10,0,2,15,4,1\r\n"),
        (21, b"EPRT |1|10.0.2.15|1025|\r\n"),
        (5060, b"INVITE sip:x SIP/2.0\r\nContact: <sip:g@10.0.2.15:5060>\r\n\r\n"),
        (80, b"GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.2.15\r\n\r\n"),
    ],
)
def test_no_stream_is_looked_into(port: int, line: bytes) -> None:
    lab = Lab()
    peers = listening(lab, Echo, port=port)
    connection = connect(lab, port)
    connection.send(line)
    lab.run(100 * MS)
    assert bytes(peers[0].received) == line
    assert connection.recv(1000) == line
    assert len(lab.gateway.flows()) == 1  # and nothing was opened for it


@pytest.mark.rfc("4787", "REQ-10")
@pytest.mark.parametrize("port", [53, 69, 123, 500, 1701, 4500, 5060])
def test_no_datagram_is_looked_into(port: int) -> None:
    lab = Lab()
    lab.host.udp[SERVER, port] = echo
    data = b"REGISTER sip:10.0.2.15 v=0 c=IN IP4 10.0.2.15" + GUEST.to_bytes(4, "big")
    sock = lab.guest.udp.bind(GUEST, port)
    sock.send(data, SERVER, port)
    lab.run(100 * MS)
    assert [datagram[-1] for datagram in lab.host.record.datagrams] == [data]
    assert received(sock) == [(data, SERVER, port)]


@pytest.mark.rfc("5625", "3-b")
@pytest.mark.rfc("9210", "3-d")
def test_another_resolver_can_be_asked_over_udp_and_tcp() -> None:
    """Past the forwarder, and as untouched as everything else."""
    lab = Lab()
    lab.host.udp[OTHER, 53] = lambda data: [b"answer to " + data]
    peers = listening(lab, Echo, port=53)
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(DNS_QUERY, OTHER, 53)
    connection = connect(lab, 53)
    framed = len(DNS_QUERY).to_bytes(2, "big") + DNS_QUERY
    connection.send(framed)
    lab.run(100 * MS)
    assert received(sock) == [(b"answer to " + DNS_QUERY, OTHER, 53)]
    assert (bytes(peers[0].received), connection.recv(1000)) == (framed, framed)
    assert lab.count("dns.queries") == 0


# -- the embedder decides --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("6888", "REQ-6")
def test_translation_can_be_switched_off_for_a_destination_and_a_port() -> None:
    class NotThere(Policy):
        def decide(self, request: FlowRequest) -> Verdict:
            return Verdict((request.destination, request.port) not in {(SERVER, 80), (OTHER, PORT)})

    lab = Lab(policy=NotThere())
    listening(lab, Echo)
    listening(lab, Echo, port=81)
    lab.host.udp[None, None] = echo
    assert not connect(lab).established
    assert connect(lab, 81).established
    sock = talking(lab)
    sock.send(b"no", OTHER, PORT)
    sock.send(b"yes", OTHER, PORT + 1)
    lab.run(100 * MS)
    assert received(sock) == [(b"hello", SERVER, PORT), (b"yes", OTHER, PORT + 1)]
    assert [error.code for error in sock.errors] == [13]
    assert icmp_at_guest(lab) == [(3, 13, GATEWAY)]


@pytest.mark.rfc("6888", "REQ-12")
def test_nothing_is_logged_of_where_guests_go(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        lab = Lab()
        listening(lab, Echo)
        connect(lab).send(b"x")
        talking(lab)
        lab.guest.echo.bind(1).request(SERVER, 1, b"")
        lab.run(SECOND)
        assert len(lab.gateway.flows()) == 3
        lab.gateway.close()
    assert caplog.records == []


# -- identification ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sniffer() -> Iterator[socket.socket]:
    """Sees every UDP datagram on this host, headers included."""
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError:
        pytest.skip("needs CAP_NET_RAW")
    with raw:
        raw.settimeout(5)
        yield raw


@pytest.mark.rfc("6864", "5.3.1-a")
@pytest.mark.rfc("7857", "10-a")
def test_datagrams_of_two_guests_never_leave_with_the_identification_that_both_gave_them(
    lab: RealLab, sniffer: socket.socket
) -> None:
    lab.guest.add_address(SECOND_GUEST, 24)
    socks = [lab.guest.udp.bind(guest, 4000) for guest in (GUEST, SECOND_GUEST)]
    given: list[int] = []

    def same(*_about: int) -> int:
        given.append(0x4242)
        return 0x4242

    lab.guest.ipv4.output.ip_ids.next = same  # type: ignore[method-assign,assignment] # as two guests may happen to do
    for sock in socks:
        for number in range(4):
            sock.send(b"identify " + bytes([number]), GATEWAY, 9, df=False)
    seen: list[int] = []
    sniffer.setblocking(False)

    def all_seen() -> bool:
        try:
            while True:
                data = sniffer.recv(2048)
                if b"identify " in data:
                    seen.append(int.from_bytes(data[4:6], "big"))
        except BlockingIOError:
            return len(seen) >= 8

    lab.until(all_seen)
    assert len(set(seen)) == len(given) == 8
