"""Two interfaces, a cable and a virtual clock.

`Wire.run` is an event loop without I/O: it delivers what is due, runs due timers, lets both sides transmit, and then moves the
clock straight to the next moment at which anything happens. The cable's faults are drawn from a seeded generator, so that a
failing run is replayed by its seed; `lose` additionally picks frames by hand.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.stack.device import Frame
    from usernat.stack.interface import Interface

MS = 1_000
SECOND = 1_000_000


class Clock:
    """The time, in µs, moved by hand."""

    def __init__(self, now: int = 0) -> None:
        self.now = now


@dataclass(slots=True)
class Faults:
    """Probabilities per frame, and the extra delay in µs of a frame that is to arrive late."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    late_us: int = 5 * MS


@dataclass(slots=True, order=True)
class Delivery:
    """A frame on the cable; `serial` keeps frames of one moment in order."""

    at: int
    serial: int
    to_b: bool
    frame: bytes
    checksum_ok: bool


class Wire:
    """Joins interfaces `a` and `b`.

    delay_us: one way. faults: of the cable, both ways. lose(frame, to_b) -> True loses that frame.
    apps: called as app(now) after every batch, before the sides transmit. log: all frames sent, as (time, to_b, bytes).
    """

    def __init__(
        self,
        a: Interface,
        b: Interface,
        clock: Clock,
        *,
        delay_us: int = 500,
        faults: Faults | None = None,
        rng: Random | None = None,
        lose: Callable[[bytes, bool], bool] | None = None,
    ) -> None:
        self.a = a
        self.b = b
        self.clock = clock
        self.delay_us = delay_us
        self.faults = faults or Faults()
        self.rng = rng or Random(1)
        self.lose = lose
        self.apps: list[Callable[[int], None]] = []
        self.log: list[tuple[int, bool, bytes]] = []
        self._cable: list[Delivery] = []
        self._serial = itertools.count()

    def run(self, until: int, stop: Callable[[], bool] | None = None) -> bool:
        """Run to the virtual time `until` (µs), or until `stop()` is true after a batch. Says whether `stop` was it."""
        while True:
            self._batch()
            if stop is not None and stop():
                return True
            due = self._next()
            if due is None or due > until:
                self.clock.now = max(self.clock.now, until)
                return False
            self.clock.now = max(self.clock.now, due)
            self._timers()
            self._deliver()

    def run_for(self, duration: int, stop: Callable[[], bool] | None = None) -> bool:
        """`run` for a while from now."""
        return self.run(self.clock.now + duration, stop)

    def frames(self, *, to_b: bool) -> list[bytes]:
        """All frames sent one way so far."""
        return [frame for _, direction, frame in self.log if direction is to_b]

    def _next(self) -> int | None:
        times = [self._cable[0].at] if self._cable else []
        times += [at for at in (self.a.poll_at(), self.b.poll_at()) if at is not None]
        return min(times, default=None)

    def _timers(self) -> None:
        now = self.clock.now
        for side in (self.a, self.b):
            due = side.poll_at()
            if due is not None and due <= now:
                side.on_time(now)
                after = side.poll_at()
                assert after is None or after > now, "poll_at still due after on_time"

    def _deliver(self) -> None:
        while self._cable and self._cable[0].at <= self.clock.now:
            delivery = heapq.heappop(self._cable)
            side = self.b if delivery.to_b else self.a
            side.receive(delivery.frame, self.clock.now, delivery.checksum_ok)

    def _batch(self) -> None:
        """Apps, then both transmit, until neither has anything to say at this moment."""
        busy = True
        while busy:
            for app in self.apps:
                app(self.clock.now)
            busy = False
            for side, to_b in ((self.a, True), (self.b, False)):
                while frames := side.transmit(self.clock.now):
                    busy = True
                    for frame in frames:
                        self._send(frame, to_b=to_b)

    def _send(self, frame: Frame, *, to_b: bool) -> None:
        data = bytes(frame)
        self.log.append((self.clock.now, to_b, data))
        faults, rng = self.faults, self.rng
        if (self.lose is not None and self.lose(data, to_b)) or rng.random() < faults.loss:
            return
        if rng.random() < faults.corrupt:
            at = rng.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        # A device that completes checksums vouches for the frame, unless the cable has spoilt it since.
        checksum_ok = frame.csum_start > 0 and data == self.log[-1][2]
        for _ in range(2 if rng.random() < faults.duplicate else 1):
            late = faults.late_us if rng.random() < faults.reorder else 0
            at_us = self.clock.now + self.delay_us + late
            heapq.heappush(self._cable, Delivery(at_us, next(self._serial), to_b, data, checksum_ok))
