"""HyStart++ (RFC 9406): leave the first slow start before the queue overflows.

Slow start doubles the window until something is lost, by then as much as twice what the path holds. A queue that builds up shows before it overflows: the
smallest round trip of a round grows. Then the window grows by a quarter of that for five rounds (conservative slow start), and if the
round trip does not recover meanwhile, this was the end of slow start, without a loss.
"""

from __future__ import annotations

MIN_RTT_THRESH_US = 4_000  # RFC 9406 §4.3-a
MAX_RTT_THRESH_US = 16_000
MIN_RTT_DIVISOR = 8
N_RTT_SAMPLE = 8
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5
L = 8  # RFC 9406 §4.3-b: segments by which one ACK lets the window grow, where nothing paces what leaves
INFINITY = 1 << 62


class HyStart:
    """In µs: last_min, current_min: smallest round trip of the last and of this round; css_baseline: that which ended slow start."""

    __slots__ = ("css_baseline", "css_rounds", "current_min", "last_min", "samples", "window_end")

    def __init__(self) -> None:
        self.last_min = INFINITY
        self.current_min = INFINITY
        self.samples = 0
        self.window_end = -1  # the round ends when SND.UNA gets there
        self.css_baseline: int | None = None  # None outside conservative slow start
        self.css_rounds = 0

    def growth(self, acked: int, smss: int) -> int:
        """RFC 9406 §4.2-d: octets by which cwnd grows for `acked` more."""
        grown = min(acked, L * smss)
        return grown if self.css_baseline is None else grown // CSS_GROWTH_DIVISOR

    def on_round_trip(self, rtt_us: int, una: int, nxt: int) -> bool:
        """A round trip was measured by an ACK that moved SND.UNA. True: slow start is over."""
        if una > self.window_end:
            self._next_round(nxt)
            if self.css_rounds > CSS_ROUNDS:  # RFC 9406 §4.2-f
                return True
        self.current_min = min(self.current_min, rtt_us)
        self.samples += 1
        if self.samples < N_RTT_SAMPLE:  # RFC 9406 §4.2-b
            return False
        if self.css_baseline is None:
            if self.last_min < INFINITY:
                threshold = max(MIN_RTT_THRESH_US, min(self.last_min // MIN_RTT_DIVISOR, MAX_RTT_THRESH_US))
                if self.current_min >= self.last_min + threshold:  # RFC 9406 §4.2-c
                    self.css_baseline = self.current_min
                    self.css_rounds = 1
        elif self.current_min < self.css_baseline:
            self.css_baseline = None  # RFC 9406 §4.2-e: it was no queue
            self.css_rounds = 0
        return False

    def _next_round(self, nxt: int) -> None:
        """RFC 9406 §4.2-a."""
        self.window_end = nxt
        self.last_min = self.current_min
        self.current_min = INFINITY
        self.samples = 0
        if self.css_baseline is not None:
            self.css_rounds += 1
