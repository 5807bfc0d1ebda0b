"""DHCP options (RFC 2132): a row of tag, length, data, and what the tags mean.

    0                 pad: one byte, no length
    255               end: one byte, no length
    tag, length, data everything else; the length counts the data only (RFC 2132 §2-a)

An option longer than 255 bytes stands as several instances of its tag, to be joined on receipt (RFC 3396). When the
options do not fit their field, `overload` says that the file and sname fields carry more (RFC 2131 §4.1).

`OptionField` is the declaration. The reader `split_options` walks the same layout by hand, because a guest may send 1,500 pads at
no cost and construct takes about 10 µs for each; a property test holds the two equal.
"""

from __future__ import annotations

from construct import Byte, GreedyBytes, If, Prefixed, RepeatUntil, Struct, stream_iseof

PAD = 0
SUBNET_MASK = 1
ROUTER = 3
DOMAIN_NAME_SERVER = 6
DOMAIN_NAME = 15
INTERFACE_MTU = 26
BROADCAST_ADDRESS = 28
REQUESTED_ADDRESS = 50
LEASE_TIME = 51
OVERLOAD = 52
MESSAGE_TYPE = 53
SERVER_IDENTIFIER = 54
PARAMETER_REQUEST_LIST = 55
MESSAGE = 56
MAXIMUM_MESSAGE_SIZE = 57
RENEWAL_TIME = 58
REBINDING_TIME = 59
CLIENT_IDENTIFIER = 61
BOOT_FILE = 67
END = 255

OVERLOAD_FILE = 1
OVERLOAD_SNAME = 2

Option = Struct(
    "tag" / Byte,
    "data" / If(lambda this: this.tag not in (PAD, END), Prefixed(Byte, GreedyBytes)),
)
OptionField = Struct(
    "options" / RepeatUntil(lambda option, _row, this: option.tag == END or stream_iseof(this._io), Option),  # noqa: SLF001 -- construct's own name for the stream
)

# Length in bytes, where only one is legal. Options of a wrong length make the message malformed: RFC 2132 §9.1-a, §9.2-a, §9.3-a, §9.6-a
_FIXED_LENGTH = {
    SUBNET_MASK: 4,
    INTERFACE_MTU: 2,
    BROADCAST_ADDRESS: 4,
    REQUESTED_ADDRESS: 4,
    LEASE_TIME: 4,
    OVERLOAD: 1,
    MESSAGE_TYPE: 1,
    SERVER_IDENTIFIER: 4,
    MAXIMUM_MESSAGE_SIZE: 2,
    RENEWAL_TIME: 4,
    REBINDING_TIME: 4,
}
_ADDRESS_LISTS = frozenset({ROUTER, DOMAIN_NAME_SERVER})


def split_options(field: bytes, into: dict[int, bytes]) -> bool:
    """Adds the options of one field to `into`, joining repeated tags. False: an option runs past the end of the field.

    A missing end option is forgiven where the field ends exactly behind an option.
    """
    at, length = 0, len(field)
    while at < length:
        tag = field[at]
        if tag == END:
            return True
        at += 1
        if tag == PAD:
            continue
        if at == length or at + 1 + field[at] > length:
            return False  # RFC 2131 rob-a: never read past the end
        data = field[at + 1 : at + 1 + field[at]]
        at += 1 + len(data)
        into[tag] = into[tag] + data if tag in into else data  # RFC 2131 §4.1-g, RFC 3396
    return True


def lengths_are_legal(options: dict[int, bytes]) -> bool:
    """Whether every option whose length RFC 2132 fixes has it."""
    for tag, data in options.items():
        if _FIXED_LENGTH.get(tag, len(data)) != len(data):
            return False
        if tag in _ADDRESS_LISTS and (not data or len(data) % 4):  # RFC 2132 §3.5-a, §3.8-a
            return False
    return True


def encoded(tag: int, data: bytes) -> bytes:
    """One option as it stands in the field, in as many instances as its length needs (RFC 3396)."""
    pieces = [data[at : at + 255] for at in range(0, len(data), 255)] or [b""]
    return b"".join(bytes((tag, len(piece))) + piece for piece in pieces)


def address_list(*addresses: int) -> bytes:
    """Addresses as routers, name servers and the like carry them."""
    return b"".join(address.to_bytes(4, "big") for address in addresses)
