"""IPv4 datagrams: whole, with options, in fragments; and headers that lie.

`datagram` builds one; `seal` puts the right transport checksum into any payload, however spoiled, so that what is
wrong with it is seen by the layer that should see it.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from usernat.fuzz.strategies.ethernet import frame, framed
from usernat.fuzz.strategies.mutate import Field, damaged
from usernat.fuzz.strategies.scene import (
    BYTES,
    SCENE,
    WORDS,
    Scene,
    destinations,
    hostile_addresses,
    payloads,
)
from usernat.stack.checksum import checksum, pseudo_header
from usernat.stack.l3.ipv4_header import (
    DEFAULT_TTL,
    HEADER_LENGTH,
    IPV4,
    PROTO_ICMP,
    PROTO_TCP,
    PROTO_UDP,
    VERSION,
    Ipv4Header,
)

MAX_OPTIONS = 40  # bytes
FIELDS = [
    Field(0, 1),
    Field(2, 2),
    Field(4, 2),
    Field(6, 2),
    Field(8, 1),
    Field(9, 1),
    Field(12, 4),
    Field(16, 4),
]
CHECKSUM_OFFSETS = {PROTO_ICMP: 2, PROTO_TCP: 16, PROTO_UDP: 6}


def datagram(payload: bytes, proto: int, src: int, dst: int, *, options: bytes = b"", **fields: Any) -> bytes:
    """One datagram. options: padded to whole words. fields: of `Ipv4Header`, in place of what would be right.

    fragment_offset counts in units of eight bytes, as in the header. The checksum is that of the header as it then is, unless `checksum` is given.
    """
    options += bytes(-len(options) % 4)
    length = HEADER_LENGTH + len(options)
    header = Ipv4Header(
        version=VERSION,
        ihl=length // 4 & 15,
        tos=0,
        total_length=min(length + len(payload), 0xFFFF),
        identification=0,
        reserved=False,
        df=False,
        mf=False,
        fragment_offset=0,
        ttl=DEFAULT_TTL,
        proto=proto,
        checksum=0,
        src=src,
        dst=dst,
    )._replace(**fields)
    if "checksum" not in fields:
        header = header._replace(checksum=checksum(IPV4.write(header), options))
    return IPV4.write(header) + options + payload


def seal(payload: bytes, proto: int, src: int, dst: int) -> bytes:
    """The payload with the checksum that ICMP, TCP or UDP wants in it, where there is room for one."""
    at = CHECKSUM_OFFSETS.get(proto)
    if at is None or len(payload) < at + 2:
        return payload
    cleared = payload[:at] + b"\0\0" + payload[at + 2 :]
    initial = 0 if proto == PROTO_ICMP else pseudo_header(src, dst, proto, len(payload))
    value = checksum(cleared, initial=initial)
    if proto == PROTO_UDP:
        value = value or 0xFFFF  # RFC 768: zero says that there is no checksum
    return cleared[:at] + value.to_bytes(2, "big") + cleared[at + 2 :]


def fragments(payload: bytes, cuts: list[int], proto: int, src: int, dst: int, **fields: Any) -> list[bytes]:
    """The datagrams that carry the payload in pieces, in order. cuts: offsets in units of eight bytes, each once."""
    edges = sorted({0, *(8 * cut for cut in cuts if 0 < 8 * cut < len(payload))})
    pieces = zip(edges, [*edges[1:], len(payload)], strict=True)
    return [
        datagram(
            payload[start:stop], proto, src, dst, mf=stop < len(payload), fragment_offset=start // 8, **fields
        )
        for start, stop in pieces
    ]


@st.composite
def options(draw: st.DrawFn) -> bytes:
    """Well-formed options that a stack passes over: security, time stamps, record route, router alert, unknown ones."""
    area = b""
    for kind in draw(st.lists(st.sampled_from([1, 7, 68, 130, 148, 94]), max_size=4)):
        if kind == 1:
            area += b"\x01"
            continue
        data = draw(st.binary(min_size=2, max_size=9))
        if kind in (7, 68):
            data = b"\x04" + data[1:]  # the pointer of a route or of time stamps
        area += bytes((kind, len(data) + 2)) + data
    end = draw(st.sampled_from([b"", b"\0"]))
    return (area + end) if len(area) < MAX_OPTIONS else b"\x01" * 4


def option_bombs() -> st.SearchStrategy[bytes]:
    """Option areas with lengths of nought, of one, past the end; source routes; nothing but No-Operations; noise."""
    kind = st.sampled_from([7, 68, 130, 131, 137, 148, 255])
    lying = st.builds(lambda k, length, data: bytes((k, length)) + data, kind, BYTES, st.binary(max_size=38))
    return st.one_of(
        lying.map(lambda area: area[:MAX_OPTIONS]),
        st.sampled_from(
            [b"\x01" * 40, b"\x83\x03\x04", b"\x89\x07\x04\x0a\x00\x02\x02", b"\x07", b"\x44\x00", bytes(40)]
        ),
        st.binary(max_size=MAX_OPTIONS),
    )


@st.composite
def valid_ipv4(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """A frame with a whole, true datagram of any protocol from the guest."""
    fields: dict[str, Any] = {
        "ttl": draw(st.integers(2, 255)),
        "tos": draw(BYTES),
        "identification": draw(WORDS),
        "df": draw(st.booleans()),
        "options": draw(st.one_of(st.just(b""), options())),
    }
    dst = draw(destinations(scene))
    whole = datagram(draw(payloads()), draw(BYTES), scene.guest, dst, **fields)
    return draw(framed(st.just(whole), scene=scene))


@st.composite
def valid_fragments(draw: st.DrawFn, scene: Scene = SCENE) -> list[bytes]:
    """Frames that carry one datagram of the guest's in fragments, in any order, none overlapping another."""
    dst = draw(destinations(scene))
    payload = seal(
        bytes.fromhex("9c400007 00000000") + draw(st.binary(min_size=17, max_size=400)),
        PROTO_UDP,
        scene.guest,
        dst,
    )
    payload = seal(payload[:4] + len(payload).to_bytes(2, "big") + payload[6:], PROTO_UDP, scene.guest, dst)
    cuts = draw(st.lists(st.integers(1, len(payload) // 8), min_size=1, max_size=6))
    pieces = fragments(payload, cuts, PROTO_UDP, scene.guest, dst, identification=draw(WORDS))
    return [frame(piece, scene=scene) for piece in draw(st.permutations(pieces))]


@st.composite
def hostile_fragments(draw: st.DrawFn, scene: Scene = SCENE) -> list[bytes]:
    """Frames of fragments that fit together badly.

    Overlaps, holes, lengths that are no multiple of eight, ends beyond 65,535 or at two places, headers of different
    lengths, first fragments too small for a port number, identifications by the dozen, congestion marks where none can be.
    """
    dst = draw(destinations(scene))
    proto = draw(st.sampled_from([PROTO_UDP, PROTO_TCP, PROTO_ICMP]))
    idents = draw(st.sampled_from([[1], [1], [1, 2], list(range(40))]))
    offsets = st.one_of(st.integers(0, 6), st.sampled_from([8189, 8190, 8191]))
    pieces = []
    for _ in range(draw(st.integers(1, 12))):
        piece = datagram(
            draw(st.one_of(st.binary(max_size=40), st.integers(0, 5).map(lambda count: bytes(8 * count)))),
            proto,
            scene.guest,
            dst,
            identification=draw(st.sampled_from(idents)),
            fragment_offset=draw(offsets),
            mf=draw(st.booleans()),
            df=draw(st.sampled_from([False, False, True])),
            tos=draw(st.sampled_from([0, 0, 0, 2, 3])),
            options=draw(st.sampled_from([b"", b"", b"\x01" * 4, b"\x94\x04\0\0"])),
        )
        pieces.append(frame(piece, scene=scene))
    return pieces


@st.composite
def _lying_headers(draw: st.DrawFn, scene: Scene) -> bytes:
    """A header that is wrong in a few fields and right in its checksum (mostly)."""
    flaws: dict[str, st.SearchStrategy[Any]] = {
        "version": st.integers(0, 15),
        "ihl": st.integers(0, 15),
        "total_length": WORDS,
        "reserved": st.just(value=True),
        "fragment_offset": st.integers(0, 8191),
        "ttl": st.sampled_from([0, 1]),
        "src": hostile_addresses(scene),
        "dst": hostile_addresses(scene),
        "checksum": WORDS,
    }
    # Mostly one: whichever is checked first hides the others.
    chosen = draw(
        st.sets(st.sampled_from(sorted(flaws)), min_size=1, max_size=draw(st.sampled_from([1, 1, 3])))
    )
    fields = {"src": scene.guest, "dst": draw(destinations(scene))} | {
        name: draw(flaws[name]) for name in sorted(chosen)
    }
    src, dst = fields.pop("src"), fields.pop("dst")
    return datagram(draw(payloads()), draw(BYTES), src, dst, **fields)


@st.composite
def _bombed(draw: st.DrawFn, scene: Scene) -> bytes:
    return datagram(
        draw(payloads()), draw(BYTES), scene.guest, draw(destinations(scene)), options=draw(option_bombs())
    )


@st.composite
def resealed(draw: st.DrawFn, spoiled: st.SearchStrategy[bytes], proto: int, scene: Scene = SCENE) -> bytes:
    """Frames around spoiled transport payloads: every checksum true, save (sometimes) the transport's own; sent to anybody."""
    src = draw(st.one_of(st.just(scene.guest), st.just(scene.guest), hostile_addresses(scene)))
    dst = draw(st.one_of(destinations(scene), destinations(scene), hostile_addresses(scene)))
    payload = draw(spoiled)
    if draw(st.sampled_from([True, True, True, False])):
        payload = seal(payload, proto, src, dst)
    return frame(datagram(payload[: 0xFFFF - HEADER_LENGTH], proto, src, dst), scene=scene)


def hostile_ipv4(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """Frames with lying headers, option bombs, and datagrams spoiled at random."""
    good = st.builds(lambda data, proto: datagram(data, proto, scene.guest, scene.gateway), payloads(), BYTES)
    return st.one_of(
        framed(_lying_headers(scene), scene=scene),
        framed(_bombed(scene), scene=scene),
        framed(damaged(good, FIELDS), scene=scene),
    )
