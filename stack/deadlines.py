"""Many deadlines, each moved often and met seldom: TCP re-arms its timer with every segment.

So arming is lazy. The ordered structure holds one entry a key, placed at some time not after the key's deadline. Moving
a deadline later, or disarming it, only writes the new time beside the key; the entry stays where it is and is placed anew
once it comes to the front. Moving a deadline earlier moves the entry at once. `next` puts the front right before it
answers, so its answer is exact: something is due just then.
"""

from __future__ import annotations

from itertools import count
from typing import Any, Generic, TypeVar

from sortedcontainers import SortedList

K = TypeVar("K")

# Where it is placed (µs), a number that keeps keys from being compared, the key.
_Entry = tuple[int, int, Any]


class _Timer:
    """The state of one key: its deadline (None: disarmed) and its entry in the order."""

    __slots__ = ("entry", "when")

    def __init__(self, when: int, entry: _Entry) -> None:
        self.when: int | None = when
        self.entry = entry


class Deadlines(Generic[K]):
    """Deadlines in µs by key. A key is any hashable object; ordinary objects go by identity.

    Keys disarmed by `set(key, None)` are kept until their old time comes up; `clear` lets go of the key at once.
    """

    __slots__ = ("_order", "_serial", "_timers")

    def __init__(self) -> None:
        self._timers: dict[K, _Timer] = {}
        self._order: SortedList = SortedList()
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
            if when is not None and when < timer.entry[0]:
                self._order.remove(timer.entry)
                timer.entry = self._place(key, when)
        elif when is not None:
            self._timers[key] = _Timer(when, self._place(key, when))

    def clear(self, key: K) -> None:
        """Forget the key. Nothing happens where it is not known."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            self._order.remove(timer.entry)

    def next(self) -> int | None:
        """The earliest deadline in µs, exactly; None where none is armed."""
        while self._order:
            timer = self._settle(self._order[0])
            if timer is not None:
                return timer.when
        return None

    def expire(self, now: int) -> list[K]:
        """The keys due at `now` or before, in the order of their deadlines. They are forgotten."""
        due: list[K] = []
        order = self._order
        while order and order[0][0] <= now:
            entry = order[0]
            if self._settle(entry) is not None:
                del order[0]
                del self._timers[entry[2]]
                due.append(entry[2])
        return due

    def _settle(self, front: _Entry) -> _Timer | None:
        """The timer of the front entry if that stands at its deadline; else move or drop the entry: None."""
        key = front[2]
        timer = self._timers[key]
        if timer.when == front[0]:
            return timer
        del self._order[0]
        if timer.when is None:
            del self._timers[key]
        else:
            timer.entry = self._place(key, timer.when)
        return None

    def _place(self, key: K, when: int) -> _Entry:
        entry = (when, next(self._serial), key)
        self._order.add(entry)
        return entry
