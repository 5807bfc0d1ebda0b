"""The server name in a TLS ClientHello, from the first bytes of a connection.

    record     | 22 | 3, minor | length |  fragment of the handshake …                       RFC 8446 §5.1
    handshake  |  1 | length (24 bits)  |  ClientHello …                                     RFC 8446 §4
    hello      | legacy_version | random[32] | session id | cipher suites | compression | extensions     RFC 8446 §4.1.2
    extension  | type | length | …                                                           RFC 8446 §4.2
    SNI        | list length | 0 | length | host name                                        RFC 6066 §3

The guest chooses these bytes, and gains if we read a name that the server does not. So a hello that is not exactly as the RFCs say is
UNREADABLE though many a server would take it: what is lenient is only what cannot matter to the name, the minor versions. Anything but a handshake
record is refused at its first byte, so that SSH, HTTP or an SSLv2 hello on this port need not wait for more.

An encrypted ClientHello has its true name inside, and an outer one for show. Clients that know no key send one of random bytes all the
same (GREASE), which nobody but the server can tell from a true one, so both are UNREADABLE.

Nothing is remembered from one call to the next; a call costs one pass over `LIMIT` bytes and `RECORDS_MAX` records at most. A hello that comes
byte by byte therefore costs at most `LIMIT` such passes, a second in all (measured); whoever calls may give up long before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from construct import BitsInteger, BitStruct, Bytes, Int8ub, Int16ub, Struct

from usernat.nat.inspection.host_name import LIMIT, host_name
from usernat.policy.decision import UNREADABLE
from usernat.stack.wire import Codec

if TYPE_CHECKING:
    from usernat.stack.device import Buffer

RECORDS_MAX = 64  # that one hello is cut into; a client that cuts at all makes a handful

HANDSHAKE = 22
CLIENT_HELLO = 1
FRAGMENT_MAX = 1 << 14
SERVER_NAME = 0
HOST_NAME = 0
# Extensions that hide the name: ECH (RFC 9849) and its drafts, what a hello inside it refers with, and the ESNI before it.
HIDING = frozenset((0xFE0D, *range(0xFE08, 0xFE0D), 0xFD00, 0xFFCE))

# The vectors of a ClientHello after the random: bytes of the length, then fewest and most bytes of the content (RFC 8446 §4.1.2).
SESSION_ID = (1, 0, 32)
CIPHER_SUITES = (2, 2, 65534)
COMPRESSION_METHODS = (1, 1, 255)
EXTENSIONS = (2, 0, 65535)

_NEVER = b""  # in the place of a hello: no further bytes can make one


class Record(NamedTuple):
    """The header of a TLSPlaintext."""

    content_type: int
    major: int
    minor: int
    length: int


RecordLayout = Struct("content_type" / Int8ub, "major" / Int8ub, "minor" / Int8ub, "length" / Int16ub)
RECORD = Codec(RecordLayout, Record)


class HandshakeHeader(NamedTuple):
    """The header of a Handshake."""

    msg_type: int
    length: int


HandshakeLayout = Struct("word" / BitStruct("msg_type" / BitsInteger(8), "length" / BitsInteger(24)))
HANDSHAKE_HEADER = Codec(HandshakeLayout, HandshakeHeader)


class HelloHeader(NamedTuple):
    """The part of a ClientHello that has a fixed size."""

    major: int
    minor: int
    random: bytes


HelloLayout = Struct("major" / Int8ub, "minor" / Int8ub, "random" / Bytes(32))
HELLO_HEADER = Codec(HelloLayout, HelloHeader)


class ExtensionHeader(NamedTuple):
    """What stands before each extension's data."""

    extension_type: int
    length: int


ExtensionLayout = Struct("extension_type" / Int16ub, "length" / Int16ub)
EXTENSION_HEADER = Codec(ExtensionLayout, ExtensionHeader)


class ServerNameList(NamedTuple):
    """A list of one server name, up to the name."""

    list_length: int
    name_type: int
    name_length: int


ServerNameLayout = Struct("list_length" / Int16ub, "name_type" / Int8ub, "name_length" / Int16ub)
SERVER_NAME_LIST = Codec(ServerNameLayout, ServerNameList)


