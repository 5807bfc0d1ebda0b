"""TCP flows, the beginning: the held SYN, what the host answers, caps."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from tests.nat.kit import (
    FREE,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    LOOPBACK,
    MS,
    NAMESERVER,
    OTHER,
    ROUTER,
    SECOND,
    SERVER,
    Lab,
)
from tests.nat.tcp_kit import PORT, connect, icmp_at_guest, listening, nothing_remains, send_all
from usernat.fuzz.fakehost import BLACK_HOLE, Failing, Listening
from usernat.fuzz.fakepeers import Echo, Peer
from usernat.nat.config import Limits, Timeouts
from usernat.nat.gateway import Hooks
from usernat.nat.host_datagram import ReportedError
from usernat.policy import FlowRequest, NetworkPolicy, Policy, Verdict
from usernat.stack.l4.tcp.state import TcpError

if TYPE_CHECKING:
    from usernat.nat.audit import Record


@pytest.mark.rfc("1812", "5.3.1-a")
def test_the_syn_is_held_until_the_host_has_connected() -> None:
    lab = Lab()
    listening(lab, delay_us=300 * MS)
    connection = lab.guest.tcp.connect(SERVER, PORT)
    lab.run(290 * MS)
    assert not connection.established
    assert [info.state for info in lab.gateway.flows()] == ["connecting"]
    lab.run(20 * MS)
    assert connection.established
    (info,) = lab.gateway.flows()
    assert (info.guest, info.destination, info.port, info.state) == (GUEST, SERVER, PORT, "open")
    assert info.guest_port == connection.local_port
    assert lab.host.record.connects == [(SERVER, PORT, 63)]


def test_the_guests_repeated_syns_are_absorbed_while_the_host_connects() -> None:
    lab = Lab()
    listening(lab, delay_us=10 * SECOND)
    connection = connect(lab, wait=11 * SECOND)
    assert connection.established
    assert lab.interface.tcp.counters.duplicate_syn >= 2
    assert len(lab.host.record.connects) == 1


@pytest.mark.rfc("5382", "REQ-9")
def test_a_refused_connect_is_a_reset() -> None:
    """RFC 5382 REQ-9."""
    lab = Lab()
    lab.host.tcp[SERVER, PORT] = Failing(ReportedError(errno.ECONNREFUSED))
    connection = connect(lab)
    assert connection.error == TcpError.REFUSED
    assert lab.count("nat.tcp.refused") == 1
    nothing_remains(lab)


@pytest.mark.rfc("5382", "REQ-9")
@pytest.mark.rfc("1812", "4.3.3.1-a", "4.3.3.1-b", "5.2.7.1-a")
@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENETUNREACH, 0), (errno.EHOSTUNREACH, 1), (errno.ETIMEDOUT, 1), (errno.EACCES, 13)],
)
@pytest.mark.parametrize("delay", [None, MS])
def test_what_the_host_cannot_reach_is_told_by_icmp(number: int, code: int, delay: int | None) -> None:
    """RFC 5382 REQ-9; RFC 1812 4.3.3.1-a, -b: from the very call or later."""
    lab = Lab()
    lab.host.tcp[SERVER, PORT] = Failing(ReportedError(number), delay)
    connect(lab)
    assert icmp_at_guest(lab)[0] == (3, code, GATEWAY)
    assert lab.count("nat.tcp.unreachable") >= 1
    nothing_remains(lab)


@pytest.mark.rfc("5382", "REQ-9")
def test_a_refusal_by_icmp_stays_one() -> None:
    """RFC 5382 REQ-9: a host behind a firewall answers a SYN with port unreachable, for which the kernel says "refused" too."""
    lab = Lab()
    lab.host.tcp[SERVER, PORT] = Failing(
        ReportedError(errno.ECONNREFUSED, icmp=True, type=3, code=3, offender=SERVER)
    )
    connect(lab)
    assert icmp_at_guest(lab) == [(3, 3, SERVER)]
    assert (lab.count("nat.tcp.refused"), lab.count("nat.tcp.unreachable")) == (0, 1)
    nothing_remains(lab)


@pytest.mark.rfc("6888", "REQ-11")
@pytest.mark.parametrize("delay", [None, 10 * MS])
def test_c60_a_host_without_free_ports_is_a_lack_of_resources(delay: int | None) -> None:
    """RFC 6888 REQ-11."""
    lab = Lab()
    lab.host.tcp[SERVER, PORT] = Failing(ReportedError(errno.EADDRNOTAVAIL), delay)
    connect(lab)
    assert icmp_at_guest(lab)[0] == (3, 1, GATEWAY)
    assert (lab.count("nat.tcp.no_resources") > 0) == (delay is None)
    nothing_remains(lab)


@pytest.mark.rfc("5508", "REQ-4b", "REQ-10a")
def test_c44_ttl_probes_over_tcp_find_the_routers() -> None:
    """RFC 5508 REQ-4b for TCP: the type stays, the source is the router."""
    lab = Lab()
    lab.host.routers = (ROUTER,) * 63
    connect(lab)
    assert icmp_at_guest(lab)[0] == (11, 0, ROUTER)
    nothing_remains(lab)


def test_c27_a_gateway_that_closes_lets_go_of_the_syns_that_it_holds() -> None:
    lab = Lab()
    lab.host.tcp[SERVER, PORT] = BLACK_HOLE
    lab.guest.tcp.connect(SERVER, PORT)
    lab.run(100 * MS)
    assert lab.interface.tcp.report()["half_open"] == 1
    lab.gateway.close()
    nothing_remains(lab)


def test_c22_a_black_hole_delays_nobody_and_ends_in_unreachable() -> None:
    lab = Lab(timeouts=Timeouts(tcp_connect=20))
    lab.host.tcp[SERVER, PORT] = BLACK_HOLE
    listening(lab, Echo, port=81)
    stuck = lab.guest.tcp.connect(SERVER, PORT)
    lab.run(SECOND)
    pinger = lab.guest.echo.bind(1)
    for seq in range(20):
        pinger.request(GATEWAY, seq, b"")
        sent = lab.clock.now
        assert lab.run(50 * MS, stop=lambda: bool(pinger.recv()))
        assert lab.clock.now - sent < 50 * MS
    assert connect(lab, 81).established
    lab.run(20 * SECOND)
    assert stuck.soft_error == (3, 1)
    assert (3, 1, GATEWAY) in icmp_at_guest(lab)
    assert lab.count("nat.tcp.timed_out") == 1


def test_a_guest_that_gives_up_cancels_the_hosts_connect() -> None:
    lab = Lab()
    lab.host.tcp[SERVER, PORT] = BLACK_HOLE
    connection = lab.guest.tcp.connect(SERVER, PORT)
    lab.run(100 * MS)
    key = (SERVER, PORT, GUEST, connection.local_port)
    # A SYN-SENT connection has no RST to send of its own accord; a kernel that loses its socket answers the SYN-ACK. Here it is put on the wire.
    lab.guest.tcp.reply(key, connection.snd.snd_nxt & 0xFFFFFFFF, 0, 4, 0, None)
    connection.abort()
    lab.run(100 * MS)
    assert lab.count("nat.tcp.cancelled") == 1
    nothing_remains(lab)


def test_c40_a_denied_connect_is_reset_at_once() -> None:
    lab = Lab(policy=NetworkPolicy.deny_all())
    connection = lab.guest.tcp.connect(SERVER, PORT)
    began = lab.clock.now
    assert lab.run(SECOND, stop=lambda: connection.closed)
    assert lab.clock.now - began < 10 * MS
    assert connection.error == TcpError.REFUSED
    assert lab.host.record.opened == 0


def test_c40_silence_is_an_option() -> None:
    lab = Lab(policy=NetworkPolicy.deny_all().denying("drop"))
    connection = lab.guest.tcp.connect(SERVER, PORT)
    lab.run(2 * SECOND)
    assert not connection.closed
    assert lab.count("admission.denied_silently") >= 1


def test_c34_the_policy_is_asked_once_per_flow() -> None:
    asked: list[FlowRequest] = []

    class Recording(Policy):
        def decide(self, request: FlowRequest) -> Verdict:
            asked.append(request)
            return Verdict(True)

    lab = Lab(policy=Recording())
    listening(lab, Echo)
    connection = connect(lab)
    send_all(lab, connection, b"x" * 100_000, bytearray())
    assert [(request.destination, request.port, request.guest_port) for request in asked] == [
        (SERVER, PORT, connection.local_port)
    ]


def test_c58_the_gateways_own_addresses_are_closed() -> None:
    lab = Lab()
    for address in (GATEWAY, NAMESERVER):
        assert connect(lab, to=address).error == TcpError.REFUSED
    assert lab.host.record.opened == 0


@pytest.mark.rfc("1812", "4.3.3.1-b")
def test_a_free_address_of_the_guests_network_is_unreachable() -> None:
    """RFC 1812 4.3.3.1-b. A guest has to send the frame to the gateway's MAC address for it."""
    lab = Lab()
    lab.guest.tcp.connect(FREE, PORT)
    lab.run(10 * MS)
    lab.guest.ethernet.neighbours.learn(FREE, GATEWAY_MAC, lab.clock.now)
    lab.run(100 * MS)
    assert icmp_at_guest(lab)[:1] == [(3, 1, GATEWAY)]


