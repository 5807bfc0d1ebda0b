"""Loss recovery without selective acknowledgements: RFC 5681 §3.2 as refined by NewReno (RFC 6582). RFC 8985 §4-a: RACK-TLP needs SACK.

Each duplicate ACK says that one segment has left the network, not which; cwnd is inflated by one segment for each, so that
new data follows. A partial ACK, one that moves SND.UNA but not to where it was when recovery began, points to the next hole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.recovery import FAST, SIGNS, Recovery
from usernat.stack.l4.tcp.scoreboard import DUP_THRESH

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.recovery import Acknowledgement
    from usernat.stack.l4.tcp.sender import Sender


class NewRenoRecovery(Recovery):
    """One retransmission a round trip."""

    __slots__ = ("_partial_acks",)

    def __init__(self, sender: Sender) -> None:
        super().__init__(sender)
        self._partial_acks = 0

    def room(self) -> int:
        """RFC 5681 §3.2-c, -d: the first two duplicate ACKs let out a segment each (limited transmit) and leave cwnd alone."""
        allowed = super().room()
        if self.phase == SIGNS:
            allowed += min(self.dup_acks, DUP_THRESH - 1) * self.sender.smss
        return allowed

    def on_ack(self, ack: Acknowledgement, now: int) -> None:
        """SND.UNA has moved."""
        sender = self.sender
        self.board.advance(sender.snd_una)
        self.dup_acks = 0
        self._signs_at = sender.snd_nxt
        if self._undo is not None and self._undo.is_original(ack.echo_us, now):
            self._undo_all()
            return
        self._test_timeout(ack, beyond=False, arrived=ack.gone)
        if self.phase == FAST:
            self._on_ack_in_fast(ack.acked)
        else:
            self._grow(ack.acked, now)

    def on_duplicate(self, now: int) -> None:
        """RFC 5681 §2-a."""
        self.dup_acks += 1
        self._frto = None  # RFC 5682 §2.1-a, -d: cwnd is two segments by now, or one
        sender = self.sender
        if self.phase == FAST:
            sender.cc.cwnd += sender.smss  # RFC 5681 §3.2-g
        elif self.phase == SIGNS and self.dup_acks == DUP_THRESH and sender.snd_una > sender.recover:
            # RFC 6582 §3.2-1a: the ACK must cover more than recover, or these may be echoes of what a time-out sent again
            self._enter_fast(now)
            self._first_due = True
            self._partial_acks = 0
            sender.cc.cwnd = sender.cc.ssthresh + DUP_THRESH * sender.smss  # RFC 5681 §3.2-f

    def on_sent(self, start: int, end: int, now: int, *, again: bool) -> None:
        """In FAST, nothing is thought to be lost but what was just sent again: pipe is FlightSize."""
        super().on_sent(start, end, now, again=again)
        if self.phase == FAST:
            self.board.doubled.clear()

    def _on_ack_in_fast(self, acked: int) -> None:
        """RFC 6582 §3.2 step 3."""
        sender = self.sender
        cc, smss = sender.cc, sender.smss
        if sender.snd_una >= self.point:
            # §3.2-3a, -3b: a full ACK; the first form, which lets no burst out. RFC 5681 §3.2-i: what was lent is given back
            flight = sender.snd_nxt - sender.snd_una
            cc.cwnd = min(cc.ssthresh, max(flight, smss) + smss)
            self._end()
            return
        # §3.2-3c, -3d: a partial ACK; the next hole begins at SND.UNA
        self._first_due = True
        self._partial_acks += 1
        cc.cwnd = max(cc.cwnd - acked, smss)
        if acked >= smss:
            cc.cwnd += smss
        # §3.2-3e: only the first one restarts the retransmission timer
        sender.keep_timer = self._partial_acks > 1
