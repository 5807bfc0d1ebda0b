"""Loss recovery with selective acknowledgements (RFC 6675)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.recovery import FAST, SIGNS, Recovery
from usernat.stack.l4.tcp.scoreboard import DUP_THRESH

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.sender import Sender
    from usernat.stack.rangeset import Range


class SackRecovery(Recovery):
    """The scoreboard says what to send again; cwnd - pipe says when."""

    __slots__ = ("_rescue_rxt", "_rescuing")

    def __init__(self, sender: Sender) -> None:
        super().__init__(sender)
        self._rescue_rxt: int | None = None  # RFC 6675 §4-f: None until a rescue retransmission was made
        self._rescuing = False

    def look_for_loss(self, now: int) -> None:
        """RFC 6675 §5-c: DupThresh duplicate ACKs, or enough SACKed above the octet at SND.UNA."""
        if self.phase != SIGNS:
            return  # §5.1-b: after a time-out, not before RecoveryPoint
        if self.dup_acks >= DUP_THRESH or self.board.lost_below > self.sender.snd_una:
            self.enter_fast(now)
            self._rescue_rxt = None

    def on_ack_in_fast(self, acked: int) -> None:  # noqa: ARG002 - cwnd stays at ssthresh; pipe does the rest
        """RFC 6675 §5-f: over at RecoveryPoint; SACK marks above it stay."""
        if self.sender.snd_una >= self.point:
            self.phase = SIGNS

    def leftover(self, mss: int) -> Range | None:
        """RFC 6675 §4-e, §4-f: rules 3 and 4 of NextSeg, when rules 1 and 2 found nothing."""
        if self.phase != FAST or self.room() < mss:
            return None
        sender, board = self.sender, self.board
        gap = board.next_missing(sender.snd_una)
        if gap is not None:
            return self.cut(gap, mss)
        if self._rescue_rxt is not None and sender.snd_una <= self._rescue_rxt:
            return None  # §4-f: one rescue a recovery, or once HighACK has passed the last one
        gap = board.highest_missing(sender.snd_una, self.point)
        if gap is None or board.high_rxt >= gap[1]:
            return None
        # it must include the highest octet: the last segment of the gap, not the first
        self._rescuing = True
        return self.cut((max(gap[0], gap[1] - mss), gap[1]), mss)

    def on_sent(self, start: int, end: int) -> None:
        """RFC 6675 §4-f, §5-i: the rescue retransmission does not move HighRxt."""
        if self._rescuing:
            self._rescuing = False
            self._rescue_rxt = self.point
        else:
            super().on_sent(start, end)
