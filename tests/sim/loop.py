"""Virtual time: an event loop without I/O, in which a day passes as fast as its packets are handled.

    stations   interfaces, or what looks like one, each with the place its frames go to and perhaps an application
    events     what is to happen at some moment: a frame arrives, a flow begins
    run        batch, then on to the next moment at which anything happens: timers that are due, events that are due, batch again

A batch is what `docs/architecture.md` says it is: everything that arrives at one moment is taken in, the applications are served, then the
stations transmit, over and over until nobody has anything to say at this moment. Only stations that something has happened to are
looked after, so that a hundred of them cost no more than the packets that they exchange.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any, Protocol

from usernat.stack.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.stack.device import Frame

MS = 1_000
SECOND = 1_000_000

# When, a serial number that keeps events of one moment in order, what to call, with what.
_Event = tuple[int, int, "Callable[..., None]", tuple[Any, ...]]


class Clock:
    """The time, in µs, moved by hand."""

    def __init__(self, now: int = 0) -> None:
        self.now = now


class Side(Protocol):
    """What the loop asks of an interface."""

    def receive(self, frame: bytes, now: int, checksum_ok: bool = False) -> None: ...
    def transmit(self, now: int) -> list[Frame]: ...
    def poll_at(self) -> int | None: ...
    def on_time(self, now: int) -> None: ...


class Station:
    """A side at its place in the loop. out: takes each frame that it sends. app: called as app(now) before it transmits."""

    __slots__ = ("_loop", "app", "out", "side")

    def __init__(self, loop: Loop, side: Side) -> None:
        self._loop = loop
        self.side = side
        self.out: Callable[[Frame], None] = _unplugged
        self.app: Callable[[int], None] | None = None

    def arrive(self, frame: bytes, checksum_ok: bool) -> None:
        """A frame has come, now. checksum_ok: its sender's device vouches for it."""
        self.side.receive(frame, self._loop.clock.now, checksum_ok)
        self._loop.awake[self] = None

    def wake(self) -> None:
        """The side has been moved from outside: look after it in the next batch."""
        self._loop.awake[self] = None


def _unplugged(frame: Frame) -> None:
    """A station without a cable sends into nothing."""


class Loop:
    """clock: the time. apps: called as app(now) in every batch. observers: called as observer(now) after every batch.

    attentive: look after all stations in every batch, since tests move them from outside and do not say so.
    """

    def __init__(self, clock: Clock | None = None, *, attentive: bool = False) -> None:
        self.clock = clock or Clock()
        self.apps: list[Callable[[int], None]] = []
        self.observers: list[Callable[[int], None]] = []
        self.stations: list[Station] = []
        self.awake: dict[Station, None] = {}
        self._attentive = attentive
        self._events: list[_Event] = []
        self._serial = itertools.count()
        self._deadlines: Deadlines[Station] = Deadlines()

    def add(self, side: Side) -> Station:
        """Give an interface its place; where its `out` leads to is the caller's to say."""
        station = Station(self, side)
        self.stations.append(station)
        return station

    def call_at(self, at: int, action: Callable[..., None], *args: Any) -> None:
        """action(*args) at the virtual time `at` (µs); events of one moment in the order of these calls."""
        heapq.heappush(self._events, (at, next(self._serial), action, args))

    def run(self, until: int, stop: Callable[[], bool] | None = None) -> bool:
        """Run to the virtual time `until` (µs), or until `stop()` is true after a batch. Says whether `stop` was it."""
        self._wake_all()
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

    def _wake_all(self) -> None:
        self.awake = dict.fromkeys(self.stations)

    def _batch(self) -> None:
        """Applications, then stations, until nobody has anything to say at this moment.

        What a station sends changes nothing for its own application; for an application of several stations it may.
        """
        now = self.clock.now
        if self._attentive:
            self._wake_all()
        busy = True
        while busy:
            for app in self.apps:
                app(now)
            sent = self._serve(now)
            busy = sent and self._attentive
        for observer in self.observers:
            observer(now)

    def _serve(self, now: int) -> bool:
        """Whether any station had something to send."""
        sent = False
        for station in list(self.awake):
            if station.app is not None:
                station.app(now)
            while frames := station.side.transmit(now):
                sent = True
                for frame in frames:
                    station.out(frame)
        return sent

    def _next(self) -> int | None:
        """The next moment at which anything happens. Everybody rests until then."""
        for station in self.awake:
            self._deadlines.set(station, station.side.poll_at())
        self.awake.clear()
        due = self._deadlines.next()
        if self._events:
            due = self._events[0][0] if due is None else min(due, self._events[0][0])
        return due

    def _timers(self) -> None:
        now = self.clock.now
        for station in self._deadlines.expire(now):
            station.side.on_time(now)
            after = station.side.poll_at()
            assert after is None or after > now, "poll_at still due after on_time"
            self.awake[station] = None

    def _deliver(self) -> None:
        events = self._events
        while events and events[0][0] <= self.clock.now:
            _, _, action, args = heapq.heappop(events)
            action(*args)
