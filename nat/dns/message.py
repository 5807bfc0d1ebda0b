"""As much of a DNS message as a forwarder has to understand (RFC 1035 §4.1): the header, the question, whether EDNS is there.

    +---------------------------+---------------------------+
    |            id             | QR opcode AA TC RD RA Z rcode |
    |          qdcount          |          ancount          |
    |          nscount          |          arcount          |
    +---------------------------+---------------------------+
    | question: labels, type, class | records …             |
    +-------------------------------------------------------+

Unless a policy reads names (`clean.py`), queries and answers pass on byte for byte except for the id (RFC 5625 §3-a): any flags (§4.1-a), any type and class (§4.3-a, -b),
EDNS of any version (§4.4.2-a), TSIG (§4.5-a) and TKEY (§4.5-b), names compressed or not (§4.2-a). So here records are only stepped over
(`records.py`), and a compression pointer never followed: nothing in a message can make the reader loop or look outside it (RFC 1035 §4.1.4-a).
What the forwarder says itself is a header, the question as it was put, and an OPT record where the query had one.
"""

from __future__ import annotations

from typing import NamedTuple

from construct import Int16ub, Struct

from usernat.nat.dns.records import FIXED, Fixed, is_signature, record_at
from usernat.stack.wire import Codec

QR = 0x8000
OPCODE = 0x7800
TC = 0x0200
RD = 0x0100
RA = 0x0080
AD = 0x0020
CD = 0x0010
RCODE = 0x000F

NOERROR = 0
FORMERR = 1
SERVFAIL = 2
NXDOMAIN = 3
NOTIMP = 4
REFUSED = 5

A = 1
CNAME = 5
OPT = 41
SVCB = 64
HTTPS = 65
TKEY = 249
IXFR = 251
AXFR = 252

MIN_UDP = 512  # bytes: RFC 1035 §2.3.4-a, what every client takes
OWN_UDP = 1232  # bytes: what our own OPT records offer
MAX_NAME = 255
BLOCKED_OPTION = bytes.fromhex("000f 0002 000f")  # RFC 8914 §2, §4.16: option 15, two bytes, code 15
MAX_MESSAGE = 65535


class Header(NamedTuple):
    """The first 12 bytes."""

    id: int
    flags: int
    qdcount: int
    ancount: int
    nscount: int
    arcount: int


HeaderLayout = Struct(
    "id" / Int16ub,
    "flags" / Int16ub,
    "qdcount" / Int16ub,
    "ancount" / Int16ub,
    "nscount" / Int16ub,
    "arcount" / Int16ub,
)
HEADER = Codec(HeaderLayout, Header)


class Edns(NamedTuple):
    """What an OPT record says, its options apart (RFC 6891 §6.1.3). size: bytes, as sent."""

    size: int
    version: int
    flags: int


class Query:
    """A query of a guest.

    wire: the message as it came. question: its question section, raw, empty where it is malformed. edns: of its OPT record. udp_size: bytes of UDP
    answer that the client takes by it; both None without. is_signed: as a whole. is_clean: written by us. rcode: what to answer at once, 0 where the query can be forwarded.
    """

    __slots__ = ("edns", "flags", "id", "is_clean", "is_signed", "question", "rcode", "udp_size", "wire")

    def __init__(self, wire: bytes, header: Header) -> None:
        self.wire = wire
        self.id = header.id
        self.flags = header.flags
        self.question = b""
        self.edns: Edns | None = None
        self.udp_size: int | None = None
        self.is_signed = False
        self.is_clean = False
        self.rcode = NOERROR

    @property
    def qtype(self) -> int:
        """The type asked for."""
        return int.from_bytes(self.question[-4:-2], "big")

    @property
    def is_transfer(self) -> bool:
        """Whether the answer may be several messages (RFC 5936, RFC 1995)."""
        return self.qtype in (AXFR, IXFR)

    @property
    def name(self) -> bytes:
        """The name asked for, in the form of `name_at`."""
        return self.question[:-5].lower()


def parse_query(data: bytes) -> Query | str:
    """The query, or why it gets no answer at all: `short` or `not_a_query`. Never raises.

    What cannot be read is answered with FORMERR where it has an id to answer to, and dropped where not (RFC 5625 §6.3-a).
    """
    header = HEADER.read(data)
    if header is None:
        return "short"
    if header.flags & QR:
        return "not_a_query"
    query = Query(data, header)
    end = _question_end(data)
    if header.qdcount == 1 and end is not None:
        query.question = data[HEADER.size : end]
        if not _read_records(query, end, header.ancount + header.nscount + header.arcount):
            query.rcode = FORMERR
    else:
        query.rcode = FORMERR
    if header.flags & OPCODE:
        query.rcode = NOTIMP  # RFC 1035 §4.1.1-c
    return query


