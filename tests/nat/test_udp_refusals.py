"""UDP mappings: errors, denials, caps and back-pressure."""

from __future__ import annotations

import errno

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
    SERVER,
    Lab,
)
from tests.nat.udp_kit import PORT, echo, only_error, only_host_socket, received, reported, talking
from usernat.fuzz.fakehost import Failing
from usernat.nat.config import Limits
from usernat.nat.host_datagram import ReportedError
from usernat.policy import FlowRequest, NetworkPolicy, Policy, Verdict
from usernat.stack.device import Capabilities


@pytest.mark.rfc("4787", "REQ-12", "REQ-12b")
@pytest.mark.rfc("5508", "REQ-4", "REQ-4a", "REQ-4b", "REQ-4c")
def test_c44_a_far_error_quotes_the_guests_own_datagram_and_comes_from_who_sent_it() -> None:
    """RFC 4787 REQ-12, REQ-12a, REQ-12b; RFC 5508 REQ-4, REQ-4a, REQ-4b, REQ-4c."""
    lab = Lab()
    lab.host.udp[SERVER, PORT] = reported(3, 3, SERVER)
    lab.host.udp[SERVER, PORT + 1] = echo
    sock = talking(lab)
    sent = lab.wire.frames(to_b=True)[-1]
    error = only_error(sock)
    assert (error.type, error.code, error.source) == (3, 3, SERVER)
    assert bytes(error.datagram) == sent[14 : 14 + 28]
    sock.send(b"alive", SERVER, PORT + 1)
    lab.run(100 * MS)
    assert received(sock) == [(b"alive", SERVER, PORT + 1)]
    assert lab.host.record.opened == 1
    assert lab.count("nat.udp.errors_translated") == 1


@pytest.mark.rfc("4787", "REQ-12a")
@pytest.mark.rfc("1812", "5.3.1-b", "5.3.1-c")
@pytest.mark.rfc("5508", "REQ-10a")
@pytest.mark.rfc("792", "te-a")
def test_c44_traceroute_hears_from_every_router() -> None:
    """RFC 1812 5.3.1-b, -c; each probe's error quotes that probe."""
    lab = Lab()
    lab.host.routers = (ROUTER, ROUTER + 1)
    lab.host.udp[SERVER, None] = reported(3, 3, SERVER)
    sock = lab.guest.udp.bind(GUEST, 4000)
    heard = []
    for hop in range(1, 5):
        sock.send(b"probe", SERVER, 33434 + hop, ttl=hop)
        lab.run(200 * MS)
        error = only_error(sock)
        heard.append((error.type, error.source, int.from_bytes(error.payload[2:4], "big") - 33434))
    assert heard == [(11, GATEWAY, 1), (11, ROUTER, 2), (11, ROUTER + 1, 3), (3, SERVER, 4)]


@pytest.mark.rfc("4787", "REQ-13")
@pytest.mark.rfc("1812", "5.2.7.1-c")
@pytest.mark.rfc("1191", "4-a")
@pytest.mark.rfc("792", "du-b")
def test_c44_too_big_with_df_tells_the_next_hops_mtu() -> None:
    """RFC 4787 REQ-13; RFC 1812 5.2.7.1-c."""
    lab = Lab(host={"mtu": 1200})
    lab.host.udp[SERVER, PORT] = echo
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"x" * 1300, SERVER, PORT, df=True)
    lab.run(100 * MS)
    error = only_error(sock)
    assert (error.type, error.code, error.mtu, error.source) == (3, 4, 1200, GATEWAY)
    sock.send(b"x" * 1300, SERVER, PORT, df=False)
    lab.run(100 * MS)
    assert received(sock) == [(b"x" * 1300, SERVER, PORT)]


@pytest.mark.rfc("5508", "REQ-4")
def test_an_error_about_a_datagram_that_was_never_sent_is_dropped() -> None:
    """RFC 5508 REQ-4."""
    lab = Lab()
    sock = talking(lab)
    only_host_socket(lab).fail_later(
        ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=OTHER), OTHER, 5
    )
    lab.run(100 * MS)
    assert not sock.errors
    assert lab.count("nat.udp.errors_unmatched") == 1


def test_a_pending_error_does_not_cost_the_next_datagram() -> None:
    lab = Lab()
    lab.host.udp[OTHER, PORT] = echo
    sock = talking(lab)
    only_host_socket(lab).error = errno.ECONNREFUSED
    lab.host.watch(only_host_socket(lab), readable=False, writable=False)
    sock.send(b"mine", OTHER, PORT)
    lab.run(10 * MS)
    assert lab.host.record.datagrams[-1][4] == b"mine"


