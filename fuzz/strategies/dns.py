"""DNS: questions as resolvers ask them, and messages that make parsers run in circles.

The message strategies stand alone too: behind a length over TCP, or as an answer from an upstream server.
"""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from hypothesis import strategies as st

from usernat.fuzz.strategies import udp
from usernat.fuzz.strategies.ethernet import frame
from usernat.fuzz.strategies.mutate import Field, damaged
from usernat.fuzz.strategies.scene import PORTS, SCENE, WORDS, Scene
from usernat.nat.dns.message import HEADER, Header

DNS_PORT = 53
FIELDS = [Field(2, 2), Field(4, 2), Field(6, 2), Field(8, 2), Field(10, 2), Field(12, 1)]

LABELS = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-_"), min_size=1, max_size=20)
NAMES = st.one_of(
    st.sampled_from(["example.test.", "www.example.test.", ".", "a." * 100, ("x" * 63 + ".") * 3]),
    st.lists(LABELS, min_size=1, max_size=6).map(lambda labels: ".".join(labels) + "."),
)
TYPES = st.sampled_from(
    ["A", "AAAA", "CNAME", "MX", "TXT", "NS", "SOA", "PTR", "SRV", "HTTPS", "ANY", "TYPE65400"]
)


@st.composite
def dns_queries(draw: st.DrawFn) -> bytes:
    """A well-formed query, with EDNS or without."""
    edns = draw(st.booleans())
    query = dns.message.make_query(
        draw(NAMES),
        draw(TYPES),
        use_edns=0 if edns else False,
        payload=draw(st.sampled_from([512, 1232, 4096])) if edns else None,
        id=draw(WORDS),
    )
    if draw(st.booleans()):
        query.flags &= ~dns.flags.RD
    return query.to_wire()


@st.composite
def dns_answers(draw: st.DrawFn, query: bytes | None = None) -> bytes:
    """A well-formed answer: to the query given, or to any. Some are longer than a UDP client can take."""
    asked = dns.message.from_wire(query if query is not None else draw(dns_queries()))
    answer = dns.message.make_response(asked)
    name = asked.question[0].name if asked.question else dns.name.root
    for number in range(draw(st.sampled_from([0, 1, 3, 60]))):
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", f"203.0.113.{number}"))
    if draw(st.booleans()):
        answer.set_rcode(dns.rcode.Rcode(draw(st.sampled_from([0, 2, 3, 5]))))
    return answer.to_wire(max_size=65535)


@st.composite
def name_bombs(draw: st.DrawFn) -> bytes:
    """A message whose names point to themselves, to each other, forward, out of the message, or never end; whose counts lie."""
    name = draw(
        st.sampled_from(
            [
                b"\xc0\x0c",  # to itself
                b"\xc0\x0e\xc0\x0c",  # to and fro
                b"\x01a\xc0\x0c",  # in a ring
                b"\xc0\xff",  # forward, out of the message
                b"\xff\xff",
                b"\xc0",  # half a pointer
                b"\x3f" + b"a" * 63,  # no end
                (b"\x3f" + b"a" * 63) * 5 + b"\0",  # too long
                b"\x01a" * 200 + b"\0",
                b"\x80\x00",  # reserved label types
                b"\x41\x00",
                b"\x03a.b\0",  # a dot in a label
                b"\x04\0\r\n%\0",
                b"",
            ]
        )
    )
    counts = st.sampled_from([0, 1, 2, 255, 65535])
    header = Header(
        draw(WORDS),
        draw(st.one_of(st.just(0x0100), WORDS)),
        draw(counts),
        draw(counts),
        draw(counts),
        draw(counts),
    )
    return (
        HEADER.write(header)
        + name
        + draw(st.sampled_from([b"\0\x01\0\x01", b"", b"\0\x01", b"\0\xfc\0\x01"]))
        + draw(st.binary(max_size=40))
    )


def hostile_dns_messages() -> st.SearchStrategy[bytes]:
    """Name bombs, spoiled queries, spoiled answers, noise: without UDP around them."""
    return st.one_of(
        name_bombs(), damaged(dns_queries(), FIELDS), damaged(dns_answers(), FIELDS), st.binary(max_size=40)
    )


@st.composite
def _in_frame(draw: st.DrawFn, contents: st.SearchStrategy[bytes], scene: Scene) -> bytes:
    server = draw(st.sampled_from([scene.gateway, *scene.services, *scene.outside]))
    content = draw(contents)[:1400]
    return frame(udp.packet(content, scene.guest, draw(PORTS), server, DNS_PORT), scene=scene)


def valid_dns(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """A frame with a query to one of the resolvers of the scene."""
    return _in_frame(dns_queries(), scene)


def hostile_dns(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """A frame with a message to port 53 that is no good query; well-formed answers, which nobody asked for, among them."""
    return _in_frame(st.one_of(hostile_dns_messages(), dns_answers()), scene)
