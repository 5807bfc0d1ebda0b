"""What is in flight, piece by piece, with the time it left: the source of RTT samples, and of what a timer-based recovery will ask.

One record per emitted (super-)segment, in the order of the sequence space. A piece that was sent again is marked, and gives no
sample: nobody can say which of the two was acknowledged (Karn's algorithm, RFC 6298 §3-a).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from operator import attrgetter

from usernat.stack.l4.tcp.timestamps import TICK_US

MAX_RECORDS = 4096  # beyond this, pieces share a record: tiny segments must not cost more than they carry


_start = attrgetter("start")


class Sent:
    """One piece [start, end). sent_at: µs, of its last transmission."""

    __slots__ = ("end", "retransmitted", "sent_at", "start")

    def __init__(self, start: int, end: int, sent_at: int) -> None:
        self.start = start
        self.end = end
        self.sent_at = sent_at
        self.retransmitted = False


class Flight:
    """The pieces between SND.UNA and SND.NXT."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: deque[Sent] = deque()

    def __len__(self) -> int:
        return len(self._pieces)

    def sent(self, start: int, end: int, now: int) -> None:
        """New text left."""
        pieces = self._pieces
        if len(pieces) >= MAX_RECORDS:
            pieces[-1].end = end
            pieces[-1].retransmitted = True  # no sample from a record that stands for several times
            return
        pieces.append(Sent(start, end, now))

    def resent(self, start: int, end: int, now: int) -> None:
        """Text between these left again."""
        pieces = self._pieces
        for index in range(max(0, bisect_right(pieces, start, key=_start) - 1), len(pieces)):
            piece = pieces[index]
            if piece.start >= end:
                break
            if piece.end > start:
                piece.retransmitted = True
                piece.sent_at = now

    def acknowledged(self, una: int, now: int, echo_us: int | None) -> int | None:
        """Forget what lies before `una`; returns the RTT sample in µs that this gives, None for none.

        A sample is that of the newest piece acknowledged, and only where nothing among them was sent again: text behind a
        gap is acknowledged when the gap is filled, which says nothing of its own round trip.

        Otherwise `echo_us` counts, the round trip that the time stamp echo speaks of, for it tells a retransmission from its original (RFC
        6298 §3-a, RFC 7323 §4): where it is not older than what was sent again first. An older echo may be that of an ACK
        which was lost, asked for again by a retransmission that came twice, and would measure our own time-out.
        """
        pieces = self._pieces
        sent_at = None
        resent_at = None
        while pieces:
            piece = pieces[0]
            if piece.start >= una:
                break
            sent_at = piece.sent_at
            if piece.retransmitted:
                resent_at = sent_at if resent_at is None else min(resent_at, sent_at)
            if piece.end > una:
                piece.start = una
                break
            pieces.popleft()
        if resent_at is not None:
            return echo_us if echo_us is not None and echo_us < now - resent_at + TICK_US else None
        return now - sent_at if sent_at is not None else None

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
