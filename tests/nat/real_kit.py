"""Our guest and our gateway over real sockets, in real time, and servers of the kernel's on loopback."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

from tests.nat.kit import GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, SERVER
from usernat.nat.config import GatewayConfig
from usernat.nat.gateway import Gateway
from usernat.nat.host import HostSockets
from usernat.policy import NetworkPolicy
from usernat.stack.device import Capabilities
from usernat.stack.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Callable

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
