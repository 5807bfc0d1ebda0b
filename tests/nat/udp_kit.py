"""What the tests of UDP mappings share."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from tests.nat.kit import (
    GUEST,
    MS,
    SERVER,
    Lab,
)
from usernat.fuzz.fakehost import Failing
from usernat.fuzz.fakesockets import FakeDatagrams
from usernat.nat.host_datagram import ReportedError

if TYPE_CHECKING:
    from usernat.stack.l3.icmp_message import IcmpError
    from usernat.stack.l4.udp import UdpSocket

PORT = 7777


def echo(data: bytes) -> list[bytes]:
    return [data]


def reported(type_: int, code: int, offender: int | None, **fields: Any) -> Failing:
    return Failing(
        ReportedError(errno.ECONNREFUSED, icmp=True, type=type_, code=code, offender=offender, **fields)
    )


def talking(lab: Lab, port: int = 4000, address: int = GUEST) -> UdpSocket:
    """A guest socket that has sent one datagram to the server's port."""
    sock = lab.guest.udp.bind(address, port)
    sock.send(b"hello", SERVER, PORT)
    lab.run(100 * MS)
    return sock


def received(sock: UdpSocket) -> list[tuple[bytes, int, int]]:
    found = []
    while (datagram := sock.recv()) is not None:
        found.append((bytes(datagram.data), datagram.src, datagram.src_port))
    return found


def only_host_socket(lab: Lab) -> FakeDatagrams:
    (sock,) = lab.host.sockets
    assert isinstance(sock, FakeDatagrams)
    return sock


def only_error(sock: UdpSocket) -> IcmpError:
    (error,) = sock.errors
    sock.errors.clear()
    return error
