"""A DHCP client in three lines, and a UDP layer that keeps what is sent."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from usernat.nat.dhcp import DhcpConfig, DhcpServer
from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import (
    BOOTREPLY,
    BOOTREQUEST,
    DISCOVER,
    REQUEST,
    Message,
    build_message,
    parse_message,
)
from usernat.stack.addr import parse_ip

SERVER = parse_ip("10.0.2.2")
DNS = parse_ip("10.0.2.3")
FIRST = parse_ip("10.0.2.15")
LAST = parse_ip("10.0.2.254")
S = 1_000_000


def config(**changes: Any) -> DhcpConfig:
    return DhcpConfig(
        **{"server": SERVER, "prefix": 24, "first": FIRST, "last": LAST, "dns": (DNS,), **changes}
    )


def mac(number: int) -> bytes:
    return b"\x52\x54" + number.to_bytes(4, "big")


def ip(address: int) -> bytes:
    return address.to_bytes(4, "big")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


OURS = {opt.SERVER_IDENTIFIER: ip(SERVER)}
OTHER_SERVER = {opt.SERVER_IDENTIFIER: ip(parse_ip("10.0.2.1"))}


class Sent(NamedTuple):
    message: Message
    raw: bytes
    dst: int
    port: int
    src: int
    mac: bytes | None


def kind(sent: Sent | None) -> int | None:
    """The message type, None for silence."""
    return None if sent is None else sent.message.type


def tags(sent: Sent) -> list[int]:
    """The options, in order."""
    return list(sent.message.options)


def addressed(sent: Sent) -> tuple[int, bytes | None]:
    """Where it goes: the address, and the MAC address where it is not left to ARP."""
    return sent.dst, sent.mac


class _Packet(NamedTuple):
    link_source: bytes


class _Datagram(NamedTuple):
    data: memoryview
    packet: _Packet


class FakeSocket:
    """Both the layer and its only socket."""

    def __init__(self) -> None:
        self.inbox: deque[_Datagram] = deque()
        self.sent: list[Sent] = []
        self.bound: tuple[int | None, int | None] | None = None
        self.owner: Any = None
        self.closed = False
        self.full = False

    def bind(self, address: int | None, port: int | None) -> FakeSocket:
        self.bound = (address, port)
        return self

    def recv(self) -> _Datagram | None:
        return self.inbox.popleft() if self.inbox else None

    def send(self, data: bytes, dst: int, port: int, *, src: int, mac: bytes | None) -> bool:
        message = parse_message(data)
        assert isinstance(message, Message), message
        assert message.op == BOOTREPLY
        self.sent.append(Sent(message, data, dst, port, src, mac))
        return not self.full

    def close(self) -> None:
        self.closed = True


class Net:
    """A server and clients that speak to it at `now`."""

    def __init__(self, **changes: Any) -> None:
        self.now = 0
        self.udp = FakeSocket()
        udp: Any = self.udp
        self.server = DhcpServer(udp, config(**changes))

    @property
    def counters(self) -> Any:
        return self.server.counters

    def raw(self, data: bytes, link_source: bytes | None = None) -> Sent | None:
        """Whatever the server answers to these bytes; they come from the MAC address in them where not said otherwise."""
        self.udp.sent.clear()
        self.udp.inbox.append(_Datagram(memoryview(data), _Packet(link_source or data[28:34])))
        self.server.serve(self.now)
        assert len(self.udp.sent) <= 1
        return self.udp.sent[0] if self.udp.sent else None

    def say(
        self, kind: int, client: int, options: dict[int, bytes] | None = None, **fields: Any
    ) -> Sent | None:
        message = Message(**{"op": BOOTREQUEST, "type": kind, "xid": 0x1234, "chaddr": mac(client), **fields})
        return self.raw(build_message(message, list((options or {}).items())))

    def discover(self, client: int, options: dict[int, bytes] | None = None, **fields: Any) -> Sent | None:
        return self.say(DISCOVER, client, options, **fields)

    def select(
        self, client: int, address: int, options: dict[int, bytes] | None = None, **fields: Any
    ) -> Sent | None:
        asked = {opt.SERVER_IDENTIFIER: ip(SERVER), opt.REQUESTED_ADDRESS: ip(address), **(options or {})}
        return self.say(REQUEST, client, asked, **fields)

    def lease(self, client: int, options: dict[int, bytes] | None = None) -> int:
        """The whole dance; the address."""
        offer = self.discover(client, options)
        assert offer is not None
        ack = self.select(client, offer.message.yiaddr, options)
        assert ack is not None
        return ack.message.yiaddr