def test_host_loopback_through_the_gateways_address() -> None:
    lab = Lab(host_loopback=True)
    lab.host.tcp[LOOPBACK, PORT] = Listening(Echo)
    connection = connect(lab, to=GATEWAY)
    assert connection.established
    connection.send(b"hello")
    lab.run(100 * MS)
    assert connection.recv(100) == b"hello"


def exchange(delay_us: int | None) -> tuple[Any, ...]:
    """A connection to the host's loopback from SYN to end, and what is left of it in counters and records."""
    records: list[Record] = []
    lab = Lab(host_loopback=True, hooks=Hooks(audit=records.append))
    lab.host.tcp[LOOPBACK, PORT] = Listening(Echo, delay_us=delay_us)
    connection = connect(lab, to=GATEWAY)
    connection.send(b"hello")
    lab.run(100 * MS)
    got = connection.recv(100)
    connection.shutdown()
    lab.run(SECOND)
    counters = {
        name: count for name, count in lab.gateway.counters().items() if name.startswith(("nat.", "flows."))
    }
    ends = [(record.event, record.up, record.down) for record in records]
    return (
        got,
        connection.at_eof,
        counters,
        ends,
        lab.host.record.opened,
        lab.host.record.closed,
        lab.gateway.flows(),
    )


def test_a_connect_that_is_decided_at_once_is_like_any_other() -> None:
    assert exchange(None) == exchange(1000)
    got, at_eof, counters, ends, opened, closed, flows = exchange(None)
    assert (got, at_eof, opened, closed, flows) == (b"hello", True, 1, 1, [])
    assert counters["nat.tcp.connected"] == counters["nat.tcp.finished"] == 1
    assert ends == [("decision", 0, 0), ("end", 5, 5)]


