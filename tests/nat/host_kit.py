"""What the tests of the real host sockets share."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING, Any

from usernat.nat.host import HostSockets
from usernat.nat.readiness import make_selector

if TYPE_CHECKING:
    from usernat.nat.host_sockets import DatagramSocket

LOOPBACK = 0x7F000001


class Recorder:
    """An owner that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[bool, bool]] = []

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        self.events.append((readable, writable))


class Loop:
    """A selector, the host on it, and turns."""

    def __init__(self, **options: Any) -> None:
        self.selector = make_selector()
        self.host = HostSockets(self.selector, rng=random.Random(1), **options)

    def turn(self, timeout: float = 5.0) -> None:
        self.host.dispatch(self.selector.select(timeout), 0)

    def close(self) -> None:
        self.host.close_all()
        self.selector.close()


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def receive(sock: DatagramSocket) -> tuple[bytes, int, int, int]:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        received = sock.receive()
        if received is not None:
            (data,), (address, port, ttl, _called) = received
            return bytes(data), address, port, ttl
        time.sleep(0.001)
    raise AssertionError("nothing came")
