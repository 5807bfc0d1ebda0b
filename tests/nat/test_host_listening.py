"""What forwards may rely on, of the kernel's sockets and of the scripted ones alike: those that listen, and those on a port of their own."""

from __future__ import annotations

import errno
import socket
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.nat.host_kit import LOOPBACK, Loop, Recorder
from usernat.fuzz.fakehost import FakeHost
from usernat.fuzz.fakepeers import Peer
from usernat.nat.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usernat.nat.host import Host

OUTSIDE = 0xC0000201  # 192.0.2.1, which is no address of this host


class Rig:
    """A host, and clients of it."""

    host: Host

    def turn(self) -> None:
        raise NotImplementedError

    def call(self, port: int, data: bytes = b"") -> Any:
        """A client that connects and sends."""
        raise NotImplementedError

    def was_reset(self, client: Any) -> bool:
        raise NotImplementedError

    def post(self, port: int, data: bytes) -> None:
        """A datagram."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class RealRig(Rig):
    def __init__(self, max_sockets: int) -> None:
        self.loop = Loop(max_sockets=max_sockets)
        self.host = self.loop.host
        self.clients: list[socket.socket] = []

    def turn(self) -> None:
        self.loop.turn(0.05)

    def call(self, port: int, data: bytes = b"") -> socket.socket:
        self.clients.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        self.clients[-1].sendall(data)
        return self.clients[-1]

    def was_reset(self, client: socket.socket) -> bool:
        try:
            client.recv(1)
        except ConnectionResetError:
            return True
        return False

    def post(self, port: int, data: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(data, ("127.0.0.1", port))

    def close(self) -> None:
        self.loop.close()
        for client in self.clients:
            client.close()


class FakeRig(Rig):
    def __init__(self, max_sockets: int) -> None:
        self.host: FakeHost = FakeHost(Random(1), max_sockets=max_sockets)
        self._ports = iter(range(40000, 50000))

    def turn(self) -> None:
        self.host.run(self.host.now + 100)

    def call(self, port: int, data: bytes = b"") -> Peer:
        peer = Peer()
        stream = self.host.call(LOOPBACK, port, peer, (LOOPBACK, next(self._ports)))
        assert stream is not None
        stream.push(data)
        return peer

    def was_reset(self, client: Peer) -> bool:
        return client.was_reset

    def post(self, port: int, data: bytes) -> None:
        self.host.post(LOOPBACK, port, data, (LOOPBACK, next(self._ports)))

    def close(self) -> None:
        for sock in list(self.host.sockets):
            self.host.close(sock)


@pytest.fixture(params=[RealRig, FakeRig])
def rig(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = request.param(1 << 16)
    yield made
    made.close()


def test_who_waits_is_an_event_for_as_long_as_he_waits(rig: Rig) -> None:
    owner = Recorder()
    listening = rig.host.listen_tcp(LOOPBACK, 0, owner)
    rig.host.watch(listening, readable=True, writable=False)
    rig.call(listening.port)
    for count in (1, 2):
        rig.turn()
        assert owner.events == [(True, False)] * count
    assert rig.host.accept(listening) is not None
    assert rig.host.accept(listening) is None
    rig.turn()
    assert len(owner.events) == 2


def test_what_is_accepted_has_its_peer_and_tells_nothing_before_it_is_asked(rig: Rig) -> None:
    listening = rig.host.listen_tcp(LOOPBACK, 0, Recorder())
    rig.call(listening.port, b"hello")
    accepted = rig.host.accept(listening)
    assert accepted is not None
    sock, address, port = accepted
    assert address == LOOPBACK
    assert port > 0
    owner = Recorder()
    rig.host.adopt(sock, owner)
    rig.turn()
    assert owner.events == []
    rig.host.watch(sock, readable=True, writable=False)
    rig.turn()
    assert owner.events == [(True, False)]
    assert sock.recv(9) == b"hello"
    with pytest.raises(BlockingIOError):
        sock.recv(9)


def test_a_close_with_a_reset_is_one(rig: Rig) -> None:
    listening = rig.host.listen_tcp(LOOPBACK, 0, Recorder())
    client = rig.call(listening.port)
    accepted = rig.host.accept(listening)
    assert accepted is not None
    rig.host.close(accepted[0], reset=True)
    assert rig.was_reset(client)


def test_who_still_waits_when_the_socket_is_closed_is_reset(rig: Rig) -> None:
    listening = rig.host.listen_tcp(LOOPBACK, 0, Recorder())
    client = rig.call(listening.port)
    rig.host.close(listening)
    rig.host.close(listening)
    assert rig.was_reset(client)


def test_a_port_is_had_once_by_each_protocol_and_free_after_the_close(rig: Rig) -> None:
    owner = Recorder()
    listening = rig.host.listen_tcp(LOOPBACK, 0, owner)
    sock = rig.host.publish_udp(LOOPBACK, 0, owner)
    both: tuple[Callable[[], object], ...] = (
        lambda: rig.host.listen_tcp(LOOPBACK, listening.port, owner),
        lambda: rig.host.publish_udp(LOOPBACK, sock.port, owner),
    )
    for again in both:
        with pytest.raises(HostError) as caught:
            again()
        assert caught.value.errno == errno.EADDRINUSE
    rig.call(listening.port)
    accepted = rig.host.accept(listening)
    assert accepted is not None
    rig.host.close(accepted[0])  # which puts the port into TIME-WAIT, or worse
    ports = listening.port, sock.port
    rig.host.close(listening)
    rig.host.close(sock)
    assert rig.host.listen_tcp(LOOPBACK, ports[0], owner).port == ports[0]
    assert rig.host.publish_udp(LOOPBACK, ports[1], owner).port == ports[1]


def test_datagrams_to_the_port_come(rig: Rig) -> None:
    owner = Recorder()
    sock = rig.host.publish_udp(LOOPBACK, 0, owner)
    rig.host.watch(sock, readable=True, writable=False)
    rig.post(sock.port, b"hello")
    rig.turn()
    assert owner.events == [(True, False)]
    received = sock.receive()
    assert received is not None
    datagrams, origin = received
    assert (datagrams, origin[0], origin[3]) == ([b"hello"], LOOPBACK, LOOPBACK)
    assert sock.receive() is None


def test_what_comes_from_outside_leaves_half_of_the_budget_to_the_guests() -> None:
    rig = RealRig(8)
    listening = rig.host.listen_tcp(LOOPBACK, 0, Recorder())
    for _ in range(4):
        rig.call(listening.port)
    for _ in range(3):
        assert rig.host.accept(listening) is not None
    with pytest.raises(HostError) as caught:
        rig.host.accept(listening)
    assert caught.value.errno == errno.EMFILE
    rig.host.connect_tcp(LOOPBACK, listening.port, Recorder())
    rig.close()


def test_an_address_that_is_not_ours_is_an_error_and_takes_no_descriptor() -> None:
    rig = RealRig(8)
    both: tuple[Callable[[], object], ...] = (
        lambda: rig.host.listen_tcp(OUTSIDE, 0, Recorder()),
        lambda: rig.host.publish_udp(OUTSIDE, 0, Recorder()),
    )
    for opening in both:
        with pytest.raises(HostError) as caught:
            opening()
        assert caught.value.errno == errno.EADDRNOTAVAIL
    assert len(rig.loop.host) == 0
    rig.close()
