"""RACK: loss is a matter of time (RFC 8985 §6).

What was sent before something that has arrived since, and has not arrived itself a reordering window later, is lost; it does not
matter whether it was an original or a retransmission, so that a lost retransmission is found, too. The reordering window is nothing until reordering has
been seen, then a quarter of the smallest round trip, and more where D-SACKs show that this was too little.

RFC 6675's count of what was SACKed above (`Scoreboard.is_lost`) is the other way to see a loss. It holds until the path is seen to reorder, for after
that it would mistake what is late for lost.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.timestamps import TICK_US

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usernat.stack.l4.tcp.flight import Flight, Sent
    from usernat.stack.l4.tcp.rtt import RttEstimator

REO_WND_PERSIST = 16  # RFC 8985 §6.2-f: recoveries for which a wider window is kept


class Rack:
    """RFC 8985 §5.2: order (for xmit_ts: see `flight.py`), end_seq, rtt_us: of the most recently sent piece that has arrived. fack: the highest octet that has, plus one.

    reordering_seen; reo_wnd_mult: quarters of the smallest round trip; dsack_round: until SND.UNA gets there, further
    D-SACKs tell nothing new.
    """

    __slots__ = (
        "dsack_round",
        "end_seq",
        "fack",
        "order",
        "reo_wnd_mult",
        "reo_wnd_persist",
        "reordering_seen",
        "rtt_us",
    )

    def __init__(self, una: int) -> None:
        self.order = 0
        self.end_seq = una
        self.rtt_us = 0
        self.fack = una
        self.reordering_seen = False
        self.reo_wnd_mult = 1
        self.reo_wnd_persist = 0
        self.dsack_round: int | None = None

    def delivered(self, pieces: Iterable[Sent], now: int, echo_us: int | None, min_rtt_us: int) -> None:
        """RFC 8985 §6.2-b, §6.2-c: these have arrived, by SACK or by number, and this is news."""
        for piece in pieces:
            if piece.end > self.fack:
                self.fack = piece.end
            elif piece.end < self.fack and not piece.retransmitted:
                self.reordering_seen = True
            rtt_us = now - piece.sent_at
            # An echo speaks of a piece only where SND.UNA moved over it: above a hole it is that of the last segment before (RFC 7323 §4.3-a).
            old_echo = echo_us is not None and echo_us >= rtt_us + TICK_US and not piece.sacked
            if piece.retransmitted and (rtt_us < min_rtt_us or old_echo):
                continue  # it is the original that has arrived
            self.rtt_us = rtt_us
            if (piece.order, piece.end) > (self.order, self.end_seq):
                self.order = piece.order
                self.end_seq = piece.end

    def on_dsack(self, una: int, nxt: int) -> None:
        """RFC 8985 §6.2-f, §4-c: something was sent again needlessly; once in a round trip that widens the window."""
        if self.dsack_round is None or una >= self.dsack_round:
            self.dsack_round = nxt
            self.reo_wnd_mult += 1
            self.reo_wnd_persist = REO_WND_PERSIST

    def on_recovered(self) -> None:
        """RFC 8985 §6.2-f: fast or time-out recovery is over."""
        self.reo_wnd_persist -= 1
        if self.reo_wnd_persist <= 0:
            self.reo_wnd_mult = 1

    def reo_wnd_us(self, rtt: RttEstimator, *, eager: bool) -> int:
        """RFC 8985 §6.2-d, §6.2-e. eager: in recovery, or DupThresh segments were SACKed."""
        if eager and not self.reordering_seen:
            return 0
        min_rtt_us, srtt_us = rtt.min_rtt_us or self.rtt_us, int(rtt.srtt_us) or self.rtt_us
        return min(self.reo_wnd_mult * min_rtt_us // 4, srtt_us)

    def find_lost(self, flight: Flight, now: int, reo_wnd_us: int) -> tuple[list[Sent], int | None]:
        """RFC 8985 §6.2-g, §6.2-h: what is lost, and when the last of what else was sent before RACK.segment will be; None: nothing."""
        by_time = flight.by_time
        assert by_time is not None
        sent_before = by_time.bisect_left((self.order, self.end_seq))
        deadline = now - self.rtt_us - reo_wnd_us
        lost: list[Sent] = []
        for piece in islice(by_time.values(), sent_before):
            if piece.sent_at > deadline:
                last: Sent = by_time.peekitem(sent_before - 1)[1]
                return lost, last.sent_at + self.rtt_us + reo_wnd_us
            lost.append(piece)
        return lost, None

    def is_overdue(self, piece: Sent, now: int, reo_wnd_us: int) -> bool:
        """RFC 8985 §6.3-a: old enough to be given up with a time-out."""
        return piece.sent_at + self.rtt_us + reo_wnd_us <= now
