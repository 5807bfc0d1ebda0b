"""ICMP messages (RFC 792): the two headers, the quote in an error, and the records handed up.

    0                   1                   2                   3
    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
   +---------------+---------------+-------------------------------+
   |     Type      |     Code      |           Checksum            |
   +---------------+---------------+-------------------------------+
   |          Identifier           |        Sequence Number        |  echo
   +---------------+---------------+-------------------------------+
   |    Pointer    |    Length     |         Next-hop MTU          |  error
   +---------------+---------------+-------------------------------+
   |   echo: data · error: IP header and data of the datagram …    |
   +---------------------------------------------------------------+

Pointer is that of a Parameter Problem; Length is that of the quote in 32-bit words where extensions follow it (RFC 4884 §4);
MTU is that of code 4 (RFC 1191 §4). Where they mean nothing they are zero when sent and ignored when received (RFC 792 general-e).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from construct import Int8ub, Int16ub, Struct

from usernat.stack.addr import format_ip
from usernat.stack.checksum import checksum
from usernat.stack.device import MAX_DATAGRAM, Buffer
from usernat.stack.l3.ipv4_header import (
    DEFAULT_TTL,
    FLAG_DF,
    HEADER_LENGTH,
    IPV4,
    PROTO_ICMP,
    VERSION,
    write_header,
)
from usernat.stack.wire import Codec

if TYPE_CHECKING:
    from usernat.stack.l3.packet import Packet

ECHO_REPLY = 0
UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12

# RFC 792 du-a
CODE_NET_UNREACHABLE = 0
CODE_HOST_UNREACHABLE = 1
CODE_PROTOCOL_UNREACHABLE = 2
CODE_PORT_UNREACHABLE = 3
CODE_FRAGMENTATION_NEEDED = 4
CODE_PROHIBITED = 13
CODE_TTL_EXCEEDED = 0
CODE_REASSEMBLY_TIMEOUT = 1

# Echo, router discovery, timestamp, information and mask messages. All other types are, or have to be taken for, errors.
QUERIES = frozenset({0, 8, 9, 10, 13, 14, 15, 16, 17, 18})

ICMP_HEADER_LENGTH = 8
MIN_QUOTED = 8  # octets of the quoted datagram's data (RFC 792 general-c, RFC 1122 §3.2.2-b)

ECHO_DECLARATION = Struct(
    "type" / Int8ub, "code" / Int8ub, "checksum" / Int16ub, "ident" / Int16ub, "seq" / Int16ub
)
ERROR_DECLARATION = Struct(
    "type" / Int8ub,
    "code" / Int8ub,
    "checksum" / Int16ub,
    "pointer" / Int8ub,
    "length" / Int8ub,
    "mtu" / Int16ub,
)


class EchoHeader(NamedTuple):
    """Of an echo request or reply."""

    type: int
    code: int
    checksum: int
    ident: int
    seq: int

    def __str__(self) -> str:
        name = {ECHO_REQUEST: "request", ECHO_REPLY: "reply"}.get(self.type, f"type {self.type}")
        return f"ICMP echo {name} ident {self.ident} seq {self.seq}"


class ErrorHeader(NamedTuple):
    """Of an error. length: of the quote in words of 32 bits, 0 where it goes to the end."""

    type: int
    code: int
    checksum: int
    pointer: int
    length: int
    mtu: int

    def __str__(self) -> str:
        return f"ICMP error type {self.type} code {self.code} mtu {self.mtu} pointer {self.pointer}"


ECHO = Codec(ECHO_DECLARATION, EchoHeader)
ERROR = Codec(ERROR_DECLARATION, ErrorHeader)


class EchoMessage:
    """An echo request or reply that came in. `data` is a view of it; `packet` the datagram that carried it."""

    __slots__ = ("data", "df", "dst", "ident", "is_request", "packet", "seq", "src", "tos", "ttl")

    def __init__(self, packet: Packet, ident: int, seq: int, is_request: bool) -> None:
        self.ident = ident
        self.seq = seq
        self.data = packet.payload[ICMP_HEADER_LENGTH:]
        self.src = packet.src
        self.dst = packet.dst
        self.ttl = packet.ttl
        self.tos = packet.tos
        self.df = packet.df
        self.packet = packet
        self.is_request = is_request


class IcmpError:
    """An error about a datagram of ours.

    type, code, mtu (bytes, of code 4), pointer: as reported, by the host `source`. The quote: src, dst, proto,
    payload (at least 8 octets of it, the beginning of its transport header), datagram (from the IP header on;
    RFC 1122 §3.4-b), and datagram_length, in bytes, what its header says.
    """

    __slots__ = (
        "code",
        "datagram",
        "datagram_length",
        "dst",
        "mtu",
        "payload",
        "pointer",
        "proto",
        "source",
        "src",
        "type",
    )

    def __init__(
        self, type_: int, code: int, quote: Quote, source: int, mtu: int = 0, pointer: int = 0
    ) -> None:
        self.type = type_
        self.code = code
        self.mtu = mtu
        self.pointer = pointer
        self.source = source
        self.src = quote.src
        self.dst = quote.dst
        self.proto = quote.proto
        self.payload = quote.payload
        self.datagram = quote.datagram
        self.datagram_length = quote.total_length

    def __str__(self) -> str:
        return (
            f"ICMP type {self.type} code {self.code} from {format_ip(self.source)} about "
            f"{format_ip(self.src)} > {format_ip(self.dst)} proto {self.proto}"
        )


class Quote(NamedTuple):
    """What an ICMP error quotes. payload: what is there of the datagram's, padding and extensions taken off."""

    src: int
    dst: int
    proto: int
    tos: int
    total_length: int
    fragment_offset: int
    checksum_right: bool
    payload: memoryview
    datagram: memoryview

    @property
    def icmp_type(self) -> int | None:
        """The type of the ICMP message that is quoted, None for other protocols."""
        return self.payload[0] if self.proto == PROTO_ICMP and len(self.payload) else None


