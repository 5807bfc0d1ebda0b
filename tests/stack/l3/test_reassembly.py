"""Fragments: put together in any order, and turned away under every trick that is known."""

from __future__ import annotations

import itertools
import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import GATEWAY, GUEST, ICMP, MF, REMOTE, TCP, UDP, echo, internet_checksum, ipv4, udp
from tests.stack.rig import SECOND, Rig
from usernat.stack.l3.ipv4_header import IPV4
from usernat.stack.l3.packet import Packet
from usernat.stack.l3.reassembly import MAX_BYTES, MAX_DATAGRAMS, Reassembly

Fragment = tuple[int, bytes, bool]  # offset, octets, more to come

DATA = bytes(range(256)) * 4


class Bench:
    """A reassembly without an interface."""

    def __init__(self, **options: int) -> None:
        self.reassembly = Reassembly(**options)

    def add(
        self,
        fragment: Fragment,
        *,
        ident: int = 1,
        now: int = 0,
        proto: int = UDP,
        src: int = GUEST,
        options: bytes = b"",
        tos: int = 0,
    ) -> Packet | None:
        offset, octets, more = fragment
        flags = MF if more else 0
        datagram = ipv4(
            octets, ident=ident, flags=flags, offset=offset, proto=proto, src=src, options=options, tos=tos
        )
        view = memoryview(datagram)
        header = 20 + len(options)
        packet = Packet(src, GATEWAY, proto, 64, tos, False, view[header:], view, view[20:header])
        return self.reassembly.add(packet, ident, offset, more, now)

    def count(self, name: str) -> int:
        return self.reassembly.counters.as_dict()[name]


def cut(data: bytes, size: int) -> list[Fragment]:
    return [(at, data[at : at + size], at + size < len(data)) for at in range(0, len(data), size)]


@pytest.mark.rfc("1122", "3.2.1.4-a")
@pytest.mark.rfc("791", "3.2-reas-c")
@pytest.mark.rfc("815", "3-c", "3-d", "3-e")
@pytest.mark.parametrize("order", list(itertools.permutations(range(5))))
def test_every_order_of_five_fragments(order: tuple[int, ...]) -> None:
    bench = Bench()
    pieces = cut(DATA[:40], 8)
    results = [bench.add(pieces[index]) for index in order]
    assert results[:4] == [None] * 4
    packet = results[4]
    assert packet is not None
    assert packet.payload == DATA[:40]
    assert bench.reassembly.bytes == len(bench.reassembly) == 0


@pytest.mark.rfc("791", "3.2-reas-d")
def test_the_rebuilt_header_is_the_first_one_put_right() -> None:
    """C48: the fragments' headers are of different lengths."""
    bench = Bench()
    assert bench.add((8, DATA[8:20], False), options=b"\x01" * 8) is None
    packet = bench.add((0, DATA[:8], True), options=b"\x01\x01\x01\x00")
    assert packet is not None
    header = IPV4.read(packet.datagram)
    assert header is not None
    assert (header.ihl, header.total_length, header.mf, header.fragment_offset) == (6, 24 + 20, False, 0)
    assert internet_checksum(bytes(packet.datagram[:24])) == 0
    assert bytes(packet.options) == b"\x01\x01\x01\x00"
    assert (bytes(packet.payload), bytes(packet.datagram[24:])) == (DATA[:20], DATA[:20])


@pytest.mark.rfc("791", "3.1-f")
@pytest.mark.rfc("1122", "3.3.2-a")
def test_576_octets_in_fragments_of_eight() -> None:
    bench = Bench()
    *_, packet = [bench.add(piece) for piece in cut(DATA[:556], 8)]
    assert packet is not None
    assert packet.payload == DATA[:556]


@pytest.mark.rfc("791", "3.2-reas-a")
def test_the_key_is_all_four() -> None:
    bench = Bench()
    first, last = cut(DATA[:16], 8)
    assert bench.add(first) is None
    assert bench.add(last, ident=2) is None
    assert bench.add(last, src=GUEST + 1) is None
    assert bench.add(last, proto=ICMP) is None
    assert len(bench.reassembly) == 4
    assert bench.add(last) is not None


@pytest.mark.rfc("815", "3-b")
@pytest.mark.rfc("5722", "4-c")
def test_exact_copies_change_nothing() -> None:
    bench = Bench()
    first, middle, last = cut(DATA[:24], 8)
    for fragment in (last, last, first, first):
        assert bench.add(fragment) is None
    assert bench.count("duplicates") == 2
    assert bench.add(middle) is not None


