"""ICMP errors that we send: about what, how much of it is quoted, how often.

All the bans are in one place and look at the offending datagram itself, so that no caller can get around them
(RFC 1122 §3.2.2, RFC 1812 §4.3.2.7-g). Errors wait in a bounded queue until the interface transmits; the rate limit is applied there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from usernat.stack.addr import is_loopback, is_multicast, is_unicast
from usernat.stack.counters import Counters
from usernat.stack.l3.icmp_message import (
    CODE_FRAGMENTATION_NEEDED,
    ICMP_HEADER_LENGTH,
    PARAMETER_PROBLEM,
    QUERIES,
    TIME_EXCEEDED,
    UNREACHABLE,
    Quote,
    read_quote,
    write_error,
)
from usernat.stack.l3.ipv4_header import HEADER_LENGTH, PROTO_ICMP
from usernat.stack.l3.packet import QUEUED, SENT, Packet
from usernat.stack.l3.token_bucket import TokenBucket

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.l3.addresses import Addresses
    from usernat.stack.l3.ipv4_output import Ipv4Output

MAX_ERROR = 576 - HEADER_LENGTH - ICMP_HEADER_LENGTH  # bytes quoted: RFC 1812 §4.3.2.3-a
MAX_PENDING = 256
RATE = 1000  # errors a second, over all
BURST = 50
DSCP = 0xFC
SENT_TYPES = frozenset({UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM})


@dataclass(slots=True)
class IcmpErrorCounters(Counters):
    """Errors sent, and those that must not be."""

    sent: int = 0
    not_sent: int = 0
    queue_full: int = 0
    rate_limited: int = 0
    no_source: int = 0
    about_error: int = 0
    about_broadcast: int = 0
    about_fragment: int = 0
    about_bad_source: int = 0
    about_malformed: int = 0
    bad_type: int = 0


class _Pending(NamedTuple):
    src: int
    dst: int
    tos: int
    parts: list[Buffer]


class IcmpErrors:
    """Sends ICMP errors, within the rules. What the rules forbid is counted, and False."""

    def __init__(self, output: Ipv4Output, addresses: Addresses, now: int) -> None:
        self.counters = IcmpErrorCounters()
        self._output = output
        self._addresses = addresses
        self._pending: deque[_Pending] = deque()
        self._bucket = TokenBucket(RATE, BURST, now)

    def limit(self, rate: int, burst: int, now: int) -> None:
        """Allow `rate` errors a second, `burst` at once (RFC 1812 §4.3.2.8-a)."""
        self._bucket = TokenBucket(rate, burst, now)

    def unreachable(self, packet: Packet, code: int, mtu: int = 0) -> bool:
        """Destination Unreachable. mtu: of the next hop in bytes, with code 4 (RFC 1191 §4-a)."""
        return self._about(packet, UNREACHABLE, code, mtu=mtu if code == CODE_FRAGMENTATION_NEEDED else 0)

    def time_exceeded(self, packet: Packet, code: int) -> bool:
        """Time Exceeded: code 0 in transit, 1 in reassembly (RFC 792 te-b)."""
        return self._about(packet, TIME_EXCEEDED, code)

    def parameter_problem(self, packet: Packet, pointer: int) -> bool:
        """Parameter Problem: `pointer` is the offset of the octet in error (RFC 792 pp-a)."""
        return self._about(packet, PARAMETER_PROBLEM, 0, pointer=pointer)

    def error(
        self,
        type_: int,
        code: int,
        quote: Buffer,
        *,
        source: int | None = None,
        mtu: int = 0,
        pointer: int = 0,
    ) -> bool:
        """Send an error about the datagram that `quote` begins (from its IP header on, as it was received), to its source.

        source: who reports it; where not given, the address of ours that the datagram was for, or else one near its source.
        True where the error waits to be sent.
        """
        if type_ not in SENT_TYPES:
            # RFC 1122 §3.2.2.2-a, RFC 1812 §4.3.3.3-a: no Redirect, no Source Quench
            self.counters.bad_type += 1
            return False
        quoted = read_quote(quote)
        if quoted is None:
            self.counters.about_malformed += 1  # RFC 1812 §4.3.2.7-b
            return False
        if not self._allowed(quoted):
            return False
        if source is None:
            source = self._source(quoted)
        if source is None:
            self.counters.no_source += 1
            return False
        if len(self._pending) >= MAX_PENDING:
            self.counters.queue_full += 1
            return False
        # RFC 1122 §3.2.2-b, -c, RFC 1812 §4.3.2.3-b: octets as they were received, copied lest they hold a large frame
        octets = bytes(quoted.datagram[:MAX_ERROR])
        # The DSCP is the offender's (RFC 1812 §4.3.2.5-a, RFC 5508 §7.7-a; a departure from RFC 1122 §3.2.2-e)
        tos = quoted.tos & DSCP
        parts = write_error(type_, code, octets, mtu=mtu, pointer=pointer)
        self._pending.append(_Pending(source, quoted.src, tos, parts))
        return True

    @property
    def pending(self) -> bool:
        """Whether `transmit` has something to do."""
        return bool(self._pending)

    def transmit(self, now: int) -> None:
        """Send the oldest error that waits, unless that would be too many."""
        src, dst, tos, parts = self._pending.popleft()
        if not self._bucket.take(now):
            self.counters.rate_limited += 1  # RFC 1812 §4.3.2.8-a
            return
        # RFC 1812 §4.3.2.2-a: the TTL is a fresh one
        result = self._output.send(PROTO_ICMP, src, dst, parts, tos=tos, df=False, now=now)
        if result in {SENT, QUEUED}:
            self.counters.sent += 1
        else:
            self.counters.not_sent += 1

    def _about(self, packet: Packet, type_: int, code: int, mtu: int = 0, pointer: int = 0) -> bool:
        if packet.broadcast:
            self.counters.about_broadcast += 1  # RFC 1122 §3.2.2-g, -h, RFC 1812 §4.3.2.7-c, -d
            return False
        return self.error(type_, code, packet.datagram, mtu=mtu, pointer=pointer)

    def _allowed(self, quoted: Quote) -> bool:
        counters, addresses = self.counters, self._addresses
        if quoted.proto == PROTO_ICMP and quoted.fragment_offset == 0 and quoted.icmp_type not in QUERIES:
            counters.about_error += 1  # RFC 792 general-a, RFC 1122 §3.2.2-f, RFC 1812 §4.3.2.7-a
        elif quoted.fragment_offset:
            counters.about_fragment += 1  # RFC 792 general-b, RFC 1122 §3.2.2-i, RFC 1812 §4.3.2.7-f
        elif is_multicast(quoted.dst) or addresses.is_broadcast(quoted.dst):
            counters.about_broadcast += 1  # RFC 1122 §3.2.2-g, RFC 1812 §4.3.2.7-c
        elif (
            not is_unicast(quoted.src)
            or is_loopback(quoted.src)
            or addresses.is_broadcast(quoted.src)
            or quoted.src in addresses.own
        ):
            counters.about_bad_source += 1  # RFC 1122 §3.2.2-j, RFC 1812 §4.3.2.7-e
        else:
            return True
        return False

    def _source(self, quoted: Quote) -> int | None:
        """RFC 1122 §3.3.4.2-a where the datagram was for us, RFC 1812 §4.3.2.4-a where it was to go on."""
        if quoted.dst in self._addresses.own:
            return quoted.dst
        return self._output.source_for(quoted.src)
