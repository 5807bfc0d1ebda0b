"""What an answer says of addresses (RFC 1035 §4.1.3, RFC 1034 §3.6.2): A and CNAME records, found in one pass over the bytes.

Whom the guest asked for is known, and only what hangs together with that counts: the chain of CNAME records from the question on, and the A records of
the answer section that belong to a name on it (C30, C31). All other A records, wherever they stand, are just addresses that the guest sees.

A message that cannot be read to its end gives nothing at all. A reader less strict would see another message than the guest does, which may
be lenient in other ways.
"""

from __future__ import annotations

from typing import NamedTuple

from usernat.nat.dns.message import CNAME, HEADER, HTTPS, SVCB, A
from usernat.nat.dns.records import name_at, record_at

IN = 1
ANSWER = 0  # of the three sections with records
MAX_RECORDS = 256  # of one message; the most that a resolver answers with are some dozens
CEILING = 0x7FFFFFFF  # s: RFC 2181 §8
MAX_CHAIN = 32  # CNAME records; resolvers give up after 8 to 20


class Address(NamedTuple):
    """An A record of the answer section. owner: as `name_at` gives it. ttl: s."""

    owner: bytes
    address: int
    ttl: int


class Answer:
    """An answer's records as far as they matter.

    addresses: of all A records of the whole message, each once, in their order. records: the A records of the answer section.
    has_services: whether there are SVCB or HTTPS records.
    """

    __slots__ = ("_aliases", "_names", "addresses", "has_services", "records")

    def __init__(self) -> None:
        self.addresses: dict[int, None] = {}
        self.records: list[Address] = []
        self.has_services = False
        self._aliases: dict[bytes, tuple[bytes, int]] = {}
        self._names: dict[int, bytes] = {}  # to which a pointer has led

    def chain(self, asked: bytes) -> dict[bytes, int] | None:
        """The names from `asked` on, in order, each with the least TTL (s) on the way there; None where they are too many.

        Two CNAME records of one owner are a mistake: the first counts.
        """
        ttl = CEILING
        steps = {asked: ttl}
        name = asked
        while (alias := self._aliases.get(name)) is not None:
            name, its_ttl = alias
            if name in steps:
                break  # a loop
            ttl = min(ttl, its_ttl)
            steps[name] = ttl
            if len(steps) > MAX_CHAIN + 1:
                return None
        return steps

    def knows(self, at: int, name: bytes) -> None:
        """The name at an offset has been read."""
        self._names[at] = name

    def take(self, data: bytes, at: int, section: int) -> int | None:
        """Reads the record at an offset; the offset behind it, None where it cannot be read."""
        record = record_at(data, at)
        if record is None:
            return None
        kind = record.type
        if kind in (HTTPS, SVCB):
            self.has_services = True
        elif record.class_ != IN:
            pass  # addresses of other classes are none
        elif kind == A:
            if record.end - record.start != 4:
                return None
            address = int.from_bytes(data[record.start : record.end], "big")
            self.addresses[address] = None
            if section == ANSWER:
                owner = self._name(data, at)
                if owner is None:
                    return None
                self.records.append(Address(owner[0], address, lifetime(record.ttl)))
        elif kind == CNAME and section == ANSWER:
            owner, target = self._name(data, at), self._name(data, record.start)
            if owner is None or target is None or target[1] != record.end:
                return None
            self._aliases.setdefault(owner[0], (target[0], lifetime(record.ttl)))
        return record.end

    def _name(self, data: bytes, at: int) -> tuple[bytes, int] | None:
        """As `name_at`, but where a pointer leads is read once."""
        if at + 2 > len(data) or data[at] < 192:
            return name_at(data, at)
        target = int.from_bytes(data[at : at + 2], "big") & 0x3FFF
        name = self._names.get(target)
        if name is None:
            read = name_at(data, at)
            if read is None:
                return None
            name = self._names[target] = read[0]
        return name, at + 2


def lifetime(ttl: int) -> int:
    """RFC 2181 §8: a TTL with the highest bit set is zero."""
    return ttl if ttl <= CEILING else 0


def read_answer(data: bytes) -> Answer | None:
    """What the message says of addresses; None where it cannot be read, or has more than MAX_RECORDS. Bytes behind its last record are nobody's."""
    header = HEADER.read_values(data)
    if header is None:
        return None
    _, _, questions, *counts = header
    if questions > 1 or sum(counts) > MAX_RECORDS:
        return None
    at = HEADER.size
    answer = Answer()
    if questions:
        question = name_at(data, at)
        if question is None or question[1] + 4 > len(data):
            return None
        answer.knows(at, question[0])  # to which the owners of most records point
        at = question[1] + 4
    for section, count in enumerate(counts):
        for _ in range(count):
            end = answer.take(data, at, section)
            if end is None:
                return None
            at = end
    return answer
