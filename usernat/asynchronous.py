"""A UserNat on an asyncio event loop: one reader for its descriptor, one timer for its next deadline.

The timer is moved only when the deadline comes nearer. One that has become later lets the old timer fire: a step too many
costs less than moving a timer with every frame.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.usernat import UserNat


class AsyncRunner:
    """Runs `nat` on the running loop. `finished` is done when the guest is gone, or fails with what went wrong."""

    def __init__(self, nat: UserNat) -> None:
        self._nat = nat
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._attached = True
        self._descriptor = nat.fileno()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self._step)
        self._step()

    async def gone(self) -> None:
        """Wait for `finished`. A waiting task that is cancelled does not cancel it."""
        await asyncio.shield(self.finished)

    def detach(self) -> None:
        """Leave the loop."""
        if self._attached:
            self._attached = False
            self._loop.remove_reader(self._descriptor)
            if self._timer is not None:
                self._timer.cancel()
            if not self.finished.done():
                self.finished.set_result(None)

    def _step(self) -> None:
        try:
            alive = self._nat.process()
        except BaseException as error:  # noqa: BLE001 - not swallowed: passed to whoever awaits, where the loop would only log it
            self.finished.set_exception(error)
            self.detach()
            return
        if not alive:
            self.detach()
            return
        at = self._nat.poll_at()
        if at is not None and (self._timer is None or at < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._step()
