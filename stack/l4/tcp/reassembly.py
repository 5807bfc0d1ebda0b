"""Text that arrived ahead of a gap (RFC 9293 §3.10.7.4 SHLD-31), held by reference until the gap is filled.

`ranges` says what is held, the pieces hold it; pieces never overlap, because of each new segment only what was missing is kept. Made
lazily: a connection that loses nothing owns none. Bounded in bytes by the window (nothing beyond it gets here) and in pieces by the
caller, since a peer that sends single bytes with gaps between would otherwise cost hundreds of times what it sends.

It also answers for the SACK option (RFC 2018 §4): which ranges to report, the most recent first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

from usernat.stack.l4.tcp.receive_queue import compact
from usernat.stack.rangeset import RangeSet

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.rangeset import Range

MAX_RECENT = 8


class Reassembly:
    """ranges: what is held, in unwrapped sequence numbers."""

    __slots__ = ("_pieces", "_recent", "max_pieces", "ranges")

    def __init__(self, max_pieces: int) -> None:
        self.max_pieces = max_pieces
        self.ranges = RangeSet()
        self._pieces: SortedDict = SortedDict()  # sequence number of the first byte to its bytes
        self._recent: list[int] = []  # a sequence number of each segment that came, the newest first

    def __len__(self) -> int:
        """Bytes held."""
        return self.ranges.total

    def add(self, start: int, data: memoryview) -> bool:
        """Hold what is new of `data`. False where there were too many pieces already."""
        stop = start + len(data)
        for low, high in list(self.ranges.gaps(start, stop)):
            if len(self._pieces) >= self.max_pieces:
                self.note(start)
                return False
            self._pieces[low] = compact(data[low - start : high - start])
            self.ranges.add(low, high)
        self.note(start)
        return True

    def note(self, point: int) -> None:
        """A segment with this number came in just now: its range is to be reported first (RFC 2018 §4-d)."""
        self._recent.insert(0, point)
        del self._recent[MAX_RECENT:]

    def take(self, rcv_nxt: int) -> list[Buffer]:
        """Let go of all below `rcv_nxt`, and hand out what follows on it without a gap."""
        taken: list[Buffer] = []
        pieces = self._pieces
        while pieces:
            start, data = pieces.peekitem(0)
            if start > rcv_nxt:
                break
            del pieces[start]
            stop = start + len(data)
            if stop > rcv_nxt:
                taken.append(data if start == rcv_nxt else memoryview(data)[rcv_nxt - start :])
                rcv_nxt = stop
        self.ranges.trim(rcv_nxt)
        self._recent = [point for point in self._recent if point >= rcv_nxt]
        return taken

    def sack_blocks(self, limit: int) -> list[Range]:
        """At most `limit` ranges for the SACK option.

        RFC 2018 §4-d, §4-f: the range of the newest segment first, then those reported most recently; §4-e: as many as fit.
        Only what is really held is ever reported (§8-a).
        """
        blocks: list[Range] = []
        for point in self._recent:
            block = self.ranges.containing(point)
            if block is not None and block not in blocks:
                blocks.append(block)
        for block in self.ranges:
            if len(blocks) >= limit:
                break
            if block not in blocks:
                blocks.append(block)
        return blocks[:limit]
