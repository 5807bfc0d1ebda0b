"""Fixtures of the tests over real sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.nat.host_kit import Loop
from tests.nat.real_kit import RealLab, Server
from usernat.nat.readiness import EpollSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()
    assert len(made.host) == 0


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        yield listening


@pytest.fixture
def udp_peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        yield peer


@pytest.fixture
def selector() -> Iterator[EpollSelector]:
    made = EpollSelector()
    yield made
    made.close()


@pytest.fixture
def lab() -> Iterator[RealLab]:
    made = RealLab()
    yield made
    made.close()


@pytest.fixture
def serving() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    servers: list[Server] = []

    def start(serve: Callable[[socket.socket], None]) -> int:
        servers.append(Server(serve))
        return servers[-1].port

    yield start
    for server in servers:
        server.close()
