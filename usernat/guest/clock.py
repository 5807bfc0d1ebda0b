"""The guest's time, and how it waits: really, or in a test by moving a clock and whoever is at the link's other end."""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from usernat.links.link import Link

_SHORTAGE_US = 1000  # until a link that held frames back for want of memory is tried again


class Clock(Protocol):
    """µs of one monotonic clock."""

    def now(self) -> int:
        """The time."""

    def wait(self, link: Link, until: int) -> None:
        """Returns when the link may have frames or room, or at `until`; sooner is harmless."""


class SystemClock:
    """The machine's."""

    def now(self) -> int:
        """µs of `time.monotonic`."""
        return time.monotonic_ns() // 1000

    def wait(self, link: Link, until: int) -> None:
        """Waits in a selector."""
        if link.pending:
            return
        if link.held and not link.wants_write:
            until = min(until, self.now() + _SHORTAGE_US)
        until = min(until, link.poll_at() or until)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.wants_write else 0)
        with selectors.DefaultSelector() as selector:
            selector.register(link.fileno(), events)
            selector.select(max(0, until - self.now()) / 1e6)
