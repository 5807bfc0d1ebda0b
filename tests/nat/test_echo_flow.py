"""Ping through the gateway: RFC 5508 on a virtual clock."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.nat.kit import (
    FREE,
    GATEWAY,
    GUEST,
    MS,
    NAMESERVER,
    OTHER,
    ROUTER,
    SECOND,
    SECOND_GUEST,
    SERVER,
    Faults,
    Lab,
)
from usernat.fuzz.fakehost import Failing
from usernat.fuzz.fakesockets import FakeDatagrams
from usernat.nat.config import Limits, Timeouts
from usernat.nat.host_datagram import ReportedError
from usernat.policy import NetworkPolicy
from usernat.stack.l3.icmp_message import EchoMessage, write_echo

if TYPE_CHECKING:
    from usernat.stack.l4.echo import EchoSocket

REQUEST = 8


def ping(
    lab: Lab, ident: int, seq: int = 1, data: bytes = b"data", to: int = SERVER, ttl: int = 64
) -> EchoSocket:
    """A guest socket that has sent one request and waited a while."""
    sock = lab.guest.echo.bind(ident)
    sock.request(to, seq, data, ttl=ttl)
    lab.run(100 * MS)
    return sock


def replies(sock: EchoSocket) -> list[EchoMessage]:
    found = []
    while (message := sock.recv()) is not None:
        found.append(message)
    return found


def answering(**options: object) -> Lab:
    lab = Lab(**options)  # type: ignore[arg-type] # options of the kit, passed through
    lab.host.echo_hosts = {SERVER, OTHER}
    return lab


def host_sockets(lab: Lab) -> list[FakeDatagrams]:
    return [sock for sock in lab.host.sockets if isinstance(sock, FakeDatagrams)]


@pytest.mark.rfc("5508", "REQ-1", "REQ-1a")
def test_identifier_sequence_number_data_and_source_come_back() -> None:
    """RFC 5508 REQ-1, REQ-1a."""
    lab = answering()
    sock = ping(lab, 0x1234, 7, b"payload")
    sock.request(OTHER, 8, b"")
    lab.run(100 * MS)
    assert [(m.ident, m.seq, bytes(m.data), m.src, m.dst) for m in replies(sock)] == [
        (0x1234, 7, b"payload", SERVER, GUEST),
        (0x1234, 8, b"", OTHER, GUEST),
    ]
    assert lab.host.record.opened == 1


def test_the_gateways_own_addresses_answer_without_the_host() -> None:
    lab = answering()
    assert len(replies(ping(lab, 1, to=GATEWAY))) == len(replies(ping(lab, 2, to=NAMESERVER))) == 1
    assert lab.host.record.opened == 0


@pytest.mark.parametrize("size", [0, 1472, 1473, 3000, 65507])
def test_c47_pings_of_every_size(size: int) -> None:
    lab = answering()
    (reply,) = replies(ping(lab, 1, data=b"q" * size))
    assert bytes(reply.data) == b"q" * size


def test_c45_an_address_that_drops_gives_no_reply() -> None:
    lab = answering()
    assert replies(ping(lab, 1, to=OTHER + 1)) == []
    assert lab.interface.echo.counters.sent == 0


def test_c45_only_answers_to_what_was_asked_reach_the_guest() -> None:
    """By address and sequence number, whatever the host's socket is handed."""
    lab = Lab()
    sock = ping(lab, 1, 5)
    (host,) = host_sockets(lab)
    host.arrive(b"wrong host", OTHER, 5)
    host.arrive(b"wrong number", SERVER, 6)
    host.arrive(b"right", SERVER, 5)
    host.arrive(b"twice", SERVER, 5)  # duplicates are the world's doing, and ping shows them
    lab.run(100 * MS)
    assert [bytes(m.data) for m in replies(sock)] == [b"right", b"twice"]
    assert lab.count("nat.echo.filtered") == 2


def test_c44_a_reply_that_reaches_the_host_with_a_ttl_of_zero_is_delivered() -> None:
    lab = Lab()
    sock = ping(lab, 7)
    host_sockets(lab)[0].arrive(b"data", SERVER, 1, ttl=0)
    lab.run(100 * MS)
    assert len(replies(sock)) == 1


def test_c46_two_guests_with_one_identifier_each_get_their_own() -> None:
    lab = answering()
    sock = ping(lab, 77, 1, b"first")
    message = write_echo(REQUEST, 77, 2, b"second")
    lab.guest.ipv4.send(1, SECOND_GUEST, SERVER, message, now=lab.clock.now)
    lab.run(100 * MS)
    assert {(m.dst, m.seq, bytes(m.data)) for m in replies(sock)} == {
        (GUEST, 1, b"first"),
        (SECOND_GUEST, 2, b"second"),
    }
    assert lab.host.record.opened == 2


@pytest.mark.rfc("6888", "REQ-4", "REQ-4b", "REQ-11")
@pytest.mark.rfc("7857", "11-a")
def test_c46_a_hundred_identifiers_meet_a_cap_of_64_and_idle_ones_expire() -> None:
    """RFC 6888 REQ-4, REQ-11; decided: lack of room is code 1."""
    lab = answering()
    socks = [ping(lab, ident) for ident in range(100)]
    assert [len(replies(sock)) for sock in socks] == [1] * 64 + [0] * 36
    assert [[(error.type, error.code) for error in sock.errors] for sock in socks[64:]] == [[(3, 1)]] * 36
    assert len(lab.host.sockets) == 64
    socks[0].request(SERVER, 9, b"")
    lab.run(100 * MS)
    assert len(replies(socks[0])) == 1  # those that live are not harmed
    lab.run(61 * SECOND)
    assert lab.gateway.flows() == []
    assert len(lab.host.sockets) == 0
    socks[99].request(SERVER, 9, b"")
    lab.run(100 * MS)
    assert len(replies(socks[99])) == 1


