"""Whose turn it is: no step of the loop does more for the forwarder than a moment's worth, however much waits.

    event ──> serve(worker) ──units left──> worker.turn() ──more──> back to the end of the line
                   │ none left                   │ no
                   └──> in the line              └──> served
    poll_at ──> the next moment ──> the line goes on

A socket of the stack is named ready only when something changes, so what is left undone must not wait for another event: it stands in this line,
which is served round robin, and the loop comes again at once. A moment is a value of the clock, of which each step of the loop has its own.
"""

from __future__ import annotations

from typing import Protocol

MOMENT = 64  # units: some milliseconds
UNIT_BYTES = 256  # of a message that is read or screened; each costs one unit besides


class Worker(Protocol):
    """Who may have more to do than fits a turn."""

    def turn(self, now: int) -> bool:
        """Does some of it, and spends as many units; whether there is more, of which no event will tell."""


def cost(message: bytes | memoryview) -> int:
    """What it takes to read a message, in units."""
    return 1 + len(message) // UNIT_BYTES


class Turns:
    """The line. Times in µs."""

    __slots__ = ("_left", "_line", "_moment", "_running")

    def __init__(self) -> None:
        self._line: dict[Worker, None] = {}  # in the order of arrival
        self._moment = -1
        self._left = 0  # units; less than none where the last piece of work was a large one
        self._running = False

    def __contains__(self, worker: object) -> bool:
        """Whether it stands in the line."""
        return worker in self._line

    def may(self, now: int) -> bool:
        """Whether anything may still be done at this moment."""
        if now != self._moment:
            self._moment = now
            self._left = MOMENT
        return self._left > 0

    def spend(self, units: int) -> None:
        """So much was done."""
        self._left -= units

    def serve(self, worker: Worker, now: int) -> bool:
        """Its turn comes now, or later: False while it stands in the line. From inside a turn it is later, for turns do not nest."""
        self._line[worker] = None
        self.run(now)
        return worker not in self._line

    def run(self, now: int) -> None:
        """Goes on with the line as far as this moment allows."""
        if self._running:
            return
        self._running = True
        try:
            while self._line and self.may(now):
                worker = next(iter(self._line))
                del self._line[worker]
                if worker.turn(now):
                    self._line[worker] = None
        finally:
            self._running = False

    def drop(self, worker: Worker) -> None:
        """It has nothing to do any more."""
        self._line.pop(worker, None)

    def clear(self) -> None:
        """Nobody has."""
        self._line.clear()

    def poll_at(self) -> int | None:
        """When the line goes on: the next moment."""
        return self._moment + 1 if self._line else None
