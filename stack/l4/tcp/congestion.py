"""Congestion control (RFC 5681; RFC 9293 §3.8.2 MUST-19, MAY-18): how much may be in flight, whatever the peer's window allows.

One small interface with the parts that all algorithms share: the initial window, slow start, what a time-out and an idle
time do. `newreno.py` and `cubic.py` differ in how the window grows in congestion avoidance and by how much it falls. Loss recovery
(`recovery.py`) finds out *that* there was a loss and what to send again; it calls in here once per event.

All in bytes. FlightSize is what was sent and not yet cumulatively acknowledged.
"""

from __future__ import annotations

from usernat.stack.l4.tcp.hystart import HyStart

Saved = tuple[float | int | None, ...]  # what `save` hands to `restore`

# RFC 5681 §3.1-d: ssthresh starts arbitrarily high; this is the largest window of RFC 7323
UNLIMITED = 1 << 30


def initial_window(smss: int) -> int:
    """RFC 6928 §2-a: min(10 * MSS, max(2 * MSS, 14600)). It replaces the two to four segments of RFC 5681 §3.1-a."""
    return min(10 * smss, max(2 * smss, 14600))


class CongestionControl:
    """cwnd, ssthresh: bytes. smss: the largest payload that we send in one segment. hystart: until the first slow start is over.

    lowered: cwnd was, for congestion, and the peer has not been told (`ecn.py`).
    """

    __slots__ = ("cwnd", "hystart", "lowered", "smss", "ssthresh")

    def __init__(self, smss: int) -> None:
        self.smss = smss
        self.cwnd = initial_window(smss)
        self.ssthresh = UNLIMITED
        self.lowered = False
        self.hystart: HyStart | None = HyStart()  # RFC 9438 §4.10-b

    def on_ack(self, acked: int, now: int, srtt_us: float) -> None:
        """`acked` bytes were newly acknowledged, outside fast recovery, while cwnd was what held the sender back.

        Growth that no traffic has tested would say nothing of the path: the caller leaves this out while the application or
        the peer's window is the limit (RFC 9438 §4.2-c, RFC 5681 §3-a).
        """
        if self.cwnd >= self.ssthresh:
            self.avoid(acked, now, srtt_us)
        elif self.hystart is not None:
            # RFC 9406 §4.2-d lets one ACK count for eight segments: peers that take super-segments in send one for many. It takes the
            # place of the rule below for the first slow start alone, which HyStart++ watches.
            self.cwnd = min(self.cwnd + self.hystart.growth(acked, self.smss), UNLIMITED)
        else:
            # RFC 5681 §3.1-e, RFC 9438 §4.10-a: slow start, at most one segment for an ACK
            self.cwnd = min(self.cwnd + min(acked, self.smss), UNLIMITED)

    def on_round_trip(self, rtt_us: int, una: int, nxt: int) -> None:
        """A round trip was measured. una, nxt: SND.UNA, SND.NXT."""
        if self.hystart is not None and self.hystart.on_round_trip(rtt_us, una, nxt):
            self.ssthresh = min(self.ssthresh, self.cwnd)
            self.hystart = None

    def on_pause(self, duration_us: int) -> None:
        """So long something other than cwnd held the sender back. Only clock-driven algorithms care."""

    def on_loss(self, flight: int, now: int) -> None:
        """Fast retransmit has found a loss: a new congestion event. Sets ssthresh, and cwnd to it."""
        self.hystart = None  # RFC 9406 §4.2-g: only the first slow start, which a loss ends
        self.ssthresh = max(self.reduced(flight, now), 2 * self.smss)
        self.cwnd = self.ssthresh
        self.lowered = True

    def on_mark(self, flight: int, now: int) -> None:
        """The network marked instead of dropping: as a loss, but cwnd falls as far as one segment (RFC 9438 §4.6-c)."""
        self.hystart = None
        reduced = self.reduced(flight, now)
        self.ssthresh = max(reduced, 2 * self.smss)
        self.cwnd = max(reduced, self.smss)
        self.lowered = True

    def on_timeout(self, flight: int, now: int, *, again: bool) -> None:
        """The retransmission timer expired. again: for data that it had expired for already."""
        self.hystart = None
        if not again:  # RFC 5681 §3.1-i: the second time leaves ssthresh alone
            # RFC 5681 §3.1-h: from FlightSize, not cwnd
            self.ssthresh = max(self.reduced(flight, now), 2 * self.smss)
        self.lowered = True
        self.cwnd = self.smss  # RFC 5681 §3.1-j, RFC 6928 §2-e: the loss window is one segment

    def on_lost_syn(self) -> None:
        """The SYN went out more than twice: RFC 6928 §2-d, RFC 5681 §3.1-c: start with one segment."""
        self.cwnd = self.smss

    def on_idle(self) -> None:
        """Nothing was sent for longer than one RTO: RFC 5681 §4.1-a, RFC 6928 §2-f: the restart window.

        RFC 2861 §3.2, RFC 7661 §4.4.3: ssthresh remembers most of the window that had been reached.
        """
        if self.cwnd > initial_window(self.smss):
            self.ssthresh = max(self.ssthresh, 3 * self.cwnd // 4)
        self.cwnd = min(initial_window(self.smss), self.cwnd)

    def set_smss(self, smss: int) -> None:
        """The segment size has changed with the path MTU."""
        if self.cwnd == initial_window(self.smss):
            self.cwnd = initial_window(smss)
        self.smss = smss
        self.cwnd = max(self.cwnd, smss)
        self.ssthresh = max(
            self.ssthresh, 2 * smss
        )  # below that, recovery would end with less than a segment

    def save(self) -> Saved:
        """The state before a congestion event, for `restore`."""
        return (self.cwnd, self.ssthresh)

    def restore(self, saved: Saved) -> None:
        """RFC 9438 §4.9-a: the event was none. What has grown since stays."""
        cwnd, ssthresh = saved[:2]
        assert isinstance(cwnd, int)
        assert isinstance(ssthresh, int)
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)

    def avoid(self, acked: int, now: int, srtt_us: float) -> None:
        """Congestion avoidance: grow for `acked` bytes."""
        raise NotImplementedError

    def reduced(self, flight: int, now: int) -> int:
        """What congestion leaves of `flight` bytes that are out."""
        raise NotImplementedError
