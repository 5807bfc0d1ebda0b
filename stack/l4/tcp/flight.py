"""What is in flight, piece by piece, with the time it left: the source of RTT samples, and of what a timer-based recovery will ask.

One record per emitted (super-)segment, in the order of the sequence space. A piece that was sent again is marked, and gives no
sample: nobody can say which of the two was acknowledged (Karn's algorithm, RFC 6298 §3-a).
"""

from __future__ import annotations

from collections import deque

MAX_RECORDS = 4096  # beyond this, pieces share a record: tiny segments must not cost more than they carry


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
        for piece in self._pieces:
            if piece.start >= end:
                break
            if piece.end > start:
                piece.retransmitted = True
                piece.sent_at = now

    def acknowledged(self, una: int, now: int) -> int | None:
        """Forget what lies before `una`; returns the RTT sample in µs that this gives, None for none.

        A sample is that of the newest piece acknowledged, and only where nothing among them was sent again: text behind a
        gap is acknowledged when the gap is filled, which says nothing of its own round trip.
        """
        pieces = self._pieces
        sent_at = None
        clean = True
        while pieces:
            piece = pieces[0]
            if piece.start >= una:
                break
            sent_at = piece.sent_at
            clean = clean and not piece.retransmitted
            if piece.end > una:
                piece.start = una
                break
            pieces.popleft()
        return now - sent_at if sent_at is not None and clean else None

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
