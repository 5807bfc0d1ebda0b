"""Loss recovery: from the first sign that something is missing until all that was out then has been acknowledged.

A connection that loses nothing has no such object; the sender makes one at a duplicate ACK, a SACK block or a time-out and drops it when
it is over. Phases:

    SIGNS     something is odd, nothing is decided: duplicate ACKs are counted, new data goes out by limited transmit
    FAST      fast retransmit has found a loss (RFC 5681 §3.2): `sack_recovery.py` (RFC 6675, RFC 8985) or `newreno_recovery.py` (RFC 6582)
    TIMEOUT   the retransmission timer expired: slow start sends again what is lost, from SND.UNA on
    RESEND    everything out is known to be lost for reasons that are not congestion (path MTU, a closed window): sent again, cwnd as it is

FAST and TIMEOUT remember what they did to cwnd, and undo it when it turns out that nothing was lost (`spurious.py`). What an ACK means
for cwnd is `congestion.py`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from usernat.stack.l4.tcp.scoreboard import Scoreboard
from usernat.stack.l4.tcp.spurious import Frto, Undo

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.flight import Sent
    from usernat.stack.l4.tcp.sender import Sender
    from usernat.stack.rangeset import Range, RangeSet

SIGNS, FAST, TIMEOUT, RESEND = range(4)


class Acknowledgement(NamedTuple):
    """What one ACK said. acked: octets by which SND.UNA moved, in pieces `gone`; blocks: SACK, unwrapped, without the D-SACK.

    echo_us: the round trip by the time stamp echo, None without.
    """

    acked: int
    gone: list[Sent]
    blocks: list[Range]
    dsack: Range | None
    echo_us: int | None


class Recovery:
    """point: RecoveryPoint (recover): the phase ends when SND.UNA gets there. dup_acks: since SND.UNA moved last."""

    __slots__ = ("_first_due", "_frto", "_signs_at", "_undo", "board", "dup_acks", "phase", "point", "sender")

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.board = Scoreboard(sender.flight, sender.snd_una)
        self.phase = SIGNS
        self.point = sender.snd_una
        self.dup_acks = 0
        self._first_due = False  # the segment at SND.UNA is to be sent again, whatever cwnd says
        self._signs_at = sender.snd_nxt  # SND.NXT before limited transmit
        self._undo: Undo | None = None
        self._frto: Frto | None = None

    # -- what happened ----------------------------------------------------------------------------------------------

    def on_ack(self, ack: Acknowledgement, now: int) -> None:
        """SND.UNA has moved, or SACK blocks came; with SACK both at once."""
        raise NotImplementedError

    def on_duplicate(self, now: int) -> None:
        """An ACK that acknowledges nothing but shows that a segment has arrived (RFC 5681 §2-a, RFC 6675 §2-a)."""
        raise NotImplementedError

    def on_timeout(self, now: int, *, again: bool) -> None:
        """The retransmission timer expired. again: without progress since it did so before."""
        sender = self.sender
        if not again:
            self._undo = Undo(sender.cc)
        flight = sender.snd_nxt - sender.snd_una
        if self.phase == FAST:
            # FlightSize still counts what has arrived; RFC 5681 §4.3-a: from the lowered window
            flight = min(flight, sender.cc.ssthresh)
        sender.cc.on_timeout(flight, now, again=again)
        sacked = self._lose(now)
        # RFC 5682 §3.1: not while an earlier recovery has not ended
        self._frto = Frto(sender.snd_nxt, sacked) if not again and self.phase == SIGNS else None
        # RFC 6675 §5.1-b, RFC 6582 §3.2-4a: fast recovery ends, and none begins before RecoveryPoint
        self._restart(TIMEOUT)
        self._first_due = True  # RFC 6298 §5.4-a

    def on_reordering_timeout(self, now: int) -> None:
        """What `reorder_at` waited for: only recovery with SACK does."""

    def resend(self) -> None:
        """All that is out is to be sent again, and it was not congestion."""
        cc = self.sender.cc
        if self.phase == FAST:
            # RFC 5681 §3.2-i: what recovery lent ends with it; the reduction stays
            cc.cwnd = min(cc.cwnd, cc.ssthresh)
        self.board.all_lost(self.sender.snd_una, self.sender.snd_nxt)
        self._undo = self._frto = None
        self._restart(RESEND)

    def confirm(self) -> None:
        """The network has marked a segment: that was congestion, whatever became of what was sent again."""
        self._undo = self._frto = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is remembered here that matters."""
        board = self.board
        return self.phase == SIGNS and not self.dup_acks and not board.sacked and not board.lost

    @property
    def reorder_at(self) -> int | None:
        """When what has not arrived by then is lost; None: nothing is waited for."""
        return None

    # -- what may be sent ---------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many octets of new data congestion control allows."""
        sender = self.sender
        if self._frto is not None:
            return self._frto.new_data(sender.snd_nxt, sender.smss)
        return sender.cc.cwnd - self.board.pipe(sender.snd_una, sender.snd_nxt)

    def retransmission(self, mss: int) -> Range | None:
        """What is to be sent again now, at most one segment; asked before new data is looked at."""
        if self.phase == SIGNS:
            return None
        sender = self.sender
        gap: Range | None
        if self._first_due:
            gap = next(self.board.sacked.gaps(sender.snd_una, sender.snd_nxt), None)
        elif self._frto is not None:
            return None
        else:
            # RFC 6675 §4-c, rule 1 of NextSeg: the lowest that is lost and was not sent again
            gap = self.board.lost.first
            # RFC 6675 §5-h: only while cwnd - pipe is at least one segment
            if gap is not None and self.room() < min(mss, gap[1] - gap[0]):
                gap = None
        return self.cut(gap, mss)

    def leftover(self, mss: int) -> Range | None:
        """What is to be sent again if there was no new data to send."""
        if self._frto is not None and self._frto.is_stuck(self.sender.snd_nxt):
            # RFC 5682 §2.1-b: Nagle or the window holds the new text back; back to what is lost
            self._frto = None
            return self.retransmission(mss)
        return None

    def on_sent(self, start: int, end: int, now: int, *, again: bool) -> None:
        """A segment has left, a retransmission or a new one."""
        if not again:
            return
        self._first_due = False
        self.board.resent(start, end, now)
        if self._undo is not None:
            self._undo.on_resent(start, end, now)
        assert start < end

    def cut(self, gap: Range | None, mss: int) -> Range | None:
        """The first segment of a gap, within the peer's window (RFC 9293 §3.8.6 SHLD-16)."""
        if gap is None:
            return None
        sender = self.sender
        start = gap[0]
        end = sender.segment_end(start, gap[1], mss)
        end = min(end, sender.snd_una + sender.snd_wnd)
        return (start, end) if start < end else None

    # -- for the two kinds --------------------------------------------------------------------------------------------

    def _lose(self, now: int) -> RangeSet:  # noqa: ARG002 - RACK looks at the clock
        """Give up what a time-out gives up; returns what had been SACKed."""
        return self.board.all_lost(self.sender.snd_una, self.sender.snd_nxt)

    def _enter_fast(self, now: int) -> None:
        """Fast retransmit: a congestion event."""
        sender = self.sender
        # Once a window, as whoever could undo and lose a whole flight with each ACK would keep us busy.
        self._undo = Undo(sender.cc) if sender.snd_una >= sender.undone_at else None
        # RFC 5681 §3.2-e: what limited transmit sent does not count as in flight here
        sender.cc.on_loss(min(self._signs_at, sender.snd_nxt) - sender.snd_una, now)
        self.phase = FAST
        self.point = sender.recover = sender.snd_nxt  # RFC 6675 §5-e, RFC 6582 §3.2-1b

    def _grow(self, acked: int, now: int) -> None:
        """SND.UNA moved outside fast recovery."""
        sender = self.sender
        if not sender.marked and (self.phase == TIMEOUT or sender.cwnd_limited):  # RFC 3168 §6.1.2-d
            sender.cc.on_ack(acked, now, sender.rtt.srtt_us)
        if self.phase != SIGNS and sender.snd_una >= self.point:
            self._end()

    def _end(self) -> None:
        """SND.UNA has reached RecoveryPoint."""
        self.phase = SIGNS
        self._undo = self._frto = None

    def _test_timeout(self, ack: Acknowledgement, *, beyond: bool, arrived: list[Sent]) -> None:
        """F-RTO's next step (`spurious.py`)."""
        frto, sender = self._frto, self.sender
        if frto is None:
            return
        verdict = frto.on_ack(sender.snd_una, arrived, moved=ack.acked > 0, beyond=beyond)
        if verdict is True:
            self._undo_all()
        elif verdict is False or not (
            sender.has_unsent() and sender.snd_nxt < sender.snd_una + sender.snd_wnd
        ):
            self._frto = None  # RFC 5682 §2.1-b: with nothing new to send the test cannot be made

    def _undo_all(self) -> None:
        """Nothing was lost."""
        assert self._undo is not None
        self._undo.restore(self.sender.cc)
        self.board.none_lost()
        self.sender.undone += 1
        self.sender.undone_at = self.sender.snd_nxt
        self._first_due = False
        self._end()

    def _restart(self, phase: int) -> None:
        sender = self.sender
        self.point = sender.recover = sender.snd_nxt
        self.dup_acks = 0
        self._first_due = False
        self.phase = phase