def is_answer(data: bytes, query: Query, id_: int) -> bool:
    """Whether `data` answers `query` as sent under `id_`; that address and port are right, the connected socket saw to."""
    # RFC 5452 §9.1-a, RFC 1035 §7.1-a
    header = HEADER.read_values(data)
    if header is None:
        return False
    given_id, flags, questions, *_ = header
    if given_id != id_ or not flags & QR or flags & OPCODE:
        return False
    if questions == 0:
        # A server that could not read the question cannot repeat it
        return flags & RCODE in (FORMERR, NOTIMP)
    end = HEADER.size + len(query.question)
    asked, given = query.question, data[HEADER.size : end]
    # RFC 1035 §2.3.3-a. Length bytes are below 64, so lower() leaves them alone
    return questions == 1 and given[-4:] == asked[-4:] and given[:-4].lower() == asked[:-4].lower()


def error_reply(query: Query, rcode: int) -> bytes:
    """An answer of our own with no records."""
    return _reply(query, QR | RA | (query.flags & (OPCODE | RD | CD)) | rcode)  # RFC 1035 §4.1.1-a


def blocked_reply(query: Query) -> bytes:
    """No such name, for you. The client that knows how to read it is told that it is a matter of policy (RFC 8914 §4.16).

    Not REFUSED: stub resolvers take that for a broken server, and ask on or wait (musl for 5 s).
    """
    return _reply(query, QR | RA | (query.flags & (RD | CD)) | NXDOMAIN, BLOCKED_OPTION)


def truncated_reply(query: Query, answer: bytes) -> bytes:
    """`answer` cut down to its header and question, with TC set: the client asks again over TCP (RFC 5625 §4.4-b, RFC 1035 §4.1.1-b)."""
    header = HEADER.read(answer)
    return _reply(query, TC | (header.flags if header is not None else QR))


def with_id(id_: int, message: bytes) -> bytes:
    """The message under another id."""
    return id_.to_bytes(2, "big") + message[2:]


def for_client(query: Query, asked: Query, answer: bytes) -> bytes:
    """An answer to the question as it was asked, under the id of the client's own query and spelled as there (RFC 1035 §2.3.3)."""
    answer = with_id(query.id, answer)
    verbatim = asked.question == query.question and not asked.is_clean
    if verbatim or answer[4:6] != b"\0\1":
        return answer
    return answer[: HEADER.size] + query.question + answer[HEADER.size + len(query.question) :]


def opt_record(size: int, ttl: int = 0, options: bytes = b"") -> bytes:
    """An OPT record (RFC 6891 §6.1.2). ttl: extended rcode, version and flags, which stand in that field."""
    return b"\0" + FIXED.write(Fixed(OPT, size, ttl, len(options))) + options


def _reply(query: Query, flags: int, options: bytes = b"") -> bytes:
    """The question goes back byte for byte (RFC 1035 §2.3.3-a), and an OPT answers an OPT (RFC 6891 §6.1.1)."""
    opt = b"" if query.udp_size is None else opt_record(OWN_UDP, options=options)
    return (
        HEADER.write(Header(query.id, flags, 1 if query.question else 0, 0, 0, 1 if opt else 0))
        + query.question
        + opt
    )


def _question_end(data: bytes) -> int | None:
    """Offset behind the first question. None where it is cut off, too long, or holds a pointer, which could only lead into the header."""
    at, length = HEADER.size, len(data)
    while at < length and data[at]:
        if data[at] > 63:  # RFC 1035 §2.3.4-a, §4.1.4-a
            return None
        at += 1 + data[at]
    name_size, end = at + 1 - HEADER.size, at + 5
    return end if name_size <= MAX_NAME and end <= length else None


def _read_records(query: Query, at: int, records: int) -> bool:
    """Looks for OPT and signatures among the records from offset `at`: False where they do not fit the message."""
    data = query.wire
    for _ in range(records):
        record = record_at(data, at)
        if record is None:
            return False
        if record.type == OPT and not data[at] and query.edns is None:  # its owner is the root
            query.edns = Edns(record.class_, record.ttl >> 16 & 0xFF, record.ttl & 0xFFFF)
            query.udp_size = max(record.class_, MIN_UDP)  # RFC 6891 §6.2.3: smaller values mean 512
        query.is_signed = query.is_signed or is_signature(data, record)
        at = record.end
    return True
