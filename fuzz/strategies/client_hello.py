"""TLS ClientHellos: such as servers take, cut into records at any place, and such as name two hosts or none."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from hypothesis import strategies as st

from usernat.fuzz.strategies.mutate import Field, damaged
from usernat.nat.inspection.client_hello import (
    CLIENT_HELLO,
    EXTENSION_HEADER,
    FRAGMENT_MAX,
    HANDSHAKE,
    HANDSHAKE_HEADER,
    HELLO_HEADER,
    HIDING,
    HOST_NAME,
    RECORD,
    SERVER_NAME,
    SERVER_NAME_LIST,
    ExtensionHeader,
    HandshakeHeader,
    HelloHeader,
    Record,
    ServerNameList,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Extension: TypeAlias = tuple[int, bytes]

ALPN = 16
# What a TLS 1.2 server wants to see: groups, point formats, signature algorithms.
NEEDED: tuple[Extension, ...] = (
    (10, bytes.fromhex("0004001d0017")),
    (11, bytes.fromhex("0100")),
    (13, bytes.fromhex("000804030804040108 06")),
)
SUITES = bytes.fromhex("c02bc02fc02cc030009c00ff")
FIELDS = [Field(1, 3), Field(4, 2), Field(38, 1), Field(39, 2), Field(53, 1), Field(55, 2), Field(59, 2)]
NAMES = st.sampled_from(
    [b"pypi.org", b"a.b.example.test", b"xn--bcher-kva.example", b"PyPI.org", b"localhost"]
)
BAD_NAMES = st.one_of(
    st.sampled_from(
        [
            b"",
            b"pypi.org.",
            b".pypi.org",
            b"pypi..org",
            b"pypi.org\0.evil.test",
            b"evil.test\npypi.org",
            b"192.0.2.1",
            b"[2001:db8::1]",
            b"2001:db8::1",
            b"0x7f.1",
            b"127.1",
            b"pypi.org:443",
            b"pypi%2eorg",
            b"b\xc3\xbccher.example",
            b"*.pypi.org",
            b"pypi.org evil.test",
            b"x" * 64 + b".test",
            b"a." * 127 + b"test",
        ]
    ),
    st.binary(max_size=300),
)


def named(name: bytes) -> Extension:
    """The server_name extension with one host name."""
    size = len(name)
    return SERVER_NAME, SERVER_NAME_LIST.write(ServerNameList(size + 3, HOST_NAME, size)) + name


def vector(data: bytes, width: int) -> bytes:
    """The data behind its length in `width` bytes."""
    return len(data).to_bytes(width, "big") + data


def hello(extensions: Iterable[Extension], *, minor: int = 3, session: bytes = b"") -> bytes:
    """A ClientHello of TLS 1.2 as a handshake message, without a record around it."""
    written = b"".join(
        EXTENSION_HEADER.write(ExtensionHeader(kind, len(data))) + data for kind, data in extensions
    )
    header = HELLO_HEADER.write(HelloHeader(3, minor, bytes(range(32))))
    return handshake(header + vector(session, 1) + vector(SUITES, 2) + vector(b"\0", 1) + vector(written, 2))


def handshake(body: bytes) -> bytes:
    """The body as a handshake message with its true length."""
    return HANDSHAKE_HEADER.write(HandshakeHeader(CLIENT_HELLO, len(body))) + body


def in_records(message: bytes, cuts: Sequence[int] = (), *, minor: int = 1) -> bytes:
    """The message as handshake records that are cut at these places, and wherever one would be too long."""
    places = sorted({0, *cuts, *range(0, len(message), FRAGMENT_MAX), len(message)})
    return b"".join(
        RECORD.write(Record(HANDSHAKE, 3, minor, end - begin)) + message[begin:end]
        for begin, end in pairwise(places)
    )


@st.composite
def cuts(draw: st.DrawFn, message: bytes, most: int = 20) -> list[int]:
    """Places inside the message, the first bytes among them more often than chance would have it."""
    places = st.one_of(st.integers(1, min(8, len(message) - 1)), st.integers(1, len(message) - 1))
    return sorted(draw(st.sets(places, max_size=most)))


@st.composite
def extensions(draw: st.DrawFn, name: bytes) -> list[Extension]:
    """Extensions in any order, with one server name among them and a few that nobody knows."""
    unknown = draw(st.dictionaries(st.sampled_from([0x1A1A, 0x2A2A, 0x7777]), st.binary(max_size=8)))
    alpn = draw(st.lists(st.sampled_from([b"h2", b"http/1.1", b"x" * 200]), max_size=12))
    protocols = vector(b"".join(vector(protocol, 1) for protocol in alpn), 2)
    offered = [(ALPN, protocols)] if alpn else []
    return draw(st.permutations([named(name), *NEEDED, *unknown.items(), *offered]))


@st.composite
def valid_client_hello(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A stream that begins with a hello, and the name in it."""
    name = draw(NAMES)
    session = draw(st.sampled_from([b"", bytes(32)]))
    message = hello(draw(extensions(name)), session=session)
    return in_records(message, draw(cuts(message))), name


@st.composite
def _ambiguous(draw: st.DrawFn) -> bytes:
    """A hello in true records whose extensions quarrel: names twice, in one list or in two, hidden, or no host names."""
    name, other = draw(st.tuples(NAMES, st.one_of(NAMES, BAD_NAMES)))
    entry = named(name)[1][2:]
    listed = st.sampled_from(
        [
            named(other)[1],
            b"",
            b"\0\0",
            vector(entry + named(other)[1][2:], 2),
            vector(b"\1" + vector(other, 2) + entry, 2),
            vector(entry, 2) + other,
            vector(entry + other, 2),
            vector(entry, 2)[:-1],
        ]
    )
    chosen = draw(extensions(name))
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.one_of(st.just(SERVER_NAME), st.sampled_from(sorted(HIDING)), st.integers(0, 60)))
        data = draw(listed) if kind == SERVER_NAME else draw(st.binary(max_size=16))
        chosen.insert(draw(st.integers(0, len(chosen))), (kind, data))
    if draw(st.booleans()):
        chosen = [one for one in chosen if one != named(name)]
    message = hello(chosen, minor=draw(st.sampled_from([0, 1, 2, 3, 4])))
    return in_records(message, draw(cuts(message)))


@st.composite
def _spoiled(draw: st.DrawFn) -> bytes:
    """A damaged hello in true records."""
    message = draw(damaged(st.builds(lambda name: hello([named(name), *NEEDED]), NAMES), FIELDS))
    if draw(st.booleans()):
        message = handshake(message[HANDSHAKE_HEADER.size :])
    return in_records(message, draw(cuts(message))) if len(message) > 1 else message


def hostile_client_hello() -> st.SearchStrategy[bytes]:
    """A stream that should begin with a hello, and is wrong in its extensions, its body or its records."""
    whole = valid_client_hello().map(lambda made: made[0])
    return st.one_of(
        _ambiguous(), _spoiled(), damaged(whole, [Field(0, 1), Field(1, 2), Field(3, 2), Field(5, 4)])
    )
