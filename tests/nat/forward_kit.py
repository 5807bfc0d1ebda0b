"""What the tests of port forwards share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.nat.kit import GUEST, LOOPBACK, Lab
from tests.nat.run_kit import RunLab
from usernat.nat.forward import Forward
from usernat.nat.forwards.tcp import TcpForward
from usernat.nat.forwards.udp import UdpForward
from usernat.policy.decision import TCP, UDP
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from usernat.fuzz.fakepeers import Peer
    from usernat.fuzz.fakesockets import FakeTcp
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.listener import Listener
    from usernat.stack.l4.udp import UdpSocket

OUTSIDE = 8080  # the published port
INSIDE = 80  # where it leads
ABROAD = parse_ip("198.51.100.20")  # a client that is not on this host
CLIENT = (LOOPBACK, 40000)


def publish_tcp(
    lab: Lab, address: int = LOOPBACK, port: int = OUTSIDE, guest_port: int = INSIDE
) -> TcpForward:
    made = lab.gateway.publish(Forward(TCP, address, port, guest_port))
    assert isinstance(made, TcpForward)
    return made


def publish_udp(
    lab: Lab, address: int = LOOPBACK, port: int = OUTSIDE, guest_port: int = INSIDE
) -> UdpForward:
    made = lab.gateway.publish(Forward(UDP, address, port, guest_port))
    assert isinstance(made, UdpForward)
    return made


def call(lab: Lab, peer: Peer, source: tuple[int, int] = CLIENT, address: int = LOOPBACK) -> FakeTcp:
    """A client connects to the published port: its end of the stream, as the host has it."""
    stream = lab.host.call(address, OUTSIDE, peer, source)
    assert stream is not None
    return stream


def answered(lab: Lab, listener: Listener) -> Connection:
    """The guest's server has a connection."""
    accepted: list[Connection] = []

    def accept() -> bool:
        connection = listener.accept()
        if connection is not None:
            accepted.append(connection)  # type: ignore[arg-type] # a listener that does not hold makes no Incoming
        return bool(accepted)

    assert lab.run(stop=accept)
    return accepted[0]


def come(lab: Lab, sock: UdpSocket) -> list[tuple[bytes, int, int]]:
    """What has come to a guest's socket: data, address, port."""
    assert lab.run(stop=lambda: len(sock.inbox) > 0)
    found = []
    while (datagram := sock.recv()) is not None:
        found.append((bytes(datagram.data), datagram.src, datagram.src_port))
    return found


def sent(lab: Lab) -> list[tuple[bytes, int, int]]:
    """What has left by datagram sockets of the host: data, address, port."""
    return [(data, address, port) for address, port, _ttl, _df, data in lab.host.record.datagrams]


def visited(**options: Any) -> tuple[RunLab, UdpSocket, tuple[int, int]]:
    """A lab with one client, the guest's socket, and under what address and port the guest knows the client."""
    lab = RunLab(**options)
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    lab.host.post(LOOPBACK, OUTSIDE, b"hello", CLIENT)
    ((_, address, port),) = come(lab, sock)
    return lab, sock, (address, port)
