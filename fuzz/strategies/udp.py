"""UDP datagrams: true ones, and those whose lengths, ports or checksums are not."""

from __future__ import annotations

from hypothesis import strategies as st

from usernat.fuzz.strategies.ethernet import framed
from usernat.fuzz.strategies.ipv4 import datagram, resealed, seal
from usernat.fuzz.strategies.mutate import Field, damaged
from usernat.fuzz.strategies.scene import PORTS, SCENE, WORDS, Scene, destinations, payloads
from usernat.stack.l3.ipv4_header import PROTO_UDP
from usernat.stack.l4.udp import UDP, UDP_HEADER_LENGTH, UdpHeader

FIELDS = [Field(0, 2), Field(2, 2), Field(4, 2)]


def segment(data: bytes, src_port: int, dst_port: int, *, length: int | None = None) -> bytes:
    """UDP header and data without a checksum (`ipv4.seal` adds it). length: in place of the true one."""
    true = UDP_HEADER_LENGTH + len(data)
    return UDP.write(UdpHeader(src_port, dst_port, true if length is None else length, 0)) + data


def packet(data: bytes, src: int, src_port: int, dst: int, dst_port: int) -> bytes:
    """A whole IPv4 datagram with a UDP datagram in it, every length and checksum true."""
    return datagram(seal(segment(data, src_port, dst_port), PROTO_UDP, src, dst), PROTO_UDP, src, dst)


@st.composite
def valid_udp(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """A frame with a datagram from the guest to the gateway or beyond; a few go without a checksum, as they may."""
    dst = draw(destinations(scene))
    payload = segment(draw(payloads()), draw(PORTS), draw(PORTS))
    if draw(st.sampled_from([True, True, True, False])):
        payload = seal(payload, PROTO_UDP, scene.guest, dst)
    return draw(framed(st.just(datagram(payload, PROTO_UDP, scene.guest, dst)), scene=scene))


def hostile_udp(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """Frames with lengths that lie, ports of nought, checksums that are wrong, and datagrams spoiled at random."""
    good = st.builds(segment, payloads(), PORTS, PORTS)
    ports = st.one_of(st.just(0), PORTS)
    lengths = st.one_of(st.integers(0, 9), WORDS)
    lying = st.builds(segment, payloads(), ports, ports, length=st.one_of(st.none(), lengths))
    return resealed(st.one_of(damaged(good, FIELDS), lying), PROTO_UDP, scene)
