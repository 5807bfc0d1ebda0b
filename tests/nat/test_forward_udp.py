"""UDP forwards: each client has its own way to the guest and back, and nobody else's datagrams are taken for it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.nat.forward_kit import ABROAD, CLIENT, INSIDE, OUTSIDE, come, publish_udp, sent
from tests.nat.kit import FREE, GATEWAY, GUEST, LOOPBACK, NAMESERVER, SECOND, SECOND_GUEST, SERVER, Lab
from tests.nat.udp_kit import only_error
from usernat.fuzz.fakehost import Failing
from usernat.fuzz.fakesockets import FakeDatagrams
from usernat.nat.audit import DECIDED, ENDED, Record
from usernat.nat.errors import HostError
from usernat.nat.gateway import Hooks
from usernat.nat.host_datagram import ReportedError
from usernat.policy import NetworkPolicy
from usernat.policy.decision import UDP, FlowRequest

if TYPE_CHECKING:
    from usernat.stack.l3.icmp_message import IcmpError

SECOND_CLIENT = (LOOPBACK, 40001)


def test_two_clients_get_their_own_answers() -> None:
    lab = Lab()
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    for source, data in ((CLIENT, b"one"), (SECOND_CLIENT, b"two"), (CLIENT, b"three")):
        lab.host.post(LOOPBACK, OUTSIDE, data, source)
    first, second, third = come(lab, sock)
    assert [first[0], second[0], third[0]] == [b"one", b"two", b"three"]
    assert first[1:] == third[1:] != second[1:]
    sock.send(b"to two", *second[1:])
    sock.send(b"to one", *first[1:])
    lab.run(SECOND)
    assert sent(lab) == [(b"to two", *SECOND_CLIENT), (b"to one", *CLIENT)]
    assert [(flow.destination, flow.port, flow.inbound) for flow in lab.gateway.flows()] == [
        (*CLIENT, True),
        (*SECOND_CLIENT, True),
    ]


def test_c56_the_guest_sees_the_gateway_whoever_sends() -> None:
    lab = Lab()
    publish_udp(lab, address=0)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    for source in (CLIENT, (LOOPBACK + 1, 9), (ABROAD, 40000), (GUEST, 1), (GATEWAY, 2)):
        lab.host.post(ABROAD, OUTSIDE, b"x", source)
    assert {address for _, address, _ in come(lab, sock)} == {GATEWAY}


def test_answers_leave_from_the_address_that_was_spoken_to() -> None:
    lab = Lab()
    publish_udp(lab, address=0)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    (host_socket,) = lab.host.sockets
    assert isinstance(host_socket, FakeDatagrams)
    for called in (ABROAD, SERVER):
        lab.host.post(called, OUTSIDE, b"x", CLIENT)
        ((_, address, port),) = come(lab, sock)
        sock.send(b"y", address, port)
        lab.run(SECOND)
    assert host_socket.left_from == [ABROAD, SERVER]


def test_c55_what_a_guest_sends_to_a_forwards_port_goes_where_it_would_without_it() -> None:
    """The port of the gateway that a client has is at the same time a port of a service on the host, which the guest may reach."""
    lab = Lab(host_loopback=True)
    publish_udp(lab, address=ABROAD)
    server = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(ABROAD, OUTSIDE, b"hello", CLIENT)
    ((_, _, port),) = come(lab, server)
    lab.host.udp[LOOPBACK, port] = lambda data: [data.upper()]
    other = lab.guest.udp.bind(GUEST, 5000)
    neighbour = lab.guest.udp.bind(SECOND_GUEST, INSIDE)
    for sock in (other, neighbour):
        sock.send(b"service", GATEWAY, port)
        server.send(b"answer", GATEWAY, port)
        assert come(lab, sock) == [(b"SERVICE", GATEWAY, port)]
    assert sent(lab).count((b"answer", *CLIENT)) == 2
    assert lab.count("forwards.udp.passed_over") == 2


def test_c55_with_a_port_published_the_gateway_answers_pings_queries_and_the_same_port() -> None:
    lab = Lab(host_loopback=True)
    publish_udp(lab, address=ABROAD, port=53, guest_port=53)
    server = lab.guest.udp.bind(GUEST, 53)
    lab.host.post(ABROAD, 53, b"question", CLIENT)
    ((_, address, port),) = come(lab, server)
    lab.host.udp[LOOPBACK, 53] = lambda data: [b"the host's " + data]
    server.send(b"53", GATEWAY, 53)  # from the published port itself
    assert come(lab, server) == [(b"the host's 53", GATEWAY, 53)]
    server.send(b"answer", address, port)
    pinger = lab.guest.echo.bind(1)
    pinger.request(GATEWAY, 1, b"")
    client = lab.guest.udp.bind(GUEST, 0)
    client.send(b"\1\2\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1", NAMESERVER, 53)
    lab.run(20 * SECOND)
    assert sent(lab).count((b"answer", *CLIENT)) == 1
    assert len(pinger.inbox) == 1
    reply = client.recv()
    assert reply is not None  # SERVFAIL: nobody is there to ask
    assert bytes(reply.data[:2]) == b"\1\2"


def test_a_guest_that_may_nothing_can_be_reached_and_answers() -> None:
    lab = Lab(policy=NetworkPolicy.deny_all())
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, b"question", CLIENT)
    ((_, address, port),) = come(lab, sock)
    sock.send(b"answer", address, port)
    sock.send(b"leak", SERVER, 9)
    lab.run(SECOND)
    assert sent(lab) == [(b"answer", *CLIENT)]


def test_large_datagrams_pass_whole() -> None:
    lab = Lab()
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, bytes(65507), CLIENT)
    lab.host.post(LOOPBACK, OUTSIDE, b"", CLIENT)
    one, two = come(lab, sock)
    assert (len(one[0]), two[0]) == (65507, b"")
    sock.send(bytes(65507), *one[1:])
    lab.run(SECOND)
    assert sent(lab) == [(bytes(65507), *CLIENT)]


@pytest.mark.rfc("1812", "5.3.1-a")
def test_the_ttl_is_less_by_one_each_way() -> None:
    lab = Lab()
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    (host_socket,) = lab.host.sockets
    assert isinstance(host_socket, FakeDatagrams)
    for ttl in (64, 1):
        host_socket.arrive(b"x", *CLIENT, ttl)
    lab.run(SECOND)
    one, two = sock.recv(), sock.recv()
    assert one is not None
    assert two is not None
    assert (one.ttl, two.ttl) == (63, 1)
    sock.send(b"y", one.src, one.src_port, ttl=9, df=True)
    lab.run(SECOND)
    assert [(ttl, df) for _, _, ttl, df, _ in lab.host.record.datagrams] == [(8, True)]


def test_from_port_0_nothing_is_taken() -> None:
    lab = Lab()
    publish_udp(lab)
    lab.host.post(LOOPBACK, OUTSIDE, b"x", (ABROAD, 0))
    lab.run(SECOND)
    assert lab.count("forwards.udp.bad_source") == 1
    assert lab.gateway.flows() == []


def test_datagrams_count_against_the_guests_bytes() -> None:
    limit = NetworkPolicy.allow_all().limit
    lab = Lab(policy=limit(upload_bytes_per_second=10, download_bytes_per_second=10))
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    for _ in range(3):  # as much as may pass at once is 65,535 bytes
        lab.host.post(LOOPBACK, OUTSIDE, bytes(30_000), CLIENT)
    *_, (_, address, port) = come(lab, sock)
    for _ in range(3):
        sock.send(bytes(30_000), address, port)
    lab.run(SECOND)
    assert lab.count("forwards.udp.delivered") == len(sent(lab)) == 2
    assert lab.count("forwards.udp.over_quota") == 2
    lab.gateway.policy = limit(total_bytes=1)
    lab.host.post(LOOPBACK, OUTSIDE, b"", SECOND_CLIENT)
    lab.run(SECOND)
    assert lab.gateway.flows() == []
    assert lab.count("forwards.udp.no_resources") == 1


# -- errors -----------------------------------------------------------------------------------------------------------


def test_a_closed_port_of_the_guest_is_counted_and_told_to_nobody() -> None:
    lab = Lab()
    publish_udp(lab)
    lab.host.post(LOOPBACK, OUTSIDE, b"x", CLIENT)
    lab.run(SECOND)
    assert lab.count("forwards.udp.guest_errors") == 1
    assert sent(lab) == []


def test_without_a_guest_datagrams_are_lost_and_nothing_else() -> None:
    lab = Lab(lease_first=FREE)
    publish_udp(lab)
    lab.host.post(LOOPBACK, OUTSIDE, b"x", CLIENT)
    lab.run(10 * SECOND)
    assert lab.count("forwards.udp.guest_errors") == 1


def test_an_icmp_error_about_an_answer_reaches_the_guest() -> None:
    lab = Lab()
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, b"x", (ABROAD, 9))
    ((_, address, port),) = come(lab, sock)
    gone = ReportedError(errno.ECONNREFUSED, icmp=True, type=3, code=3, offender=ABROAD)
    lab.host.udp[ABROAD, 9] = Failing(gone)
    sock.send(b"answer", address, port)
    lab.run(SECOND)
    error = only_error(sock)
    assert (error.type, error.code, error.source) == (3, 3, ABROAD)
    assert int.from_bytes(error.payload[2:4], "big") == port
    assert lab.count("forwards.udp.errors_translated") == 1
    sock.send(b"again", address, port)  # and the pending error of the socket stops nothing
    sock.send(b"and again", address, port)
    lab.run(SECOND)
    assert [data for data, _, _ in sent(lab)] == [b"answer", b"again", b"and again"]


def test_an_icmp_error_about_nobody_is_counted() -> None:
    lab = Lab()
    publish_udp(lab)
    (host_socket,) = lab.host.sockets
    assert isinstance(host_socket, FakeDatagrams)
    host_socket.fail_later(ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=ABROAD), ABROAD, 9)
    lab.run(SECOND)
    assert lab.count("forwards.udp.errors_unmatched") == 1


@pytest.mark.rfc("4787", "REQ-13")
def test_an_answer_with_df_that_is_too_large_is_reported_with_the_mtu() -> None:
    lab = Lab(host={"mtu": 1000})
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, b"x", CLIENT)
    ((_, address, port),) = come(lab, sock)
    sock.send(bytes(1200), address, port, df=True)
    lab.run(SECOND)
    error = only_error(sock)
    assert (error.type, error.code, error.mtu) == (3, 4, 1000)
    assert lab.count("forwards.udp.host_failed") == 1


def test_a_host_that_takes_no_more_loses_the_datagram() -> None:
    lab = Lab()
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, b"x", CLIENT)
    ((_, address, port),) = come(lab, sock)
    lab.host.faults.again = 1.0
    sock.send(b"lost", address, port)
    lab.run(SECOND)
    assert lab.count("forwards.udp.host_full") == 1
    assert not sock.errors


def test_an_answer_goes_out_behind_the_complaint_of_an_earlier_one() -> None:
    lab = Lab()
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, b"x", CLIENT)
    ((_, address, port),) = come(lab, sock)
    (host_socket,) = lab.host.sockets
    assert isinstance(host_socket, FakeDatagrams)
    lab.host.watch(host_socket, readable=False, writable=False)  # so that the sending meets it first
    host_socket.fail_later(ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=ABROAD), *CLIENT)
    sock.send(b"answer", address, port)
    lab.run(SECOND)
    assert sent(lab) == [(b"answer", *CLIENT)]
    assert only_error(sock).code == 3


def test_a_report_without_a_datagram_is_taken_off_the_socket() -> None:
    """A socket whose error queue is not empty is readable for ever, and the lab fails when its loop does not come to rest."""
    lab = Lab()
    publish_udp(lab)
    (host_socket,) = lab.host.sockets
    assert isinstance(host_socket, FakeDatagrams)
    host_socket.fail_later(ReportedError(errno.EMSGSIZE, icmp=True, code=4, mtu=1000), ABROAD, 0)
    lab.run(SECOND)
    assert not host_socket.readable()


def test_a_guests_error_about_something_else_goes_where_it_would_without_the_forward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service of the host answers from the very port of the gateway that a client has, to a guest that is gone."""
    lab = Lab(host_loopback=True)
    publish_udp(lab, address=ABROAD)
    server = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(ABROAD, OUTSIDE, b"hello", CLIENT)
    ((_, _, port),) = come(lab, server)
    passed: list[int] = []

    def hairpinned(error: IcmpError) -> bool:
        passed.append(error.dst)
        return True

    monkeypatch.setattr(lab.gateway._udp, "hairpinned", hairpinned)
    other = lab.guest.udp.bind(GUEST, 5000)
    lab.host.udp[LOOPBACK, port] = lambda data: [data]
    other.send(b"service", GATEWAY, port)
    assert lab.run(stop=lambda: bool(sent(lab)))
    other.close()
    lab.run(SECOND)
    server.close()
    lab.host.post(ABROAD, OUTSIDE, b"hello?", CLIENT)
    lab.run(SECOND)
    assert passed == [GUEST]
    assert lab.count("forwards.udp.guest_errors") == 1


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_forward_that_is_closed_takes_its_clients_along() -> None:
    records: list[Record] = []
    lab = Lab(hooks=Hooks(audit=records.append))
    forward = publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    sockets = len(lab.interface.udp._sockets)
    lab.host.post(LOOPBACK, OUTSIDE, b"hello", CLIENT)
    ((_, address, port),) = come(lab, sock)
    sock.send(b"good day", address, port)
    lab.run(SECOND)
    with pytest.raises(HostError):
        publish_udp(lab)
    forward.close()
    forward.close()
    assert (lab.gateway.flows(), lab.host.sockets) == ([], {})
    assert len(lab.interface.udp._sockets) == sockets
    request = FlowRequest(GUEST, b"", UDP, *CLIENT, INSIDE)
    assert [(record.event, record.request) for record in records] == [(DECIDED, request), (ENDED, request)]
    assert (records[1].up, records[1].down) == (8, 5)
    publish_udp(lab)


def test_a_client_follows_the_guest_to_another_address() -> None:
    lab = Lab()
    publish_udp(lab)
    one, two = lab.guest.udp.bind(GUEST, INSIDE), lab.guest.udp.bind(SECOND_GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, b"x", CLIENT)
    assert come(lab, one)
    leases, mac = lab.gateway.dhcp.leases, b"\2\0\0\0\0\1"
    lease = leases.offer(mac, mac, SECOND_GUEST, lab.clock.now)
    assert lease is not None
    leases.bind(lease, mac, 3600, lab.clock.now)
    lab.host.post(LOOPBACK, OUTSIDE, b"y", CLIENT)
    assert come(lab, two)
    assert len(lab.gateway.flows()) == 1


def test_an_audit_that_closes_the_forward_ends_it_in_the_middle_of_an_event() -> None:
    lab = Lab(hooks=Hooks(audit=lambda _record: forward.close()))
    forward = publish_udp(lab)
    for port in range(1, 5):
        lab.host.post(LOOPBACK, OUTSIDE, b"x", (ABROAD, port))
    lab.run(SECOND)
    assert lab.count("forwards.udp.clients") == 1
    assert (lab.gateway.flows(), lab.host.sockets) == ([], {})
