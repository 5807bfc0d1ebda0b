"""The receiving half: what is taken in, what window is offered, when an ACK is due.

The window is kept as its right edge, RCV.NXT + RCV.WND, because that is what must never move back (RFC 9293 §3.8.6 SHLD-14). It moves on
only when a segment that says so is emitted, and then by a worthwhile amount or not at all (receiver silly-window avoidance, §3.8.6.2.2
MUST-39). How far it may go is what the application has room for; a connection starts with a small window and earns a larger one by having its
bytes consumed, so that thousands of idle connections promise little memory.

ACKs are due by degrees: not at all, soon (the delayed ACK), or with this batch. Nothing is ever sent from here: `transmit.py` asks once per batch,
which is how RFC 9293 §3.10.7.4 MUST-58 and MUST-59 are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.config import MAX_WINDOW_SCALE, window_scale
from usernat.stack.l4.tcp.memory import FLOOR
from usernat.stack.l4.tcp.reassembly import Reassembly
from usernat.stack.l4.tcp.receive_queue import ReceiveQueue

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.memory import MemoryBudget
    from usernat.stack.rangeset import Range

ACK_NONE, ACK_SOON, ACK_NOW = range(3)

MIN_PIECES = 64
SMALL_SEGMENT = 536  # RFC 9293 §3.8.6.3: what counts as full-sized until larger segments were seen
BYTES_A_PIECE = 512  # an out-of-order piece may be this small on average before further ones are refused


def is_acceptable(rcv_nxt: int, edge: int, seq: int, length: int) -> bool:
    """RFC 9293 §3.10.7.4-a, table 6, for a segment of SEG.LEN `length` and the window [rcv_nxt, edge).

    The table asks for the first or the last octet in the window. A segment that reaches over it on both sides is taken too:
    what lies inside is as good as any, and `Receiver.take` cuts off the rest.
    """
    if length == 0:
        return rcv_nxt <= seq < edge or seq == rcv_nxt
    return seq < edge and seq + length > rcv_nxt < edge


class Receiver:
    """irs, rcv_nxt: as in RFC 9293. edge: RCV.NXT + RCV.WND. scale: Rcv.Wind.Shift.

    limit: bytes that may wait for the application as things stand; ceiling: what limit may grow to.
    mss: what we advertised. segment_size: the largest segment seen, at most that.
    fin: the sequence number of the peer's FIN, None until one was seen; finished: it has been reached.
    urgent: RCV.UP. ack: ACK_NONE, ACK_SOON or ACK_NOW. duplicate: to be reported by D-SACK.
    """

    __slots__ = (
        "_consumed",
        "_memory",
        "_unacked",
        "ack",
        "ceiling",
        "duplicate",
        "edge",
        "fin",
        "finished",
        "irs",
        "limit",
        "mss",
        "queue",
        "rcv_nxt",
        "reassembly",
        "scale",
        "segment_size",
        "urgent",
    )

    def __init__(self, memory: MemoryBudget, mss: int, ceiling: int, initial_window: int) -> None:
        self._memory = memory
        self.mss = mss
        self.segment_size = min(mss, SMALL_SEGMENT)
        self.ceiling = ceiling
        self.limit = min(ceiling, memory.share(initial_window))
        self.scale = min(window_scale(ceiling), MAX_WINDOW_SCALE)
        self.irs = 0
        self.rcv_nxt = 0
        self.edge = 0
        self.fin: int | None = None
        self.finished = False
        self.urgent = 0
        self.queue = ReceiveQueue()
        self.reassembly: Reassembly | None = None
        self.ack = ACK_NONE
        self.duplicate: Range | None = None
        self._unacked = 0  # bytes taken in since the last ACK left
        self._consumed = 0

    def start(self, irs: int) -> None:
        """The peer's SYN has come. RFC 7323 §2.2-c: the window of a SYN is never scaled, so the first one ends at 65,535."""
        self.irs = irs
        self.rcv_nxt = self.urgent = irs + 1
        self.edge = self.rcv_nxt + min(self.limit, 0xFFFF)

    def without_scale(self) -> None:
        """RFC 7323 §2.2-a: the peer did not offer window scaling."""
        self.scale = 0
        self.ceiling = min(self.ceiling, 0xFFFF)
        self.limit = min(self.limit, self.ceiling)

    # -- arriving ---------------------------------------------------------------------------------------------------

    def acceptable(self, seq: int, length: int) -> bool:
        """Whether any of the segment lies in the window."""
        return is_acceptable(self.rcv_nxt, self.edge, seq, length)

    def take(self, seq: int, text: memoryview) -> int:
        """Take in text that starts at `seq`; returns how many bytes became readable.

        RFC 9293 §3.10.7.4-c: trimmed to the window, only new parts are taken. Says by `ack` what answer is due.
        """
        size = len(text)
        rcv_nxt = self.rcv_nxt
        if seq == rcv_nxt and self.reassembly is None and seq + size <= self.edge and self.fin is None:
            taken = size
            if not self._store(text):
                return 0
        else:
            taken = self._take_slowly(seq, text)
            if not taken:
                return 0
        if size > self.segment_size:
            self.segment_size = min(size, self.mss)
        self._unacked += taken
        if self._unacked >= 2 * self.segment_size or self.edge - self.rcv_nxt < self.segment_size:
            # RFC 9293 §3.8.6.3 SHLD-19, RFC 5681 §4.2-a; and a peer that has no window left waits for nothing else
            self.ack = ACK_NOW
        elif self.ack == ACK_NONE:
            self.ack = ACK_SOON  # SHLD-18
        return taken

    def take_fin(self, position: int) -> None:
        """The peer's FIN stands at `position`. Not taken beyond the window, nor where it contradicts text that is here already."""
        held = self.reassembly.ranges.last if self.reassembly is not None else None
        if self.rcv_nxt <= position < self.edge and (held is None or held[1] <= position):
            self.fin = position
        self.ack = ACK_NOW

    def reach_fin(self) -> bool:
        """Whether all text before the FIN is there; RCV.NXT then moves over it."""
        if self.fin is None or self.rcv_nxt < self.fin:
            return False
        self.finished = True
        self.rcv_nxt = self.fin + 1
        self.ack = ACK_NOW
        return True

    def _take_slowly(self, seq: int, text: memoryview) -> int:
        """What is not simply the next text: overlapping, ahead of a gap, filling one, or beyond the window."""
        self.ack = ACK_NOW  # RFC 5681 §3.2-a, -b, RFC 6582 §5-a, RFC 2018 §4-c, RFC 9293 §3.10.7.4 MAY-13: every one of them is answered at once
        stop = seq + len(text)
        if seq < self.rcv_nxt:
            self._note_duplicate(seq, min(stop, self.rcv_nxt))
            text = text[self.rcv_nxt - seq :]
            seq = self.rcv_nxt
        edge = self.edge if self.fin is None else self.fin  # nothing can follow on a FIN
        if stop > edge:
            text = text[: max(0, edge - seq)]
        if not text:
            return 0
        if seq > self.rcv_nxt:
            self._hold(seq, text)
            return 0
        before = self.rcv_nxt
        if self._store(text) and self.reassembly is not None:
            self._release()
        return self.rcv_nxt - before

    def _store(self, text: memoryview) -> bool:
        """Append in-order text. False, and nothing taken, where the queue holds more than was ever meant.

        Rounding the window up to a multiple of 2**scale (`window_field`) lets a peer that sends tiny segments creep beyond the
        limit. What goes a quarter beyond is not taken: as if lost, and sent again when there is room. Nor is what finds the memory
        of all connections used up, above the floor that each of them has.
        """
        size = len(text)
        held, memory = self.queue.size, self._memory
        if held + size > self.limit + (self.limit >> 2) + (1 << self.scale) or (
            held >= FLOOR and memory.used >= memory.limit
        ):
            self.ack = ACK_NOW
            return False
        self.queue.append(text)
        memory.used += size
        self.rcv_nxt += size
        return True

    def _hold(self, seq: int, text: memoryview) -> None:
        """Keep text that is ahead of a gap; under memory pressure it is left to be sent again."""
        pieces = max(MIN_PIECES, self.limit // BYTES_A_PIECE)
        if self.reassembly is None:
            self.reassembly = Reassembly(pieces)
        held = self.reassembly
        held.max_pieces = pieces  # the limit may have grown since
        overlap = held.ranges.containing(seq)
        if overlap is not None and self.duplicate is None:
            # RFC 2883 §4-b, -d, -e: the part that was there already; the block around it comes second
            self.duplicate = (seq, min(seq + len(text), overlap[1]))
        before = len(held)
        if self._memory.used < self._memory.limit:
            held.add(seq, text)
        self._memory.used += len(held) - before
        if not len(held):
            self.reassembly = None

    def _release(self) -> None:
        """A gap has been filled: what follows on it becomes readable."""
        held = self.reassembly
        assert held is not None
        before = len(held)
        for data in held.take(self.rcv_nxt):
            self.queue.append(data)
            self._memory.used += len(data)
            self.rcv_nxt += len(data)
        self._memory.used -= before - len(held)
        if not len(held):
            self.reassembly = None

    def _note_duplicate(self, start: int, stop: int) -> None:
        """RFC 2883 §4-a, -c: each duplicate is reported once; of several in one batch the first."""
        if self.duplicate is None and start < stop:
            self.duplicate = (start, stop)

    def note_duplicate(self, seq: int, length: int) -> None:
        """A segment that was not acceptable carried text that we have had: for D-SACK (RFC 2883 §4-a)."""
        self._note_duplicate(seq, min(seq + length, self.rcv_nxt))

    # -- answering --------------------------------------------------------------------------------------------------

    def window_field(self) -> int:
        """The window to put into a segment (not a SYN) that is being emitted; moves the edge where that is worthwhile.

        RFC 7323 §2.3-b: shifted right. §2.4-a: rounded up, for rounding down would show the peer an edge that moves back.
        """
        rcv_nxt, edge, scale = self.rcv_nxt, self.edge, self.scale
        buffer = self._memory.share(self.limit)
        wanted = rcv_nxt + buffer - self.queue.size
        if wanted - edge >= min(buffer >> 1, self.mss):  # RFC 9293 §3.8.6.2.2 MUST-39
            edge = wanted
        field = min((edge - rcv_nxt + (1 << scale) - 1) >> scale, 0xFFFF)
        self.edge = max(edge, rcv_nxt + (field << scale))
        return field

    def sack_blocks(self, limit: int) -> list[Range]:
        """For the next segment (RFC 2018 §4): the duplicate first if there is one (RFC 2883 §4-a), then what is held."""
        blocks = [self.duplicate] if self.duplicate is not None else []
        if self.reassembly is not None:
            blocks += [block for block in self.reassembly.sack_blocks(limit) if len(blocks) < limit]
        return blocks[:limit]

    def acknowledged(self) -> None:
        """A segment with ACK has left; a duplicate is thereby reported, once (RFC 2883 §4-c)."""
        self.ack = ACK_NONE
        self.duplicate = None
        self._unacked = 0

    # -- the application ------------------------------------------------------------------------------------------

    def consume(self, count: int) -> bool:
        """The application took `count` bytes. True where the peer should hear of the new room.

        A window update of its own is sent when the window has (nearly) closed and may open by what silly-window avoidance
        asks for, and otherwise only once a quarter of the buffer has come free: the next ACK carries the rest. Until then it may stay
        closed for as long as nobody reads (RFC 9293 §3.8.6.1 MAY-8).
        """
        self.queue.consume(count)
        self._memory.used -= count
        self._consumed += count
        if self._consumed >= self.limit < self.ceiling:
            self.limit = min(2 * self.limit, self.ceiling)
            self._consumed = 0
        if self.finished:
            return False
        buffer = self._memory.share(self.limit)
        gain = self.rcv_nxt + buffer - self.queue.size - self.edge
        if self.edge - self.rcv_nxt < 2 * self.mss:
            # nothing gained is no news, however small the buffer
            return gain >= max(1, min(buffer >> 1, self.mss))
        return gain >= max(buffer >> 2, self.mss)

    def clear(self) -> None:
        """Let go of all that is held."""
        self._memory.used -= self.queue.size
        self.queue.clear()
        self.drop_held()

    def drop_held(self) -> None:
        """Let go of what is ahead of a gap: nothing will fill it any more."""
        if self.reassembly is not None:
            self._memory.used -= len(self.reassembly)
            self.reassembly = None
