"""Which ports of the host guests' traffic leaves from: of the kernel's choice, one for each endpoint, and hard to guess."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.nat.host_kit import LOOPBACK, Loop, Recorder
from tests.nat.kit import GATEWAY, GUEST, SECOND_GUEST
from usernat.nat import host_ports
from usernat.nat.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.nat.real_kit import RealLab
    from usernat.nat.host_ports import TcpPorts
    from usernat.stack.l4.tcp.connection import Connection

Endpoint = tuple[int, int]
FEW = 40  # that they come in ascending order by chance: one in 40!


class Listening:
    """Four listening sockets, and what they have accepted."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]

    def accept(self, index: int) -> int:
        """The port from which somebody has connected."""
        return self.peer(index)[1]

    def peer(self, index: int) -> tuple[str, int]:
        """Its address too."""
        self.sockets[index].settimeout(5)
        peer, (address, port) = self.sockets[index].accept()
        self._stack.enter_context(peer)
        return str(address), int(port)

    def another(self) -> int:
        """The port of one more server."""
        self.sockets.append(self._stack.enter_context(socket.create_server(("127.0.0.1", 0))))
        return self.port(-1)

    def port(self, index: int) -> int:
        return int(self.sockets[index].getsockname()[1])


@pytest.fixture
def servers() -> Iterator[Listening]:
    if sys.platform != "linux":
        pytest.skip("SO_REUSEADDR means other things here")
    with ExitStack() as stack:
        yield Listening(stack)


def connect(lab: RealLab, servers: Listening, endpoint: Endpoint, index: int) -> tuple[Connection, int]:
    """A guest's connection from the endpoint to a server, and the port of the host that the server sees."""
    connection = lab.guest.tcp.connect(
        GATEWAY, servers.port(index), local=endpoint[0], local_port=endpoint[1]
    )
    lab.until(lambda: connection.established)
    return connection, servers.accept(index)


@pytest.mark.rfc("5382", "REQ-1")
def test_all_connections_of_one_endpoint_leave_from_one_port(lab: RealLab, servers: Listening) -> None:
    endpoint = (GUEST, 5000)
    connections, ports = zip(*[connect(lab, servers, endpoint, index) for index in range(4)], strict=True)
    assert len(set(ports)) == 1
    for number, connection in enumerate(connections):
        connection.send(bytes([number]))
    lab.until(lambda: all(len(connection.snd.queue) == 0 for connection in connections))
    connections[0].abort()  # one less, and the others keep it
    lab.until(lambda: len(lab.gateway.flows()) == 3)
    _, again = connect(lab, servers, endpoint, 0)
    assert again == ports[0]


@pytest.mark.rfc("5382", "REQ-7")
def test_no_two_endpoints_share_a_port_to_one_server(lab: RealLab, servers: Listening) -> None:
    """Though two guests have the same ports."""
    lab.guest.add_address(SECOND_GUEST, 24)
    endpoints = [(guest, 5000 + number) for guest in (GUEST, SECOND_GUEST) for number in range(50)]
    for index in (0, 1):
        seen = [connect(lab, servers, endpoint, index)[1] for endpoint in endpoints]
        assert len(set(seen)) == len(endpoints)


def test_a_mapping_ends_with_its_last_connection(lab: RealLab, servers: Listening) -> None:
    first, _ = connect(lab, servers, (GUEST, 5000), 0)
    second, _ = connect(lab, servers, (GUEST, 5000), 1)
    assert len(lab.host._ports) == 1
    for connection in (first, second):
        connection.abort()
    lab.until(lambda: not lab.gateway.flows())
    assert len(lab.host._ports) == 0


@pytest.mark.rfc("5382", "REQ-8a")
def test_who_is_called_by_a_guest_on_this_host_sees_the_outside_address(
    lab: RealLab, servers: Listening
) -> None:
    connection = lab.guest.tcp.connect(GATEWAY, servers.port(0), local=GUEST, local_port=5000)
    lab.until(lambda: connection.established)
    (flow,) = lab.gateway._table._flows
    seen = servers.peer(0)
    assert seen == flow.sock.getsockname()  # type: ignore[attr-defined] # a flow of TCP
    assert seen[0] == "127.0.0.1"  # what the guest calls 10.0.2.2, and not the guest's own