KILLERS: dict[str, tuple[list[Fragment], str]] = {
    "overlap (teardrop)": ([(0, DATA[:24], True), (16, DATA[16:40], False)], "overlaps"),
    "overlap from below": ([(16, DATA[16:40], False), (0, DATA[:24], True)], "overlaps"),
    "inside": ([(0, DATA[:40], True), (16, DATA[16:24], True)], "overlaps"),
    "same place, other octets": ([(0, DATA[:8], True), (0, DATA[1:9], True)], "overlaps"),
    "same octets, other flag": ([(8, DATA[:8], True), (8, DATA[:8], False)], "overlaps"),
    "the last one again, with more to come": ([(8, DATA[:8], False), (8, DATA[:8], True)], "overlaps"),
    "two ends": ([(96, DATA[:8], False), (192, DATA[:8], False)], "inconsistent"),  # RFC 815 3-f
    "data beyond the end": ([(96, DATA[:8], False), (152, DATA[:8], True)], "inconsistent"),  # RFC 815 3-g
    "an end below data": ([(152, DATA[:8], True), (96, DATA[:8], False)], "inconsistent"),
    "beyond 65,535": ([(0, DATA[:8], True), (8189 * 8, DATA[:100], False)], "oversize"),  # RFC 791 3.2-reas-g
}


@pytest.mark.rfc("5722", "4-a", "4-b")
@pytest.mark.rfc("791", "3.2-reas-f", "3.2-reas-g")
@pytest.mark.rfc("815", "3-f", "3-g")
@pytest.mark.parametrize(("pieces", "counter"), KILLERS.values(), ids=KILLERS)
def test_c48_what_contradicts_itself_is_dropped_whole(pieces: list[Fragment], counter: str) -> None:
    """Nothing is delivered, nothing said, and later fragments find a tombstone until the time-out."""
    bench = Bench()
    assert [bench.add(piece) for piece in pieces] == [None, None]
    assert bench.count(counter) == 1
    assert bench.reassembly.bytes == 0
    for piece in cut(DATA[:24], 8):
        assert bench.add(piece) is None
    assert bench.count("after_drop") == 3
    assert bench.reassembly.expire(60 * SECOND) == []
    assert bench.count("timed_out") == 0
    assert [bench.add(piece) for piece in cut(DATA[:16], 8)][1] is not None


def test_c48_header_and_data_together_are_bounded() -> None:
    """Each fragment fits; the first one's longer header does not, with all the data behind it."""
    bench = Bench()
    size = 65_512
    bench.add((8, bytes(size - 8), False))
    assert bench.add((0, bytes(8), True), options=b"\x01" * 4) is None
    assert bench.count("oversize") == 1
    assert bench.reassembly.bytes == 0


@pytest.mark.rfc("791", "3.2-reas-h", "3.2-reas-i")
@pytest.mark.parametrize(
    ("fragment", "counter"),
    [((8, b"", True), "empty"), ((0, b"", False), "empty"), ((0, DATA[:12], True), "misaligned")],
)
def test_c48_fragments_that_cannot_be(fragment: Fragment, counter: str) -> None:
    """Dropped for themselves."""
    bench = Bench()
    assert bench.add(fragment) is None
    assert bench.count(counter) == 1
    assert len(bench.reassembly) == 0


@pytest.mark.rfc("1858", "3-a")
@pytest.mark.parametrize("tiny", [(0, DATA[:16], True), (8, DATA[:40], False)])
def test_c38_tiny_first_fragments_of_tcp(tiny: Fragment) -> None:
    """The flags could stand in the second fragment. UDP's ports cannot be cut."""
    bench = Bench()
    assert bench.add(tiny, proto=TCP) is None
    assert bench.count("tiny") == 1
    for piece in cut(DATA[:48], 8):
        assert bench.add(piece, proto=TCP) is None
    assert bench.count("tiny") == 1
    assert Bench().add(tiny, proto=UDP) is None
    legal = Bench()
    assert legal.add((0, DATA[:24], True), proto=TCP) is None
    assert legal.add((24, DATA[24:30], False), proto=TCP) is not None


