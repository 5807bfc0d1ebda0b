"""How many challenge ACKs a connection may send (RFC 5961 §7-a, -b).

The allowance is the connection's own: one that all connections shared would tell an attacker, by what is left of it, which of his guesses had hit
(RFC 5961 §7-c, CVE-2016-5696).
"""

from __future__ import annotations


class ChallengeAllowance:
    """At most `count` in each window of `window_us`."""

    __slots__ = ("_count", "_left", "_window_ends", "_window_us")

    def __init__(self, count: int, window_us: int) -> None:
        self._count = count
        self._window_us = window_us
        self._left = 0
        self._window_ends = -1  # before any time: the first use opens a window

    def take(self, now: int) -> bool:
        """Whether one may be sent at `now`."""
        if now >= self._window_ends:
            self._window_ends = now + self._window_us
            self._left = self._count
        if not self._left:
            return False
        self._left -= 1
        return True
