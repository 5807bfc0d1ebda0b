"""ICMP: echoes, errors about datagrams that the guest may have been sent, and everything that is neither."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from usernat.fuzz.strategies.ethernet import framed
from usernat.fuzz.strategies.ipv4 import datagram, resealed, seal
from usernat.fuzz.strategies.mutate import Field, damaged
from usernat.fuzz.strategies.scene import BYTES, PORTS, SCENE, WORDS, Scene, destinations, payloads
from usernat.stack.l3.icmp_message import (
    ECHO,
    ECHO_REPLY,
    ECHO_REQUEST,
    ERROR,
    PARAMETER_PROBLEM,
    SOURCE_QUENCH,
    TIME_EXCEEDED,
    UNREACHABLE,
    EchoHeader,
    ErrorHeader,
)
from usernat.stack.l3.ipv4_header import PROTO_ICMP, PROTO_TCP, PROTO_UDP

FIELDS = [
    Field(0, 1),
    Field(1, 1),
    Field(4, 2),
    Field(6, 2),
    Field(8, 1),
    Field(10, 2),
    Field(14, 2),
    Field(17, 1),
]


def echo(kind: int, ident: int, seq: int, data: bytes) -> bytes:
    """An echo message (request 8, reply 0) with its checksum."""
    return seal(ECHO.write(EchoHeader(kind, 0, 0, ident, seq)) + data, PROTO_ICMP, 0, 0)


def error(kind: int, code: int, quote: bytes, **fields: Any) -> bytes:
    """An error message about the datagram that the quote begins. fields: of `ErrorHeader`, `mtu` and `pointer` above all."""
    header = ErrorHeader(kind, code, 0, 0, 0, 0)._replace(**fields)
    return seal(ERROR.write(header) + quote, PROTO_ICMP, 0, 0)


@st.composite
def quotes(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """The beginning of a datagram that may once have been sent to the guest: its header and eight bytes or more."""
    proto = draw(st.sampled_from([PROTO_UDP, PROTO_TCP, PROTO_ICMP]))
    ports = draw(PORTS).to_bytes(2, "big") + draw(PORTS).to_bytes(2, "big")
    transport = ports + draw(st.binary(min_size=4, max_size=40))
    return datagram(transport, proto, draw(destinations(scene)), scene.guest, ttl=draw(st.integers(1, 64)))


@st.composite
def _errors(draw: st.DrawFn, scene: Scene) -> bytes:
    kind = draw(st.sampled_from([UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM, SOURCE_QUENCH]))
    code = draw(st.integers(0, 15 if kind == UNREACHABLE else 1))
    return error(
        kind,
        code,
        draw(quotes(scene)),
        mtu=draw(st.one_of(st.just(0), st.sampled_from([68, 576, 1400]), WORDS)),
    )


def icmp_messages(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """Well-formed messages, without the IP header."""
    echoes = st.builds(
        echo, st.sampled_from([ECHO_REQUEST, ECHO_REQUEST, ECHO_REPLY]), WORDS, WORDS, payloads()
    )
    return st.one_of(echoes, _errors(scene))


@st.composite
def valid_icmp(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """A frame with an echo or an error from the guest."""
    whole = datagram(draw(icmp_messages(scene)), PROTO_ICMP, scene.guest, draw(destinations(scene)))
    return draw(framed(st.just(whole), scene=scene))


@st.composite
def _nested(draw: st.DrawFn, scene: Scene) -> bytes:
    """An error about an error about an error: RFC 1122 §3.2.2 wants none answered."""
    message = draw(icmp_messages(scene))
    for _ in range(draw(st.integers(1, 5))):
        message = error(UNREACHABLE, 1, datagram(message, PROTO_ICMP, scene.gateway, scene.guest))
    return message


def hostile_icmp(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """Frames with spoiled messages, unknown types, spoiled quotes and errors about errors."""
    unknown = st.builds(
        lambda kind, code, rest: bytes((kind, code, 0, 0)) + rest, BYTES, BYTES, st.binary(max_size=40)
    )
    misquoted = st.builds(error, BYTES, BYTES, damaged(quotes(scene)), mtu=WORDS, length=BYTES, pointer=BYTES)
    messages = st.one_of(damaged(icmp_messages(scene), FIELDS), unknown, misquoted, _nested(scene))
    return resealed(messages, PROTO_ICMP, scene)