@pytest.mark.rfc("3128", "memo-a")
def test_c38_no_fragment_is_judged_by_its_bytes() -> None:
    """A lone fragment at offset 800 that looks like a datagram to a port reaches no socket."""
    rig = Rig(any_ip=True)
    socket, everything = rig.interface.udp.bind(None, 53), rig.interface.udp.bind(None, None)
    for offset in (8, 800):
        rig.receive(ipv4(udp(b"query", dst_port=53), flags=0, offset=offset))
        rig.receive(ipv4(udp(b"query", dst_port=53), dst=REMOTE, flags=0, offset=offset))
    rig.receive(ipv4(udp(b"12345678", dst_port=53, length=24), flags=MF))
    # The overlap that would rewrite the ports kills the datagram.
    rig.receive(ipv4(udp(b"12345678", dst_port=80, length=24), flags=MF))
    assert (socket.recv(), everything.recv()) == (None, None)
    assert rig.silent()


@pytest.mark.rfc("791", "3.2-reas-b")
def test_a_whole_datagram_flushes_what_there_was_of_another() -> None:
    """But one with DF does not (`test_atomic_datagrams_with_one_identification`)."""
    rig = Rig()
    rig.receive(ipv4(b"x" * 8, ident=9, flags=MF))
    rig.receive(ipv4(udp(b"x"), ident=9, flags=0))
    assert rig.count("reassembly.flushed") == 1
    assert len(rig.interface.ipv4.reassembly) == 0


@pytest.mark.rfc("5722", "4-b")
def test_c48_a_whole_datagram_does_not_raise_the_dead() -> None:
    """The tombstone stays."""
    bench = Bench()
    for piece in ((0, DATA[:24], True), (16, DATA[16:40], False)):
        assert bench.add(piece) is None
    bench.reassembly.flush(GUEST, GATEWAY, UDP, 1)
    assert [bench.add(piece) for piece in cut(DATA[:16], 8)] == [None, None]


def test_a_device_vouches_for_a_frame_not_for_what_fragments_make() -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, 2000)
    whole = udp(b"x" * 16, checksum=0xDEAD)
    rig.receive(ipv4(whole[:16], flags=MF), checksum_ok=True)
    rig.receive(ipv4(whole[16:], flags=0, offset=16), checksum_ok=True)
    assert rig.count("udp.bad_checksum") == 1
    assert socket.recv() is None


@pytest.mark.rfc("1122", "3.3.2-d", "3.3.2-e", "3.3.2-f")
@pytest.mark.rfc("815", "5-a", "7-a")
@pytest.mark.rfc("792", "te-b")
@pytest.mark.rfc("791", "3.2-reas-e")
def test_the_time_out_is_fixed_and_tells_the_sender() -> None:
    rig = Rig()
    first = ipv4(udp(b"f" * 8, length=100), ident=1, flags=MF, ttl=255)
    rig.receive(ipv4(b"s" * 8, ident=1, flags=MF, offset=64, ttl=1))
    rig.pass_time(30 * SECOND)
    rig.receive(first)  # does not start the clock again
    rig.receive(ipv4(b"s" * 8, ident=2, flags=MF, offset=64))  # no fragment zero: silence
    rig.pass_time(30 * SECOND)
    (error,) = rig.sent()
    assert (error.payload[:2], error.payload[8:]) == (b"\x0b\x01", first)
    rig.pass_time(30 * SECOND)
    assert rig.silent()
    assert rig.count("reassembly.timed_out") == 2
    assert (len(rig.interface.ipv4.reassembly), rig.interface.ipv4.reassembly.bytes) == (0, 0)


@pytest.mark.rfc("815", "7-b")
def test_c60_ten_thousand_first_fragments() -> None:
    """Bounded in number, the oldest go first, and new datagrams pass."""
    bench = Bench()
    for ident in range(10_000):
        assert bench.add((0, DATA[:64], True), ident=ident, now=ident) is None
    assert len(bench.reassembly) == MAX_DATAGRAMS
    assert bench.count("evicted") == 10_000 - MAX_DATAGRAMS
    assert bench.add((64, DATA[64:80], False), ident=9_999) is not None
    assert bench.add((64, DATA[64:80], False), ident=1) is None
    assert bench.reassembly.poll_at() is not None


def test_c60_memory_is_bounded() -> None:
    bench = Bench()
    for ident in range(200):
        for at in range(0, 60_000, 20_000):
            bench.add((at, bytes(20_000), True), ident=ident)
            assert bench.reassembly.bytes <= MAX_BYTES
    assert [bench.add(piece, ident=999) for piece in cut(DATA, 8)][-1] is not None


