"""A guest with servers, in a thread of its own, and clients of the kernel's that come in by a forward."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from typing import TYPE_CHECKING, Self

from usernat import Config, LinkClosed, UserNat
from usernat.guest import Guest
from usernat.links.memory import memory_pair
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usernat.policy import NetworkPolicy
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.listener import Listener

GATEWAY = parse_ip("10.0.2.2")
PATIENCE_S = 20.0


class EchoServer:
    """The guest's: sends back what comes, and its end after the client's. `greeting` goes first. peers: who has called."""

    def __init__(self, listener: Listener, greeting: bytes = b"") -> None:
        self.peers: list[int] = []
        self._greeting = greeting
        self._listener = listener
        listener.owner = self

    def serve(self, _now: int) -> None:
        while (connection := self._listener.accept()) is not None:
            self.peers.append(connection.remote)
            Echoing(connection, self._greeting)  # type: ignore[arg-type] # the listener does not hold


class Echoing:
    def __init__(self, connection: Connection, greeting: bytes) -> None:
        self._connection = connection
        connection.owner = self
        connection.send(greeting)
        self.serve(0)

    def serve(self, _now: int) -> None:
        connection = self._connection
        while connection.readable and connection.send_room:
            connection.send(connection.recv(connection.send_room))
        if connection.at_eof and not connection.readable:
            connection.close()


class UdpEcho:
    """The guest's: answers each datagram with itself in capitals."""

    def __init__(self, guest: Guest, port: int) -> None:
        self.peers: set[int] = set()
        self._socket = guest.interface.udp.bind(None, port)
        self._socket.owner = self

    def serve(self, _now: int) -> None:
        while (datagram := self._socket.recv()) is not None:
            self.peers.add(datagram.src)
            self._socket.send(bytes(datagram.data).upper(), datagram.src, datagram.src_port, src=datagram.dst)


class Inhabited:
    """A guest with servers on ports 80 and 81 (which greets) and UDP 53, which lives in a thread of its own."""

    def __init__(self, config: Config, policy: NetworkPolicy | None = None) -> None:
        ours, theirs = memory_pair()
        self.nat = UserNat(config, ours, policy=policy)
        self.guest = Guest(theirs)
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> Self:
        self.nat.start()
        self.guest.dhcp()
        self.web = EchoServer(self.guest.interface.tcp.listen(None, 80))
        self.greeter = EchoServer(self.guest.interface.tcp.listen(None, 81), b"welcome")
        self.echo = UdpEcho(self.guest, 53)
        self._thread.start()
        return self

    def _live(self) -> None:
        with contextlib.suppress(LinkClosed):  # a test may stop the gateway before
            while not self._over.is_set():
                self.guest.run_until(lambda: self._over.is_set() or not self._jobs.empty(), 0.05)
                while not self._jobs.empty():
                    self._jobs.get()()

    def does(self, job: Callable[[], None]) -> None:
        """The guest's thread does it, while this one waits."""
        done = threading.Event()
        failures: list[BaseException] = []

        def wrapped() -> None:
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - raised in the test's thread
                failures.append(error)
            done.set()

        self._jobs.put(wrapped)
        assert done.wait(PATIENCE_S)
        if failures:
            raise failures[0]

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()
        self.nat.stop()
        self.guest.close()


def call(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while data := sock.recv(1 << 18):
        parts.append(data)
    return b"".join(parts)


def echoed(port: int, data: bytes) -> bytes:
    """What comes back, the client's end having gone before it is read to the end."""
    with call(port) as sock:

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = read_all(sock)
        sender.join()
    return got


@contextlib.contextmanager
def datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_S)
        yield sock