def read_quote(datagram: Buffer) -> Quote | None:
    """The quote of a datagram, or its beginning; None where that holds no whole IPv4 header."""
    view = memoryview(datagram)
    header = IPV4.read(view)
    if header is None or header.version != VERSION:
        return None
    length = header.ihl << 2  # RFC 5508 REQ-3b: options are skipped
    if not HEADER_LENGTH <= length <= min(len(view), header.total_length):
        return None
    view = view[: header.total_length]  # RFC 5508 REQ-3d
    return Quote(
        header.src,
        header.dst,
        header.proto,
        header.tos,
        header.total_length,
        header.fragment_offset,
        checksum(view[:length]) == 0,
        view[length:],
        view,
    )


def our_datagram(proto: int, src: int, dst: int, payload: Buffer, length: int, *, df: bool) -> Quote:
    """The quote of a datagram that could not leave, for errors of our own making. length: of its whole payload, in bytes."""
    total_length = min(HEADER_LENGTH + length, MAX_DATAGRAM)
    header = write_header(0, total_length, 0, FLAG_DF if df else 0, DEFAULT_TTL, proto, src, dst)
    quote = read_quote(header + bytes(payload))
    assert quote is not None, "the header is our own"
    return quote


def write_echo(type_: int, ident: int, seq: int, data: Buffer) -> list[Buffer]:
    """An echo message as header and data."""
    header = EchoHeader(type_, 0, 0, ident, seq)
    return [ECHO.write(header._replace(checksum=checksum(ECHO.write(header), data))), data]


def write_error(type_: int, code: int, quote: Buffer, *, mtu: int = 0, pointer: int = 0) -> list[Buffer]:
    """An error message as header and quote."""
    header = ErrorHeader(type_, code, 0, pointer, 0, mtu)
    return [ERROR.write(header._replace(checksum=checksum(ERROR.write(header), quote))), quote]
