"""Round-trip time and the retransmission time-out (RFC 6298; RFC 9293 §3.8.1 MUST-18), with the weights of RFC 7323 appendix G.

Samples come from `flight.py`, which knows what was sent once only (Karn's algorithm, RFC 6298 §3-a), or from the peer's echo of
our time stamp, which is unambiguous. RFC 6298's weights of 1/8 and 1/4 were made for one sample a round trip; where every ACK
gives one they would forget in a fraction of it, so they are divided by the number of samples expected in one.
"""

from __future__ import annotations

GRANULARITY_US = 1_000  # G: owners of the stack serve timers to about a millisecond (RFC 6298 §4-a asks for 100 ms or finer)
SYN_TIMEOUT_RTO_US = 3_000_000
MIN_RTT_WINDOW_US = 30_000_000
SMALLEST_US = 0.001


class RttEstimator:
    """SRTT, RTTVAR and RTO of one connection, in µs. srtt_us is 0.0 before the first sample.

    min_rtt_us: the smallest round trip of the last half to whole minute (RFC 8985 §6.2-a), 0 before the first sample.
    """

    __slots__ = (
        "_half_began",
        "_half_min_us",
        "max_rto_us",
        "min_rto_us",
        "min_rtt_us",
        "rto_us",
        "rttvar_us",
        "srtt_us",
    )

    def __init__(self, *, initial_rto_us: int, min_rto_us: int, max_rto_us: int) -> None:
        self.min_rto_us = min_rto_us
        self.max_rto_us = max_rto_us
        self.rto_us = initial_rto_us  # RFC 6298 §2.1-a: one second by default
        self.srtt_us = 0.0
        self.rttvar_us = 0.0
        self.min_rtt_us = 0
        self._half_began = 0
        self._half_min_us = 0  # the smallest since then

    def sample(self, rtt_us: int, now: int, expected: int = 1) -> None:
        """Take in one measurement. expected: how many come in one round trip (RFC 7323 §4.2-a)."""
        srtt = self.srtt_us
        if not srtt or rtt_us < self._half_min_us or now - self._half_began >= MIN_RTT_WINDOW_US:
            self._note_minimum(rtt_us, now)
        if not srtt:
            self.srtt_us = max(SMALLEST_US, float(rtt_us))  # RFC 6298 §2.2-a; zero means "no sample yet"
            self.rttvar_us = rtt_us / 2
        else:
            # RFC 6298 §2.3-a: RTTVAR first, with the old SRTT. §2.3-b: beta 1/4, alpha 1/8
            error = rtt_us - srtt
            self.rttvar_us += (abs(error) - self.rttvar_us) / (4 * expected)
            self.srtt_us = max(SMALLEST_US, srtt + error / (8 * expected))
        # RFC 6298 §2.4-a has a floor of one second under all of it. Ours is lower (`config.py` says why), and stands under the variance: where the
        # round trip is long and steady, SRTT + G would be no time to wait.
        self._set(self.srtt_us + max(GRANULARITY_US, self.min_rto_us, 4 * self.rttvar_us))

    def _note_minimum(self, rtt_us: int, now: int) -> None:
        """The minimum is that of this half of the window and the one before, so that an old one is forgotten in time."""
        if not self.srtt_us:
            self.min_rtt_us = self._half_min_us = rtt_us
            self._half_began = now
        elif now - self._half_began >= MIN_RTT_WINDOW_US:
            self.min_rtt_us = min(self._half_min_us, rtt_us)
            self._half_min_us = rtt_us
            self._half_began = now
        else:
            self._half_min_us = min(self._half_min_us, rtt_us)
            self.min_rtt_us = min(self.min_rtt_us, rtt_us)

    def back_off(self) -> None:
        """The retransmission timer has expired: RFC 6298 §5.5-a, the RTO doubles up to its maximum (§2.5-a)."""
        self._set(2 * self.rto_us)

    def after_syn_timeout(self) -> None:
        """RFC 6298 §5.7-a: the SYN timed out with an RTO below 3 s, so data starts with 3 s."""
        self._set(max(self.rto_us, SYN_TIMEOUT_RTO_US))

    def _set(self, rto_us: float) -> None:
        # RFC 6298 §2.4-a: the floor is 200 ms where the RFC has one second (`config.py` says why)
        self.rto_us = int(min(max(rto_us, self.min_rto_us), self.max_rto_us))