def read_tls_name(data: Buffer) -> str | None:
    """The name that the ClientHello at the beginning of `data` claims.

    None: more bytes are needed. UNREADABLE: there is none, it is hidden, malformed, or longer than `LIMIT`. Never raises.
    """
    stream = memoryview(data)[:LIMIT]
    hello = _reassembled(stream)
    if hello is None:
        return None if len(stream) < LIMIT else UNREADABLE
    extensions = _extensions(memoryview(hello))
    return UNREADABLE if extensions is None else _server_name(extensions)


def _reassembled(stream: memoryview) -> bytes | None:
    """The ClientHello without its headers, None where it is not whole yet."""
    fragments: list[memoryview] = []
    at = announced = 0
    wanted: int | None = 0
    for _ in range(RECORDS_MAX):
        record = RECORD.read(stream, at)
        if record is None:
            return None if _may_begin(stream[at:]) else _NEVER
        # RFC 8446 §5.1: no empty fragments of a handshake, and no other records between its fragments
        if record.content_type != HANDSHAKE or record.major != 3 or not 1 <= record.length <= FRAGMENT_MAX:
            return _NEVER
        begin = at + RECORD.size
        at = begin + record.length
        announced += record.length
        fragments.append(stream[begin:at])
        wanted = wanted or _wanted(fragments)
        # A hello ends with its record: the keys change after it (RFC 8446 §5.1), and some servers would take what follows for a second one
        if wanted is None or 0 < wanted < announced:
            return _NEVER
        if at > len(stream):
            return None
        if announced == wanted:
            return b"".join(fragments)[HANDSHAKE_HEADER.size :]
    return _NEVER


def _may_begin(header: memoryview) -> bool:
    """Whether this can be the first bytes of a record header that we take."""
    return header[:2] == bytes((HANDSHAKE, 3))[: len(header[:2])]


def _wanted(fragments: list[memoryview]) -> int | None:
    """How long the handshake message will be, 0 while its header is not there; None where it is no ClientHello of ours."""
    begun = b"".join(fragment[: HANDSHAKE_HEADER.size] for fragment in fragments)
    if begun and begun[0] != CLIENT_HELLO:
        return None
    header = HANDSHAKE_HEADER.read(begun)
    if header is None:
        return 0
    wanted = HANDSHAKE_HEADER.size + header.length
    return wanted if wanted <= LIMIT else None


def _extensions(hello: memoryview) -> memoryview | None:
    """The extensions of a ClientHello, None where it has none or is malformed."""
    header = HELLO_HEADER.read(hello)
    if header is None or header.major != 3 or header.minor == 0:  # SSL 3.0 has no extensions
        return None
    at = HELLO_HEADER.size
    content = None
    for width, fewest, most in (SESSION_ID, CIPHER_SUITES, COMPRESSION_METHODS, EXTENSIONS):
        begin = at + width
        length = int.from_bytes(hello[at:begin], "big")
        at = begin + length
        if not fewest <= length <= most:
            return None
        content = hello[begin:at]
    return content if at == len(hello) else None


def _server_name(extensions: memoryview) -> str:
    """The name in the one server_name extension. All of them are read, since one behind it may hide another name."""
    name = UNREADABLE
    seen = set()
    at = 0
    while at < len(extensions):
        header = EXTENSION_HEADER.read(extensions, at)
        if header is None:
            return UNREADABLE
        begin = at + EXTENSION_HEADER.size
        at = begin + header.length
        kind = header.extension_type
        if at > len(extensions) or kind in seen or kind in HIDING:  # RFC 8446 §4.2: none stands there twice
            return UNREADABLE
        seen.add(kind)
        if kind == SERVER_NAME:
            name = _only_host_name(extensions[begin:at])
    return name


def _only_host_name(data: memoryview) -> str:
    """The name in a server_name extension's data: RFC 6066 §3 lets a list have one name of each type, and there is one type."""
    header = SERVER_NAME_LIST.read(data)
    if header is None or header.name_type != HOST_NAME:
        return UNREADABLE
    if header.list_length + 2 != len(data) or header.name_length + SERVER_NAME_LIST.size != len(data):
        return UNREADABLE
    return host_name(bytes(data[SERVER_NAME_LIST.size :]))