def test_without_a_port_to_be_had_the_kernel_chooses(
    loop: Loop, servers: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is also somebody's who does not share it, or the system shares none."""
    first = loop.host.connect_tcp(LOOPBACK, servers.port(0), Recorder(), mapping=7)
    port = servers.accept(0)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    second = loop.host.connect_tcp(LOOPBACK, servers.port(1), Recorder(), mapping=7)
    assert servers.accept(1) != port
    loop.host.close(second)  # which was not in the mapping
    assert len(loop.host._ports) == 1
    loop.host.close(first)
    monkeypatch.setattr(host_ports, "_SHARES", False)
    loop.host.connect_tcp(LOOPBACK, servers.port(0), Recorder(), mapping=8)
    servers.accept(0)
    assert len(loop.host._ports) == 0


def test_a_connection_whose_double_is_in_time_wait_leaves_from_another_port(
    loop: Loop, servers: Listening
) -> None:
    first = loop.host.connect_tcp(LOOPBACK, servers.port(0), Recorder(), mapping=1)
    port = servers.accept(0)
    with pytest.raises(HostError):  # the very tuple stands: as impossible as one in TIME-WAIT
        loop.host._connect(bound(loop.host._ports, 1), LOOPBACK, servers.port(0), Recorder(), 1)
    second = loop.host.connect_tcp(LOOPBACK, servers.port(0), Recorder(), mapping=1)
    assert servers.accept(0) != port
    for sock in (first, second):
        loop.host.close(sock)
    assert len(loop.host._ports) == 0


def bound(ports: TcpPorts, mapping: int) -> socket.socket:
    sock = socket.socket()
    assert ports.bind(sock, mapping)
    return sock


def test_a_failed_connect_gives_the_port_back(loop: Loop, servers: Listening) -> None:
    with pytest.raises(HostError) as refused:
        loop.host.connect_tcp(0xFFFFFFFF, 80, Recorder(), mapping=1)
    assert refused.value.number in {errno.EACCES, errno.ENETUNREACH, errno.EHOSTUNREACH}
    assert len(loop.host._ports) == 0


def test_the_port_is_kept_though_the_first_connection_is_over(loop: Loop, servers: Listening) -> None:
    socks = []
    ports = set()
    for index in range(4):
        socks.append(loop.host.connect_tcp(LOOPBACK, servers.port(index), Recorder(), mapping=1))
        ports.add(servers.accept(index))
        if index:
            loop.host.close(socks[index - 1], reset=True)
    assert len(ports) == 1


def numbers_of(loop: Loop, kind: str, servers: Listening) -> list[int]:
    """The ports of a few new sockets."""
    ports = []
    for number in range(FEW):
        sock: Any
        if kind == "udp":
            sock = loop.host.open_udp(Recorder())
            sock.send(b"", LOOPBACK, 9, 64, df=False)
            ports.append(sock.port)
            continue
        if kind == "dns":
            sock = loop.host.connect_udp(LOOPBACK, 9, Recorder())
        else:
            sock = loop.host.connect_tcp(LOOPBACK, servers.another(), Recorder(), mapping=number)
        ports.append(sock.getsockname()[1])
    return ports


@pytest.mark.rfc("6056", "4-a", "4-b")
@pytest.mark.rfc("7857", "9-a")
@pytest.mark.rfc("6888", "REQ-15")
@pytest.mark.rfc("5452", "9.2-a", "10-a")
@pytest.mark.rfc("5625", "6.1-a")
@pytest.mark.parametrize("kind", ["udp", "dns", "tcp"])
def test_ports_are_hard_to_guess(loop: Loop, servers: Listening, kind: str) -> None:
    """Of a wide range, and in no order."""
    ports = numbers_of(loop, kind, servers)
    assert len(set(ports)) > FEW - 5  # for other destinations one may come twice
    assert max(ports) - min(ports) > 5_000
    steps = {after - before for before, after in pairwise(ports)}
    assert len(steps) > FEW // 2
    assert ports != sorted(ports)
