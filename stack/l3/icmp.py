"""ICMP: the echo server, and the way up of errors (RFC 792, RFC 1122 §3.2.2).

Echo requests to our own addresses are answered here. Those that are for other addresses (gateway mode), and replies, go up as
`EchoMessage`; errors whose quote is a datagram that we may have sent go up as `IcmpError`, and it is for the transport to
find out whether it did (RFC 5927). Everything else ends here under a name.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from usernat.stack.checksum import checksum, update
from usernat.stack.counters import Counters
from usernat.stack.l3.icmp_message import (
    CODE_FRAGMENTATION_NEEDED,
    ECHO,
    ECHO_REPLY,
    ECHO_REQUEST,
    ERROR,
    ICMP_HEADER_LENGTH,
    MIN_QUOTED,
    PARAMETER_PROBLEM,
    TIME_EXCEEDED,
    UNREACHABLE,
    EchoHeader,
    EchoMessage,
    IcmpError,
    read_quote,
)
from usernat.stack.l3.ipv4_header import PROTO_ICMP
from usernat.stack.l3.packet import QUEUED, SENT, Packet

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.l3.ipv4 import Ipv4Layer

MAX_REPLIES = 256
MAX_REPLY_BYTES = 1 << 20
# RFC 1122 §3.2.2.1-b, §3.2.2.4-a, §3.2.2.5-b: they go up, and change nothing here
ERRORS = frozenset({UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM})
IGNORED = {  # type -> counter
    4: "source_quench_ignored",  # RFC 6633 §5, RFC 9293 §3.9.2.2 MUST-55
    5: "redirect_ignored",  # RFC 1122 §3.2.2.2-c: there is no better first hop, and a forged one would be worse
    9: "router_discovery_ignored",
    10: "router_discovery_ignored",
    13: "timestamp_ignored",
    14: "timestamp_ignored",
    15: "information_ignored",  # RFC 1122 §3.2.2.7-a
    16: "information_ignored",
    17: "mask_ignored",
    18: "mask_ignored",
}


@dataclass(slots=True)
class IcmpCounters(Counters):
    """What came in and what became of it."""

    received: int = 0
    truncated: int = 0
    bad_checksum: int = 0
    echo_requests: int = 0
    echo_replies_sent: int = 0
    echo_not_answered: int = 0
    echo_broadcast: int = 0
    echo_queue_full: int = 0
    errors_received: int = 0
    error_broadcast: int = 0
    error_bad_quote: int = 0
    error_misdirected: int = 0
    source_quench_ignored: int = 0
    redirect_ignored: int = 0
    router_discovery_ignored: int = 0
    timestamp_ignored: int = 0
    information_ignored: int = 0
    mask_ignored: int = 0
    unknown_type: int = 0


class _Reply(NamedTuple):
    src: int
    dst: int
    tos: int
    header: bytes
    data: memoryview


class IcmpLayer:
    """The ICMP of one interface, with its echo server (RFC 1122 §3.2.2.6-a, RFC 1812 §4.3.3.6-a).

    answer_echo: whether pings to our addresses are answered (RFC 1812 §4.3.3.6-b).
    """

    def __init__(self, ipv4: Ipv4Layer) -> None:
        self.counters = IcmpCounters()
        self.answer_echo = True
        self.errors = ipv4.errors
        self.unreachable = ipv4.errors.unreachable
        self.time_exceeded = ipv4.errors.time_exceeded
        self.error = ipv4.errors.error
        self._ipv4 = ipv4
        self._replies: deque[_Reply] = deque()
        self._reply_bytes = 0

    def receive(self, packet: Packet) -> IcmpError | EchoMessage | None:
        """Take an ICMP datagram; returns what concerns the layers above."""
        counters = self.counters
        counters.received += 1
        if len(packet.payload) < ICMP_HEADER_LENGTH:
            counters.truncated += 1
            return None
        if checksum(packet.payload):
            counters.bad_checksum += 1  # RFC 792 general-d, RFC 5508 REQ-3
            return None
        type_ = packet.payload[0]
        if type_ in {ECHO_REQUEST, ECHO_REPLY}:
            return self._echo(packet)
        if type_ in ERRORS:
            return self._error(packet)
        # RFC 1122 §3.2.2-a, RFC 1812 §4.3.2.1-a
        name = IGNORED.get(type_, "unknown_type")
        setattr(counters, name, getattr(counters, name) + 1)
        return None

    @property
    def pending(self) -> bool:
        """Whether `transmit` has something to do."""
        return bool(self._replies) or self.errors.pending

    def transmit(self, now: int) -> None:
        """Send one reply, or else one error, of those that wait."""
        if not self._replies:
            self.errors.transmit(now)
            return
        src, dst, tos, header, data = self._replies.popleft()
        self._reply_bytes -= len(data)
        parts: list[Buffer] = [header, data]
        # A fresh TTL (RFC 1812 §4.3.2.2-a), the request's TOS (§4.3.2.5-b), all of its data (RFC 1122 §3.2.2.6-e)
        if self._ipv4.send(PROTO_ICMP, src, dst, parts, tos=tos, df=False, now=now) in {SENT, QUEUED}:
            self.counters.echo_replies_sent += 1
        else:
            self.counters.echo_not_answered += 1

    def _echo(self, packet: Packet) -> EchoMessage | None:
        header = ECHO.read(packet.payload)
        assert header is not None, "its length was checked"
        is_request = header.type == ECHO_REQUEST
        if packet.broadcast:
            self.counters.echo_broadcast += 1  # RFC 1122 §3.2.2.6-c: no part in an amplifier
            return None
        if is_request and not packet.forwarded:
            self.counters.echo_requests += 1
            self._answer(packet, header)
            return None
        return EchoMessage(packet, header.ident, header.seq, is_request)

    def _answer(self, packet: Packet, request: EchoHeader) -> None:
        if not self.answer_echo:
            self.counters.echo_not_answered += 1
            return
        data = packet.payload[ICMP_HEADER_LENGTH:]
        if len(self._replies) >= MAX_REPLIES or self._reply_bytes + len(data) > MAX_REPLY_BYTES:
            self.counters.echo_queue_full += 1
            return
        # RFC 792 echo-a: only the first word changes, so the checksum is updated and the data not summed again. Of the two
        # zeros of ones' complement, 0xFFFF is right for every message, also for one that is zero throughout.
        old = request.type << 8 | request.code
        sum_ = update(request.checksum, old, ECHO_REPLY << 8) or 0xFFFF
        reply = request._replace(type=ECHO_REPLY, code=0, checksum=sum_)
        self._reply_bytes += len(data)
        # RFC 1122 §3.2.2.6-d, RFC 1812 §4.3.3.6-c: from the very address that was asked
        self._replies.append(_Reply(packet.dst, packet.src, packet.tos, ECHO.write(reply), data))

    def _error(self, packet: Packet) -> IcmpError | None:
        counters = self.counters
        counters.errors_received += 1
        if packet.broadcast:
            counters.error_broadcast += 1
            return None
        header = ERROR.read(packet.payload)
        assert header is not None, "its length was checked"
        octets = packet.payload[ICMP_HEADER_LENGTH:]
        if header.length:
            # RFC 5508 REQ-3d: extensions are no part of the quote (RFC 4884 §4)
            octets = octets[: header.length << 2]
        quote = read_quote(octets)
        if (
            quote is None
            or not quote.checksum_right
            or len(quote.payload) < MIN_QUOTED
            or quote.fragment_offset
        ):
            counters.error_bad_quote += 1  # RFC 5508 REQ-3a, -b; the transport checksum is not asked for, -c
            return None
        if quote.src != packet.dst:
            counters.error_misdirected += 1  # an error goes to the source of what it is about
            return None
        needs_mtu = header.type == UNREACHABLE and header.code == CODE_FRAGMENTATION_NEEDED
        return IcmpError(
            header.type,
            header.code,
            quote,
            packet.src,
            mtu=header.mtu if needs_mtu else 0,
            pointer=header.pointer if header.type == PARAMETER_PROBLEM else 0,
        )