def test_c60_the_smallest_fragments_cost_what_is_counted_for_them() -> None:
    bench = Bench()
    tracemalloc.start()
    try:
        for number in range(12_000):
            bench.add((16 * (number % 4000), bytes(8), True), ident=number // 4000)
        assert tracemalloc.get_traced_memory()[0] < 1.3 * MAX_BYTES
    finally:
        tracemalloc.stop()
    assert bench.count("evicted") > 0


def test_c60_a_fragment_does_not_hold_its_frame() -> None:
    frame = bytearray(ipv4(b"x" * 8, flags=MF) + bytes(60_000))
    rig = Rig(mtu=65535)
    rig.receive(frame)  # type: ignore[arg-type]  # a bytearray tells by being resized whether a view is left of it
    assert rig.count("reassembly.received") == 1
    frame.extend(b"free")


@pytest.mark.rfc("1122", "3.3.2-b")
def test_a_smaller_emtu_r() -> None:
    bench = Bench(max_datagram=2000)
    assert [bench.add(piece) for piece in cut(bytes(1976), 1000)][-1] is not None
    assert [bench.add(piece, ident=2) for piece in cut(bytes(1984), 1000)][-1] is None
    assert bench.count("oversize") == 1


@pytest.mark.rfc("1122", "3.3.2-a")
@pytest.mark.rfc("791", "3.1-f")
def test_576_octets_must_always_fit() -> None:
    assert Reassembly(max_datagram=576).max_datagram == 576
    with pytest.raises(ValueError, match="576"):
        Reassembly(max_datagram=575)


@st.composite
def fragment_lists(draw: st.DrawFn) -> list[Fragment]:
    """A datagram cut at random, in any order, some fragments twice, some bent."""
    data = bytes(Random(draw(st.integers(0, 99))).randbytes(draw(st.integers(1, 120))))
    cuts = sorted({8 * at for at in draw(st.sets(st.integers(1, 14), max_size=6)) if 8 * at < len(data)})
    edges = [0, *cuts, len(data)]
    pieces = [(start, data[start:end], end < len(data)) for start, end in itertools.pairwise(edges)]
    pieces += draw(st.lists(st.sampled_from(pieces), max_size=3))
    if draw(st.booleans()):
        offset, octets, _ = draw(st.sampled_from(pieces))
        pieces.append((max(0, offset + 8 * draw(st.integers(-1, 1))), octets, draw(st.booleans())))
    return draw(st.permutations(pieces))


class Oracle:
    """RFC 815 and 5722 over a map from octet to value."""

    def __init__(self) -> None:
        self.octets: dict[int, int] = {}
        self.seen: set[Fragment] = set()
        self.ends: set[int] = set()
        self.dead = self.done = False

    def add(self, fragment: Fragment) -> bytes | None:
        offset, data, more = fragment
        if (more and len(data) % 8) or fragment in self.seen or self.dead:
            return None
        self.seen.add(fragment)
        span = range(offset, offset + len(data))
        if not more:
            self.ends.add(span.stop)
        self.dead = any(at in self.octets for at in span) or len(self.ends) > 1
        self.octets.update(zip(span, data, strict=True))
        self.dead = self.dead or (bool(self.ends) and max(self.octets) >= min(self.ends))
        if self.dead or not self.ends or len(self.octets) < min(self.ends):
            return None
        whole = bytes(self.octets[at] for at in sorted(self.octets))
        self.__init__()  # type: ignore[misc]  # complete: all is forgotten
        return whole


@pytest.mark.rfc("815", "3-a", "3-b", "3-c", "3-d", "3-e", "3-f", "3-g")
@given(fragment_lists())
def test_c48_against_an_oracle(pieces: list[Fragment]) -> None:
    """Whatever comes, in whatever order, it is delivered when a byte map says so and not otherwise."""
    bench, oracle = Bench(), Oracle()
    for piece in pieces:
        packet = bench.add(piece)
        assert (bytes(packet.payload) if packet is not None else None) == oracle.add(piece)


@pytest.mark.rfc("1812", "4.2.2.8-a", "4.3.3.6-a")
def test_c47_a_fragmented_ping_is_answered_in_fragments() -> None:
    rig = Rig()
    request = echo(data=bytes(3000))
    for at in range(0, len(request), 1480):
        more = at + 1480 < len(request)
        rig.receive(ipv4(request[at : at + 1480], proto=ICMP, flags=MF if more else 0, offset=at))
    replies = rig.sent()
    assert b"".join(reply.payload for reply in replies) == echo(data=bytes(3000), type_=0)
    assert [(reply.offset, reply.mf) for reply in replies] == [(0, True), (1480, True), (2960, False)]
