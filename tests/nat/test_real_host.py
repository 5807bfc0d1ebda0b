"""The gateway over real sockets: our guest, our gateway, and servers of the kernel's on loopback, in real time but without waiting."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.nat.kit import GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, SERVER
from usernat.nat import host_datagram, tcp_flow
from usernat.nat.config import GatewayConfig
from usernat.nat.gateway import Gateway
from usernat.nat.host import HostSockets
from usernat.policy import NetworkPolicy
from usernat.stack.device import Capabilities
from usernat.stack.interface import Interface
from usernat.stack.l4.tcp.state import TcpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usernat.stack.l4.tcp.connection import Connection

PATIENCE_S = 20.0


class RealLab:
    """As the face's loop: frames, host events, time, serve, transmit."""

    def __init__(self, **options: Any) -> None:
        self.selector = selectors.DefaultSelector()
        self.host = HostSockets(self.selector, **options)
        config = GatewayConfig(host_loopback=True, resolvers=((SERVER, 53),))
        device = Capabilities(mtu=1500, tx_checksum=True, tx_segmentation=65535)
        now = self.now()
        self.guest = Interface(
            mac=GUEST_MAC,
            capabilities=device,
            rng=Random(1),
            now=now,
            addresses=((GUEST, 24),),
            gateways=(GATEWAY,),
        )
        self.interface = Interface(
            mac=GATEWAY_MAC,
            capabilities=device,
            rng=Random(2),
            now=now,
            addresses=config.addresses,
            any_ip=True,
        )
        self.gateway = Gateway(self.interface, self.host, config, NetworkPolicy.allow_all(), Random(3), now)

    @staticmethod
    def now() -> int:
        return time.monotonic_ns() // 1000

    def turn(self) -> None:
        """One round of the loop; it sleeps only while nothing moves."""
        moved = 0
        now = self.now()
        self.gateway.serve(now)
        for sender, receiver in ((self.guest, self.interface), (self.interface, self.guest)):
            for frame in sender.transmit(now, 64):
                receiver.receive(bytes(frame), now, frame.csum_start > 0)
                moved += 1
        self.host.dispatch(self.selector.select(0 if moved else 0.002), self.now())
        now = self.now()
        for part in (self.guest, self.interface, self.gateway):
            due = part.poll_at()
            if due is not None and due <= now:
                part.on_time(now)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.gateway.flows()
            self.turn()

    def close(self) -> None:
        self.gateway.close()
        assert len(self.host) == 0
        self.selector.close()


@pytest.fixture
def lab() -> Iterator[RealLab]:
    made = RealLab()
    yield made
    made.close()


