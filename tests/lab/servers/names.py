"""A name server for the zone lab.test, with the tempers that real ones have.

    www       A 203.0.113.80              alias     CNAME www
    many      60 addresses, about 1,000 bytes: more than 512
    huge      200 addresses, about 3,200 bytes: more than 1,232
    text      TXT of three strings        slow      answers after four seconds
    never     no answer at all            garbage   bytes that are no message

Anything else does not exist. Over UDP an answer larger than the question allows (512 bytes, or what EDNS says) is cut to its
header with TC set; over TCP all fits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.lab.servers.notes import note

if TYPE_CHECKING:
    from collections.abc import Callable

ZONE = dns.name.from_text("lab.test.")
SLOW_SECONDS = 4.0
GARBAGE = b"\xff\xc0\x0c" * 9
WWW = "203.0.113.80"
TTL = 60

RECORDS: dict[str, tuple[str, list[str]]] = {
    "www": ("A", [WWW]),
    "alias": ("CNAME", ["www.lab.test."]),
    "many": ("A", [f"203.0.113.{host}" for host in range(100, 160)]),
    "huge": ("A", [f"198.51.100.{host}" for host in range(1, 201)]),
    "text": ("TXT", ['"one" "two words" "three"']),
    "slow": ("A", [WWW]),
    "never": ("A", [WWW]),
    "garbage": ("A", [WWW]),
}


def answer(query: dns.message.Message) -> dns.message.Message:
    """The whole answer to a query, whatever its size."""
    reply = dns.message.make_response(query, recursion_available=True)
    if query.edns >= 0:
        reply.use_edns(0, payload=1232)
    question = query.question[0]
    name = question.name
    while True:
        label = name.relativize(ZONE).to_text().lower()
        if not name.is_subdomain(ZONE) or label not in RECORDS:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            return reply
        kind, values = RECORDS[label]
        if kind in ("CNAME", dns.rdatatype.to_text(question.rdtype)):
            reply.answer.append(dns.rrset.from_text_list(name, TTL, "IN", kind, values))
        if kind != "CNAME":
            return reply
        name = dns.name.from_text(values[0])


def udp_wire(query: dns.message.Message) -> bytes:
    """The answer as it leaves over UDP: cut where it does not fit (RFC 2181 §9, RFC 6891 §6.2.3)."""
    room = max(512, query.payload) if query.edns >= 0 else 512
    reply = answer(query)
    wire = reply.to_wire(max_size=65535)
    if len(wire) <= room:
        return wire
    reply.answer.clear()
    reply.flags |= dns.flags.TC
    return reply.to_wire()


class UdpNames(asyncio.DatagramProtocol):
    """Port 53 on UDP."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return
        note("dns", question=str(query.question[0].name), transport="udp", port=addr[1], id=query.id)
        _by_temper(query, udp_wire(query), lambda wire: self._transport.sendto(wire, addr))


async def tcp_names(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Port 53 on TCP: each message behind its length (RFC 1035 §4.2.2)."""
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            query = dns.message.from_wire(await reader.readexactly(length))
            note("dns", question=str(query.question[0].name), transport="tcp", id=query.id)
            wire = answer(query).to_wire(max_size=65535)
            _by_temper(query, wire, lambda wire: writer.write(len(wire).to_bytes(2, "big") + wire))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, dns.exception.DNSException):
        writer.close()


def _by_temper(query: dns.message.Message, wire: bytes, send: Callable[[bytes], object]) -> None:
    """Send an answer as the name asked for: well, late, never or as garbage."""
    match str(query.question[0].name).lower().partition(".")[0]:
        case "slow":
            asyncio.get_running_loop().call_later(SLOW_SECONDS, send, wire)
        case "never":
            pass
        case "garbage":
            send(GARBAGE)
        case _:
            send(wire)