@pytest.mark.rfc("5508", "REQ-4a")
def test_a_storm_of_errors_about_others_is_never_blamed_on_the_next_datagram() -> None:
    """RFC 5508 REQ-4a: the guest hears of each error with the datagram that it is about, and of no other."""
    lab = Lab()
    lab.host.udp[OTHER, PORT] = echo
    sock = talking(lab)
    host = only_host_socket(lab)
    lab.host.watch(host, readable=False, writable=False)
    for _ in range(64):
        host.fail_later(ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=SERVER), SERVER, PORT)
    sock.send(b"first", OTHER, PORT)
    sock.send(b"second", OTHER, PORT)
    lab.run(10 * MS)
    quoted = {int.from_bytes(error.datagram[16:20], "big") for error in sock.errors}
    assert quoted == {SERVER}
    assert (lab.count("nat.udp.host_full"), lab.count("nat.udp.host_failed")) == (1, 0)
    assert lab.host.record.datagrams[-1][4] == b"second"


@pytest.mark.rfc("1812", "4.3.3.1-a", "4.3.3.1-b", "4.3.2.4-a")
@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENETUNREACH, 0), (errno.EHOSTUNREACH, 1), (errno.EPERM, 13)]
)
def test_what_the_host_cannot_send_is_told(number: int, code: int) -> None:
    """RFC 1812 4.3.3.1-a, 4.3.3.1-b."""
    lab = Lab()
    lab.host.udp[SERVER, PORT] = Failing(ReportedError(number), None)
    error = only_error(talking(lab))
    assert (error.type, error.code, error.source) == (3, code, GATEWAY)
    assert lab.count("nat.udp.host_failed") == 1


def test_a_full_host_socket_drops_and_counts() -> None:
    lab = Lab()
    sock = talking(lab)
    lab.host.faults.again = 1.0
    sock.send(b"x", SERVER, PORT)
    lab.run(100 * MS)
    assert lab.count("nat.udp.host_full") == 1
    assert not sock.errors


@pytest.mark.rfc("1812", "5.2.7.1-a")
@pytest.mark.rfc("5508", "REQ-8")
def test_c40_a_denied_datagram_is_answered_at_once() -> None:
    """RFC 1812 5.2.7.1-a: code 13."""
    lab = Lab(policy=NetworkPolicy.deny_all())
    error = only_error(talking(lab))
    assert (error.type, error.code, error.source) == (3, 13, GATEWAY)
    assert lab.host.record.opened == 0


@pytest.mark.rfc("1812", "5.2.7.1-b")
def test_c40_silent_denial_is_an_option() -> None:
    lab = Lab(policy=NetworkPolicy.deny_all().denying("drop"))
    assert not talking(lab).errors
    assert lab.count("admission.denied_silently") == 1


def test_c34_the_policy_is_asked_once_for_each_destination_of_a_mapping() -> None:
    asked: list[FlowRequest] = []

    class Changing(Policy):
        def decide(self, request: FlowRequest) -> Verdict:
            asked.append(request)
            return Verdict(len(asked) < 3)

    lab = Lab(policy=Changing())
    lab.host.udp[None, None] = echo
    sock = talking(lab)
    for port in (PORT, PORT + 1, PORT + 2, PORT):
        sock.send(b"x", SERVER, port)
    lab.run(100 * MS)
    assert [request.port for request in asked] == [PORT, PORT + 1, PORT + 2]
    assert [port for _, _, port in received(sock)] == [PORT, PORT, PORT + 1, PORT]
    assert only_error(sock).code == 13


def test_destinations_of_the_guests_own_network() -> None:
    lab = Lab()
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"x", GATEWAY, 9)
    sock.send(b"x", NAMESERVER, 9)
    lab.run(100 * MS)
    assert [(error.source, error.code) for error in sock.errors] == [(GATEWAY, 3), (NAMESERVER, 3)]
    sock.errors.clear()
    lab.guest.udp.bind(GUEST, 4001).send(b"x", FREE, 9, mac=b"\x02\0\0\0\0\x02")
    lab.run(100 * MS)
    assert lab.count("admission.nobody") == 1
    assert lab.host.record.opened == 0