@pytest.mark.parametrize(("to", "address", "wait"), [(GATEWAY, LOOPBACK, False), (SERVER, SERVER, True)])
def test_only_a_connect_that_leaves_the_host_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, to: int, address: int, wait: bool
) -> None:
    """Elsewhere it takes a round trip, and to ask before would cost a system call for nothing."""
    lab = Lab(host_loopback=True)
    lab.host.tcp[address, PORT] = Listening(Echo, delay_us=None)
    watched: list[tuple[bool, bool]] = []
    watch = lab.host.watch

    def note(sock: Any, readable: bool, writable: bool) -> None:
        watched.append((readable, writable))
        watch(sock, readable, writable)

    monkeypatch.setattr(lab.host, "watch", note)
    assert connect(lab, to=to).established
    assert watched == [(False, True)] * wait + [(True, False)]


@pytest.mark.rfc("6888", "REQ-4", "REQ-11")
def test_c60_at_the_cap_new_connections_are_told_and_old_ones_work() -> None:
    """RFC 6888 REQ-4, REQ-11."""
    lab = Lab(limits=Limits(tcp=3))
    listening(lab, Echo)
    connections = [connect(lab) for _ in range(3)]
    extra = connect(lab)
    assert not extra.established
    assert (3, 1, GATEWAY) in icmp_at_guest(lab)
    for connection in connections:
        connection.send(b"alive")
    lab.run(100 * MS)
    assert all(connection.recv(10) == b"alive" for connection in connections)
    assert lab.count("nat.tcp.no_resources") >= 1
    extra.abort()
    connections[0].close()
    lab.run(SECOND)
    assert connect(lab).established


