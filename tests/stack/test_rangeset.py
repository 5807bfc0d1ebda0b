"""RangeSet against a set of integers, operation by operation."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from usernat.stack.rangeset import RangeSet

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 16  # few enough that ranges meet at their ends
points = st.integers(0, LIMIT)


class RangeSetAgainstSet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ranges = RangeSet()
        self.model: set[int] = set()

    @rule(start=points, stop=points)
    def add(self, start: int, stop: int) -> None:
        fresh = set(range(start, stop)) - self.model
        assert self.ranges.add(start, stop) == len(fresh)
        self.model |= fresh

    @rule(start=points, stop=points)
    def discard(self, start: int, stop: int) -> None:
        gone = self.model & set(range(start, stop))
        assert self.ranges.discard(start, stop) == len(gone)
        self.model -= gone

    @rule(floor=points)
    def trim(self, floor: int) -> None:
        assert self.ranges.trim(floor) == len({value for value in self.model if value < floor})
        self.model = {value for value in self.model if value >= floor}

    @rule()
    def clear(self) -> None:
        self.ranges.clear()
        self.model.clear()

    @rule(start=points, stop=points)
    def gaps(self, start: int, stop: int) -> None:
        gaps = list(self.ranges.gaps(start, stop))
        assert [value for low, high in gaps for value in range(low, high)] == sorted(
            set(range(start, stop)) - self.model
        )
        assert all(low < high for low, high in gaps)
        assert all(high < low for (_, high), (low, _) in pairwise(gaps))

    @rule(start=points, stop=points)
    def covers(self, start: int, stop: int) -> None:
        assert self.ranges.covers(start, stop) == (set(range(start, stop)) <= self.model)

    @rule(value=points)
    def containing(self, value: int) -> None:
        found = self.ranges.containing(value)
        assert (value in self.ranges) == (value in self.model) == (found is not None)
        if found is not None:
            assert found in list(self.ranges)
            assert found[0] <= value < found[1]

    @invariant()
    def equal_and_in_order(self) -> None:
        ranges = list(self.ranges)
        assert [value for low, high in ranges for value in range(low, high)] == sorted(self.model)
        assert all(low < high for low, high in ranges)
        assert all(high < low for (_, high), (low, _) in pairwise(ranges)), "neighbours are merged"
        assert list(reversed(self.ranges)) == ranges[::-1]
        assert self.ranges.total == len(self.model)
        assert len(self.ranges) == len(ranges)
        assert bool(self.ranges) == bool(self.model)
        assert self.ranges.first == (ranges[0] if ranges else None)
        assert self.ranges.last == (ranges[-1] if ranges else None)


TestRangeSet = RangeSetAgainstSet.TestCase


@given(st.lists(st.tuples(points, points)))
def test_the_order_of_adding_does_not_matter(added: list[tuple[int, int]]) -> None:
    one, other = RangeSet(), RangeSet()
    for start, stop in added:
        one.add(start, stop)
    for start, stop in reversed(added):
        other.add(start, stop)
    assert list(one) == list(other)


def test_the_text_shows_the_ranges() -> None:
    ranges = RangeSet()
    ranges.add(1, 3)
    assert repr(ranges) == "RangeSet([(1, 3)])"


def test_neighbours_merge_on_either_side() -> None:
    ranges = RangeSet()
    ranges.add(5, 10)
    ranges.add(0, 5)
    ranges.add(10, 12)
    assert list(ranges) == [(0, 12)]


def test_every_set_and_every_range_of_a_few() -> None:
    """All sets within six integers against all ranges that reach one beyond them: nothing is left to chance at the ends."""
    width = 6
    for bits in range(1 << width):
        members = {value for value in range(width) if bits >> value & 1}
        for start, stop in product(range(-1, width + 2), repeat=2):
            asked = set(range(start, stop))
            assert build(members).covers(start, stop) == (asked <= members)
            assert list_of(build(members).gaps(start, stop)) == sorted(asked - members)
            added, taken = build(members), build(members)
            assert added.add(start, stop) == len(asked - members)
            assert taken.discard(start, stop) == len(asked & members)
            assert (list(added), added.total) == (list(build(asked | members)), len(asked | members))
            assert (list(taken), taken.total) == (list(build(members - asked)), len(members - asked))
        for floor in range(-1, width + 2):
            trimmed = build(members)
            assert (floor in trimmed) == (floor in members)
            assert trimmed.trim(floor) == sum(value < floor for value in members)
            assert list_of(trimmed) == sorted(value for value in members if value >= floor)


def build(members: set[int]) -> RangeSet:
    """Integer by integer."""
    ranges = RangeSet()
    for value in members:
        ranges.add(value, value + 1)
    return ranges


def list_of(ranges: Iterable[tuple[int, int]]) -> list[int]:
    return [value for start, stop in ranges for value in range(start, stop)]
