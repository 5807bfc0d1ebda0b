"""Sequence numbers, headers, options, time stamps and initial sequence numbers by themselves."""

from __future__ import annotations

import struct
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import GATEWAY, GUEST
from usernat.stack.l3.packet import Packet
from usernat.stack.l4.tcp.header import TCP
from usernat.stack.l4.tcp.isn import IsnGenerator
from usernat.stack.l4.tcp.options import read_options, sack_blocks_that_fit, write_sack, write_syn_options
from usernat.stack.l4.tcp.segment import read_segment
from usernat.stack.l4.tcp.seq import HALF, MASK, is_before, unwrap, wrap
from usernat.stack.l4.tcp.timestamps import Timestamps

WORD = st.integers(0, MASK)
SECOND = 1_000_000


@pytest.mark.rfc("9293", "3.4-a")
class TestSequenceNumbers:
    """RFC 9293 3.4-a."""

    @given(st.integers(-(1 << 40), 1 << 70), st.integers(-HALF, HALF - 1))
    def test_unwrap_undoes_wrap(self, near: int, distance: int) -> None:
        assert unwrap(wrap(near + distance), near) == near + distance

    @given(WORD, st.integers(-(1 << 40), 1 << 40))
    def test_unwrap_is_congruent_and_near(self, wire: int, near: int) -> None:
        number = unwrap(wire, near)
        assert wrap(number) == wire
        assert -HALF <= number - near < HALF

    @given(WORD, st.integers(1, HALF - 1))
    def test_order_on_the_circle(self, a: int, distance: int) -> None:
        b = (a + distance) & MASK
        assert is_before(a, b)
        assert not is_before(b, a)
        assert not is_before(a, a)

    @given(WORD, st.lists(st.integers(0, HALF - 1), min_size=2, max_size=6))
    def test_total_order_within_a_window(self, base: int, offsets: list[int]) -> None:
        numbers = [unwrap((base + offset) & MASK, base) for offset in offsets]
        assert [number - base for number in numbers] == offsets


class TestHeader:
    @given(st.binary(min_size=20, max_size=80))
    def test_segment_of_any_bytes(self, data: bytes) -> None:
        packet = Packet(GUEST, GATEWAY, 6, 64, 0, False, memoryview(data), memoryview(data), memoryview(b""))
        seg = read_segment(packet)
        header = data[12] >> 4 << 2
        if header < 20 or header > len(data):
            assert seg is None
            return
        assert seg is not None
        assert bytes(seg.text) == data[header:]
        flags = data[13]
        assert seg.length == len(data) - header + (flags & 1) + (flags >> 1 & 1)
        assert (seg.source_port, seg.destination_port, seg.seq, seg.ack) == struct.unpack_from(">HHII", data)

    @given(st.tuples(*[st.integers(0, (1 << bits) - 1) for bits in (16, 16, 32, 32, 4, 4, 8, 16, 16, 16)]))
    def test_codec(self, values: tuple[int, ...]) -> None:
        sport, dport, seq, ack, offset, reserved, *rest = values
        raw = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, offset << 4 | reserved, *rest)
        header = TCP.read(raw)
        assert header is not None
        assert tuple(header) == values
        assert TCP.write(header) == raw
        assert "TCP" in str(header)


class TestOptions:
    @pytest.mark.rfc("9293", "MUST-7")
    @given(st.binary(max_size=40))
    def test_any_bytes(self, area: bytes) -> None:
        """RFC 9293 MUST-7: it ends, and never raises."""
        options = read_options(area)
        assert len(options.sack) <= 4

    @pytest.mark.rfc("9293", "MUST-64")
    @given(
        st.integers(0, 65535),
        st.none() | st.integers(0, 14),
        st.booleans(),
        st.none() | st.tuples(WORD, WORD),
        st.integers(0, 3),
    )
    def test_syn_options_are_read_back(
        self, mss: int, scale: int | None, sack: bool, stamps: tuple[int, int] | None, shift: int
    ) -> None:
        """RFC 9293 MUST-64: at any alignment."""
        area = write_syn_options(mss, scale, sack_permitted=sack, timestamps=stamps)
        assert len(area) % 4 == 0
        assert len(area) <= 40
        options = read_options(b"\x01" * shift + area)
        assert (options.mss, options.window_scale, options.sack_permitted) == (mss, scale, sack)
        assert options.timestamps == stamps
        assert not options.malformed

    @pytest.mark.rfc("2018", "3-a")
    @given(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=4))
    def test_sack_is_read_back(self, blocks: list[tuple[int, int]]) -> None:
        """RFC 2018 3-a."""
        area = write_sack(blocks)
        assert len(area) == 4 + 8 * len(blocks)
        assert read_options(area).sack == blocks

    @pytest.mark.rfc("2018", "3-a")
    def test_how_many_blocks_fit(self) -> None:
        """RFC 2018 3-a: four, three beside time stamps."""
        assert sack_blocks_that_fit(40) == 4
        assert sack_blocks_that_fit(28) == 3
        assert sack_blocks_that_fit(3) == 0

    @pytest.mark.rfc("9293", "MUST-7")
    @pytest.mark.parametrize(
        "area", [b"\x02\x00", b"\x02\x01", b"\x02", b"\x08\xff", b"\xfe\x00\x02\x04\x05\xb4"]
    )
    def test_bad_lengths_end_the_walk(self, area: bytes) -> None:
        options = read_options(area)
        assert options.malformed
        assert options.mss is None

    def test_first_of_repeated_options_counts(self) -> None:
        assert read_options(b"\x02\x04\x01\x00\x02\x04\x02\x00").mss == 256


