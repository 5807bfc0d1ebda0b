"""A rate limit with a burst, in integers on the virtual clock."""

from __future__ import annotations

SECOND_US = 1_000_000


class TokenBucket:
    """`rate` tokens a second are added, up to `burst`; each `take` uses some."""

    __slots__ = ("_at", "_full", "_level", "_rate")

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self._rate = rate
        self._full = burst * SECOND_US
        self._level = self._full  # in millionths of a token, so that no fraction is lost
        self._at = now

    def room(self, now: int) -> int:
        """How many whole tokens are there."""
        if now > self._at:
            self._level = min(self._full, self._level + (now - self._at) * self._rate)
            self._at = now
        return self._level // SECOND_US

    def take(self, now: int, count: int = 1) -> bool:
        """Takes so many, if they are all there."""
        if self.room(now) < count:
            return False
        self._level -= count * SECOND_US
        return True

    def when(self, count: int, now: int) -> int:
        """When so many will be there, at most those of a full bucket; `now` if they are."""
        missing = min(count * SECOND_US, self._full) - self.room(now) * SECOND_US
        return now if missing <= 0 else now - (-missing // self._rate)
