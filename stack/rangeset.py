"""A set of integers kept as half-open ranges: what has arrived, what was acknowledged, what is missing.

One structure serves out-of-order TCP data, the SACK scoreboard and the holes of a fragmented datagram. The integers
are plain offsets: whoever has 32-bit sequence numbers unwraps them first. Ranges that touch are merged, so the number of
ranges is the number of separate runs, and every operation costs O(log n) plus what it swallows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

if TYPE_CHECKING:
    from collections.abc import Iterator

Range = tuple[int, int]


class RangeSet:
    """Disjoint ranges `[start, stop)`, in ascending order. `len` is the number of ranges, `total` that of the integers."""

    __slots__ = ("_stops", "total")

    def __init__(self) -> None:
        self._stops: SortedDict = SortedDict()  # start of each range to its stop
        self.total = 0

    def __len__(self) -> int:
        return len(self._stops)

    def __iter__(self) -> Iterator[Range]:
        return iter(self._stops.items())

    def __reversed__(self) -> Iterator[Range]:
        return ((start, self._stops[start]) for start in reversed(self._stops))

    def __contains__(self, value: int) -> bool:
        return self.containing(value) is not None

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    @property
    def first(self) -> Range | None:
        """The lowest range."""
        return self._stops.peekitem(0) if self._stops else None

    @property
    def last(self) -> Range | None:
        """The highest range."""
        return self._stops.peekitem(-1) if self._stops else None

    def containing(self, value: int) -> Range | None:
        """The range that `value` lies in."""
        index = self._stops.bisect_right(value) - 1
        if index < 0:
            return None
        found: Range = self._stops.peekitem(index)
        return found if value < found[1] else None

    def covers(self, start: int, stop: int) -> bool:
        """Whether all of `[start, stop)` is in the set (an empty range always is)."""
        if start >= stop:
            return True
        found = self.containing(start)
        return found is not None and stop <= found[1]

    def gaps(self, start: int, stop: int) -> Iterator[Range]:
        """What of `[start, stop)` is missing, as ranges, ascending. The set must not change meanwhile."""
        for low, high in self._touching(start, stop):
            if start < low:
                yield start, min(low, stop)
            start = max(start, high)
        if start < stop:
            yield start, stop

    def add(self, start: int, stop: int) -> int:
        """Add `[start, stop)`; returns how many integers were not there before."""
        if start >= stop:
            return 0
        before = self.total
        for low, high in list(self._touching(start, stop)):
            start, stop = min(start, low), max(stop, high)
            self._remove(low, high)
        self._insert(start, stop)
        return self.total - before

    def discard(self, start: int, stop: int) -> int:
        """Take out `[start, stop)`; returns how many integers were there."""
        if start >= stop:
            return 0
        before = self.total
        for low, high in list(self._touching(start, stop)):
            self._remove(low, high)
            self._insert(low, start)
            self._insert(stop, high)
        return before - self.total

    def trim(self, floor: int) -> int:
        """Take out all below `floor`; returns how many integers were there."""
        first = self.first
        return self.discard(first[0], floor) if first else 0

    def clear(self) -> None:
        """Take out everything."""
        self._stops.clear()
        self.total = 0

    def _touching(self, start: int, stop: int) -> Iterator[Range]:
        """The ranges that overlap `[start, stop)` or border on it, ascending."""
        stops = self._stops
        index = max(stops.bisect_right(start) - 1, 0)
        while index < len(stops):
            low, high = stops.peekitem(index)
            if low > stop:
                return
            if high >= start:
                yield low, high
            index += 1

    def _insert(self, start: int, stop: int) -> None:
        if start < stop:
            self._stops[start] = stop
            self.total += stop - start

    def _remove(self, start: int, stop: int) -> None:
        del self._stops[start]
        self.total -= stop - start