def test_c21_a_thousand_syns_that_are_reset_leave_nothing() -> None:
    lab = Lab()
    lab.host.tcp[OTHER, PORT] = BLACK_HOLE
    listening(lab, Echo)
    for index in range(1000):
        port = 10_000 + index
        lab.guest.tcp.reply((OTHER, PORT, GUEST, port), 1000, 0, 2, 65535, None)
        lab.guest.tcp.reply((OTHER, PORT, GUEST, port), 1001, 0, 4, 0, None)
        if index % 100 == 99:
            lab.run(20 * MS)
    lab.run(200 * MS)
    nothing_remains(lab)
    assert connect(lab).established


@pytest.mark.parametrize("descriptors", [1 << 20, 100])
def test_c21_a_thousand_syns_never_completed_give_way_to_a_real_one(descriptors: int) -> None:
    """Whether the table's cap or the host's descriptors run out first."""
    lab = Lab(host={"max_sockets": descriptors})
    listening(lab, Echo)
    lab.host.tcp[OTHER, PORT] = BLACK_HOLE
    standing = connect(lab)
    for index in range(1000):
        lab.guest.tcp.reply((OTHER, PORT, GUEST, 10_000 + index), 1000, 0, 2, 65535, None)
        if index % 100 == 99:
            lab.run(20 * MS)
    assert len(lab.gateway.flows()) <= min(513, descriptors)
    began = lab.clock.now
    assert connect(lab).established
    assert lab.clock.now - began < 20 * MS
    standing.send(b"never harmed")
    lab.run(100 * MS)
    assert standing.recv(100) == b"never harmed"


def test_c21_syn_acks_that_are_never_answered_give_way_too() -> None:
    lab = Lab(limits=Limits(tcp_opening=50))
    listening(lab, Echo)
    lab.host.tcp[OTHER, PORT] = Listening(Peer)
    lab.wire.lose = lambda frame, to_b: not to_b and frame[26:30] == OTHER.to_bytes(4, "big")
    for index in range(300):
        lab.guest.tcp.reply((OTHER, PORT, GUEST, 10_000 + index), 1000, 0, 2, 65535, None)
        if index % 50 == 49:
            lab.run(20 * MS)
    assert len(lab.gateway.flows()) <= 50
    assert lab.count("nat.tcp.evicted") >= 250
    assert connect(lab).established


def test_c60_twenty_thousand_flows_one_after_the_other_leave_memory_level() -> None:
    lab = Lab()
    lab.host.tcp[SERVER, PORT] = Failing(ReportedError(errno.ECONNREFUSED), 0)
    for index in range(20_000):
        lab.guest.tcp.reply((SERVER, PORT, GUEST, 1024 + index), 1, 0, 2, 65535, None)
        if index % 500 == 499:
            lab.run(500 * MS)
    lab.run(SECOND)
    nothing_remains(lab)
    assert len(lab.gateway._table.deadlines) == 0
    assert lab.count("flows.opened_tcp") + lab.count("flows.refused_rate") >= 19_000
