"""Many deadlines, each moved often and met seldom: TCP re-arms its timer with every segment.

So arming is lazy. A heap holds one entry for each key, placed at some time not after the key's deadline. Moving
a deadline later, or disarming it, only writes the new time beside the key; the entry stays where it is and is placed anew
once its time comes. Moving a deadline earlier places another entry at once, and the first is left behind, as is that of a key that is cleared. So
`next` is never too late. It may be too early, where what stood at the front has been moved: then `expire` finds nothing due at that moment, and puts
the order right.

What was left behind keeps no key alive. It goes when it comes to the front, or when there is more of it than of all else: then the heap
is built anew, which costs each entry left behind as much as a step or two.

An owner of several such things asks for the `earliest` of them in each step of its loop.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

K = TypeVar("K")

_LEFT_BEHIND = 64  # entries that never matter
_NOWHERE = -1  # the serial of a timer that has no entry


class _Timer:
    """The state of one key: its deadline (None: disarmed), and of its entry in the heap the time and the serial."""

    __slots__ = ("at", "key", "serial", "when")

    def __init__(self, key: Any, when: int, serial: int) -> None:
        self.key = key
        self.when: int | None = when
        self.at = when
        self.serial = serial


# Where it is placed (µs), a serial by which entries never compare equal, the timer; left behind where the timer has another serial.
_Entry = tuple[int, int, _Timer]


class Deadlines(Generic[K]):
    """Deadlines in µs by key. A key is any hashable object; ordinary objects go by identity.

    Keys disarmed by `set(key, None)` are kept until their old time comes up; `clear` lets go of the key at once.
    """

    __slots__ = ("_heap", "_serial", "_timers")

    def __init__(self) -> None:
        self._timers: dict[K, _Timer] = {}
        self._heap: list[_Entry] = []
        self._serial = count()

    def __len__(self) -> int:
        """The keys held, disarmed ones included."""
        return len(self._timers)

    def get(self, key: K) -> int | None:
        """The deadline of the key in µs."""
        timer = self._timers.get(key)
        return timer.when if timer is not None else None

    def set(self, key: K, when: int | None) -> None:
        """Arm the key for `when`, in place of its deadline so far. None disarms it, cheaply, for keys that live on."""
        timer = self._timers.get(key)
        if timer is not None:
            timer.when = when
            if when is not None and when < timer.at:
                self._place(timer, when)
                self._tidy()
        elif when is not None:
            serial = next(self._serial)
            timer = self._timers[key] = _Timer(key, when, serial)
            heappush(self._heap, (when, serial, timer))

    def clear(self, key: K) -> None:
        """Forget the key. Nothing happens where it is not known."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.key = None
            timer.serial = _NOWHERE
            self._tidy()

    def next(self) -> int | None:
        """When to call `expire`, in µs: not after the earliest deadline. None where none is armed."""
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].serial:
            heappop(heap)
        return heap[0][0] if heap else None

    def expire(self, now: int) -> list[K]:
        """The keys due at `now` or before, in the order of their deadlines. They are forgotten."""
        due: list[K] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, serial, timer = heappop(heap)
            if serial != timer.serial:
                continue
            if timer.when is not None and timer.when > at:
                self._place(timer, timer.when)
                continue
            del self._timers[timer.key]
            if timer.when is not None:
                due.append(timer.key)
        return due

    def _place(self, timer: _Timer, when: int) -> None:
        timer.at = when
        timer.serial = serial = next(self._serial)
        heappush(self._heap, (when, serial, timer))

    def _tidy(self) -> None:
        """Every timer has one entry, so the others are those that were left behind."""
        if len(self._heap) > 2 * len(self._timers) + _LEFT_BEHIND:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].serial]
            heapify(self._heap)


def earliest(polls: Iterable[Callable[[], int | None]]) -> int | None:
    """The earliest moment that any of them names, None where none does. Each says when something is due, or None."""
    first = None
    for poll in polls:
        at = poll()
        if at is not None and (first is None or at < first):
            first = at
    return first
