"""What is in flight, piece by piece, with the time it left: the source of RTT samples, and of what RACK asks (RFC 8985 §4-b, §6.1-a).

One record per emitted (super-)segment, in the order of the sequence space. Where an acknowledgement or a retransmission begins or ends inside
a piece, the piece is cut there, so that every piece has one fate. While losses are being looked for by time, a second index keeps the pieces
that may still arrive in the order in which they left; a connection that loses nothing owns none.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

from usernat.stack.l4.tcp.timestamps import TICK_US

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_RECORDS = 4096  # beyond this, pieces share a record: tiny segments must not cost more than they carry
# Beyond this, a peer's SACK blocks cut no more of them: each odd edge would cost one.
MAX_PIECES = 2 * MAX_RECORDS


_start = attrgetter("start")


class Sent:
    """One piece [start, end). sent_at: µs, of its last transmission. retransmitted: that was not the first. sacked: it has arrived.

    order: counts transmissions, for a whole batch leaves in one microsecond, new text beside old.
    """

    __slots__ = ("end", "order", "retransmitted", "sacked", "sent_at", "start")

    def __init__(
        self,
        start: int,
        end: int,
        sent_at: int,
        order: int,
        *,
        retransmitted: bool = False,
        sacked: bool = False,
    ) -> None:
        self.start = start
        self.end = end
        self.sent_at = sent_at
        self.order = order
        self.retransmitted = retransmitted
        self.sacked = sacked

    def __repr__(self) -> str:
        marks = "R" * self.retransmitted + "S" * self.sacked
        return f"[{self.start}, {self.end}) @{self.sent_at}{marks}"


class Flight:
    """The pieces between SND.UNA and SND.NXT.

    by_time: those that may still arrive, (order, start) to piece, ascending; None while nobody asks for the order of time.
    """

    __slots__ = ("_count", "_pieces", "_time_until", "by_time")

    def __init__(self) -> None:
        self._count = 0  # transmissions
        self._pieces: list[Sent] = []
        self._time_until: int | None = None  # by_time goes when SND.UNA gets there
        self.by_time: SortedDict | None = None

    def __len__(self) -> int:
        return len(self._pieces)

    def sent(self, start: int, end: int, now: int) -> None:
        """New text left."""
        self._count += 1
        pieces = self._pieces
        if len(pieces) >= MAX_RECORDS and self._is_on_the_way(pieces[-1]):
            last = pieces[-1]
            self._leave_time(last)
            last.end = end
            last.sent_at = now
            last.order = self._count
            last.retransmitted = True  # no sample from a record that stands for several times
            self._enter_time(last)
            return
        piece = Sent(start, end, now, self._count)
        pieces.append(piece)
        if self.by_time is not None:
            self._enter_time(piece)

    def resent(self, start: int, end: int, now: int) -> None:
        """Text between these left again."""
        self._count += 1
        for piece in self.between(start, end):
            self._leave_time(piece)
            piece.retransmitted = True
            piece.sent_at = now
            piece.order = self._count
            self._enter_time(piece)

    def acknowledged(self, una: int) -> list[Sent]:
        """Forget what lies before `una`; returns it."""
        pieces = self._pieces
        if pieces and pieces[-1].end <= una:
            gone, self._pieces = pieces, []
        else:
            index = self._cut(una)
            gone = pieces[:index]
            del pieces[:index]
        if self.by_time is not None:
            for piece in gone:
                self._leave_time(piece)
            if self._time_until is not None and una >= self._time_until:
                self.by_time = None
        return gone

    def between(self, start: int, end: int) -> list[Sent]:
        """The pieces of [start, end), cut at both edges."""
        low = self._cut(start)
        return self._pieces[low : self._cut(end)]

    def sacked(self, start: int, end: int) -> list[Sent]:
        """[start, end) has arrived ahead of SND.UNA, which is news; returns its pieces."""
        pieces = self.between(start, end)
        for piece in pieces:
            self._leave_time(piece)
            piece.sacked = True
        return pieces

    def lost(self, start: int, end: int) -> None:
        """Nobody waits any more for what was sent of [start, end)."""
        for piece in self.between(start, end):
            self._leave_time(piece)

    def keep_time(self) -> None:
        """Keep the order of time from now on."""
        self._time_until = None
        if self.by_time is None:
            self.rebuild_time()

    def let_time_go(self) -> None:
        """Nobody asks for the order of time any more.

        It goes when all that is out now is acknowledged, not before: a walk over all pieces makes it, and signs of loss can come and go
        with every ACK.
        """
        self._time_until = self._pieces[-1].end if self._pieces else 0

    def rebuild_time(self) -> None:
        """All that has not been SACKed may still arrive; RFC 2018 §5.1-b: a time-out may have cleared the marks."""
        self.by_time = SortedDict(
            {(piece.order, piece.start): piece for piece in self._pieces if not piece.sacked}
        )

    def forget_sacks(self) -> None:
        """RFC 2018 §5-c: after a time-out nothing counts as arrived but what was acknowledged."""
        for piece in self._pieces:
            piece.sacked = False

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self.by_time = None
        self._time_until = None

    def _is_on_the_way(self, piece: Sent) -> bool:
        """Not SACKed, nor given up as far as anybody looks for losses by time."""
        return not piece.sacked and (self.by_time is None or (piece.order, piece.start) in self.by_time)

    def _enter_time(self, piece: Sent) -> None:
        if self.by_time is not None:
            self.by_time[piece.order, piece.start] = piece

    def _leave_time(self, piece: Sent) -> None:
        if self.by_time is not None:
            self.by_time.pop((piece.order, piece.start), None)

    def _cut(self, at: int) -> int:
        """Make `at` an edge; returns the index of the piece that begins there, or of the first behind it."""
        pieces = self._pieces
        index = bisect_left(pieces, at, key=_start)
        if index and pieces[index - 1].end > at:
            left = pieces[index - 1]
            right = Sent(
                at, left.end, left.sent_at, left.order, retransmitted=left.retransmitted, sacked=left.sacked
            )
            left.end = at
            pieces.insert(index, right)
            if self.by_time is not None and (left.order, left.start) in self.by_time:
                self._enter_time(right)
        return index


def round_trip(gone: Iterable[Sent], now: int, echo_us: int | None) -> int | None:
    """The RTT sample in µs that the acknowledgement of these pieces gives, None for none.

    A sample is that of the newest piece acknowledged, and only where nothing among them was sent again (Karn's algorithm, RFC 6298
    §3-a: nobody can say which of the two was acknowledged): text behind a gap is acknowledged when the gap is filled, which
    says nothing of its own round trip. Nor does what was SACKed before.

    Otherwise `echo_us` counts, the round trip that the time stamp echo speaks of, for it tells a retransmission from its original (RFC
    6298 §3-a, RFC 7323 §4): where it is not older than what was sent again first. An older echo may be that of an ACK
    which was lost, asked for again by a retransmission that came twice, and would measure our own time-out.
    """
    sent_at = None
    resent_at = None
    for piece in gone:
        if piece.retransmitted:
            resent_at = piece.sent_at if resent_at is None else min(resent_at, piece.sent_at)
        elif not piece.sacked:
            sent_at = piece.sent_at
    if resent_at is not None:
        return echo_us if echo_us is not None and echo_us < now - resent_at + TICK_US else None
    return now - sent_at if sent_at is not None else None
