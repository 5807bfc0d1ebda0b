"""A guest link with bad weather: it loses, repeats and reorders the frames of any other link, both ways, and may make it a long one.

    nat = UserNat(config, FaultyLink(tap, Faults(loss=0.05), Random(7), distance=Distance(delay_us=100_000)))

The same seed and the same frames give the same faults. A frame put out of order waits until a few later ones have passed it, and
where none come, until the link is next asked: it is late, never lost. Over a distance the weather comes first and the
flight afterwards; what is in flight is waited for by `poll_at`, since no descriptor tells of it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from usernat.fuzz.delayline import DelayLine, Distance
from usernat.links.link import HELD_MAX
from usernat.links.wrapper import LinkWrapper
from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from usernat.links.link import Link, Received
    from usernat.stack.device import Frame

T = TypeVar("T")

LATEST = 4  # frames that may pass one which is out of order


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities, 0.0 to 1.0, each for every frame. lose_at: ordinals, from 0, of frames that are lost in any case."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    lose_at: frozenset[int] = frozenset()


@dataclass(slots=True)
class FaultCounters(Counters):
    """What the weather did, in frames."""

    passed: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0


class Weather(Generic[T]):
    """The faults of one direction, on frames of any kind."""

    def __init__(self, faults: Faults, rng: Random) -> None:
        self.counters = FaultCounters()
        self._faults = faults
        self._rng = rng
        self._seen = 0
        # The number of the frame after which this one goes on, and the frame.
        self._late: deque[tuple[int, T]] = deque()

    @property
    def late(self) -> int:
        """Frames that wait to be overtaken."""
        return len(self._late)

    def through(self, frames: list[T]) -> list[T]:
        """What arrives of these frames; with none, what was late."""
        if not frames:
            return self._release(all_of_them=True)
        arrived: list[T] = []
        for frame in frames:
            self._one(frame, arrived)
            arrived += self._release()
        return arrived

    def _one(self, frame: T, arrived: list[T]) -> None:
        faults, counters, dice = self._faults, self.counters, self._rng.random
        ordinal, self._seen = self._seen, self._seen + 1
        if ordinal in faults.lose_at or dice() < faults.loss:
            counters.lost += 1
            return
        if dice() < faults.duplication:
            counters.duplicated += 1
            arrived.append(frame)
        if dice() < faults.reordering:
            counters.reordered += 1
            self._late.append((self._seen + self._rng.randint(1, LATEST), frame))
        else:
            counters.passed += 1
            arrived.append(frame)

    def _release(self, *, all_of_them: bool = False) -> list[T]:
        due = [frame for until, frame in self._late if all_of_them or until <= self._seen]
        if due:
            self._late = deque(entry for entry in self._late if not (all_of_them or entry[0] <= self._seen))
        return due


class FaultyLink(LinkWrapper):
    """inner, behind faults. offload=False hides what the device would do for us, so that every segment meets the weather alone.

    distance: None for none, which costs no time at all. now: µs of the clock that `poll_at` speaks of.
    """

    def __init__(
        self,
        inner: Link,
        faults: Faults,
        rng: Random,
        *,
        offload: bool = True,
        distance: Distance | None = None,
        now: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        super().__init__(inner)
        if not offload:
            self.capabilities = replace(
                inner.capabilities, tx_checksum=False, tx_segmentation=0, tx_udp_segmentation=False
            )
        self.inward: Weather[Received] = Weather(replace(faults, lose_at=frozenset()), rng)
        self.outward: Weather[Frame] = Weather(faults, rng)
        self._far = distance is not None
        self._from_guest: DelayLine[Received] = DelayLine(distance or Distance(), rng)
        self._to_guest: DelayLine[Frame] = DelayLine(distance or Distance(), rng)
        self._now = now

    def receive(self, limit: int) -> list[Received]:
        """Frames from the guest that survived, and with them more than limit where some came twice."""
        arrived = self.inward.through(self.inner.receive(limit))
        if not self._far:
            return arrived
        now = self._now()
        for frame in arrived:
            self._from_guest.put(frame, len(frame[0]), now)
        return self._from_guest.take(now, limit)

    def send(self, frames: list[Frame]) -> None:
        """Hand frames to the guest, some of them."""
        if frames:
            self._onward(self.outward.through(frames))

    def flush(self) -> None:
        """Try again what is held; what was late goes with it, and what has come to the end of its way."""
        self.inner.flush()
        if self.outward.late and self.inner.room():
            self._onward(self.outward.through([]))
        if self._to_guest.due(now := self._now()):
            self.inner.send(self._to_guest.take(now, self.inner.room()))

    def room(self) -> int:
        """The inner link's room; over a distance always some, for what the road does not hold it drops."""
        return HELD_MAX if self._far else self.inner.room()

    @property
    def held(self) -> int:
        """Frames that wait in the link, those that are late, and one for those at the end of their way."""
        return self.inner.held + self.outward.late + self._to_guest.due(self._now())

    @property
    def pending(self) -> bool:
        """Whether frames are late, have come to the end of their way, or wait inside the link."""
        return bool(self.inward.late) or self._from_guest.due(self._now()) or self.inner.pending

    def poll_at(self) -> int | None:
        """When the next frame comes to the end of its way."""
        due = (self.inner.poll_at(), self._from_guest.poll_at(), self._to_guest.poll_at())
        return min((at for at in due if at is not None), default=None)

    @property
    def dropped(self) -> int:
        """Frames that the road did not hold, both ways."""
        return self._from_guest.dropped + self._to_guest.dropped

    def _onward(self, frames: list[Frame]) -> None:
        if not self._far:
            self.inner.send(frames)
            return
        now = self._now()
        for frame in frames:
            self._to_guest.put(frame, len(frame), now)