class Server:
    """A listening socket and a thread for each connection."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self._serve = serve
        self._threads: list[threading.Thread] = []
        self._peers: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            self._peers.append(peer)
            thread = threading.Thread(target=self._one, args=(peer,))
            self._threads.append(thread)
            thread.start()

    def _one(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):  # it may end in a reset, and what matters is what the guest sees
            peer.settimeout(PATIENCE_S)
            self._serve(peer)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for peer in self._peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in (self._accepting, *self._threads):
            thread.join()


@pytest.fixture
def serving() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    servers: list[Server] = []

    def start(serve: Callable[[socket.socket], None]) -> int:
        servers.append(Server(serve))
        return servers[-1].port

    yield start
    for server in servers:
        server.close()


def echo(peer: socket.socket) -> None:
    while data := peer.recv(1 << 20):
        peer.sendall(data)


def connected(lab: RealLab, port: int) -> Connection:
    connection = lab.guest.tcp.connect(GATEWAY, port)
    lab.until(lambda: connection.established or connection.closed)
    return connection


def exchange(lab: RealLab, connection: Connection, data: bytes) -> bytes:
    """Sends all of it and its end, reads to the end."""
    rest, got = memoryview(data), bytearray()

    def done() -> bool:
        nonlocal rest, got
        if rest:
            rest = rest[connection.send(rest[: 1 << 18]) :]
            if not rest:
                connection.shutdown()
        got += connection.recv(1 << 20)
        return connection.at_eof or connection.error is not None

    if not rest:
        connection.shutdown()
    lab.until(done)
    return bytes(got)


def test_ten_megabytes_there_and_back(lab: RealLab, serving: Any) -> None:
    connection = connected(lab, serving(echo))
    data = Random(1).randbytes(10_000_000)
    assert exchange(lab, connection, data) == data
    lab.until(lambda: not lab.gateway.flows())
    assert lab.gateway.counters()["nat.tcp.finished"] == 1


def test_c06_a_question_with_its_end_and_a_long_answer(lab: RealLab, serving: Any) -> None:
    def answer(peer: socket.socket) -> None:
        asked = b""
        while data := peer.recv(4096):
            asked += data
        peer.sendall(asked * 100_000)

    connection = connected(lab, serving(answer))
    assert exchange(lab, connection, b"question") == b"question" * 100_000


def test_c08_a_server_that_resets(lab: RealLab, serving: Any) -> None:
    def reset(peer: socket.socket) -> None:
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    connection = connected(lab, serving(reset))
    connection.send(b"x")
    lab.until(lambda: connection.closed)
    assert connection.error == TcpError.RESET
    lab.until(lambda: not lab.gateway.flows())


def test_c08_a_guest_that_resets(lab: RealLab, serving: Any) -> None:
    seen: list[str] = []

    def wait(peer: socket.socket) -> None:
        try:
            while peer.recv(100):
                pass
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    connection = connected(lab, serving(wait))
    connection.send(b"x")
    lab.until(lambda: len(connection.snd.queue) == 0)
    connection.abort()
    lab.until(lambda: bool(seen))
    assert seen == ["reset"]


def test_c24_a_server_that_does_not_read_for_a_while(lab: RealLab, serving: Any) -> None:
    go, total = threading.Event(), 8_000_000
    counted: list[int] = []

    def late(peer: socket.socket) -> None:
        go.wait(PATIENCE_S)
        count = 0
        while data := peer.recv(1 << 20):
            count += len(data)
        counted.append(count)

    stuck, quick = connected(lab, serving(late)), connected(lab, serving(echo))
    rest = memoryview(bytes(total))
    for _ in range(300):
        rest = rest[stuck.send(rest) :]
        lab.turn()
    quick.send(b"quick")
    lab.until(lambda: quick.readable == 5)
    go.set()

    def sent() -> bool:
        nonlocal rest
        rest = rest[stuck.send(rest) :]
        return not rest

    lab.until(sent)
    stuck.shutdown()
    lab.until(lambda: bool(counted))
    assert counted == [total]


def test_a_closed_port_of_the_host_refuses(lab: RealLab) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert connected(lab, port).error == TcpError.REFUSED


def test_c47_udp_of_every_size_and_a_closed_port(lab: RealLab) -> None:
    """RFC 4787 REQ-12b: the closed port is told with the guest's own addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        port = peer.getsockname()[1]
        sock = lab.guest.udp.bind(GUEST, 5000)
        for size in (0, 1, 1472, 9000, 65507):
            data = bytes([size & 255]) * size
            sock.send(data, GATEWAY, port)
            came: list[tuple[bytes, Any]] = []

            def arrived(came: list[tuple[bytes, Any]] = came) -> bool:
                try:
                    came.append(peer.recvfrom(70000))
                except BlockingIOError:
                    return False
                return True

            lab.until(arrived)
            assert came[0][0] == data
            peer.sendto(data, came[0][1])
            lab.until(lambda: len(sock.inbox) > 0)
            reply = sock.recv()
            assert reply is not None
            assert (bytes(reply.data), reply.src, reply.src_port) == (data, GATEWAY, port)
    sock.send(b"closed now", GATEWAY, port)
    lab.until(lambda: bool(sock.errors))
    error = sock.errors.popleft()
    assert (error.type, error.code, error.source, error.dst) == (3, 3, GATEWAY, GATEWAY)


def test_a_platform_without_sendmsg_and_recvmsg(
    lab: RealLab, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_flow, "SCATTERS", False)
    monkeypatch.setattr(host_datagram, "_HAS_ANCILLARY", False)
    monkeypatch.setattr(host_datagram, "_IP_RECVERR", None)
    data = Random(1).randbytes(3_000_000)
    assert exchange(lab, connected(lab, serving(echo)), data) == data
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE_S)
        sock = lab.guest.udp.bind(GUEST, 5000)
        sock.send(b"question", GATEWAY, peer.getsockname()[1])
        lab.until(lambda: lab.gateway.counters()["nat.udp.forwarded"] == 1)
        question, source = peer.recvfrom(100)
        peer.sendto(b"answer to " + question, source)
        lab.until(lambda: len(sock.inbox) > 0)
        reply = sock.recv()
        assert reply is not None
        assert bytes(reply.data) == b"answer to question"


def test_c60_out_of_descriptors_the_loop_goes_on(serving: Any) -> None:
    lab = RealLab(max_sockets=2)
    port = serving(echo)
    first, second = connected(lab, port), connected(lab, port)
    third = lab.guest.tcp.connect(GATEWAY, port)
    lab.until(lambda: lab.gateway.counters()["nat.tcp.no_resources"] > 0)
    assert not third.established
    for connection in (first, second):
        assert exchange(lab, connection, b"alive") == b"alive"
        connection.close()
    lab.until(lambda: third.established)  # its SYN is repeated, and there is room again
    lab.close()
