"""Two interfaces and a cable: the smallest network there is.

The loop, the links and their faults are those of the simulator (`loop.py`, `link.py`); both directions share one seeded generator, so
that a failing run is replayed by its seed. `lose` additionally picks frames by hand.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tests.sim.faults import Faults
from tests.sim.link import Link
from tests.sim.loop import MS, SECOND, Clock, Loop, Station

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.stack.device import Frame
    from usernat.stack.interface import Interface

__all__ = ["MS", "SECOND", "Clock", "Faults", "Wire"]


class Wire(Loop):
    """Joins interfaces `a` and `b`, which the test may move itself between batches.

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
        super().__init__(clock, attentive=True)
        self.a = a
        self.b = b
        self.lose = lose
        self.log: list[tuple[int, bool, bytes]] = []
        rng, faults = rng or Random(1), faults or Faults()
        ends = self.add(a), self.add(b)
        self._far_end: dict[bool, Station] = {True: ends[1], False: ends[0]}
        ends[0].out, ends[1].out = partial(self._send, to_b=True), partial(self._send, to_b=False)
        self._links = {
            to_b: Link(
                self, delay_us=delay_us, losses=[partial(self._picked, to_b=to_b)], faults=faults, rng=rng
            )
            for to_b in (True, False)
        }

    @property
    def delay_us(self) -> int:
        """Of the cable, one way; can be changed while frames are under way."""
        return self._links[True].delay_us

    @delay_us.setter
    def delay_us(self, delay_us: int) -> None:
        for link in self._links.values():
            link.delay_us = delay_us

    def frames(self, *, to_b: bool) -> list[bytes]:
        """All frames sent one way so far."""
        return [frame for _, direction, frame in self.log if direction is to_b]

    def _picked(self, frame: bytes, *, to_b: bool) -> bool:
        return self.lose is not None and self.lose(frame, to_b)

    def _send(self, frame: Frame, *, to_b: bool) -> None:
        data = bytes(frame)
        self.log.append((self.clock.now, to_b, data))
        self._links[to_b].send(data, frame.csum_start > 0, self._far_end[to_b].arrive)
