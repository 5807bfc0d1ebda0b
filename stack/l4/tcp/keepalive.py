"""Keep-alive (RFC 9293 §3.8.4 MAY-5): off unless asked for (MUST-24, MUST-25), because a network that is away for a while must not end an
idle connection by itself.

A probe is an empty segment with SEG.SEQ = SND.NXT - 1 (SHLD-12): old to the peer, and so answered with an ACK. It is sent only when nothing is outstanding
and nothing has arrived for the interval (MUST-26). One lost answer proves nothing (MUST-29): several in a row do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection


class KeepAlive:
    """idle_us: silence before the first probe (MUST-27, MUST-28); interval_us: between probes; probes: how many may go unanswered."""

    __slots__ = ("idle_us", "interval_us", "probes", "sent_at", "unanswered")

    def __init__(self, idle_us: int, interval_us: int, probes: int) -> None:
        self.idle_us = idle_us
        self.interval_us = interval_us
        self.probes = probes
        self.unanswered = 0
        self.sent_at = 0

    @property
    def is_dead(self) -> bool:
        """Whether the peer had all its chances."""
        return self.unanswered >= self.probes

    def due(self, c: Connection) -> int:
        """When the next step is due."""
        if self.unanswered:
            return self.sent_at + self.interval_us
        return c.heard_at + self.idle_us

    def sent(self, now: int) -> None:
        """A probe has left."""
        self.unanswered += 1
        self.sent_at = now

    def heard(self) -> None:
        """Something arrived from the peer."""
        self.unanswered = 0
