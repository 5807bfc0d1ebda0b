"""An answer without the records that its guest shall not have.

    question | record | record | record        names behind a record may point into it
                  x   ^    │                    pointer to what is written: there; to what is not: its labels, written out
                  └────────┘

All else stays as it was said, the question's spelling included; but what has been tampered with is no longer authentic, so AD is cleared
(RFC 4035 §3.2.3), and the client that speaks EDNS is told that records were withheld (RFC 8914 §4.16). Signatures stay: a guest that
validates finds that they do not fit, and that is the truth. A message signed as a whole (TSIG, SIG(0)) cannot be altered.

One pass over the bytes, since a hostile server chooses them: names of a hundred labels take general libraries milliseconds each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.dns.message import AD, BLOCKED_OPTION, HEADER, HTTPS, MAX_MESSAGE, OPT, SVCB, A, Header
from usernat.nat.dns.records import MAX_LABELS, MAX_STEPS, Record, is_signature, record_at

if TYPE_CHECKING:
    from collections.abc import Container

IN = 1
MAX_TARGET = 0x3FFF  # that a pointer can name
# The types whose rdata may hold compressed names (RFC 3597 §4): bytes before the names, and how many names
NAMES = {
    **dict.fromkeys((2, 3, 4, 5, 7, 8, 9, 12, 30, 39), (0, 1)),  # NS MD MF CNAME MB MG MR PTR NXT DNAME
    **dict.fromkeys((6, 14, 17), (0, 2)),  # SOA MINFO RP
    **dict.fromkeys((15, 18, 21, 36), (2, 1)),  # MX AFSDB RT KX
    24: (18, 1),  # SIG
    26: (2, 2),  # PX
    33: (6, 1),  # SRV
}


def without(data: bytes, kept: Container[int], *, services: bool) -> bytes | None:
    """The message with A records of the addresses in `kept` only, and SVCB and HTTPS records only if `services`. None where it cannot be made."""
    header = HEADER.read(data)
    if header is None or header.qdcount > 1:
        return None
    copy = _Copy(data)
    at = HEADER.size
    if header.qdcount:
        end = copy.name(at)
        if end is None:
            return None
        at = end + 4
        copy.out += data[end:at]
    stay = [0, 0, 0]
    for section, count in enumerate((header.ancount, header.nscount, header.arcount)):
        for _ in range(count):
            record = record_at(data, at)
            if record is None or is_signature(data, record):
                return None
            at = record.end
            if _stays(data, record, kept, services=services):
                if not copy.record(record):
                    return None
                stay[section] += 1
    copy.out[: HEADER.size] = HEADER.write(Header(header.id, header.flags & ~AD, header.qdcount, *stay))
    return bytes(copy.out) if len(copy.out) <= MAX_MESSAGE else None


def _stays(data: bytes, record: Record, kept: Container[int], *, services: bool) -> bool:
    if record.type in (SVCB, HTTPS):
        return services
    is_address = record.type == A and record.class_ == IN
    return not is_address or int.from_bytes(data[record.start : record.end], "big") in kept


class _Copy:
    """The message as it is written anew. out: begins with room for the header."""

    __slots__ = ("_data", "_moved", "_told", "out")

    def __init__(self, data: bytes) -> None:
        self.out = bytearray(HEADER.size)
        self._data = data
        self._moved: dict[int, int] = {}  # where the labels have come to stand
        self._told = False

    def name(self, at: int) -> int | None:
        """Copies the name at an offset; the offset behind it, None where it is none. Pointers lead back only, as in `name_at`."""
        data, out, moved = self._data, self.out, self._moved
        end = size = 0
        before = at
        for _ in range(MAX_STEPS):
            if at >= len(data):
                return None
            length = data[at]
            if not length:
                out.append(0)
                return end or at + 1
            if length < 64:
                size += 1 + length
                if size > MAX_LABELS:
                    return None
                if len(out) <= MAX_TARGET:
                    moved.setdefault(at, len(out))
                out += data[at : at + 1 + length]
                at += 1 + length
            elif length >= 192 and at + 2 <= len(data):
                end = end or at + 2
                at = (length & 63) << 8 | data[at + 1]
                if at >= before:
                    return None
                before = at
                if at in moved:
                    out += (0xC000 | moved[at]).to_bytes(2, "big")
                    return end
            else:
                return None
        return None

    def record(self, record: Record) -> bool:
        """Copies a record; False where it is not what its type says."""
        data, out = self._data, self.out
        end = self.name(record.at)
        if end is None:
            return False
        out += data[end : record.start - 2]
        length_at = len(out)
        out += b"\0\0"
        skipped, names = NAMES.get(record.type, (0, 0))
        at = record.start + skipped
        out += data[record.start : at]
        for _ in range(names):
            behind = self.name(at)
            if behind is None:
                return False
            at = behind
        if at > record.end:
            return False
        out += data[at : record.end]
        if record.type == OPT and not self._told:
            self._told = True
            out += BLOCKED_OPTION
        length = len(out) - length_at - 2
        if length > MAX_MESSAGE:
            return False
        out[length_at : length_at + 2] = length.to_bytes(2, "big")
        return True
