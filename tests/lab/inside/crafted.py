"""Packets made by hand, past all that the guest's kernel would not send."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from tests.lab.guest import ADDRESS
from tests.lab.inside.half_open import rfc1071

if TYPE_CHECKING:
    from collections.abc import Iterable

DEVICE = "tap0"
GATEWAY_MAC = bytes.fromhex("52550a000202")
ETHERTYPE_IPV4, ETHERTYPE_ARP = 0x0800, 0x0806
MORE_FRAGMENTS = 0x2000
FRAGMENT_UNIT = 8  # bytes
ECHO_REQUEST = 8
SYN = 0x02
GUEST_PORT = 20_000
NO_OPERATIONS = bytes([1] * 12)
BROADCAST = bytes([255] * 6)


def send(datagrams: list[str], mac: str = "") -> None:
    """Put IP datagrams (in hex) on the wire to the gateway, from our MAC address or another one (in hex)."""
    _send(ETHERTYPE_IPV4, GATEWAY_MAC, map(bytes.fromhex, datagrams), mac)


def arp(operation: int, sender_mac: str, sender: str, target: str) -> None:
    """Broadcast one ARP packet (RFC 826), its MAC address in hex, from the same."""
    fixed = struct.pack("!HHBBH", 1, ETHERTYPE_IPV4, 6, 4, operation)
    addresses = bytes.fromhex(sender_mac) + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)
    _send(ETHERTYPE_ARP, BROADCAST, [fixed + addresses], sender_mac)


def ip(
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    source: str = ADDRESS,
    options: bytes = b"",
    offset: int = 0,
    more: bool = False,
    ident: int = 1,
) -> bytes:
    """RFC 791 §3.1. offset: of a fragment, in bytes. options: a multiple of four bytes."""
    words = 5 + len(options) // 4
    fragment = offset // FRAGMENT_UNIT | (MORE_FRAGMENTS if more else 0)
    length = 4 * words + len(payload)
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, ident, fragment, 64, protocol, 0)
    header += socket.inet_aton(source) + socket.inet_aton(destination) + options
    return header[:10] + rfc1071(header) + header[12:] + payload


def udp(port: int, data: bytes = b"crafted") -> bytes:
    """RFC 768, without a checksum."""
    return struct.pack("!HHHH", GUEST_PORT, port, 8 + len(data), 0) + data


def tcp_syn(destination: str, port: int, *, source: str = ADDRESS) -> bytes:
    """RFC 9293 §3.1, with options that do nothing, so that the header has 32 bytes."""
    bare = struct.pack("!HHIIBBHHH", GUEST_PORT, port, 1, 0, 8 << 4, SYN, 64240, 0, 0) + NO_OPERATIONS
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination)
    pseudo += struct.pack("!HH", socket.IPPROTO_TCP, len(bare))
    return bare[:16] + rfc1071(pseudo + bare) + bare[18:]


def icmp(kind: int, code: int = 0, rest: bytes = bytes(4), data: bytes = bytes(28)) -> bytes:
    """RFC 792."""
    bare = struct.pack("!BBH", kind, code, 0) + rest + data
    return bare[:2] + rfc1071(bare) + bare[4:]


def echo(ident: int) -> bytes:
    """An echo request."""
    return icmp(ECHO_REQUEST, rest=struct.pack("!HH", ident, 1))


def _send(ethertype: int, to: bytes, payloads: Iterable[bytes], mac: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((DEVICE, ethertype))
        sender = bytes.fromhex(mac) or raw.getsockname()[4]
        for payload in payloads:
            raw.send(to + sender + ethertype.to_bytes(2, "big") + payload)