class TestTimestamps:
    @given(WORD, st.integers(0, 1 << 50), st.integers(0, 500_000))
    def test_echo(self, offset: int, sent: int, rtt_ms: int) -> None:
        """RFC 7323 4.1-a, 5.4-a, 7.1-a."""
        stamps = Timestamps(offset, 0, 0, 0)
        echo = stamps.value(sent)
        assert stamps.rtt_us(echo, sent + rtt_ms * 1000) == rtt_ms * 1000

    def test_echo_of_what_was_never_sent(self) -> None:
        stamps = Timestamps(0, 0, 0, 0)
        assert stamps.rtt_us(5000, 1_000_000) is None

    @pytest.mark.rfc("7323", "4.3-a", "5.3-b")
    @given(WORD, st.integers(1, HALF - 1))
    def test_old_and_new(self, recent: int, step: int) -> None:
        """RFC 7323 5.3-a, 5.3-b, 4.3-a."""
        stamps = Timestamps(0, recent, 100, 0)
        assert stamps.is_old((recent - step) & MASK, 1)
        assert not stamps.is_old((recent + step) & MASK, 1)
        stamps.take((recent - step) & MASK, 100, 1)
        assert stamps.recent == recent
        stamps.take((recent + step) & MASK, 101, 1)
        assert stamps.recent == recent, "beyond Last.ACK.sent"
        stamps.take((recent + step) & MASK, 100, 1)
        assert stamps.recent == (recent + step) & MASK

    @pytest.mark.rfc("7323", "5.5-a")
    def test_stale_counts_from_when_it_was_taken(self) -> None:
        """RFC 7323 5.5-a."""
        taken = 40 * 24 * 3600 * 1_000_000
        stamps = Timestamps(0, 1000, 100, taken)
        assert stamps.is_old(999, taken + SECOND)
        assert not stamps.is_old(999, taken + 24 * 24 * 3600 * SECOND)
        stamps.take(5, 100, taken + SECOND)
        assert stamps.recent == 1000
        stamps.take(5, 100, taken + 24 * 24 * 3600 * SECOND)
        assert stamps.recent == 5


class TestIsn:
    KEY = (GUEST, 40000, GATEWAY, 80)

    @pytest.mark.rfc("9293", "MUST-8")
    @pytest.mark.rfc("6528", "3-c", "3-e")
    def test_clock(self) -> None:
        """RFC 9293 MUST-8, RFC 6528 3-c, 3-e: 4 µs a tick, the same tuple goes up."""
        isn = IsnGenerator(Random(1))
        first = isn.initial_sequence(*self.KEY, 0)
        for seconds in (1, 10, 10_000):
            delta = (isn.initial_sequence(*self.KEY, seconds * SECOND) - first) & MASK
            assert delta == 250_000 * seconds & MASK

    @pytest.mark.rfc("9293", "MUST-9", "SHLD-1")
    @pytest.mark.rfc("6528", "3-a", "3-b")
    @pytest.mark.rfc("7323", "7.1-a")
    def test_c59_neighbours_and_instances_are_unlike(self) -> None:
        """RFC 9293 MUST-9, SHLD-1, RFC 6528 3-b, 3-d: 10,000 tuples, two instances alike."""
        one, other = IsnGenerator(Random(1)), IsnGenerator(Random(2))
        numbers = [one.initial_sequence(GUEST, port, GATEWAY, 80, 0) for port in range(10_000)]
        assert len(set(numbers)) > 9_990
        differences = {(b - a) & MASK for a, b in pairwise(numbers)}
        assert len(differences) > 9_990
        ones = sum(number.bit_count() for number in numbers)
        assert abs(ones - 160_000) < 2_000
        again = [other.initial_sequence(GUEST, port, GATEWAY, 80, 0) for port in range(10_000)]
        assert sum(a == b for a, b in zip(numbers, again, strict=True)) < 3
        offsets = {one.timestamp_offset(GUEST, port, GATEWAY, 80) for port in range(1000)}
        assert len(offsets) == 1000
        assert "secret" not in repr(one).lower()

    @pytest.mark.rfc("9293", "MAY-2")
    @pytest.mark.rfc("6528", "3-e")
    @given(WORD, st.integers(0, 1 << 45))
    def test_above_the_last_life(self, after: int, now: int) -> None:
        """RFC 9293 MAY-2: also where that life sent faster than the clock ticks."""
        number = IsnGenerator(Random(1)).initial_sequence(*self.KEY, now, after)
        assert is_before(after, number)
