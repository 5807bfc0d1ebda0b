"""A name server for the names of `zone.py`, with the tempers that real ones have, by the first label of what is asked for.

    slow      answers after four seconds
    never     no answer at all
    garbage   bytes that are no message

Over UDP an answer larger than the question allows (512 bytes, or what EDNS says) is cut to its header with TC set; over TCP all
fits. Every question is noted under "dns".
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
from tests.lab.servers.zone import RECORDS, STUFFING

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW_SECONDS = 4.0
GARBAGE = b"\xff\xc0\x0c" * 9
TTL = 60


def answer(query: dns.message.Message) -> dns.message.Message:
    """The whole answer to a query, whatever its size."""
    reply = dns.message.make_response(query, recursion_available=True)
    if query.edns >= 0:
        reply.use_edns(0, payload=1232)
    question = query.question[0]
    name = question.name
    while (found := RECORDS.get(_key(name))) is not None:
        kind, values = found
        if kind in ("CNAME", dns.rdatatype.to_text(question.rdtype)):
            reply.answer.append(dns.rrset.from_text_list(name, TTL, "IN", kind, values))
        if kind != "CNAME":
            break
        name = dns.name.from_text(values[0])
    else:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    if (stuffing := STUFFING.get(_key(question.name))) is not None:
        for section in (reply.answer, reply.additional):
            section.append(dns.rrset.from_text(stuffing[0], TTL, "IN", "A", stuffing[1]))
    return reply


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
        _note(query, transport="udp", port=addr[1])
        _by_temper(query, udp_wire(query), lambda wire: self._transport.sendto(wire, addr))


async def tcp_names(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Port 53 on TCP: each message behind its length (RFC 1035 §4.2.2)."""
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            query = dns.message.from_wire(await reader.readexactly(length))
            _note(query, transport="tcp")
            wire = answer(query).to_wire(max_size=65535)
            _by_temper(query, wire, lambda wire: writer.write(len(wire).to_bytes(2, "big") + wire))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, dns.exception.DNSException):
        writer.close()


def _note(query: dns.message.Message, **facts: object) -> None:
    question = query.question[0]
    kind = dns.rdatatype.to_text(question.rdtype)
    note("dns", question=str(question.name), type=kind, id=query.id, **facts)


def _key(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


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
