"""Datagrams as bytes, built and taken apart by hand: an opinion on the formats that owes nothing to the code under test."""

from __future__ import annotations

import struct
from typing import NamedTuple

from usernat.stack.addr import parse_ip

GATEWAY = parse_ip("10.0.2.2")
GUEST = parse_ip("10.0.2.15")
REMOTE = parse_ip("203.0.113.7")
GATEWAY_MAC = bytes.fromhex("52550a000202")
GUEST_MAC = bytes.fromhex("525400123456")
BROADCAST_MAC = b"\xff" * 6

ICMP, TCP, UDP = 1, 6, 17
DF, MF = 0x4000, 0x2000


def internet_checksum(data: bytes) -> int:
    """RFC 1071, word by word as its text has it."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(
    payload: bytes,
    *,
    src: int = GUEST,
    dst: int = GATEWAY,
    proto: int = UDP,
    ttl: int = 64,
    tos: int = 0,
    ident: int = 1,
    flags: int = DF,
    offset: int = 0,
    options: bytes = b"",
    version: int = 4,
    ihl: int | None = None,
    total_length: int | None = None,
    spoil: int = 0,
) -> bytes:
    """A datagram. offset: octets. spoil: added to the checksum."""
    assert len(options) % 4 == 0
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    total_length = 20 + len(options) + len(payload) if total_length is None else total_length
    fields = (version << 4 | ihl, tos, total_length, ident, flags | offset // 8, ttl, proto)
    bare = struct.pack(">BBHHHBBHII", *fields, 0, src, dst) + options
    checksum = (internet_checksum(bare) + spoil) & 0xFFFF
    return struct.pack(">BBHHHBBHII", *fields, checksum, src, dst) + options + payload


class Ip(NamedTuple):
    """A datagram taken apart."""

    src: int
    dst: int
    proto: int
    ttl: int
    tos: int
    ident: int
    df: bool
    mf: bool
    offset: int
    payload: bytes
    datagram: bytes


def read_ipv4(datagram: bytes) -> Ip:
    """Take a sound datagram without options apart."""
    assert internet_checksum(datagram[:20]) == 0
    first, tos, length, ident, flags, ttl, proto, _, src, dst = struct.unpack_from(">BBHHHBBHII", datagram)
    assert first == 0x45
    assert length == len(datagram)
    assert not flags & 0x8000, "RFC 791 3.1-d"
    offset = 8 * (flags & 0x1FFF)
    return Ip(
        src, dst, proto, ttl, tos, ident, bool(flags & DF), bool(flags & MF), offset, datagram[20:], datagram
    )


def udp(
    data: bytes,
    src_port: int = 1000,
    dst_port: int = 2000,
    *,
    src: int = GUEST,
    dst: int = GATEWAY,
    length: int | None = None,
    checksum: int | None = None,
) -> bytes:
    """A UDP header and its data."""
    length = 8 + len(data) if length is None else length
    pseudo = struct.pack(">IIBBH", src, dst, 0, UDP, length)
    bare = struct.pack(">HHHH", src_port, dst_port, length, 0)
    if checksum is None:
        checksum = internet_checksum(pseudo + bare + data[: max(0, length - 8)]) or 0xFFFF
    return bare[:6] + struct.pack(">H", checksum) + data


def icmp(type_: int, code: int, rest: bytes, data: bytes = b"", *, spoil: int = 0) -> bytes:
    """An ICMP message; `rest` is the four octets after the checksum."""
    bare = struct.pack(">BBH", type_, code, 0) + rest + data
    checksum = (internet_checksum(bare) + spoil) & 0xFFFF
    return struct.pack(">BBH", type_, code, checksum) + rest + data


def echo(ident: int = 7, seq: int = 1, data: bytes = b"abcdefgh", *, type_: int = 8, spoil: int = 0) -> bytes:
    """An echo request, or of another type."""
    return icmp(type_, 0, struct.pack(">HH", ident, seq), data, spoil=spoil)
