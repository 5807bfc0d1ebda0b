"""An answer without the records that its guest shall not have. Written anew by dnspython, since a record cannot be cut out of the middle: names
behind it may point into it.

All else stays as it was said, the question's spelling included; but what has been tampered with is no longer authentic, so AD is cleared
(RFC 4035 §3.2.3), and the client that speaks EDNS is told that records were withheld (RFC 8914 §4.16). Signatures stay: a guest that
validates finds that they do not fit, and that is the truth. A message signed as a whole (TSIG) cannot be altered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype

from usernat.nat.dns.message import BLOCKED, MAX_MESSAGE
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from collections.abc import Container

    from dns.rrset import RRset

SERVICES = (dns.rdatatype.SVCB, dns.rdatatype.HTTPS)


def without(data: bytes, kept: Container[int], *, services: bool) -> bytes | None:
    """The message with A records of the addresses in `kept` only, and SVCB and HTTPS records only if `services`. None where it cannot be made."""
    try:
        # One record a set: so they keep their order and each its TTL
        message = dns.message.from_wire(data, ignore_trailing=True, one_rr_per_rrset=True)
        for section in (message.answer, message.authority, message.additional):
            section[:] = [record for record in section if _stays(record, kept, services=services)]
        message.flags &= ~dns.flags.AD
        if message.edns >= 0:
            options = [*message.options, BLOCKED]
            message.use_edns(message.edns, message.ednsflags, message.payload, options=options)
        wire: bytes = message.to_wire(max_size=MAX_MESSAGE)
    except dns.exception.DNSException:
        return None
    return wire


def _stays(record: RRset, kept: Container[int], *, services: bool) -> bool:
    if record.rdtype in SERVICES:
        return services
    is_address = record.rdtype == dns.rdatatype.A and record.rdclass == dns.rdataclass.IN
    return not is_address or parse_ip(record[0].address) in kept