@pytest.mark.rfc("6888", "REQ-4", "REQ-11")
def test_c60_a_guest_has_so_many_mappings_and_those_that_live_go_on() -> None:
    """RFC 6888 REQ-11; RFC 4787 REQ-11."""
    lab = Lab(limits=Limits(udp=3))
    lab.host.udp[SERVER, PORT] = echo
    socks = [talking(lab, 4000 + index) for index in range(5)]
    assert lab.host.record.opened == 3
    for sock in socks[3:]:
        error = only_error(sock)
        assert (error.code, error.source) == (1, GATEWAY)
    for sock in socks[:3]:
        sock.send(b"still here", SERVER, PORT)
    lab.run(100 * MS)
    assert [len(received(sock)) for sock in socks] == [2, 2, 2, 0, 0]
    assert lab.count("nat.udp.no_resources") == lab.count("flows.refused_udp") == 2


def test_c60_no_descriptors_is_told_and_harms_nobody() -> None:
    lab = Lab(host={"max_sockets": 2})
    lab.host.udp[SERVER, PORT] = echo
    socks = [talking(lab, 4000 + index) for index in range(3)]
    assert [len(received(sock)) for sock in socks] == [1, 1, 0]
    assert only_error(socks[2]).code == 1
    assert len(lab.gateway.flows()) == 2


@pytest.mark.rfc("6888", "REQ-5")
def test_c60_destinations_of_one_mapping_are_bounded() -> None:
    lab = Lab(limits=Limits(udp_destinations=16))
    sock = talking(lab)
    for port in range(1000, 1200):
        sock.send(b"x", SERVER, port)
        lab.run(5 * MS)
    assert lab.count("nat.destinations_forgotten") == 185
    only_host_socket(lab).arrive(b"in", SERVER, 1000)
    lab.run(100 * MS)
    assert received(sock) == [(b"in", SERVER, 1000)]


def test_the_host_is_not_read_while_the_guests_queue_is_full_and_then_goes_on() -> None:
    """Back-pressure: the kernel's queue holds what the guest's link cannot take yet."""
    lab = Lab(capabilities=Capabilities(mtu=65535))
    sock = talking(lab)
    host = only_host_socket(lab)
    for index in range(64):
        host.arrive(bytes([index]) * 60000, SERVER, PORT)
    while lab.host.run(lab.clock.now):
        pass
    assert 10 < len(lab.gateway._udp._socket.outbox) < 20
    assert lab.count("nat.udp.paused") == 1
    lab.run(5 * SECOND, stop=lambda: lab.count("nat.udp.delivered") == 64)
    lab.run(10 * MS)
    assert lab.count("nat.udp.guest_full") == 0
    assert lab.count("nat.udp.delivered") == 64
    assert len(received(sock)) + lab.guest.udp.counters.queue_full == 64


def test_a_guests_icmp_error_is_counted_and_does_not_prolong_the_mapping() -> None:
    """RFC 5508 REQ-5; RFC 7857 7.1-a."""
    lab = Lab()
    sock = talking(lab)
    sock.close()
    (info,) = lab.gateway.flows()
    only_host_socket(lab).arrive(b"nobody listens", SERVER, PORT)
    lab.run(100 * MS)
    assert lab.count("nat.udp.guest_errors") == 1
    (later,) = lab.gateway.flows()
    assert info.expires_us is not None
    assert later.expires_us is not None
    assert later.expires_us - info.expires_us <= 101 * MS  # the datagram's doing, not the error's


def test_a_mapping_may_end_while_its_socket_is_left_unread() -> None:
    lab = Lab(capabilities=Capabilities(mtu=65535))
    sock = talking(lab)
    for _ in range(64):
        only_host_socket(lab).arrive(bytes(60000), SERVER, PORT)
    while lab.host.run(lab.clock.now):
        pass
    assert len(lab.gateway._udp._paused) == 1
    for info in lab.gateway._table._flows.copy():
        info.abandon()
    assert lab.gateway._udp._paused == {}
    lab.run()
    sock.send(b"again", SERVER, PORT)
    lab.run(100 * MS)
    assert len(lab.gateway.flows()) == 1


def test_an_error_without_a_pending_errno_is_found_too() -> None:
    """A send has taken the errno away; the report still waits in the error queue."""
    lab = Lab()
    sock = talking(lab)
    host = only_host_socket(lab)
    host.fail_later(ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=SERVER), SERVER, PORT)
    host.error = 0
    lab.run(100 * MS)
    assert only_error(sock).code == 3
