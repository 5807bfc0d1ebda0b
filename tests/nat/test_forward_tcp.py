"""TCP forwards: what comes in reaches the guest whole, and every way in which one of the two is not there."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.nat.forward_kit import ABROAD, CLIENT, INSIDE, OUTSIDE, answered, call, publish_tcp
from tests.nat.kit import FREE, GATEWAY, GUEST, LOOPBACK, MS, SECOND, SECOND_GUEST, Lab
from tests.nat.tcp_kit import connect, drain, fetch, listening, nothing_remains, send_all
from usernat.fuzz.fakepeers import AnswersAtEof, Echo, Peer, Source
from usernat.nat.audit import DECIDED, ENDED, Record
from usernat.nat.errors import HostError
from usernat.nat.forwards.opening import LOOK_US
from usernat.nat.gateway import Hooks
from usernat.policy import GuestLimits, NetworkPolicy
from usernat.policy.decision import ALLOW, TCP, FlowRequest
from usernat.stack.l4.tcp.incoming import Incoming
from usernat.stack.l4.tcp.state import TcpError

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.listener import Listener

DATA = bytes(range(256)) * 2000


def forwarding(lab: Lab) -> None:
    """No connection of a forward is left, in the stack or in the host; the forward is."""
    assert lab.gateway.flows() == []
    assert len(lab.host.sockets) == 1
    report = lab.interface.tcp.report()
    assert (report["table"] - report["time_wait"], report["memory"]) == (0, 0)


def too_late(lab: Lab, listener: Listener) -> None:
    """A guest that answers a call that was given up is told so (who has been called only, RFC 9293 tells nothing)."""
    incoming = listener.accept()
    assert isinstance(incoming, Incoming)
    connection = incoming.accept()
    assert lab.run(stop=lambda: connection.error is TcpError.RESET)


def test_a_client_reaches_the_guest_both_ways() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    client = Source(DATA, linger=True)
    call(lab, client)
    connection = answered(lab, listener)
    (flow,) = lab.gateway.flows()
    assert (flow.guest, flow.guest_port, flow.destination, flow.port) == (GUEST, INSIDE, *CLIENT)
    assert (flow.inbound, flow.state) == (True, "open")
    got = bytearray()
    send_all(lab, connection, DATA[::-1], got)
    connection.shutdown()
    assert bytes(got) + fetch(lab, connection) == DATA
    assert (bytes(client.received), client.eof) == (DATA[::-1], True)
    connection.close()
    lab.run(SECOND)
    forwarding(lab)
    assert lab.count("forwards.tcp.finished") == 1


def test_c56_the_guest_sees_the_gateway_and_never_a_loopback_address() -> None:
    lab = Lab()
    publish_tcp(lab, address=0)
    listener = lab.guest.tcp.listen(None, INSIDE)
    ports = set()
    for source in (CLIENT, (LOOPBACK + 1, 7), (ABROAD, 40000)):
        call(lab, Peer(), source, address=ABROAD)
        connection = answered(lab, listener)
        assert connection.remote == GATEWAY
        ports.add(connection.remote_port)
    assert len(ports) == 3


def test_a_client_that_ends_its_side_first_gets_its_answer() -> None:
    """`nc -N`: all that it has, and its end, is in the kernel before the guest has heard of it."""
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    client = Source(b"question")
    call(lab, client)
    connection = answered(lab, listener)
    assert fetch(lab, connection) == b"question"
    assert not client.eof
    send_all(lab, connection, DATA)
    connection.close()
    assert lab.run(stop=lambda: client.eof)
    assert bytes(client.received) == DATA
    lab.run(SECOND)
    forwarding(lab)


def test_a_guest_that_ends_its_side_first_gets_the_answer() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    client = AnswersAtEof(DATA)
    call(lab, client)
    connection = answered(lab, listener)
    connection.send(b"question")
    connection.shutdown()
    assert fetch(lab, connection) == DATA
    assert bytes(client.received) == b"question"


def test_nothing_is_read_before_the_guest_has_answered() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE, hold=True)
    client = Source(DATA, linger=True)
    stream = call(lab, client)
    lab.run(2 * SECOND)
    assert [flow.state for flow in lab.gateway.flows()] == ["calling"]
    assert stream.readable()
    assert lab.interface.tcp.report()["memory"] == 0
    incoming = listener.accept()
    assert isinstance(incoming, Incoming)
    connection = incoming.accept()
    got = bytearray()

    def all_there() -> bool:
        drain(connection, got)
        return len(got) == len(DATA)

    assert lab.run(10 * SECOND, stop=all_there)
    assert bytes(got) == DATA


# -- who is not there -------------------------------------------------------------------------------------------------


def test_a_guest_that_refuses_resets_the_client_at_once() -> None:
    lab = Lab()
    publish_tcp(lab)
    client = Source(DATA, linger=True)
    call(lab, client)
    assert lab.run(100 * MS, stop=lambda: client.was_reset)
    forwarding(lab)
    assert lab.count("forwards.tcp.refused") == 1


def test_without_a_guest_the_client_is_reset_within_seconds() -> None:
    lab = Lab(lease_first=FREE)
    publish_tcp(lab)
    client = Peer()
    call(lab, client)
    assert not lab.run(SECOND, stop=lambda: client.was_reset)  # it is asked for
    assert lab.run(4 * SECOND, stop=lambda: client.was_reset)
    forwarding(lab)
    assert lab.count("forwards.tcp.unreachable") == 1


def test_a_guest_that_never_answers_is_given_up() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE, hold=True)
    client = Peer()
    call(lab, client)
    assert not lab.run(9 * SECOND, stop=lambda: client.was_reset)
    assert lab.run(2 * SECOND, stop=lambda: client.was_reset)
    forwarding(lab)
    assert lab.count("forwards.tcp.timed_out") == 1
    too_late(lab, listener)


@pytest.mark.parametrize("said", [b"", b"words"])
def test_a_client_that_leaves_before_the_answer_takes_its_connection_along(said: bytes) -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE, hold=True)
    stream = call(lab, Source(said, linger=True))
    lab.run(100 * MS)
    stream.reset()
    lab.run(LOOK_US if said else 10 * MS)
    forwarding(lab)
    too_late(lab, listener)
    assert lab.count("forwards.tcp.cancelled") == 1


def test_a_client_that_left_in_the_same_moment_is_not_spliced() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE, hold=True)
    stream = call(lab, Source(b"x", linger=True))
    lab.run(100 * MS)
    incoming = listener.accept()
    assert isinstance(incoming, Incoming)
    connection = incoming.accept()
    stream.reset()
    assert lab.run(10 * MS, stop=lambda: connection.error is not None)
    assert lab.count("forwards.tcp.connected") == 0
    forwarding(lab)


def test_a_reset_of_either_side_reaches_the_other() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    client = Peer()
    call(lab, client)
    answered(lab, listener).abort()
    assert lab.run(stop=lambda: client.was_reset)
    stream = call(lab, Peer())
    connection = answered(lab, listener)
    stream.reset()
    assert lab.run(stop=lambda: connection.error is TcpError.RESET)
    forwarding(lab)


def reply(lab: Lab, connection: Connection, size: int) -> bytes:
    assert lab.run(stop=lambda: connection.readable == size)
    return connection.recv(size)


# -- beside the guest's own -------------------------------------------------------------------------------------------


def test_c55_a_forward_leaves_the_guests_way_to_the_gateway_alone() -> None:
    """The same port numbers everywhere, both ways at once: and the very port of the gateway from which a client seems to come."""
    lab = Lab(host_loopback=True)
    publish_tcp(lab, address=ABROAD, guest_port=OUTSIDE)
    listener = lab.guest.tcp.listen(GUEST, OUTSIDE)
    client = Echo()
    call(lab, client, address=ABROAD)
    inbound = answered(lab, listener)
    for port in (OUTSIDE, inbound.remote_port):
        lab.host.tcp.clear()
        listening(lab, Echo, port=port)
        lab.host.tcp[LOOPBACK, port] = lab.host.tcp.popitem()[1]
        outbound = connect(lab, port=port, to=GATEWAY)
        outbound.send(b"out")
        inbound.send(b"in")
        assert (reply(lab, outbound, 3), reply(lab, inbound, 2)) == (b"out", b"in")
    pinger = lab.guest.echo.bind(1)
    pinger.request(GATEWAY, 1, b"")
    assert lab.run(stop=lambda: len(pinger.inbox) > 0)
    assert sum(flow.inbound for flow in lab.gateway.flows()) == 1


def test_a_guest_that_may_nothing_can_be_reached_and_still_may_nothing() -> None:
    lab = Lab(policy=NetworkPolicy.deny_all())
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    call(lab, Source(b"hello"))
    assert fetch(lab, answered(lab, listener)) == b"hello"
    listening(lab)
    assert connect(lab).error is TcpError.REFUSED


def test_each_connection_leads_to_the_guest_with_a_lease() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(None, INSIDE)
    call(lab, Peer())
    assert answered(lab, listener).local == GUEST
    leases = lab.gateway.dhcp.leases
    for mac, address in ((b"\2\0\0\0\0\1", SECOND_GUEST), (b"\2\0\0\0\0\2", FREE)):
        lease = leases.offer(mac, mac, address, lab.clock.now)
        assert lease is not None
        leases.bind(lease, mac, 3600, lab.clock.now)
    first = leases.find(b"\2\0\0\0\0\1")
    assert first is not None
    leases.bind(first, first.mac, 3600, lab.clock.now)  # renewed, it is still the first
    call(lab, Peer())
    assert answered(lab, listener).local == SECOND_GUEST
    leases.release(first)
    assert leases.first() == FREE


def test_the_audit_is_told_of_both_ends() -> None:
    records: list[Record] = []
    lab = Lab(hooks=Hooks(audit=records.append))
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    call(lab, Source(b"hello"))
    connection = answered(lab, listener)
    assert fetch(lab, connection) == b"hello"
    connection.send(b"good day")
    connection.close()
    lab.run(SECOND)
    request = FlowRequest(GUEST, b"", TCP, *CLIENT, INSIDE)
    assert [(record.event, record.request) for record in records] == [(DECIDED, request), (ENDED, request)]
    for record in records:
        assert record.verdict.action == ALLOW
        assert record.verdict.reason == "published 127.0.0.1:8080 to port 80"
    assert (records[1].up, records[1].down) == (8, 5)


def test_an_audit_that_closes_the_forward_ends_it_in_the_middle_of_an_event() -> None:
    lab = Lab(hooks=Hooks(audit=lambda _record: forward.close()))
    forward = publish_tcp(lab)
    clients = [Peer() for _ in range(3)]
    for client in clients:
        call(lab, client)
    lab.run(100 * MS)
    assert lab.count("forwards.tcp.accepted") == 1
    assert lab.count("forwards.tcp.accept_failed") == 0
    assert all(client.was_reset for client in clients)
    nothing_remains(lab)


def test_what_comes_in_counts_against_the_guests_bytes() -> None:
    policy = NetworkPolicy.allow_all().limit(total_bytes=1000)
    assert policy.limits == GuestLimits(total_bytes=1000)
    records: list[Record] = []
    lab = Lab(policy=policy, hooks=Hooks(audit=records.append))
    publish_tcp(lab)
    lab.guest.tcp.listen(GUEST, INSIDE)
    client = Source(bytes(5000), linger=True)
    call(lab, client)
    assert lab.run(stop=lambda: client.was_reset)
    assert records[-1].down == 1000
    late = Peer()
    call(lab, late)
    assert lab.run(stop=lambda: late.was_reset)
    assert lab.count("forwards.tcp.accepted") == 1


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_forward_that_is_closed_lets_live_connections_go_on() -> None:
    lab = Lab()
    forward = publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    client = Echo()
    call(lab, client)
    connection = answered(lab, listener)
    waiting = Peer()
    call(lab, waiting)
    forward.close()
    forward.close()
    assert waiting.was_reset
    assert lab.host.call(LOOPBACK, OUTSIDE, Peer(), CLIENT) is None
    connection.send(b"still here")
    assert lab.run(stop=lambda: connection.readable == 10)
    publish_tcp(lab)  # the port is free


def test_a_port_in_use_is_an_error_of_the_host() -> None:
    lab = Lab()
    publish_tcp(lab)
    with pytest.raises(HostError) as caught:
        publish_tcp(lab)
    assert caught.value.errno == errno.EADDRINUSE
    assert lab.count("forwards.published") == 1


def test_c27_with_the_gateway_all_of_it_ends() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    held = lab.guest.tcp.listen(GUEST, INSIDE + 1, hold=True)
    lab.gateway.publish(publish_tcp(lab, port=OUTSIDE + 1, guest_port=INSIDE + 1).forward._replace(port=9))
    clients = [Peer(), Peer(), Peer()]
    call(lab, clients[0])
    answered(lab, listener)
    assert lab.host.call(LOOPBACK, OUTSIDE + 1, clients[1], CLIENT) is not None
    lab.run(SECOND)
    assert held.accept() is not None
    assert lab.host.call(LOOPBACK, OUTSIDE, clients[2], CLIENT) is not None
    lab.gateway.close()
    assert [client.was_reset for client in clients] == [True, True, True]
    nothing_remains(lab)
    assert lab.gateway.poll_at() is None
