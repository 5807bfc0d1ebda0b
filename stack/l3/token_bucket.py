"""A rate limit with a burst, in integers on the virtual clock."""

from __future__ import annotations

SECOND_US = 1_000_000


class TokenBucket:
    """`rate` tokens a second are added, up to `burst`; each `take` uses one."""

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self._rate = rate
        self._full = burst * SECOND_US
        self._level = self._full  # in millionths of a token, so that no fraction is lost
        self._at = now

    def take(self, now: int) -> bool:
        """Whether a token was there."""
        if now > self._at:
            self._level = min(self._full, self._level + (now - self._at) * self._rate)
            self._at = now
        if self._level < SECOND_US:
            return False
        self._level -= SECOND_US
        return True
