"""The asyncio runner alone, around a gateway that only says when it is due."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

from usernat.asynchronous import AsyncRunner
from usernat.waker import Waker

if TYPE_CHECKING:
    from usernat.usernat import UserNat


class Scripted:
    """Is due at the times of a script, in seconds from its start."""

    def __init__(self, *due: float) -> None:
        self.waker = Waker()
        self.start = time.monotonic()
        self.due = list(due)
        self.steps: list[float] = []

    def fileno(self) -> int:
        return self.waker.fileno()

    def process(self) -> bool:
        self.waker.clear()
        self.steps.append(time.monotonic() - self.start)
        return bool(self.due)

    def poll_at(self) -> float | None:
        return self.start + self.due.pop(0)


def run(nat: Scripted, *, wake_at: float | None = None) -> float:
    """Until the script is over; how long that took."""

    async def main() -> None:
        runner = AsyncRunner(cast("UserNat", nat))
        if wake_at is not None:
            asyncio.get_running_loop().call_later(wake_at, nat.waker.wake)
        async with asyncio.timeout(10):
            await runner.finished

    asyncio.run(main())
    nat.waker.close()
    return time.monotonic() - nat.start


def test_a_deadline_that_comes_nearer_is_met() -> None:
    nat = Scripted(60, 0.1)
    assert run(nat, wake_at=0.02) < 5
    assert nat.steps[-1] >= 0.09


def test_a_deadline_that_moves_away_costs_one_step_and_is_met() -> None:
    nat = Scripted(0.05, 0.15)
    assert 0.14 <= run(nat) < 5
    assert len(nat.steps) == 3


def test_readability_is_met_without_a_deadline() -> None:
    nat = Scripted(60)
    assert run(nat, wake_at=0.02) < 5
