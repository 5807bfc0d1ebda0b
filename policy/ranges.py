"""Sets of integers as ranges: addresses and ports."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Ranges:
    """Disjoint ranges in order, both ends included, searched by bisection. Immutable."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in sorted(ranges):
            if self._ends and first <= self._ends[-1] + 1:
                self._ends[-1] = max(self._ends[-1], last)
            else:
                self._starts.append(first)
                self._ends.append(last)

    def __contains__(self, value: int) -> bool:
        return self.cover(value, value)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def cover(self, first: int, last: int) -> bool:
        """Whether all from first to last are in here."""
        index = bisect_right(self._starts, first) - 1
        return index >= 0 and last <= self._ends[index]


def blocks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The range as aligned blocks of powers of two, as (shift, prefix): those values that give `prefix` once shifted right by `shift`."""
    while first <= last:
        room = (last - first + 1).bit_length() - 1
        shift = min(room, (first & -first).bit_length() - 1) if first else room
        yield shift, first >> shift
        first += 1 << shift
