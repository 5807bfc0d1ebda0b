"""One budget for the bytes that all queues of the layer hold.

A connection's own buffers are bounded, but there are thousands of connections. As the budget is used up, each may hold less:
up to half of it nothing changes, from there on a share falls in proportion to what is left. New receive windows and send room follow
that share. A window once offered is not taken back (RFC 9293 §3.8.6 SHLD-14), so many that were offered in better times may be filled all at
once: where the budget is used up, text is left as if lost, and its sender tries again. A floor of a few segments keeps each
connection moving, so that full queues can drain instead of waiting for one another.
"""

from __future__ import annotations

FLOOR = 8192  # bytes a connection may always hold


class MemoryBudget:
    """limit, used: bytes. Whoever queues bytes adds to `used`, and takes off what it added once they are gone."""

    __slots__ = ("_pressure_at", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._pressure_at = limit // 2

    def share(self, buffer: int) -> int:
        """How much of a `buffer` of that many bytes may be filled as things stand."""
        if self.used <= self._pressure_at:
            return buffer
        left = max(0, self.limit - self.used)
        return min(buffer, max(FLOOR, buffer * left // (self.limit - self._pressure_at)))
