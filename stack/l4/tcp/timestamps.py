"""Time stamps of one connection (RFC 7323 §3 to §5): the clock we show, the value we echo, and protection against wrapped sequence numbers.

The clock ticks once a millisecond (§5.4-a: 1 ms to 1 s; §4.1-a: in step with real time) from an offset that belongs to the tuple
(`isn.py`). TS.Recent is what we echo: the time stamp of the segment that last moved the left edge of our window (§4.3-a). An older
one on a segment shows that the segment is a leftover of an earlier turn of the sequence space (§5.3-a).
"""

from __future__ import annotations

from usernat.stack.l4.tcp.seq import MASK, is_before

TICK_US = 1_000
# RFC 7323 §5.5-a: 24 days, after which the sign of a comparison means nothing
STALE_US = 24 * 24 * 3600 * 1_000_000


class Timestamps:
    """offset: added to the clock. recent: TS.Recent. recent_at: when it was taken (µs). last_ack_sent: Last.ACK.sent, unwrapped."""

    __slots__ = ("last_ack_sent", "offset", "recent", "recent_at")

    def __init__(self, offset: int, recent: int, last_ack_sent: int, now: int) -> None:
        self.offset = offset
        self.recent = recent
        self.recent_at = now
        self.last_ack_sent = last_ack_sent

    def value(self, now: int) -> int:
        """TSval of a segment sent at `now`."""
        return (now // TICK_US + self.offset) & MASK

    def is_old(self, tsval: int, now: int) -> bool:
        """PAWS (RFC 7323 §5.3-a, -b): whether the segment comes from the past. Must be asked before the window is looked at."""
        return is_before(tsval, self.recent) and now - self.recent_at < STALE_US

    def take(self, tsval: int, seq: int, now: int) -> None:
        """RFC 7323 §4.3-a: remember TSval if it is not older and the segment starts at or before Last.ACK.sent.

        A stale TS.Recent is replaced whatever it was (§5.5-a).
        """
        if seq <= self.last_ack_sent and (
            not is_before(tsval, self.recent) or now - self.recent_at >= STALE_US
        ):
            self.recent = tsval
            self.recent_at = now

    def rtt_us(self, tsecr: int, now: int) -> int | None:
        """The round trip that an echo speaks of, in µs; None where it is no value that we can have sent lately."""
        ticks = (self.value(now) - tsecr) & MASK
        return ticks * TICK_US if ticks < 1 << 20 else None