@pytest.mark.rfc("5508", "REQ-2")
def test_a_reply_59_seconds_later_arrives_and_61_seconds_later_does_not() -> None:
    """RFC 5508 REQ-2."""
    for wait, expected in ((59, 1), (61, 0)):
        lab = Lab()
        sock = ping(lab, 1, 5)
        hosts = host_sockets(lab)
        lab.run((wait * SECOND) - 100 * MS)
        for host in hosts:
            host.arrive(b"late", SERVER, 5)
        lab.run(100 * MS)
        assert len(replies(sock)) == expected


@pytest.mark.rfc("5508", "REQ-6")
def test_neither_replies_nor_errors_prolong_a_binding() -> None:
    """RFC 5508 REQ-6."""
    lab = Lab(timeouts=Timeouts(echo=70))
    ping(lab, 1, 5)
    (info,) = lab.gateway.flows()
    (host,) = host_sockets(lab)
    host.arrive(b"reply", SERVER, 5)
    host.fail_later(ReportedError(errno.EHOSTUNREACH, icmp=True, code=1, offender=ROUTER), SERVER, 5)
    lab.run(SECOND)
    assert lab.gateway.flows() == [info]
    assert lab.count("nat.echo.errors_translated") == 1


@pytest.mark.rfc("5508", "REQ-10a", "REQ-4", "REQ-4a")
def test_c44_traceroute_by_ping_hears_from_every_router() -> None:
    """RFC 5508 REQ-10a, REQ-4: the error quotes the guest's identifier and sequence number."""
    lab = answering()
    lab.host.routers = (ROUTER, ROUTER + 1)
    sock = lab.guest.echo.bind(0x4242)
    heard = []
    for hop in range(1, 5):
        sock.request(SERVER, hop, b"probe", ttl=hop)
        lab.run(200 * MS)
        heard += [(error.type, error.source, bytes(error.payload[4:8])) for error in sock.errors]
        heard += [(0, reply.src, b"") for reply in replies(sock)]
        sock.errors.clear()
    assert heard == [
        (11, GATEWAY, b"\x42\x42\0\1"),
        (11, ROUTER, b"\x42\x42\0\2"),
        (11, ROUTER + 1, b"\x42\x42\0\3"),
        (0, SERVER, b""),
    ]


@pytest.mark.rfc("5508", "REQ-4b")
def test_c44_unreachable_hosts_are_told_as_they_are() -> None:
    """RFC 5508 REQ-4b: type and code unchanged."""
    lab = answering()
    report = ReportedError(errno.EHOSTUNREACH, icmp=True, type=3, code=10, offender=ROUTER)
    lab.host.echo_failures[SERVER] = Failing(report)
    sock = ping(lab, 1)
    assert [(error.type, error.code, error.source) for error in sock.errors] == [(3, 10, ROUTER)]


@pytest.mark.rfc("5508", "REQ-8", "REQ-9")
def test_c40_denied_pings_are_answered_at_once() -> None:
    """RFC 5508 REQ-8."""
    lab = answering(policy=NetworkPolicy.deny_all())
    sock = ping(lab, 1)
    assert [(error.type, error.code, error.source) for error in sock.errors] == [(3, 13, GATEWAY)]
    silent = answering(policy=NetworkPolicy.deny_all().denying("drop"))
    assert not ping(silent, 1).errors


@pytest.mark.rfc("5508", "REQ-8")
def test_no_echo_sockets_on_the_host_is_a_prohibition() -> None:
    """RFC 5508 REQ-8: code 13; the host's administrator has decided it."""
    lab = Lab(host={"echo": False})
    sock = ping(lab, 1)
    assert [(error.type, error.code) for error in sock.errors] == [(3, 13)]
    assert lab.gateway.flows() == []


def test_a_free_address_of_the_guests_network_does_not_answer() -> None:
    lab = answering()
    sock = ping(lab, 1, to=FREE)
    assert replies(sock) == []
    assert lab.host.record.opened == 0


@pytest.mark.rfc("5508", "REQ-11")
def test_an_unasked_reply_from_the_guest_goes_nowhere() -> None:
    """RFC 5508 REQ-11."""
    lab = answering()
    lab.guest.ipv4.send(1, GUEST, SERVER, write_echo(0, 5, 5, b"unasked"), now=lab.clock.now)
    lab.run(100 * MS)
    assert lab.host.record.opened == 0


def test_c60_pending_requests_of_one_binding_are_bounded() -> None:
    lab = Lab(limits=Limits(echo_pending=10))
    sock = lab.guest.echo.bind(1)
    for seq in range(50):
        sock.request(SERVER, seq, b"")
        lab.run(5 * MS)
    assert lab.count("nat.destinations_forgotten") == 40
    (host,) = host_sockets(lab)
    host.arrive(b"forgotten", SERVER, 0)
    host.arrive(b"known", SERVER, 49)
    lab.run(100 * MS)
    assert [bytes(m.data) for m in replies(sock)] == [b"known"]


def test_a_flaky_host_loses_pings_and_nothing_else() -> None:
    lab = answering(faults=Faults(loss=0.1, duplicate=0.1, reorder=0.1))
    lab.host.faults.again = 0.3
    lab.host.faults.descriptors = 0.5
    sock = lab.guest.echo.bind(1)
    for seq in range(200):
        sock.request(SERVER, seq, b"x")
        lab.run(20 * MS)
    got = {m.seq for m in replies(sock)}
    assert 50 < len(got) <= 200
    assert lab.count("nat.echo.host_full") > 0
