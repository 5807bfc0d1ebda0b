"""CUBIC (RFC 9438): the window grows with the cube of the time since the last loss, not with the number of ACKs.

After a loss at W_max the window falls to 0.7 of it and then follows W_cubic(t) = C * (t - K)^3 + W_max: fast at first, flat around
W_max, where the last loss was, then fast again to find more. Where Reno would do better (short round trips), it follows an
estimate of Reno instead. The RFC counts in segments and seconds, and so do the floats in here; cwnd itself is in bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.congestion import CongestionControl

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.congestion import Saved

C = 0.4  # RFC 9438 §4.1-a, segments / s^3
BETA = 0.7
ALPHA = 3 * (1 - BETA) / (1 + BETA)  # RFC 9438 §4.3-a
SECOND_US = 1_000_000


class Cubic(CongestionControl):
    """w_max, k, w_est: as in RFC 9438 §4.1.2. epoch_us: when congestion avoidance began, None before its first ACK."""

    __slots__ = ("_after_timeout", "_fraction", "cwnd_prior", "epoch_us", "k", "w_est", "w_max")

    def __init__(self, smss: int) -> None:
        super().__init__(smss)
        self.w_max = 0.0
        self.k = 0.0
        self.w_est = 0.0
        self.cwnd_prior = 0.0
        self.epoch_us: int | None = None
        self._fraction = 0.0  # bytes of growth that cwnd, an integer, has not shown yet
        self._after_timeout = False

    def w_cubic(self, t: float) -> float:
        """RFC 9438 §4.2-a, in segments, `t` seconds into the epoch."""
        return float(C * (t - self.k) ** 3 + self.w_max)

    def avoid(self, acked: int, now: int, srtt_us: float) -> None:
        """RFC 9438 §4.2 to §4.5, for `acked` bytes."""
        cwnd = (self.cwnd + self._fraction) / self.smss
        if self.epoch_us is None:
            self._begin_epoch(cwnd, now)
        assert self.epoch_us is not None
        segments = acked / self.smss
        t = (now - self.epoch_us) / SECOND_US
        # RFC 9438 §4.3-a: what Reno would have; alpha becomes 1 once that has reached the old window
        alpha = ALPHA if self.w_est < self.cwnd_prior else 1.0
        self.w_est += alpha * segments / cwnd
        if self.w_cubic(t) < self.w_est:
            grown = max(cwnd, self.w_est)
        else:
            # RFC 9438 §4.2-b, §4.4-a, §4.5-a: towards where the curve will be in one round trip
            target = min(max(self.w_cubic(t + srtt_us / SECOND_US), cwnd), 1.5 * cwnd)
            grown = cwnd + (target - cwnd) / cwnd * segments
        # RFC 5681 §3-a: however many bytes one ACK covers, the window grows by half at most in a round trip
        exact = min(grown, 1.5 * cwnd) * self.smss
        self.cwnd = int(exact)
        self._fraction = exact - self.cwnd

    def set_smss(self, smss: int) -> None:
        """The cube counts in segments, which are now of another size."""
        ratio = self.smss / smss
        self.w_max *= ratio
        self.w_est *= ratio
        self.cwnd_prior *= ratio
        if self.epoch_us is not None:
            self.k *= ratio ** (1 / 3)
        super().set_smss(smss)

    def on_pause(self, duration_us: int) -> None:
        """RFC 9438 §4.2-c: time in which the application was the limit is not part of t."""
        if self.epoch_us is not None:
            self.epoch_us += duration_us

    def reduced(self, flight: int, now: int) -> int:  # noqa: ARG002 - the epoch begins with the next ACK, not here
        """RFC 9438 §4.6-a, §4.6-b, §4.7-a: remember where the loss was, and fall to 0.7 of what was in flight."""
        cwnd = self.cwnd / self.smss
        self.cwnd_prior = cwnd
        # Fast convergence: a flow that lost below its last maximum makes room for others.
        self.w_max = cwnd * (1 + BETA) / 2 if cwnd < self.w_max else cwnd
        self.epoch_us = None
        self._fraction = 0.0
        self._after_timeout = False
        return round(flight * BETA)

    def on_timeout(self, flight: int, now: int, *, again: bool) -> None:
        """RFC 9438 §4.8-a: as RFC 5681, with ssthresh by beta; the next avoidance stage starts flat from where slow start ends."""
        super().on_timeout(flight, now, again=again)
        self.epoch_us = None
        self._fraction = 0.0
        self._after_timeout = True

    def save(self) -> Saved:
        """As the base, with the cube's own state."""
        return (*super().save(), self.w_max, self.k, self.w_est, self.cwnd_prior, self.epoch_us)

    def restore(self, saved: Saved) -> None:
        """RFC 9438 §4.9.1: cwnd, ssthresh, W_max, K, the epoch and W_est as they were."""
        super().restore(saved)
        self.w_max, self.k, self.w_est, self.cwnd_prior = (float(value or 0.0) for value in saved[2:6])
        self.epoch_us = saved[6]  # type: ignore[assignment] # an int or None, as `save` put it there
        self._after_timeout = False

    def _begin_epoch(self, cwnd: float, now: int) -> None:
        self.epoch_us = now
        self.w_est = cwnd
        if self._after_timeout or self.w_max <= cwnd:
            self.w_max = cwnd  # RFC 9438 §4.8-a, and where slow start has passed the old maximum
            self.k = 0.0
        else:
            self.k = ((self.w_max - cwnd) / C) ** (1 / 3)
        self._after_timeout = False
