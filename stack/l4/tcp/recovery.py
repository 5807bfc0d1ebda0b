"""Loss recovery: from the first sign that something is missing until all that was out then has been acknowledged.

A connection that loses nothing has no such object; the sender makes one at a duplicate ACK, a SACK block or a time-out and drops it when
it is over. Phases:

    SIGNS     something is odd, nothing is decided: duplicate ACKs are counted, new data goes out by limited transmit
    FAST      fast retransmit has found a loss (RFC 5681 §3.2): `sack_recovery.py` (RFC 6675) or `newreno_recovery.py` (RFC 6582)
    TIMEOUT   the retransmission timer expired: everything out is lost, slow start sends it again from SND.UNA
    RESEND    everything out is known to be lost for reasons that are not congestion (path MTU, a closed window): sent again, cwnd as it is

TIMEOUT and RESEND are the same with and without SACK and are here. What an ACK means for cwnd is `congestion.py`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.scoreboard import Scoreboard

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.sender import Sender
    from usernat.stack.rangeset import Range

SIGNS, FAST, TIMEOUT, RESEND = range(4)


class Recovery:
    """point: RecoveryPoint (recover): the phase ends when SND.UNA gets there. dup_acks: since SND.UNA moved last."""

    __slots__ = ("_first_due", "_signs_at", "board", "dup_acks", "phase", "point", "sender")

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.board = Scoreboard(sender.snd_una)
        self.phase = SIGNS
        self.point = sender.snd_una
        self.dup_acks = 0
        self._first_due = False  # the segment at SND.UNA is to be sent again, whatever cwnd says
        self._signs_at = sender.snd_nxt  # SND.NXT before limited transmit

    # -- what happened ----------------------------------------------------------------------------------------------

    def on_ack(self, acked: int, now: int) -> None:
        """SND.UNA has moved on by `acked` octets."""
        self.board.advance(self.sender.snd_una)
        self.dup_acks = 0  # RFC 6675 §5-b
        self._signs_at = self.sender.snd_nxt
        if self.phase == FAST:
            self.on_ack_in_fast(acked)
        else:
            sender = self.sender
            if self.phase == TIMEOUT or sender.cwnd_limited:
                sender.cc.on_ack(acked, now, sender.rtt.srtt_us)
            if self.phase != SIGNS and sender.snd_una >= self.point:
                self.phase = SIGNS

    def on_duplicate(self, now: int) -> None:
        """An ACK that acknowledges nothing but shows that a segment has arrived (RFC 5681 §2-a, RFC 6675 §2-a)."""
        self.dup_acks += 1
        self.look_for_loss(now)

    def on_sack(self, blocks: list[Range]) -> bool:
        """SACK blocks came, unwrapped; True where they tell of octets not known to have arrived (RFC 6675 §5-a, §5-g)."""
        sender = self.sender
        new = 0
        for start, stop in blocks:
            new += self.board.sack(start, stop, sender.snd_una, sender.snd_nxt, sender.smss)
        if new:
            self.board.find_lost(sender.smss)
        return new > 0

    def on_timeout(self, now: int, *, again: bool) -> None:
        """The retransmission timer expired. again: without progress since it did so before."""
        sender = self.sender
        sender.cc.on_timeout(sender.snd_nxt - sender.snd_una, now, again=again)
        self._lose_all()
        self.phase = TIMEOUT  # RFC 6675 §5.1-b, RFC 6582 §3.2-4a: fast recovery ends, and none begins before RecoveryPoint

    def resend(self) -> None:
        """All that is out is to be sent again, and it was not congestion."""
        self._lose_all()
        self.phase = RESEND

    @property
    def is_over(self) -> bool:
        """Whether nothing is remembered here that matters."""
        return self.phase == SIGNS and not self.dup_acks and not self.board.sacked

    # -- what may be sent ---------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many octets of new data congestion control allows."""
        sender = self.sender
        return sender.cc.cwnd - self.board.pipe(sender.snd_una, sender.snd_nxt)

    def retransmission(self, mss: int) -> Range | None:
        """What is to be sent again now, at most one segment; asked before new data is looked at."""
        if self.phase == SIGNS:
            return None
        sender = self.sender
        if self._first_due:
            gap = next(self.board.sacked.gaps(sender.snd_una, sender.snd_nxt), None)
        else:
            gap = self.board.next_lost(sender.snd_una, sender.snd_nxt)
            # RFC 6675 §5-h: only while cwnd - pipe is at least one segment
            if gap is not None and self.room() < min(mss, gap[1] - gap[0]):
                gap = None
        return self.cut(gap, mss)

    def leftover(self, mss: int) -> Range | None:  # noqa: ARG002 - for those that have rules for it
        """What is to be sent again if there was no new data to send."""
        return None

    def on_sent(self, start: int, end: int) -> None:
        """A retransmission has left."""
        self._first_due = False
        self.board.high_rxt = max(self.board.high_rxt, end)  # RFC 6675 §5-i
        assert start < end

    # -- for the two kinds of fast recovery ----------------------------------------------------------------------------

    def on_ack_in_fast(self, acked: int) -> None:
        """SND.UNA has moved in phase FAST."""
        raise NotImplementedError

    def look_for_loss(self, now: int) -> None:
        """Decide whether fast retransmit is due."""
        raise NotImplementedError

    def enter_fast(self, now: int) -> None:
        """Fast retransmit: a congestion event, and the segment at SND.UNA goes again."""
        sender = self.sender
        self.phase = FAST
        self.point = sender.recover = sender.snd_nxt  # RFC 6675 §5-e, RFC 6582 §3.2-1b
        # RFC 5681 §3.2-e: what limited transmit sent does not count as in flight here
        sender.cc.on_loss(min(self._signs_at, sender.snd_nxt) - sender.snd_una, now)
        self.board.high_rxt = sender.snd_una
        self._first_due = True

    def cut(self, gap: Range | None, mss: int) -> Range | None:
        """The first segment of a gap, within the peer's window (RFC 9293 §3.8.6 SHLD-16)."""
        if gap is None:
            return None
        sender = self.sender
        start = gap[0]
        end = sender.segment_end(start, gap[1], mss)
        end = min(end, sender.snd_una + sender.snd_wnd)
        return (start, end) if start < end else None

    def _lose_all(self) -> None:
        sender = self.sender
        self.board.all_lost(sender.snd_una, sender.snd_nxt)
        self.point = sender.recover = sender.snd_nxt
        self.dup_acks = 0
        self._first_due = False
