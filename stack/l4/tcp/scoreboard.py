"""Which of the octets in flight have arrived, are lost, or were sent again (RFC 6675 §3, §4).

RFC 6675 speaks of each octet; three numbers and one set of ranges say the same for all of them:

* `sacked`: selectively acknowledged ranges above HighACK (§3-a).
* `lost_below`: IsLost (§4-a) is true for an octet that is not SACKed just where it lies below this number, because what is
  SACKed above an octet is also SACKed above every lower one. A time-out sets it to HighData: all that is out is lost.
* `high_rxt`: HighRxt as a half-open bound. Retransmission runs upwards, so what is not SACKed below it has been sent again.

How much is SACKed below either of the two numbers is tallied as they move, because `pipe` is asked before every segment and must not
cost more the more ranges a peer reports.

Without SACK the set stays empty and the same numbers describe going back to SND.UNA after a time-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.rangeset import RangeSet

if TYPE_CHECKING:
    from usernat.stack.rangeset import Range

DUP_THRESH = 3  # RFC 5681 §3.2, RFC 6675 §2
MAX_RANGES = 1024  # what a peer may cost; SACKed octets beyond are sent again


class Tally:
    """How many octets below `upto` are SACKed."""

    __slots__ = ("octets", "upto")

    def __init__(self, upto: int) -> None:
        self.upto = upto
        self.octets = 0

    def note(self, start: int, stop: int) -> None:
        """[start, stop) is SACKed from now on."""
        self.octets += max(0, min(stop, self.upto) - start)

    def move(self, upto: int, sacked: RangeSet) -> int:
        """The tally below another number, which costs what is SACKed in between."""
        low, high = min(upto, self.upto), max(upto, self.upto)
        between = high - low - sum(stop - start for start, stop in sacked.gaps(low, high)) if sacked else 0
        self.octets += between if upto > self.upto else -between
        self.upto = upto
        return self.octets


class Scoreboard:
    """All numbers unwrapped. `una` and `nxt` (SND.UNA, SND.NXT) are the sender's and handed in."""

    __slots__ = ("_lost", "_resent", "high_rxt", "lost_below", "sacked")

    def __init__(self, una: int) -> None:
        self.sacked = RangeSet()
        self.lost_below = una
        self.high_rxt = una
        self._lost = Tally(una)
        self._resent = Tally(una)

    def sack(self, start: int, stop: int, una: int, nxt: int, smss: int) -> int:
        """Take in one SACK block; returns how many octets it newly says have arrived (RFC 6675 §5-a).

        A block that does not lie in (una, nxt] is a D-SACK, stale or forged, and says nothing here. The number of ranges is
        bounded by that of segments in flight, which an honest receiver of full-sized segments cannot exceed.
        """
        if not una < start < stop <= nxt:
            return 0
        if len(self.sacked) > min(MAX_RANGES, 8 + (nxt - una) // smss):
            return 0
        for low, high in self.sacked.gaps(start, stop):
            self._lost.note(low, high)
            self._resent.note(low, high)
        return self.sacked.add(start, stop)

    def advance(self, una: int) -> None:
        """HighACK has moved."""
        for tally in (self._lost, self._resent):
            tally.move(max(una, tally.upto), self.sacked)
        gone = self.sacked.trim(una)
        self._lost.octets -= gone
        self._resent.octets -= gone
        self.high_rxt = max(self.high_rxt, una)
        self.lost_below = max(self.lost_below, una)

    def find_lost(self, smss: int) -> None:
        """RFC 6675 §4-a: raise `lost_below` by what is SACKed now.

        An octet is lost where DupThresh separate runs, or more than (DupThresh - 1) * SMSS octets, are SACKed above it.
        """
        octets = 0
        for runs, (start, stop) in enumerate(reversed(self.sacked), 1):
            octets += stop - start
            if runs >= DUP_THRESH or octets > (DUP_THRESH - 1) * smss:
                self.lost_below = max(self.lost_below, start)
                return

    def all_lost(self, una: int, nxt: int) -> None:
        """Nothing of what is out is believed to arrive any more: RFC 2018 §5-c, RFC 6675 §5.1-a, SACK marks included.

        The receiver may have let go of what it had SACKed (RFC 2018 §5-b, §5.1-b).
        """
        self.sacked.clear()
        self._lost.octets = self._resent.octets = 0
        self.lost_below = nxt
        self.high_rxt = una

    def pipe(self, una: int, nxt: int) -> int:
        """RFC 6675 §4-b SetPipe: octets believed to be on the way.

        Those neither SACKed nor lost, and those sent again; an octet that is both counts twice, as it is out twice.
        """
        lost_below = max(una, self.lost_below)
        sacked = self.sacked
        on_the_way = max(0, nxt - lost_below) - (sacked.total - self._lost.move(lost_below, sacked))
        return on_the_way + self.high_rxt - una - self._resent.move(self.high_rxt, sacked)

    def next_lost(self, una: int, nxt: int) -> Range | None:
        """RFC 6675 §4-c, rule 1 of NextSeg: the lowest lost octet that was not sent again yet, up to where its gap ends."""
        return self._first_missing(max(una, self.high_rxt), min(self.lost_below, nxt))

    def next_missing(self, una: int) -> Range | None:
        """RFC 6675 §4-e, rule 3: as rule 1 (below the highest SACKed octet), but lost or not."""
        last = self.sacked.last
        return self._first_missing(max(una, self.high_rxt), last[0]) if last else None

    def highest_missing(self, una: int, nxt: int) -> Range | None:
        """RFC 6675 §4-f, rule 4: the last gap, which holds the highest octet that is not SACKed."""
        for start, stop in reversed(self.sacked):
            if stop < nxt:
                return max(una, stop), nxt
            nxt = min(nxt, start)
        return (una, nxt) if una < nxt else None

    def _first_missing(self, start: int, stop: int) -> Range | None:
        for gap in self.sacked.gaps(start, stop):
            return gap
        return None
