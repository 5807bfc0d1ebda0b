"""Whose turn it is: the loop's, one step after the other, or that of somebody else who has to do with what the loop works on.

The loop holds its turn while it waits for events, and lets go of it for a moment only; a lock alone would almost never be had by another thread. So
there is a gate before it: the visitor stands in the gate and wakes the loop, which ends its step, and cannot begin the next until the visitor
is through.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Turn:
    """`with turn:` is a step of the loop, `with turn.visit():` a visit, from any thread and from inside a step."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """wake: has the loop end the step it is waiting in."""
        self._wake = wake
        self._held = threading.RLock()
        self._gate = threading.RLock()  # one that a signal handler can pass while its own thread stands in it

    def __enter__(self) -> None:
        with self._gate:
            self._held.acquire()

    def __exit__(self, *_exception: object) -> None:
        self._held.release()

    @contextmanager
    def visit(self) -> Iterator[None]:
        """The loop looks at everything anew afterwards: something may be due sooner."""
        # It is had at once where nobody runs the loop now, or we are inside
        if not self._held.acquire(blocking=False):
            with self._gate:
                self._wake()
                self._held.acquire()
        try:
            yield
        finally:
            self._held.release()
            self._wake()
