"""Loss recovery with selective acknowledgements: RFC 6675 says what may be sent when, RFC 8985 what is lost, RFC 6937 how cwnd falls.

One ACK is taken in as one event: what arrived by it, what that shows to be lost, and what this means for the phase.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.prr import Prr
from usernat.stack.l4.tcp.recovery import FAST, RESEND, SIGNS, TIMEOUT, Recovery
from usernat.stack.l4.tcp.scoreboard import DUP_THRESH

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.rack import Rack
    from usernat.stack.l4.tcp.recovery import Acknowledgement
    from usernat.stack.l4.tcp.sender import Sender
    from usernat.stack.rangeset import Range, RangeSet


_start = attrgetter("start")


class SackRecovery(Recovery):
    """The scoreboard says what to send again; cwnd - pipe says when."""

    __slots__ = ("_prr", "_rack", "_reduced_at", "_reorder_at", "_rescue_rxt", "_rescuing")

    def __init__(self, sender: Sender) -> None:
        super().__init__(sender)
        self._rack: Rack = sender.rack_state()
        self._prr: Prr | None = None
        self._reduced_at = 0  # when cwnd was lowered last
        self._reorder_at: int | None = None
        self._rescue_rxt: int | None = None  # RFC 6675 §4-f: None until a rescue retransmission was made
        self._rescuing = False
        sender.flight.keep_time()

    @property
    def reorder_at(self) -> int | None:
        """RFC 8985 §6.2-h: when RACK looks again."""
        return self._reorder_at

    # -- what happened ----------------------------------------------------------------------------------------------

    def on_ack(self, ack: Acknowledgement, now: int) -> None:
        """RFC 6675 §5-a, §5-b, §5-g; RFC 8985 §6.2."""
        sender, board, rack = self.sender, self.board, self._rack
        arrived = [piece for piece in ack.gone if not piece.sacked]
        octets = ack.acked - board.advance(sender.snd_una) - board.sacked.total
        for start, stop in ack.blocks:
            arrived += board.sack(start, stop, sender.snd_una, sender.snd_nxt, sender.smss)
        octets += board.sacked.total  # DeliveredData of RFC 6937
        if len(ack.blocks) > 1:
            # The first block is the newest: what one ACK tells together came in no known order.
            arrived.sort(key=_start)
        if ack.acked:
            self.dup_acks = 0
            self._signs_at = sender.snd_nxt
        elif octets:
            # RFC 6675 §5-d, RFC 5681 §3.2-d: `room` lets new text out meanwhile, and cwnd stays
            self.dup_acks += 1  # RFC 6675 §2-a: new SACK information makes it one, whatever else it carries
        rack.delivered(arrived, now, ack.echo_us, sender.rtt.min_rtt_us)
        if self._is_needless(ack, now):
            if self.phase == FAST:
                rack.reordering_seen = True  # what was taken for lost came late
            self._undo_all()
        beyond = self._frto is not None and any(stop > self._frto.point for _, stop in ack.blocks)
        self._test_timeout(ack, beyond=beyond, arrived=arrived)
        found = octets > 0 and self._find_lost(now)
        self._go_on(ack.acked, octets, now, safe=ack.acked > 0 and not found)

    def on_reordering_timeout(self, now: int) -> None:
        """RFC 8985 §6.2-h: what was late is lost."""
        self._reorder_at = None
        if self._find_lost(now):
            self._go_on(0, 0, now, safe=False)

    def on_timeout(self, now: int, *, again: bool) -> None:
        """The retransmission timer expired."""
        self._prr = None
        self._reduced_at = now
        self._reorder_at = None
        super().on_timeout(now, again=again)

    def resend(self) -> None:
        """As in the base."""
        self._rack.fack = self.sender.snd_una
        self._prr = None
        self._reorder_at = None
        super().resend()

    def _is_needless(self, ack: Acknowledgement, now: int) -> bool:
        undo = self._undo
        if undo is None:
            return False
        if ack.acked and undo.is_original(ack.echo_us, now):
            return True
        return ack.dsack is not None and undo.on_dsack(*ack.dsack)

    def _find_lost(self, now: int) -> bool:
        """Mark what is lost as things stand; True where RACK found any. A retransmission made since cwnd was lowered last lowers it again."""
        sender, board, rack = self.sender, self.board, self._rack
        below = board.is_lost(sender.smss)
        if not rack.reordering_seen:
            if below is not None:
                board.find_lost(below)
            if self.dup_acks >= DUP_THRESH and board.sacked.first is not None:
                board.find_lost(min(sender.snd_una + sender.smss, board.sacked.first[0]))
        eager = self.phase in {FAST, TIMEOUT} or below is not None or self.dup_acks >= DUP_THRESH
        lost, self._reorder_at = rack.find_lost(sender.flight, now, rack.reo_wnd_us(sender.rtt, eager=eager))
        again = False
        for piece in lost:
            again |= piece.retransmitted and piece.sent_at >= self._reduced_at
            board.mark_lost(piece.start, piece.end)
        if again and self.phase in {FAST, TIMEOUT}:
            self._lower_again(now)
        elif lost and self.phase == RESEND:
            # It has left since all went again, and that is lost for no reason but congestion.
            self.phase = SIGNS
        return bool(lost)

    def _go_on(self, acked: int, octets: int, now: int, *, safe: bool) -> None:
        """What has arrived and what was found lost, for the phase and for cwnd."""
        sender = self.sender
        cc = sender.cc
        if self.phase == FAST and sender.snd_una >= self.point:
            cc.cwnd = cc.ssthresh  # RFC 6675 §5-f: over; SACK marks above it stay. RFC 6937 §3-e
            self._end()
        elif self.phase in {TIMEOUT, RESEND} or (self.phase == SIGNS and acked):
            self._grow(acked, now)
        if self.phase == SIGNS and self.board.lost:
            # RFC 6675 §5-c, RFC 8985 §6.2: DupThresh duplicate ACKs, enough SACKed above, or too late
            self._prr = Prr(sender.snd_nxt - sender.snd_una - self.board.sacked.total + octets)
            self._rescue_rxt = None
            self._enter_fast(now)
            self._reduced_at = now
            self.board.high_rxt = sender.snd_una
            sender.probe.reset()
        if self.phase == FAST:
            assert self._prr is not None
            pipe = self.board.pipe(sender.snd_una, sender.snd_nxt)
            cc.cwnd = self._prr.on_ack(octets, pipe, cc.ssthresh, sender.smss, safe=safe)

    def _lower_again(self, now: int) -> None:
        """RFC 5681 §4.3-a: the loss of a retransmission is a second sign of congestion."""
        sender = self.sender
        cwnd = sender.cc.cwnd
        sender.cc.on_loss(sender.cc.ssthresh, now)
        sender.cc.cwnd = min(cwnd, sender.cc.cwnd)
        self._reduced_at = now
        self._undo = self._frto = None
        if self.phase == FAST:
            self._prr = Prr(self.board.pipe(sender.snd_una, sender.snd_nxt))

    def _end(self) -> None:
        self._prr = None
        self._rack.on_recovered()
        super()._end()

    def _lose(self, now: int) -> RangeSet:
        """RFC 8985 §6.3-a: the first segment, and of the others those that are overdue."""
        sender, board, rack = self.sender, self.board, self._rack
        una, nxt = sender.snd_una, sender.snd_nxt
        sacked = board.forget_sacks(una)
        rack.fack = una
        sender.flight.rebuild_time()
        first_end = min(una + sender.smss, nxt)
        board.mark_lost(una, first_end)
        reo_wnd_us = rack.reo_wnd_us(sender.rtt, eager=False)
        for piece in sender.flight.between(first_end, nxt):
            if rack.is_overdue(piece, now, reo_wnd_us):
                board.mark_lost(piece.start, piece.end)
        return sacked

    # -- what may be sent -----------------------------------------------------------------------------------------------

    def leftover(self, mss: int) -> Range | None:
        """RFC 6675 §4-e, §4-f, §4-g: rules 3 and 4 of NextSeg, when rules 1 and 2 found nothing."""
        sender, board = self.sender, self.board
        if self.phase != FAST:
            return super().leftover(mss)
        if board.lost or self.room() < mss:
            return None
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

    def on_sent(self, start: int, end: int, now: int, *, again: bool) -> None:
        """RFC 6675 §4-f, §5-i: the rescue retransmission does not move HighRxt."""
        super().on_sent(start, end, now, again=again)
        if self._prr is not None:
            self._prr.out += end - start
        if not again:
            return
        if self._rescuing:
            self._rescuing = False
            self._rescue_rxt = self.point
        else:
            self.board.high_rxt = max(self.board.high_rxt, end)


def split_dsack(blocks: list[Range], ack: int) -> tuple[Range | None, list[Range]]:
    """RFC 2883 §5-a: the first block is a D-SACK where it lies below the ACK field of its own segment, or inside the second block."""
    if not blocks:
        return None, blocks
    start, stop = blocks[0]
    if start < stop and (stop <= ack or (len(blocks) > 1 and blocks[1][0] <= start and stop <= blocks[1][1])):
        return blocks[0], blocks[1:]
    return None, blocks
