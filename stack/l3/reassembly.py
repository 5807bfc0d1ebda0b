"""Putting fragments together (RFC 791 §3.2, RFC 815), with nothing that a sender of fragments could wring from it.

Per (source, destination, protocol, identification): the pieces that came, and a RangeSet of the octets that are there, whose
gaps are the hole list of RFC 815. The datagram is complete exactly when its end is known and no hole is left; only
then does anybody look into it (RFC 3128 memo-a).

* An overlap, two different ends, or more than 65,535 octets: the whole datagram is dropped, and a tombstone swallows what
  comes of it later, until the time-out (RFC 5722; a departure from RFC 791 §3.2-reas-f, where the newer octets win).
  An exact copy of a fragment is ignored.
* A fragment that tampers with the transport header's place is dropped the same way (RFC 1858 §3-a).
* Congestion that any fragment has met is the datagram's (RFC 3168 §5.3-a); where another says that the transport does not
  know ECN, the whole is dropped the same way (RFC 3168 §5.3-b).
* The time-out is fixed from the first fragment on and not taken from the TTL (RFC 1122 §3.3.2-e). So datagrams are in the
  table in the order of their deadlines, oldest first, and the oldest is evicted when the table is full:
  a flood costs other fragments their place, and nothing that is whole (RFC 4787 REQ-14a).
* Pieces are copied, so that eight octets never hold a frame of 64 KiB in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.stack.checksum import checksum
from usernat.stack.counters import Counters
from usernat.stack.device import MAX_DATAGRAM
from usernat.stack.l3.ipv4_header import CE, ECN_MASK, HEADER_LENGTH, IPV4, NOT_ECT, PROTO_TCP
from usernat.stack.rangeset import RangeSet

if TYPE_CHECKING:
    from usernat.stack.l3.packet import Packet

TIMEOUT_US = 60_000_000  # RFC 1122 §3.3.2-e: 60 to 120 s
MIN_EMTU_R = 576  # bytes
MAX_DATAGRAMS = 1024
MAX_BYTES = 4 << 20
PIECE_COST = 500  # bytes that a piece costs beside its octets, as measured
TCP_HEADER = 20

MIXED_ECN = 1 << NOT_ECT | 1 << CE  # codepoints, a bit each, that no datagram's fragments have together

Key = tuple[int, int, int, int]


@dataclass(slots=True)
class ReassemblyCounters(Counters):
    """What became of fragments. `completed`, `timed_out`, `overlaps` … count datagrams, the others fragments."""

    received: int = 0
    completed: int = 0
    duplicates: int = 0
    empty: int = 0
    misaligned: int = 0
    after_drop: int = 0
    overlaps: int = 0
    inconsistent: int = 0
    oversize: int = 0
    tiny: int = 0
    mixed_ecn: int = 0
    timed_out: int = 0
    evicted: int = 0
    flushed: int = 0


class _Partial:
    """One datagram on its way. `codepoints`: a bit for each value of the ECN field that came. `dead`: dropped, kept to swallow the rest."""

    __slots__ = ("bytes", "codepoints", "dead", "deadline", "first", "pieces", "received", "total")

    def __init__(self, deadline: int) -> None:
        self.deadline = deadline
        self.pieces: dict[int, memoryview] = {}  # offset -> octets
        self.received = RangeSet()  # RFC 815 §3-a: what is not in it is a hole
        self.total: int | None = None  # octets of payload, known from the last fragment (RFC 791 §3.2-reas-d)
        self.first: Packet | None = None  # fragment zero, whose header the datagram gets
        self.bytes = 0
        self.codepoints = 0
        self.dead = False


class Reassembly:
    """The table of partial datagrams.

    timeout_us: from the first fragment that came (RFC 1122 §3.3.2-d). max_datagram: the largest datagram put together, EMTU_R, in
    bytes (§3.3.2-b), at least 576 (§3.3.2-a, RFC 791 §3.1-f). max_datagrams, max_bytes: bounds of the table. ValueError for less.
    """

    def __init__(
        self,
        *,
        timeout_us: int = TIMEOUT_US,
        max_datagram: int = MAX_DATAGRAM,
        max_datagrams: int = MAX_DATAGRAMS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if max_datagram < MIN_EMTU_R:
            raise ValueError(
                f"datagrams of {MIN_EMTU_R} bytes must be put together, not only of {max_datagram}"
            )
        self.counters = ReassemblyCounters()
        self.max_datagram = max_datagram
        self.bytes = 0
        self._timeout_us = timeout_us
        self._max_datagrams = max_datagrams
        self._max_bytes = max_bytes
        self._table: dict[Key, _Partial] = {}

    def __len__(self) -> int:
        """Datagrams in the table, tombstones included."""
        return len(self._table)

    def add(self, packet: Packet, identification: int, offset: int, more: bool, now: int) -> Packet | None:
        """Take a fragment (`offset` in octets, `more` to come); returns the datagram that it completes."""
        counters = self.counters
        counters.received += 1
        size = len(packet.payload)
        if not size:
            counters.empty += 1  # RFC 791 §3.2-reas-i
            return None
        if more and size & 7:
            counters.misaligned += 1  # RFC 791 §3.2-reas-h
            return None
        key = (packet.src, packet.dst, packet.proto, identification)  # RFC 791 §3.2-reas-a
        partial = self._table.get(key) or self._admit(key, now)
        if partial.dead:
            counters.after_drop += 1  # RFC 5722 §4-b
            return None
        if not self._accept(partial, packet, offset, more):
            return None
        # RFC 791 §3.2-reas-c, RFC 815 §3-e, RFC 4787 REQ-14: whole as soon as no octet is missing, in whatever order they came
        if partial.total is None or partial.received.total < partial.total:
            self._shrink()
            return None
        return self._complete(key, partial)

    def flush(self, src: int, dst: int, proto: int, identification: int) -> None:
        """A whole datagram came under this key: what there was of another is stale (RFC 791 §3.2-reas-b)."""
        key = (src, dst, proto, identification)
        partial = self._table.get(key)
        if partial is not None and not partial.dead:
            self._remove(key)
            self.counters.flushed += 1

    def poll_at(self) -> int | None:
        """When the oldest datagram times out."""
        for partial in self._table.values():
            return partial.deadline
        return None

    def expire(self, now: int) -> list[Packet]:
        """Let go of what has timed out (RFC 791 §3.2-reas-e, RFC 815 §7-a); returns the first fragments of which the sender is to hear (RFC 1122 §3.3.2-f)."""
        firsts = []
        while self._table:
            key, partial = next(iter(self._table.items()))
            if partial.deadline > now:
                break
            self._remove(key)
            if not partial.dead:
                self.counters.timed_out += 1
                if partial.first is not None:
                    firsts.append(partial.first)
        return firsts

    def _admit(self, key: Key, now: int) -> _Partial:
        if len(self._table) >= self._max_datagrams:
            self._evict()
        partial = self._table[key] = _Partial(now + self._timeout_us)
        return partial

    def _accept(self, partial: _Partial, packet: Packet, offset: int, more: bool) -> bool:
        """Store a fragment of a living datagram. False where it is a copy, or has cost the datagram its life."""
        counters = self.counters
        size = len(packet.payload)
        end = offset + size
        header = len(packet.datagram) - size
        if header + end > self.max_datagram:
            counters.oversize += 1  # RFC 791 §3.2-reas-g
            return self._kill(partial)
        if packet.proto == PROTO_TCP and (offset == 8 or (offset == 0 and size < TCP_HEADER)):
            counters.tiny += 1  # RFC 1858 §3-a
            return self._kill(partial)
        # A copy's, too: it may have met what the first did not.
        partial.codepoints |= 1 << (packet.tos & ECN_MASK)
        if partial.codepoints & MIXED_ECN == MIXED_ECN:
            counters.mixed_ecn += 1  # RFC 3168 §5.3-b
            return self._kill(partial)
        known = partial.pieces.get(offset)
        if known is not None and known == packet.payload and more == (end != partial.total):
            counters.duplicates += 1  # RFC 815 §3-b, RFC 5722 §4-c
            return False
        # RFC 815 §3-c: the octets leave the hole that they fall into, whatever remains of it on either side
        if partial.received.add(offset, end) < size:
            counters.overlaps += 1  # RFC 5722 §4-a
            return self._kill(partial)
        if not self._end_agrees(partial, end, more):
            counters.inconsistent += 1  # RFC 815 §3-f, §3-g
            return self._kill(partial)
        self._store(partial, packet, offset, header)
        return True

    def _end_agrees(self, partial: _Partial, end: int, more: bool) -> bool:
        """Whether a new fragment up to `end` fits what is known of the datagram's length."""
        if more:
            return partial.total is None or end <= partial.total
        last = partial.received.last
        if partial.total is not None or last is None or last[1] > end:
            return False
        partial.total = end  # RFC 815 §3-d: from here on there is no hole above
        return True

    def _store(self, partial: _Partial, packet: Packet, offset: int, header: int) -> None:
        if offset == 0:
            # RFC 815 §5-a: its header and octets are kept for a Time Exceeded too
            packet.datagram = memoryview(bytes(packet.datagram))
            packet.payload = packet.datagram[header:]
            packet.options = packet.datagram[HEADER_LENGTH:header]
            partial.first = packet
            partial.pieces[0] = packet.payload
        else:
            partial.pieces[offset] = memoryview(bytes(packet.payload))
        cost = len(packet.payload) + PIECE_COST
        partial.bytes += cost
        self.bytes += cost

    def _complete(self, key: Key, partial: _Partial) -> Packet | None:
        first = partial.first
        assert first is not None, "no hole is left, so fragment zero is there"
        assert partial.total is not None
        # RFC 791 §3.2-reas-d: the first fragment's header, which may be longer than that of the others
        header = len(first.datagram) - len(first.payload)
        if header + partial.total > self.max_datagram:
            self.counters.oversize += 1
            self._kill(partial)
            return None
        self._remove(key)
        self.counters.completed += 1
        if partial.codepoints >> CE:
            first.tos |= CE  # RFC 3168 §5.3-a; where all say the same, that stays (§5.3-c)
        pieces = [partial.pieces[offset] for offset in sorted(partial.pieces)]
        datagram = memoryview(b"".join((_whole_header(first, header, partial.total), *pieces)))
        first.datagram = datagram
        first.options = datagram[HEADER_LENGTH:header]
        first.payload = datagram[header:]
        return first

    def _kill(self, partial: _Partial) -> bool:
        """Drop what there is of a datagram, silently, and leave a tombstone."""
        self.bytes -= partial.bytes
        partial.bytes = 0
        partial.pieces.clear()
        partial.received.clear()
        partial.first = None
        partial.dead = True
        return False

    def _remove(self, key: Key) -> None:
        self.bytes -= self._table.pop(key).bytes

    def _evict(self) -> None:
        self._remove(next(iter(self._table)))
        self.counters.evicted += 1

    def _shrink(self) -> None:
        while self.bytes > self._max_bytes:  # RFC 815 §7-b
            self._evict()


def _whole_header(first: Packet, header: int, total: int) -> bytes:
    """The first fragment's header as the whole datagram would have had it."""
    record = IPV4.read(first.datagram)
    assert record is not None
    options = first.datagram[HEADER_LENGTH:header]
    whole = record._replace(
        tos=first.tos, total_length=header + total, mf=False, fragment_offset=0, checksum=0
    )
    return IPV4.write(whole._replace(checksum=checksum(IPV4.write(whole), options))) + bytes(options)
