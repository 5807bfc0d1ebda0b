"""Text ahead of a gap, against a dictionary of octets; and what SACK says of it, against RFC 2018 read literally."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from usernat.stack.l4.tcp.reassembly import MAX_RECENT, Reassembly

SPAN = 40  # octets of the window: few, so that segments meet
LARGE = 10_000  # and segments large enough to be kept as views come as well


class ReassemblyAgainstOctets(RuleBasedStateMachine):
    """scale: octets of a unit. octets: what is held, by number. recent: where each segment began, the newest first."""

    @initialize(
        start=st.sampled_from([0, 1, -5, (1 << 32) - 20, 1 << 40]),
        scale=st.sampled_from([1, 1, LARGE // SPAN]),
        pieces=st.sampled_from([1, 3, 1000]),
    )
    def begin(self, start: int, scale: int, pieces: int) -> None:
        self.rcv_nxt = start
        self.scale = scale
        self.max_pieces = pieces
        self.held = Reassembly(pieces)
        self.octets: dict[int, int] = {}
        self.recent: list[int] = []
        self.fill = 0

    @rule(at=st.integers(1, SPAN), length=st.integers(1, SPAN), framed=st.booleans())
    def add(self, at: int, length: int, framed: bool) -> None:
        """A segment beyond RCV.NXT. What is there already stays as it is: other bytes for the same number are passed over."""
        start = self.rcv_nxt + at * self.scale
        size = length * self.scale
        self.fill = self.fill % 255 + 1
        data = bytes([self.fill]) * size
        text = memoryview(b"header" + data + b"trailer")[6 : 6 + size] if framed else memoryview(data)
        before = set(self.octets)
        complete = self.held.add(start, text)
        now_held = {n for low, high in self.held.ranges for n in range(low, high)}
        assert before <= now_held <= before | set(range(start, start + size))
        assert complete == (set(range(start, start + size)) <= now_held)
        assert complete or len(list(self.held.ranges)) <= self.max_pieces
        for number in now_held - before:
            self.octets[number] = self.fill
        if complete:
            self.recent = [start, *self.recent][:MAX_RECENT]

    @rule(by=st.integers(0, SPAN))
    def take(self, by: int) -> None:
        """RCV.NXT moves on, through what is held as through what is not; all that follows without a gap comes out."""
        self.rcv_nxt += by * self.scale
        out = b"".join(self.held.take(self.rcv_nxt))
        expected = bytearray()
        while self.rcv_nxt in self.octets:
            expected.append(self.octets[self.rcv_nxt])
            self.rcv_nxt += 1
        assert out == expected
        self.octets = {number: octet for number, octet in self.octets.items() if number >= self.rcv_nxt}
        self.recent = [number for number in self.recent if number >= self.rcv_nxt]

    @rule(limit=st.integers(0, 5))
    def sack(self, limit: int) -> None:
        """RFC 2018 §4: the block of the newest segment first, then of those before it, then whatever fits; each once."""
        runs = self.runs()
        expected: list[tuple[int, int]] = []
        for number in self.recent:
            expected += [run for run in runs if run[0] <= number < run[1] and run not in expected]
        expected += [run for run in runs if run not in expected]
        assert self.held.sack_blocks(limit) == expected[:limit]

    def runs(self) -> list[tuple[int, int]]:
        """What is held, as ranges."""
        found = sorted(self.octets)
        starts = [n for n in found if n - 1 not in self.octets]
        stops = [n + 1 for n in found if n + 1 not in self.octets]
        return list(zip(starts, stops, strict=True))

    @invariant()
    def equal(self) -> None:
        if hasattr(self, "held"):
            assert len(self.held) == len(self.octets)
            assert list(self.held.ranges) == self.runs()
            assert all(one[1] < other[0] for one, other in pairwise(self.held.ranges))


TestReassembly = pytest.mark.rfc("2018", "4-d", "4-e", "4-f", "8-a")(ReassemblyAgainstOctets.TestCase)
