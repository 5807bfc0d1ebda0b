"""A stretch of road for frames, one way: how long they travel, how many a second pass, and how many it holds.

The road is a FIFO with one server in front (`bytes_per_second`) and a flight time behind it. Jitter is added to each frame's flight
on its own, so that frames overtake each other as they do on parallel paths. A full road drops, as a router's queue does.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from random import Random

T = TypeVar("T")

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Distance:
    """How far apart the two ends are: the same in both directions.

    delay_us: of each frame, µs. jitter_us: at most so much more, drawn per frame. bytes_per_second: 0 for no limit.
    queue: frames on their way at the same time; those beyond are dropped.
    """

    delay_us: int = 0
    jitter_us: int = 0
    bytes_per_second: int = 0
    queue: int = 4096


class DelayLine(Generic[T]):
    """Frames of any kind on their way. rng: of the jitter. Times in µs of one clock, handed in."""

    def __init__(self, distance: Distance, rng: Random) -> None:
        self.dropped = 0
        self._distance = distance
        self._random = rng.random
        self._free_at = 0  # when the server has sent what it was given
        self._serial = 0  # keeps frames of one moment in order
        self._flying: list[tuple[int, int, T]] = []

    def __len__(self) -> int:
        return len(self._flying)

    def put(self, frame: T, size: int, now: int) -> None:
        """A frame of size bytes sets out."""
        distance = self._distance
        if len(self._flying) >= distance.queue:
            self.dropped += 1
            return
        if distance.bytes_per_second:
            self._free_at = max(now, self._free_at) + size * SECOND_US // distance.bytes_per_second
        due = max(now, self._free_at) + distance.delay_us + int(self._random() * distance.jitter_us)
        self._serial += 1
        heapq.heappush(self._flying, (due, self._serial, frame))

    def due(self, now: int) -> bool:
        """Whether `take` has something."""
        return bool(self._flying) and self._flying[0][0] <= now

    def poll_at(self) -> int | None:
        """When the next frame arrives; None where none is on its way."""
        return self._flying[0][0] if self._flying else None

    def take(self, now: int, limit: int) -> list[T]:
        """At most limit frames that have arrived by now, in the order of their arrival."""
        arrived: list[T] = []
        while len(arrived) < limit and self.due(now):
            arrived.append(heapq.heappop(self._flying)[2])
        return arrived
