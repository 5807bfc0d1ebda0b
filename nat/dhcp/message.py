"""The DHCP message (RFC 2131 §2), read and written for both ends: our server and the client of our in-process guest.

     0               1               2               3
    +---------------+---------------+---------------+---------------+
    |     op        |    htype      |    hlen       |    hops       |
    |                            xid                                |
    |           secs                |           flags               |
    |             ciaddr, yiaddr, siaddr, giaddr (4 each)           |
    |             chaddr (16), sname (64), file (128)               |
    |             magic cookie 99.130.83.99, options (variable)      |
    +---------------------------------------------------------------+

`parse_message` returns a record or the name of the drop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from construct import Bytes, Int8ub, Int16ub, Int32ub, Struct

from usernat.nat.dhcp import options as opt
from usernat.stack.wire import Codec

SERVER_PORT = 67  # RFC 2131 §4.1-a
CLIENT_PORT = 68

BOOTREQUEST = 1
BOOTREPLY = 2
ETHERNET = 1
BROADCAST_FLAG = 0x8000
MAGIC_COOKIE = bytes((99, 130, 83, 99))
INFINITE = 0xFFFFFFFF  # lease time, seconds (RFC 2131 §3.3)

DISCOVER = 1
OFFER = 2
REQUEST = 3
DECLINE = 4
ACK = 5
NAK = 6
RELEASE = 7
INFORM = 8

# Bytes: nothing that fits an Ethernet frame is larger, and a client's options are few.
MAX_MESSAGE = 1500 - 28
BOOTP_MESSAGE = 300  # bytes: RFC 1542 §2.1, relays and old clients expect no less
IP_UDP_HEADERS = 28


class Header(NamedTuple):
    """The fixed part."""

    op: int
    htype: int
    hlen: int
    hops: int
    xid: int
    secs: int
    flags: int
    ciaddr: int
    yiaddr: int
    siaddr: int
    giaddr: int
    chaddr: bytes
    sname: bytes
    file: bytes
    cookie: bytes


HeaderLayout = Struct(
    "op" / Int8ub,
    "htype" / Int8ub,
    "hlen" / Int8ub,
    "hops" / Int8ub,
    "xid" / Int32ub,
    "secs" / Int16ub,
    "flags" / Int16ub,
    "ciaddr" / Int32ub,
    "yiaddr" / Int32ub,
    "siaddr" / Int32ub,
    "giaddr" / Int32ub,
    "chaddr" / Bytes(16),
    "sname" / Bytes(64),
    "file" / Bytes(128),
    "cookie" / Bytes(4),
)
HEADER = Codec(HeaderLayout, Header)


@dataclass(slots=True)
class Message:
    """One message. Addresses are ints, `chaddr` is the MAC address, options are joined by tag."""

    op: int
    type: int
    xid: int
    chaddr: bytes
    secs: int = 0
    flags: int = 0
    ciaddr: int = 0
    yiaddr: int = 0
    siaddr: int = 0
    giaddr: int = 0
    options: dict[int, bytes] = field(default_factory=dict)

    def number(self, tag: int) -> int | None:
        """The option as a big-endian number (addresses, times, sizes), None where absent."""
        data = self.options.get(tag)
        return None if data is None else int.from_bytes(data, "big")

    def addresses(self, tag: int) -> list[int]:
        """The option as a list of addresses, empty where absent."""
        data = self.options.get(tag, b"")
        return [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]

    def text(self, tag: int) -> str:
        """The option as text, empty where absent; what is not ASCII is replaced."""
        # RFC 2132 §2-b: trailing nulls are no part of it, and need not be there
        return self.options.get(tag, b"").rstrip(b"\0").decode("ascii", "replace")

    @property
    def broadcast_flag(self) -> bool:
        """Whether the client cannot take unicast yet."""
        return bool(self.flags & BROADCAST_FLAG)  # RFC 2131 §2-b: the other flags are ignored

    @property
    def client(self) -> bytes:
        """The key that names the client: option 61, else hardware type and address."""
        # RFC 2131 §2-a, §4.2-a: opaque, never interpreted. RFC 2132 §9.14-a: shorter than 2 is no identifier
        identifier = self.options.get(opt.CLIENT_IDENTIFIER, b"")
        return b"id" + identifier if len(identifier) >= 2 else b"hw" + bytes((ETHERNET,)) + self.chaddr


def parse_message(data: bytes) -> Message | str:
    """The message, or why it is none: `short`, `oversized`, `no_cookie`, `bad_hardware`, `bad_option` or `no_type`. Never raises."""
    header = HEADER.read(data)
    if header is None:
        return "short"
    if len(data) > MAX_MESSAGE:
        return "oversized"
    if header.cookie != MAGIC_COOKIE:
        return "no_cookie"  # RFC 2131 §2-c: BOOTP is not served
    chaddr = header.chaddr[:6]
    if header.htype != ETHERNET or header.hlen != 6 or chaddr[0] & 1 or not any(chaddr):
        return "bad_hardware"
    options = _joined_options(data[HEADER.size :], header.file, header.sname)
    if options is None:
        return "bad_option"
    kind = options.get(opt.MESSAGE_TYPE)
    if kind is None or not DISCOVER <= kind[0] <= INFORM:
        return "no_type"  # RFC 2132 §9.6-a
    return Message(
        op=header.op,
        type=kind[0],
        xid=header.xid,
        chaddr=chaddr,
        secs=header.secs,
        flags=header.flags,
        ciaddr=header.ciaddr,
        yiaddr=header.yiaddr,
        siaddr=header.siaddr,
        giaddr=header.giaddr,
        options=options,
    )


def _joined_options(field_: bytes, file: bytes, sname: bytes) -> dict[int, bytes] | None:
    """The options of the message, those in overloaded fields included; None where any is malformed."""
    options: dict[int, bytes] = {}
    if not opt.split_options(field_, options):
        return None
    overload = options.get(opt.OVERLOAD, b"\0")
    if len(overload) != 1 or overload[0] > (opt.OVERLOAD_FILE | opt.OVERLOAD_SNAME):
        return None  # RFC 2132 §9.3-a
    # RFC 2131 §4.1, §3.5-a: file first, then sname, each option inside one field
    if overload[0] & opt.OVERLOAD_FILE and not opt.split_options(file, options):
        return None
    if overload[0] & opt.OVERLOAD_SNAME and not opt.split_options(sname, options):
        return None
    return options if opt.lengths_are_legal(options) else None


def build_message(message: Message, options: list[tuple[int, bytes]]) -> bytes:
    """The message on the wire with `options` in the order given behind the message type, padded to BOOTP's size."""
    head = Header(
        op=message.op,
        htype=ETHERNET,
        hlen=6,
        hops=0,
        xid=message.xid,
        secs=message.secs,
        flags=message.flags,
        ciaddr=message.ciaddr,
        yiaddr=message.yiaddr,
        siaddr=message.siaddr,
        giaddr=message.giaddr,
        chaddr=message.chaddr.ljust(16, b"\0"),
        sname=bytes(64),
        file=bytes(128),
        cookie=MAGIC_COOKIE,
    )
    rows = [(opt.MESSAGE_TYPE, bytes((message.type,))), *options]
    body = b"".join(opt.encoded(tag, data) for tag, data in rows) + bytes((opt.END,))
    return (HEADER.write(head) + body).ljust(BOOTP_MESSAGE, b"\0")
