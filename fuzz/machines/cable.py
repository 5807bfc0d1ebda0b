"""One direction of a cable in virtual time: a delay, the weather of `usernat.fuzz.faultylink`, and single bits that turn over.

One bit is what every checksum shows, so that what a damaged frame does to its receiver should be nothing. A run that nobody has cut
yet has no checksums: it only ever goes from one kernel to another, where nothing is damaged.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from usernat.fuzz.faultylink import Faults, Weather

if TYPE_CHECKING:
    from random import Random

DELAY_US = 250
HEADER_BITS = 8 * 14  # of Ethernet, which has its own check sequence and no checksum of ours
LATE_US = 3_000  # until a frame that waits to be overtaken goes on by itself


class Crossing(NamedTuple):
    """A frame on its way. run_of: where it is a run of datagrams that is cut on the other side, the size of each, else 0."""

    data: bytes
    run_of: int = 0


class Lane:
    """Frames in order of arrival. rng: of the faults. faulty: whether there are any."""

    def __init__(self, rng: Random) -> None:
        self.faulty = False
        self._rng = rng
        self._corruption = 0.0
        self._weather: Weather[Crossing] = Weather(Faults(), rng)
        self._frames: deque[tuple[int, Crossing]] = deque()
        self._release_at: int | None = None  # of the late ones

    def set_weather(self, faults: Faults, corruption: float, now: int) -> None:
        """From now on the faults are these; corruption: the probability that a frame is damaged. Late frames go on."""
        self._arrive(self._weather.through([]), now)
        self._release_at = None
        self._weather = Weather(faults, self._rng)
        self._corruption = corruption
        self.faulty = faults != Faults() or corruption > 0

    def send(self, frame: Crossing, now: int) -> None:
        """A frame enters."""
        if not frame.run_of and self._rng.random() < self._corruption:
            frame = Crossing(self._damaged(frame.data))
        self._arrive(self._weather.through([frame]), now)
        if self._weather.late and self._release_at is None:
            self._release_at = now + LATE_US

    def take(self, now: int) -> list[Crossing]:
        """The frames that have arrived by now."""
        if self._release_at is not None and self._release_at <= now:
            self._release_at = None
            self._arrive(self._weather.through([]), now)
        arrived = []
        while self._frames and self._frames[0][0] <= now:
            arrived.append(self._frames.popleft()[1])
        return arrived

    def poll_at(self) -> int | None:
        """When `take` has something, µs."""
        times = [self._frames[0][0]] if self._frames else []
        if self._release_at is not None:
            times.append(self._release_at)
        return min(times, default=None)

    def _damaged(self, frame: bytes) -> bytes:
        if frame[12:14] != b"\x08\x00":
            return frame  # ARP has no checksum
        bit = self._rng.randrange(HEADER_BITS, 8 * len(frame))
        spoiled = bytearray(frame)
        spoiled[bit >> 3] ^= 1 << (bit & 7)
        return bytes(spoiled)

    def _arrive(self, frames: list[Crossing], now: int) -> None:
        self._frames.extend((now + DELAY_US, frame) for frame in frames)
