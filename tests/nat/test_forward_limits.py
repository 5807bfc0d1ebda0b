"""What the outside can make grow through a forward, and what it cannot take from anybody else."""

from __future__ import annotations

import errno

import pytest

from tests.nat.forward_kit import (
    ABROAD,
    INSIDE,
    OUTSIDE,
    answered,
    call,
    come,
    publish_tcp,
    publish_udp,
    sent,
)
from tests.nat.kit import GUEST, LOOPBACK, MS, SECOND, SERVER, Lab
from tests.nat.tcp_kit import connect, listening
from usernat.fuzz.fakelistening import FakeListening
from usernat.fuzz.fakepeers import Peer
from usernat.nat.config import Limits, Timeouts
from usernat.nat.forwards.forwards import REST_US
from usernat.nat.forwards.tcp import ACCEPTS_AN_EVENT
from usernat.nat.forwards.waiting import KEPT, MOST_WAITING
from usernat.stack.l4 import udp
from usernat.stack.l4.tcp.incoming import Incoming


def only_listening(lab: Lab) -> FakeListening:
    (sock,) = (sock for sock in lab.host.sockets if isinstance(sock, FakeListening))
    return sock


def test_connections_that_wait_for_the_guest_are_few_and_the_others_have_their_turn() -> None:
    lab = Lab(limits=Limits(forward_opening=2))
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE, hold=True)
    clients = [Peer() for _ in range(7)]
    for client in clients:
        call(lab, client)
    lab.run(SECOND)
    for taken in range(2, 8):
        assert lab.count("forwards.tcp.accepted") == taken
        incoming = listener.accept()
        assert isinstance(incoming, Incoming)
        incoming.accept()
        lab.run(10 * MS)
    assert lab.count("forwards.tcp.accepted") == 7
    assert lab.count("forwards.tcp.paused") >= 5
    assert not any(client.was_reset for client in clients)


def test_one_event_accepts_some_and_leaves_the_others_for_the_next() -> None:
    lab = Lab()
    forward = publish_tcp(lab)
    for _ in range(ACCEPTS_AN_EVENT + 5):
        call(lab, Peer())
    forward.on_host(readable=True, writable=False, now=lab.clock.now)
    assert lab.count("forwards.tcp.accepted") == ACCEPTS_AN_EVENT


def test_a_flood_from_outside_is_reset_and_leaves_the_guest_its_own_flows() -> None:
    lab = Lab(limits=Limits(tcp=4, total=4, forwarded_tcp=3))
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    live = []
    for _ in range(3):
        call(lab, Peer())
        live.append(answered(lab, listener))
    late = [Peer() for _ in range(20)]
    for client in late:
        call(lab, client)
    lab.run(SECOND)
    assert all(client.was_reset for client in late)
    assert lab.count("forwards.tcp.no_resources") == lab.count("forwards.refused_tcp") == 20
    listening(lab)
    assert all(connect(lab).established for _ in range(4))
    assert all(connection.established for connection in live)
    live[0].abort()
    lab.run(SECOND)
    call(lab, Peer())
    answered(lab, listener)


def test_the_guests_opening_connections_and_those_of_a_forward_do_not_push_each_other_out() -> None:
    lab = Lab(limits=Limits(tcp_opening=1))
    publish_tcp(lab)
    lab.guest.tcp.listen(GUEST, INSIDE, hold=True)
    own = lab.guest.tcp.connect(SERVER, 1)  # which nobody answers
    for _ in range(5):
        call(lab, Peer())
    lab.run(SECOND)
    assert not own.closed
    assert lab.count("nat.tcp.evicted") == 0
    assert len(lab.gateway.flows()) == 6


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EPROTO])
def test_a_socket_that_cannot_be_accepted_from_rests_and_does_not_spin(number: int) -> None:
    """The lab fails when its loop does not come to rest."""
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    only_listening(lab).failures.extend([number] * 3)
    client = Peer()
    call(lab, client)
    lab.run(3 * REST_US - 1)
    assert lab.count("forwards.tcp.accept_failed") == 3
    lab.run(2)
    assert answered(lab, listener).established
    assert not client.was_reset


def test_a_call_that_is_gone_before_it_is_accepted_is_passed_over() -> None:
    lab = Lab()
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    only_listening(lab).failures.append(errno.ECONNABORTED)
    call(lab, Peer())
    assert lab.run(REST_US // 2, stop=lambda: lab.count("forwards.tcp.connected") == 1)
    answered(lab, listener)
    assert lab.count("forwards.tcp.aborted") == 1


def test_without_descriptors_clients_wait_for_one() -> None:
    lab = Lab(host={"max_sockets": 2})
    publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE)
    call(lab, Peer())
    first = answered(lab, listener)
    client = Peer()
    call(lab, client)
    lab.run(SECOND)
    assert not client.was_reset
    first.abort()
    answered(lab, listener)


