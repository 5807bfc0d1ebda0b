"""A frame in words: one line, made of the `str()` of the records that each protocol's own file declares.

For people who watch: whatever cannot be read is described as far as it can be. Sequence numbers are shown relative to the first of
their direction, as every sniffer shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from usernat.nat.dhcp.message import CLIENT_PORT, SERVER_PORT, parse_message
from usernat.stack.addr import format_ip
from usernat.stack.l2.arp import ARP_CODEC
from usernat.stack.l3.icmp_message import ECHO, ECHO_REPLY, ECHO_REQUEST, ERROR
from usernat.stack.l3.ipv4_header import IPV4, PROTO_ICMP, PROTO_TCP, PROTO_UDP, Ipv4Header
from usernat.stack.l4.tcp.header import FIN, RST, SYN, TCP, TcpHeader
from usernat.stack.l4.udp import UDP, UdpHeader

_ETHERNET_LENGTH = 14
_ARP, _IPV4 = b"\x08\x06", b"\x08\x00"
_DNS_PORT = 53
_DHCP_NAMES = ("?", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")

FlowKey = tuple[int, ...]


@dataclass(slots=True)
class Description:
    """A frame, described.

    text: the line. peers: source and destination. flow: what conversation it belongs to, equal in both directions.
    size: payload bytes. ends: whether it belongs to the end of the conversation.
    """

    text: str
    peers: str = ""
    flow: FlowKey = ()
    size: int = 0
    ends: bool = False


class Describer:
    """Describes the frames of one link, in order."""

    def __init__(self) -> None:
        self._first_sequence: dict[FlowKey, int] = {}

    def describe(self, frame: bytes) -> Description:
        """The frame, as far as it can be read."""
        ethertype, body = frame[12:_ETHERNET_LENGTH], frame[_ETHERNET_LENGTH:]
        if ethertype == _ARP:
            return Description(str(ARP_CODEC.read(body) or "ARP, cut short"))
        header = IPV4.read(body) if ethertype == _IPV4 else None
        if header is None:
            return Description(f"frame of type {ethertype.hex()}, {len(frame)} bytes")
        payload = body[4 * header.ihl : header.total_length]
        described = self._transport(header, payload)
        described.peers = f"{format_ip(header.src)} > {format_ip(header.dst)}"
        return described

    def _transport(self, header: Ipv4Header, payload: bytes) -> Description:
        if header.proto == PROTO_TCP and (tcp := TCP.read(payload)) is not None:
            return self._tcp(header, tcp, len(payload) - 4 * tcp.data_offset)
        if header.proto == PROTO_UDP and (udp := UDP.read(payload)) is not None:
            flow = tuple(sorted((udp.src_port, udp.dst_port)))
            return Description(_udp(udp, payload[UDP.size :]), "", flow, len(payload) - UDP.size)
        if header.proto == PROTO_ICMP and payload:
            codec = ECHO if payload[0] in (ECHO_REQUEST, ECHO_REPLY) else ERROR
            return Description(str(codec.read(payload) or "ICMP, cut short"))
        return Description(str(header))

    def _tcp(self, header: Ipv4Header, tcp: TcpHeader, size: int) -> Description:
        forward = (header.src, tcp.source_port, header.dst, tcp.destination_port)
        backward = (header.dst, tcp.destination_port, header.src, tcp.source_port)
        if tcp.flags & SYN:
            self._first_sequence[forward] = tcp.sequence
        relative = tcp._replace(
            sequence=(tcp.sequence - self._first_sequence.get(forward, 0)) % 2**32,
            acknowledgment=(tcp.acknowledgment - self._first_sequence.get(backward, 0)) % 2**32,
        )
        data = f" {size:,} bytes" if size else ""
        return Description(
            f"{relative}{data}", "", min(forward, backward), size, ends=bool(tcp.flags & (FIN | RST))
        )


def _udp(udp: UdpHeader, data: bytes) -> str:
    """UDP, and what it carries where that is DHCP or DNS."""
    ports = {udp.src_port, udp.dst_port}
    if ports & {CLIENT_PORT, SERVER_PORT}:
        message = parse_message(data)
        if not isinstance(message, str):
            offered = f" {format_ip(message.yiaddr)}" if message.yiaddr else ""
            return f"DHCP {_DHCP_NAMES[message.type]}{offered} xid {message.xid:#010x}"
    if _DNS_PORT in ports:
        return _dns(data) or str(udp)
    return str(udp)


def _dns(data: bytes) -> str | None:
    """A DNS question or answer; None for what is none."""
    try:
        message = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return None
    asked = " ".join(f"{dns.rdatatype.to_text(q.rdtype)} {q.name}" for q in message.question)
    if not message.flags & dns.flags.QR:
        return f"DNS {asked}?"
    found = ", ".join(item.to_text() for rrset in message.answer for item in rrset)
    return f"DNS {asked}: {found or dns.rcode.to_text(message.rcode())}"
