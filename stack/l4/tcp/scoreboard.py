"""Which of the octets in flight have arrived, are lost, or were sent again (RFC 6675 §3, §4).

RFC 6675 speaks of each octet; three sets of ranges above HighACK (SND.UNA) say the same for all of them:

* `sacked`: selectively acknowledged (§3-a);
* `lost`: believed lost, and not sent again since;
* `doubled`: sent again without having been believed lost, so that two copies are on the way;
* all others are on the way once.

What is lost is decided elsewhere: by duplicate ACKs (`find_lost`, RFC 6675 §4-a), by time (`rack.py`), or by a time-out. `high_rxt` is HighRxt as a half-open
bound, for the two rules of NextSeg that send again what nobody believes lost. The sets are kept as sizes too, because `pipe` is
asked before every segment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.flight import MAX_PIECES
from usernat.stack.rangeset import RangeSet

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.flight import Flight, Sent
    from usernat.stack.rangeset import Range

DUP_THRESH = 3  # RFC 5681 §3.2, RFC 6675 §2
MAX_RANGES = 1024  # what a peer may cost; SACKed octets beyond are sent again


class Scoreboard:
    """All numbers unwrapped. `una` and `nxt` (SND.UNA, SND.NXT) are the sender's and handed in."""

    __slots__ = ("_flight", "_judged", "doubled", "high_rxt", "lost", "sacked")

    def __init__(self, flight: Flight, una: int) -> None:
        self._flight = flight
        self.sacked = RangeSet()
        self.lost = RangeSet()
        self.doubled = RangeSet()
        self.high_rxt = una
        self._judged = una  # `find_lost` has looked at all below

    # -- what is heard ------------------------------------------------------------------------------------------------

    def sack(self, start: int, stop: int, una: int, nxt: int, smss: int) -> list[Sent]:
        """Take in one SACK block; returns the pieces that it newly says have arrived (RFC 6675 §5-a, RFC 2018 §5-a).

        A block that does not lie in (una, nxt] is a D-SACK, stale or forged, and says nothing here. The number of ranges is
        bounded by that of segments in flight, which an honest receiver of full-sized segments cannot exceed.
        """
        if not una < start < stop <= nxt:
            return []
        if len(self.sacked) > min(MAX_RANGES, 8 + (nxt - una) // smss) or len(self._flight) > MAX_PIECES:
            return []
        delivered = []
        for low, high in list(self.sacked.gaps(start, stop)):
            self.lost.discard(low, high)
            self.doubled.discard(low, high)
            delivered += self._flight.sacked(low, high)
        self.sacked.add(start, stop)
        return delivered

    def advance(self, una: int) -> int:
        """HighACK has moved; returns how many of the octets below had been SACKed."""
        self.lost.trim(una)
        self.doubled.trim(una)
        self.high_rxt = max(self.high_rxt, una)
        self._judged = max(self._judged, una)
        return self.sacked.trim(una)

    # -- what is believed ---------------------------------------------------------------------------------------------

    def is_lost(self, smss: int) -> int | None:
        """RFC 6675 §4-a IsLost: true for what is not SACKed below the number returned; None: for nothing, as after a single SACK (RFC 2018 §5.1-a).

        An octet is lost where DupThresh separate runs, or more than (DupThresh - 1) * SMSS octets, are SACKed above it: what is SACKed
        above an octet is also SACKed above every lower one.
        """
        octets = 0
        for runs, (start, stop) in enumerate(reversed(self.sacked), 1):
            octets += stop - start
            if runs >= DUP_THRESH or octets > (DUP_THRESH - 1) * smss:
                return start
        return None

    def find_lost(self, below: int) -> None:
        """Mark lost what is not SACKed below `below`, but for what was sent again: only time can judge that (`rack.py`)."""
        for low, high in list(self.sacked.gaps(self._judged, below)):
            for piece in self._flight.between(low, high):
                if not piece.retransmitted:
                    self.mark_lost(piece.start, piece.end)
        self._judged = max(self._judged, below)

    def mark_lost(self, start: int, stop: int) -> None:
        """[start, stop), not SACKed, is believed lost, every copy of it."""
        self.lost.add(start, stop)
        self.doubled.discard(start, stop)
        self._flight.lost(start, stop)

    def forget_sacks(self, una: int) -> RangeSet:
        """RFC 2018 §5-c, RFC 6675 §5.1-a: the receiver may have let go of what it had SACKed (RFC 2018 §5-b, §5.1-b); returns that."""
        forgotten, self.sacked = self.sacked, RangeSet()
        self._flight.forget_sacks()
        self.high_rxt = self._judged = una
        return forgotten

    def all_lost(self, una: int, nxt: int) -> RangeSet:
        """Nothing of what is out is believed to arrive any more; returns what had been SACKed."""
        forgotten = self.forget_sacks(una)
        self.mark_lost(una, nxt)
        return forgotten

    def none_lost(self) -> None:
        """It was all a mistake: what is marked lost is on the way."""
        self.lost.clear()
        if self._flight.by_time is not None:
            self._flight.rebuild_time()

    # -- what is sent -------------------------------------------------------------------------------------------------

    def resent(self, start: int, stop: int, now: int) -> None:
        """[start, stop) has left again."""
        for low, high in list(self.lost.gaps(start, stop)):
            self.doubled.add(low, high)
        self.lost.discard(start, stop)
        self._flight.resent(start, stop, now)

    def pipe(self, una: int, nxt: int) -> int:
        """RFC 6675 §4-b SetPipe: octets believed to be on the way; one that is out twice counts twice."""
        return nxt - una - self.sacked.total - self.lost.total + self.doubled.total

    def next_missing(self, una: int) -> Range | None:
        """RFC 6675 §4-e, rule 3 of NextSeg: the lowest octets not sent again, below the highest SACKed one, lost or not."""
        last = self.sacked.last
        return next(self.sacked.gaps(max(una, self.high_rxt), last[0]), None) if last else None

    def highest_missing(self, una: int, nxt: int) -> Range | None:
        """RFC 6675 §4-f, rule 4: the last gap, which holds the highest octet that is not SACKed."""
        for start, stop in reversed(self.sacked):
            if stop < nxt:
                return max(una, stop), nxt
            nxt = min(nxt, start)
        return (una, nxt) if una < nxt else None
