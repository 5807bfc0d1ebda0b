"""The IPv4 header (RFC 791 §3.1) and what the layers above see of a datagram.

    0                   1                   2                   3
    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
   +-------+-------+---------------+-------------------------------+
   |Version|  IHL  |Type of Service|         Total Length          |
   +-------+-------+---------------+-----+-------------------------+
   |        Identification         |Flags|     Fragment Offset     |
   +---------------+---------------+-----+-------------------------+
   | Time to Live  |   Protocol    |        Header Checksum        |
   +---------------+---------------+-------------------------------+
   |                        Source Address                         |
   +---------------------------------------------------------------+
   |                      Destination Address                      |
   +---------------------------------------------------------------+
   |              Options, padded with zeros to 32 bits            |
   +---------------------------------------------------------------+

The declaration covers the fixed twenty octets; `options.py` walks what follows. `write_header` is the way out: it fills
in the checksum and takes plain integers, because it runs once per frame.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from construct import BitsInteger, BitStruct, Flag, Int8ub, Int16ub, Int32ub, Struct

from usernat.stack.addr import format_ip
from usernat.stack.wire import Codec

HEADER_LENGTH = 20  # bytes, without options
VERSION = 4
DEFAULT_TTL = 64  # RFC 1122 §3.2.1.7-c

PROTO_ICMP = 1
PROTO_TCP = 6
PROTO_UDP = 17

ECN_MASK = 0b11  # RFC 3168 §5: the codepoint is in the two low bits of the TOS octet
NOT_ECT, ECT_0, CE = 0b00, 0b10, 0b11

FLAG_DF = 0x4000
FLAG_MF = 0x2000

IPV4_DECLARATION = Struct(
    "version_ihl" / BitStruct("version" / BitsInteger(4), "ihl" / BitsInteger(4)),
    "tos" / Int8ub,
    "total_length" / Int16ub,
    "identification" / Int16ub,
    "flags_offset"
    / BitStruct("reserved" / Flag, "df" / Flag, "mf" / Flag, "fragment_offset" / BitsInteger(13)),
    "ttl" / Int8ub,
    "proto" / Int8ub,
    "checksum" / Int16ub,
    "src" / Int32ub,
    "dst" / Int32ub,
)


class Ipv4Header(NamedTuple):
    """The fixed part. ihl: header length in words of 32 bits. fragment_offset: in units of eight octets."""

    version: int
    ihl: int
    tos: int
    total_length: int
    identification: int
    reserved: bool
    df: bool
    mf: bool
    fragment_offset: int
    ttl: int
    proto: int
    checksum: int
    src: int
    dst: int

    def __str__(self) -> str:
        flags = (" DF" if self.df else "") + (" MF" if self.mf else "")
        return (
            f"IPv4 {format_ip(self.src)} > {format_ip(self.dst)} proto {self.proto} ttl {self.ttl} tos {self.tos:#04x} "
            f"id {self.identification:#06x} offset {8 * self.fragment_offset}{flags} length {self.total_length}"
        )


IPV4 = Codec(IPV4_DECLARATION, Ipv4Header)

_pack = struct.Struct(">BBHHHBBHII").pack


def write_header(
    tos: int,
    total_length: int,
    identification: int,
    flags_offset: int,
    ttl: int,
    proto: int,
    src: int,
    dst: int,
    options: bytes = b"",
) -> bytes:
    """Twenty octets and `options` (whole words), with their checksum. flags_offset: FLAG_DF, FLAG_MF and the offset in units of eight octets.

    The reserved flag is never set (RFC 791 §3.1-d). A 32-bit address weighs in the ones' complement sum what its two
    halves do, since 65536 is 1 modulo 65535; so the checksum is one expression over the fields (RFC 791 §3.1-c).
    """
    words = len(options) >> 2
    total = (
        0x4500
        + (words << 8)
        + tos
        + total_length
        + identification
        + flags_offset
        + (ttl << 8)
        + proto
        + src
        + dst
    )
    if not words:
        return _pack(
            0x45, tos, total_length, identification, flags_offset, ttl, proto, -total % 65535, src, dst
        )
    checksum = -(total + int.from_bytes(options, "big")) % 65535
    return (
        _pack(0x45 + words, tos, total_length, identification, flags_offset, ttl, proto, checksum, src, dst)
        + options
    )
