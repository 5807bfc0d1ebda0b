"""A guest link with bad weather: it loses, repeats and reorders the frames of any other link, both ways.

    nat = UserNat(config, FaultyLink(tap, Faults(loss=0.05), Random(7)))

The same seed and the same frames give the same faults. A frame put out of order waits until a few later ones have passed it, and
where none come, until the link is next asked: it is late, never lost.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from usernat.links.wrapper import LinkWrapper
from usernat.stack.counters import Counters

if TYPE_CHECKING:
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
        self._late: deque[tuple[int, T]] = (
            deque()
        )  # number of the frame after which this one goes on, and the frame

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
    """inner, behind faults. offload=False hides what the device would do for us, so that every segment meets the weather alone."""

    def __init__(self, inner: Link, faults: Faults, rng: Random, *, offload: bool = True) -> None:
        super().__init__(inner)
        if not offload:
            self.capabilities = replace(inner.capabilities, tx_checksum=False, tx_segmentation=0)
        self.inward: Weather[Received] = Weather(replace(faults, lose_at=frozenset()), rng)
        self.outward: Weather[Frame] = Weather(faults, rng)

    def receive(self, limit: int) -> list[Received]:
        """Frames from the guest that survived, and with them more than limit where some came twice."""
        return self.inward.through(self.inner.receive(limit))

    def send(self, frames: list[Frame]) -> None:
        """Hand frames to the guest, some of them."""
        if frames:
            self.inner.send(self.outward.through(frames))

    def flush(self) -> None:
        """Try again what is held; what was late goes with it."""
        self.inner.flush()
        if self.outward.late and self.inner.room():
            self.inner.send(self.outward.through([]))

    @property
    def held(self) -> int:
        """Frames that wait in the link, and those that are late."""
        return self.inner.held + self.outward.late

    @property
    def pending(self) -> bool:
        """Whether frames are late, or wait inside the link."""
        return bool(self.inward.late) or self.inner.pending
