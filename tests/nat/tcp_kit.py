"""What the tests of TCP flows share: servers of the scripted host, and a guest that reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.nat.kit import (
    MS,
    SECOND,
    SERVER,
    Lab,
)
from usernat.fuzz.fakehost import Listening
from usernat.fuzz.fakepeers import Peer
from usernat.stack.device import Capabilities

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection

PORT = 80
OFFLOAD = Capabilities(mtu=1500, tx_checksum=True, tx_segmentation=65535)


def listening(
    lab: Lab, peer: type[Peer] = Peer, *arguments: Any, port: int = PORT, **options: Any
) -> list[Any]:
    """Lets the server listen; every peer it makes is put into the list."""
    made: list[Any] = []

    def make() -> Peer:
        made.append(peer(*arguments))
        return made[-1]  # type: ignore[no-any-return] # a list of whatever class was asked for

    lab.host.tcp[SERVER, port] = Listening(make, **options)
    return made


def connect(lab: Lab, port: int = PORT, to: int = SERVER, wait: int = 100 * MS) -> Connection:
    connection = lab.guest.tcp.connect(to, port)
    lab.run(wait, stop=lambda: connection.established or connection.closed)
    return connection


def drain(connection: Connection, into: bytearray) -> None:
    while connection.readable:
        into += connection.recv(1 << 20)


def fetch(lab: Lab, connection: Connection, duration: int = 60 * SECOND) -> bytes:
    """Reads to the end of the stream."""
    got = bytearray()

    def done() -> bool:
        drain(connection, got)
        return connection.at_eof or connection.error is not None

    assert lab.run(duration, stop=done), connection
    return bytes(got)


def send_all(
    lab: Lab, connection: Connection, data: bytes, got: bytearray | None = None, duration: int = 60 * SECOND
) -> None:
    """Writes as room comes, reading meanwhile."""
    rest = memoryview(data)

    def step() -> bool:
        nonlocal rest
        if got is not None:
            drain(connection, got)
        rest = rest[connection.send(rest) :]
        return not rest or connection.closed

    assert lab.run(duration, stop=step)


def nothing_remains(lab: Lab) -> None:
    """C27, C60: no flow, no host socket, nothing in the stack but TIME-WAIT."""
    assert lab.gateway.flows() == []
    assert not lab.host.sockets
    report = lab.interface.tcp.report()
    assert (report["table"] - report["time_wait"], report["half_open"], report["memory"]) == (0, 0, 0)
    assert lab.gateway._tcp._opening == {}


def icmp_at_guest(lab: Lab) -> list[tuple[int, int, int]]:
    """(type, code, source) of every ICMP error that the guest's link has carried."""
    return [
        (frame[34], frame[35], int.from_bytes(frame[26:30], "big"))
        for frame in lab.wire.frames(to_b=False)
        if frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[34] in {3, 11}
    ]