def test_a_forward_that_is_closed_while_it_rests_or_pauses_stays_closed() -> None:
    lab = Lab(limits=Limits(forward_opening=1))
    forward = publish_tcp(lab)
    listener = lab.guest.tcp.listen(GUEST, INSIDE, hold=True)
    call(lab, Peer())
    call(lab, Peer())
    lab.run(10 * MS)
    forward.close()
    incoming = listener.accept()
    assert isinstance(incoming, Incoming)
    incoming.accept()
    lab.run(10 * MS)
    resting = publish_tcp(lab)
    only_listening(lab).failures.append(errno.EMFILE)
    call(lab, Peer())
    lab.run(10 * MS)
    resting.close()
    assert len(lab.gateway._forwards._resting) == 0
    lab.run(SECOND)
    assert lab.count("forwards.published") == 0
    assert lab.count("forwards.tcp.accepted") == 1


# -- UDP --------------------------------------------------------------------------------------------------------------


def test_a_full_table_takes_no_new_client_and_keeps_those_it_has() -> None:
    lab = Lab(limits=Limits(forwarded_udp=2))
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    for port in range(1000, 1020):
        assert lab.host.post(LOOPBACK, OUTSIDE, b"flood", (ABROAD, port))
    lab.run(SECOND)
    assert len(sock.inbox) == 2
    assert lab.count("forwards.udp.no_resources") == lab.count("forwards.refused_udp") == 18
    while (datagram := sock.recv()) is not None:
        sock.send(b"answer", datagram.src, datagram.src_port)
    lab.run(SECOND)
    assert sent(lab) == [(b"answer", ABROAD, 1000), (b"answer", ABROAD, 1001)]
    assert lab.count("flows.open") == 0


def test_silence_makes_room() -> None:
    lab = Lab(limits=Limits(forwarded_udp=1), timeouts=Timeouts(udp=10))
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, b"one", (ABROAD, 1))
    ((_, _, port),) = come(lab, sock)
    lab.run(8 * SECOND)
    lab.host.post(LOOPBACK, OUTSIDE, b"one", (ABROAD, 1))  # RFC 4787 REQ-6: both ways
    assert [port for _, _, port in come(lab, sock)] == [port]
    lab.run(8 * SECOND)
    sock.send(b"answer", sock_source(lab), port)
    lab.run(8 * SECOND)
    assert len(lab.gateway.flows()) == 1
    lab.run(3 * SECOND)
    assert lab.gateway.flows() == []
    lab.host.post(LOOPBACK, OUTSIDE, b"two", (ABROAD, 2))
    assert come(lab, sock)


def test_a_client_that_was_never_answered_gives_way_sooner() -> None:
    lab = Lab(limits=Limits(forwarded_udp=2), timeouts=Timeouts(udp=300, udp_dns=30))
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    for client in (1, 2):
        lab.host.post(LOOPBACK, OUTSIDE, b"one", (ABROAD, client))
    ports = [port for _, _, port in come(lab, sock)]
    sock.send(b"answer", sock_source(lab), ports[0])
    lab.run(31 * SECOND)
    assert [info.port for info in lab.gateway.flows()] == [1]
    lab.host.post(LOOPBACK, OUTSIDE, b"one", (ABROAD, 3))
    assert come(lab, sock)
    lab.run(260 * SECOND)
    assert [info.port for info in lab.gateway.flows()] == [1]


def sock_source(lab: Lab) -> int:
    return lab.config.gateway


@pytest.mark.parametrize("size", [0, 1, 40_000])
def test_what_waits_for_the_guest_is_bounded_for_all_clients_together(size: int) -> None:
    """The link takes nothing meanwhile, as when a guest has been stopped."""
    lab = Lab()
    forward = publish_udp(lab)
    posted = 0
    for burst in range(60):
        for client in range(64):
            lab.host.post(LOOPBACK, OUTSIDE, bytes(size), (ABROAD, 1 + (burst * 64 + client) % 500))
            posted += 1
        forward.on_host(readable=True, writable=False, now=lab.clock.now)
    waiting = [client.socket.outbox for client in forward._clients.values()]
    items, queued = sum(map(len, waiting)), sum(outbox.bytes for outbox in waiting)
    assert items * KEPT + queued <= MOST_WAITING
    assert MOST_WAITING - (items * KEPT + queued) < size + KEPT
    assert lab.count("forwards.udp.guest_full") == posted - items
    lab.guest.udp.bind(GUEST, INSIDE)
    lab.run(5 * SECOND)
    assert not any(map(len, waiting))
    before = lab.count("forwards.udp.delivered")
    lab.host.post(LOOPBACK, OUTSIDE, bytes(size), (ABROAD, 1))
    lab.run(SECOND)
    assert lab.count("forwards.udp.delivered") == before + 1


def test_when_the_stack_has_no_socket_left_a_client_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    forward = publish_udp(lab)
    monkeypatch.setattr(udp, "MAX_SOCKETS", 10)
    for port in range(1, 20):
        lab.host.post(LOOPBACK, OUTSIDE, b"", (ABROAD, port))
    forward.on_host(readable=True, writable=False, now=lab.clock.now)
    taken = lab.count("forwards.udp.clients")
    assert 0 < taken < 10
    assert lab.count("forwards.udp.no_resources") == 19 - taken
    lab.gateway.close()
    assert not lab.host.sockets
