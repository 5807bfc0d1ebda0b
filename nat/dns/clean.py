"""A query as it leaves where names are judged: what the policy has seen of it, and nothing in which a guest could send data along (C35).

    flags RD, AD, CD | the name in lower case, type, class | OPT: size, version, DO

The spelling of a name of 60 letters is 60 bits, an EDNS option any number of bytes; so is what stands behind the last record. None of it was judged. So the
query is written anew, with the UDP size brought to one of a few values and any version beyond the only one there is made the next, which is answered
BADVERS as well. The guest gets its own spelling back in the answer's question (RFC 1035 §2.3.3: the same name; `message.for_client`).

That departs from the transparency of RFC 5625 §3, §4.1 and §4.4.2, on purpose; without such a policy it holds to the letter. A query that is signed (TSIG,
SIG(0)) would not survive, and the data of a TKEY query is all there is to it: these are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.dns.message import AD, CD, HEADER, MIN_UDP, OWN_UDP, RD, TKEY, Header, Query, opt_record

if TYPE_CHECKING:
    from usernat.nat.dns.message import Edns

SIZES = (4096, OWN_UDP, MIN_UDP)  # bytes of UDP answer: what clients commonly take
DO = 0x8000
KEPT = RD | AD | CD


def can_be_clean(query: Query) -> bool:
    """Whether the query still says what it meant once it is clean."""
    return not query.is_signed and query.qtype != TKEY


def cleaned(query: Query) -> Query:
    """The same question, as it may leave."""
    edns = query.edns
    header = Header(query.id, query.flags & KEPT, 1, 0, 0, 0 if edns is None else 1)
    # Length bytes are below 64, so lower() leaves them alone
    question = query.question[:-4].lower() + query.question[-4:]
    clean = Query(HEADER.write(header) + question + (b"" if edns is None else _opt(edns)), header)
    clean.question = question
    clean.is_clean = True
    clean.udp_size = query.udp_size
    return clean


def _opt(edns: Edns) -> bytes:
    size = next((size for size in SIZES if size <= edns.size), MIN_UDP)
    return opt_record(size, min(edns.version, 1) << 16 | edns.flags & DO)
