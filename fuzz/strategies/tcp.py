"""TCP segments: what a peer may send at some time or other, and what none should."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from usernat.fuzz.strategies.ethernet import framed
from usernat.fuzz.strategies.ipv4 import datagram, resealed, seal
from usernat.fuzz.strategies.mutate import Field, damaged
from usernat.fuzz.strategies.scene import BYTES, LONGS, PORTS, SCENE, WORDS, Scene, destinations, payloads
from usernat.stack.l3.ipv4_header import PROTO_TCP
from usernat.stack.l4.tcp.header import (
    ACK,
    FIN,
    HEADER_LENGTH,
    MAX_OPTIONS_LENGTH,
    PSH,
    RST,
    SYN,
    TCP,
    URG,
    TcpHeader,
)
from usernat.stack.l4.tcp.options import write_sack, write_syn_options

FIELDS = [
    Field(0, 2),
    Field(2, 2),
    Field(4, 4),
    Field(8, 4),
    Field(12, 1),
    Field(13, 1),
    Field(14, 2),
    Field(18, 2),
]

# Numbers near which comparisons modulo 2**32 go wrong, and such as a test may begin its sequences at.
SEQUENCES = st.one_of(st.sampled_from([0, 1, 1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]), LONGS)


def segment(
    flags: int, src_port: int, dst_port: int, data: bytes = b"", *, options: bytes = b"", **fields: Any
) -> bytes:
    """TCP header and data without a checksum (`ipv4.seal` adds it).

    options: padded to whole words. fields: of `TcpHeader`, `sequence`, `acknowledgment` and `window` above all.
    """
    options += bytes(-len(options) % 4)
    header = TcpHeader(
        source_port=src_port,
        destination_port=dst_port,
        sequence=0,
        acknowledgment=0,
        data_offset=(HEADER_LENGTH + len(options)) // 4 & 15,
        reserved=0,
        flags=flags,
        window=65535,
        checksum=0,
        urgent_pointer=0,
    )._replace(**fields)
    return TCP.write(header) + options + data


def packet(
    src: int, dst: int, flags: int, src_port: int, dst_port: int, data: bytes = b"", **fields: Any
) -> bytes:
    """A whole IPv4 datagram with a segment in it, every length and checksum true. fields: as of `segment`, `options` too."""
    payload = segment(flags, src_port, dst_port, data, **fields)
    return datagram(seal(payload, PROTO_TCP, src, dst), PROTO_TCP, src, dst)


def syn_options() -> st.SearchStrategy[bytes]:
    """What a SYN offers: a segment size at least."""
    return st.builds(
        write_syn_options,
        st.sampled_from([88, 536, 1460, 65495]),
        st.one_of(st.none(), st.integers(0, 14)),
        sack_permitted=st.booleans(),
        timestamps=st.one_of(st.none(), st.tuples(LONGS, st.just(0))),
    )


def data_options() -> st.SearchStrategy[bytes]:
    """What a later segment carries: nothing, time stamps, selective acknowledgments."""
    stamps = st.builds(
        lambda pair: write_syn_options(0, None, sack_permitted=False, timestamps=pair)[4:],
        st.tuples(LONGS, LONGS),
    )
    blocks = st.lists(st.tuples(SEQUENCES, SEQUENCES), min_size=1, max_size=4)
    return st.one_of(st.just(b""), stamps, blocks.map(write_sack))


def option_bombs() -> st.SearchStrategy[bytes]:
    """Option areas with lengths of nought, one, too few, too many or past the end; senseless values; repetitions; noise."""
    kinds = st.sampled_from([2, 3, 4, 5, 8, 14, 19, 28, 29, 30, 34, 253, 255])
    lying = st.builds(
        lambda kind, length, data: bytes((kind, length)) + data, kinds, BYTES, st.binary(max_size=38)
    )
    several = st.lists(lying.map(lambda option: option[:12]), max_size=4).map(b"".join)
    senseless = st.sampled_from(
        [
            b"\x02\x04\x00\x00",  # a segment size of nought
            b"\x02\x04\x00\x01",
            b"\x03\x03\xff",  # a shift of 255
            b"\x02\x04\x05\xb4" * 10,
            b"\x05\x02",  # SACK without a block
            b"\x05\x0a" + b"\xff" * 8,
            b"\x01" * 40,
            b"\x02",
            b"\x08\x0a",
            bytes(40),
        ]
    )
    return st.one_of(lying, several, senseless, st.binary(max_size=MAX_OPTIONS_LENGTH)).map(
        lambda area: area[:MAX_OPTIONS_LENGTH]
    )


@st.composite
def tcp_segments(draw: st.DrawFn) -> bytes:
    """A well-formed segment of any stage of a connection, without the IP header and without a checksum."""
    flags = draw(st.sampled_from([SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, ACK | URG]))
    data = b"" if flags & (SYN | RST) else draw(payloads())
    return segment(
        flags,
        draw(PORTS),
        draw(PORTS),
        data,
        options=draw(syn_options() if flags & SYN else data_options()),
        sequence=draw(SEQUENCES),
        acknowledgment=draw(SEQUENCES) if flags & ACK else 0,
        window=draw(WORDS),
        urgent_pointer=draw(WORDS) if flags & URG else 0,
    )


@st.composite
def valid_tcp(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """A frame with a segment from the guest to the gateway or beyond. Whether any connection expects it is another matter."""
    dst = draw(destinations(scene))
    payload = seal(draw(tcp_segments()), PROTO_TCP, scene.guest, dst)
    return draw(framed(st.just(datagram(payload, PROTO_TCP, scene.guest, dst)), scene=scene))


@st.composite
def _senseless(draw: st.DrawFn) -> bytes:
    """Any flags together, any numbers, a header length that lies, ports of nought, bombs for options."""
    fields: dict[str, Any] = {
        "sequence": draw(SEQUENCES),
        "acknowledgment": draw(SEQUENCES),
        "window": draw(WORDS),
    }
    if draw(st.booleans()):
        fields["data_offset"] = draw(st.integers(0, 15))
    fields["urgent_pointer"] = draw(st.one_of(st.just(0), WORDS))
    fields["reserved"] = draw(st.integers(0, 15))
    ports = st.one_of(PORTS, PORTS, st.just(0))
    flags = draw(st.one_of(BYTES, st.sampled_from([0, SYN | FIN, SYN | RST, 0xFF, FIN, URG])))
    return segment(flags, draw(ports), draw(ports), draw(payloads()), options=draw(option_bombs()), **fields)


def hostile_tcp(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """Frames with senseless segments, and with sensible ones spoiled."""
    return resealed(st.one_of(_senseless(), damaged(tcp_segments(), FIELDS)), PROTO_TCP, scene)
