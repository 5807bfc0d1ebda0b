"""Resource records and names as they stand in a message (RFC 1035 §4.1.3, §4.1.4).

    owner: labels, the end a zero or a pointer | type 2 | class 2 | TTL 4 | length 2 | rdata
    pointer: 11, offset from the message's start (14 bits)

One pass, offsets instead of copies. A name is read only where it matters, in lower case and without its pointers, each of which must lead to
before everything that was read of that name (RFC 1035 §4.1.4-a): so nothing loops. Hostile ones cost 255 steps.
"""

from __future__ import annotations

from typing import NamedTuple

from construct import Int16ub, Int32ub, Struct

from usernat.stack.wire import Codec

MAX_LABELS = 254  # bytes of a name without the root (RFC 1035 §2.3.4)
MAX_STEPS = 255  # labels and pointers of one name
SIG = 24
TSIG = 250


class Fixed(NamedTuple):
    """What stands between owner and rdata."""

    type: int
    class_: int
    ttl: int
    length: int


FixedLayout = Struct("type" / Int16ub, "class_" / Int16ub, "ttl" / Int32ub, "length" / Int16ub)
FIXED = Codec(FixedLayout, Fixed)


class Record(NamedTuple):
    """at: where its owner begins. start, end: of its rdata."""

    at: int
    type: int
    class_: int
    ttl: int
    start: int
    end: int


def record_at(data: bytes, at: int) -> Record | None:
    """The record at an offset, None where it does not fit the message. Its owner is stepped over, no pointer followed."""
    length = len(data)
    owner = at
    while at < length and 0 < data[at] < 64:
        at += 1 + data[at]
    if at >= length or 64 <= data[at] < 192:
        return None
    at += 2 if data[at] else 1
    fixed = FIXED.read_values(data, at)
    if fixed is None:
        return None
    kind, class_, ttl, size = fixed
    start = at + FIXED.size
    end = start + size
    return Record(owner, kind, class_, ttl, start, end) if end <= length else None


def name_at(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The name at an offset: its labels, each behind its length, in lower case, without the root; and the offset behind it. None where it is none."""
    labels = b""
    end = 0  # known once a pointer was followed
    before = at
    for _ in range(MAX_STEPS):
        if at >= len(data):
            return None
        length = data[at]
        if not length:
            # Lengths are below 64, so lower() leaves them alone (RFC 1035 §2.3.3-a)
            return labels.lower(), end or at + 1
        if length < 64:
            labels += data[at : at + 1 + length]  # a label that is cut off is found out at its end
            at += 1 + length
            if len(labels) > MAX_LABELS:
                return None
        elif length >= 192 and at + 2 <= len(data):
            end = end or at + 2
            at = (length & 63) << 8 | data[at + 1]
            if at >= before:
                return None
            before = at
        else:
            return None
    return None


def is_signature(data: bytes, record: Record) -> bool:
    """Whether the record signs the message as a whole: TSIG (RFC 8945), or SIG(0), a SIG that covers no type (RFC 2931)."""
    return record.type == TSIG or (record.type == SIG and data[record.start : record.start + 2] == b"\0\0")


def labels_of(name: bytes) -> tuple[bytes, ...]:
    """The labels, of a name in the form in which `name_at` gives it."""
    labels = []
    at = 0
    while at < len(name):
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return tuple(labels)
