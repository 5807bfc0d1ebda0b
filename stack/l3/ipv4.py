"""IPv4: what comes in is validated in the order of the RFCs, put together, and handed up as a `Packet`.

    header sound?  ->  source and destination possible?  ->  whose is it?  ->  options, TTL  ->  whole?  ->  Packet
    (silent drop)      (silent drop)                         (ours, broadcast,   (ICMP error)    (reassembly)
                                                              or forwarded)

A host takes what is sent to it. A gateway (`any_ip`) also takes unicast for any other address, once it would have forwarded
it: the source, the destination and the TTL are checked as RFC 1812 has it, and the layers above answer in that address's place.

The way down is `ipv4_output.py`; the errors that this layer draws go through `icmp_errors.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.stack.addr import is_loopback, is_multicast, is_unicast
from usernat.stack.counters import Counters
from usernat.stack.deadlines import earliest
from usernat.stack.l3.addresses import ALL_HOSTS, Addresses
from usernat.stack.l3.icmp_errors import IcmpErrors
from usernat.stack.l3.icmp_message import CODE_REASSEMBLY_TIMEOUT, CODE_TTL_EXCEEDED, IcmpError
from usernat.stack.l3.ipv4_header import HEADER_LENGTH, IPV4, PROTO_UDP, VERSION
from usernat.stack.l3.ipv4_output import Ipv4Output
from usernat.stack.l3.options import OPTIONS_OK, OPTIONS_SOURCE_ROUTE, check_options
from usernat.stack.l3.packet import Packet
from usernat.stack.l3.reassembly import Reassembly
from usernat.stack.l3.segment_output import SegmentOutput

if TYPE_CHECKING:
    from random import Random

    from usernat.stack.device import Capabilities
    from usernat.stack.l2.ethernet import EthernetLayer
    from usernat.stack.l2.source_validation import SourceValidation

__all__ = ["Ipv4Layer", "Packet"]

LOCAL, BROADCAST, FORWARD, NOT_OURS = range(4)  # what a destination address means to us
NO_OPTIONS = memoryview(b"")


@dataclass(slots=True)
class Ipv4Counters(Counters):
    """What was received, and why what was dropped was dropped (RFC 1122 §3.1-c)."""

    received: int = 0
    truncated: int = 0
    bad_version: int = 0
    bad_header_length: int = 0
    bad_total_length: int = 0
    bad_checksum: int = 0
    martian_source: int = 0
    martian_destination: int = 0
    own_source: int = 0
    spoofed_source: int = 0
    not_ours: int = 0
    group_not_joined: int = 0
    group_frame_unicast: int = 0
    source_route: int = 0
    bad_options: int = 0
    ttl_exceeded: int = 0
    strange_path_mtu: int = 0


class Ipv4Layer:
    """The IPv4 of one interface. sources: says who may send from which address; None: anybody from any."""

    def __init__(
        self,
        ethernet: EthernetLayer,
        addresses: Addresses,
        capabilities: Capabilities,
        rng: Random,
        now: int,
        *,
        any_ip: bool = False,
        reassembly: Reassembly | None = None,
    ) -> None:
        self.counters = Ipv4Counters()
        self.addresses = addresses
        self.any_ip = any_ip
        self.sources: SourceValidation | None = None
        self.reassembly = reassembly if reassembly is not None else Reassembly()
        self.output = Ipv4Output(ethernet, addresses, capabilities, rng, any_ip=any_ip)
        self.errors = IcmpErrors(self.output, addresses, now)
        self.routes = self.output.routes
        self.send = self.output.send
        self.send_segment = SegmentOutput(self.output, ethernet).send
        self.path_mtu = self.output.path_mtu
        self.source_for = self.output.source_for
        self.doubt = self.output.doubt
        self._polls = (self.reassembly.poll_at, self.output.path_mtus.poll_at, self.routes.poll_at)

    def receive(
        self, payload: memoryview, group: bool, now: int, checksum_ok: bool, link_source: bytes
    ) -> Packet | None:
        """Take the payload of a frame, padding included; returns a whole datagram that is for us, or None.

        group: the frame was sent to a link-layer broadcast or multicast address. checksum_ok: the device vouches for the
        transport checksum. All checks stand in one function, in the order in which the header is to be trusted: it runs for every
        datagram, and calls would be half of its cost.
        """
        counters = self.counters
        counters.received += 1
        values = IPV4.read_values(payload)
        if values is None:
            counters.truncated += 1  # RFC 1812 §5.2.2-a
            return None
        version, ihl, tos, total_length, ident, _, df, more, offset, ttl, proto, _, src, dst = values
        if version != VERSION:
            counters.bad_version += 1  # RFC 1122 §3.2.1.1-a
            return None
        header_length = ihl << 2
        if header_length < HEADER_LENGTH or header_length > len(payload):
            counters.bad_header_length += 1  # RFC 791 §3.1-a
            return None
        if total_length < header_length or total_length > len(payload):
            counters.bad_total_length += 1  # RFC 791 §3.1-a, RFC 1812 §5.2.2-b
            return None
        # RFC 1122 §3.2.1.2-a: a sound header is 0xFFFF in ones' complement, and 4 in front keeps it from being all zero
        if int.from_bytes(payload[:header_length], "big") % 65535:
            counters.bad_checksum += 1
            return None
        if not self._source_is_sound(src, dst, proto):
            return None
        # RFC 1812 §5.3.8-a: before anything is put together or answered
        sources = self.sources
        if (
            sources is not None
            and sources.bindings.get(src) != link_source
            and src
            and not sources.admit(src, link_source)
        ):
            self.counters.spoofed_source += 1
            return None
        kind = self._destination(dst)
        if kind == NOT_OURS:
            return None
        if group and kind != BROADCAST:
            counters.group_frame_unicast += 1  # RFC 1122 §3.3.6-d
            return None
        packet = Packet(
            src,
            dst,
            proto,
            ttl,
            tos,
            df,
            payload[header_length:total_length],  # RFC 791 §3.1-b: padding is left behind
            payload[:total_length],
            payload[HEADER_LENGTH:header_length] if header_length > HEADER_LENGTH else NO_OPTIONS,
            kind == FORWARD,
            group or kind == BROADCAST,
            checksum_ok,
            link_source,
        )
        if header_length > HEADER_LENGTH and not self._options_are_sound(packet):
            return None
        # RFC 791 §3.1-e, RFC 792 te-a, RFC 1812 §5.3.1-b; but never because of it where we are the end of the way (RFC 1122 §3.2.1.7-b)
        if kind == FORWARD and ttl <= 1:
            counters.ttl_exceeded += 1
            self.errors.time_exceeded(packet, CODE_TTL_EXCEEDED)
            return None
        if more or offset:  # RFC 1122 §3.2.1.4-a, RFC 1812 §4.2.2.8-a
            packet.checksum_ok = False  # it was said of the fragment
            return self.reassembly.add(packet, ident, offset << 3, more, now)
        # RFC 791 §3.2-reas-b; but the identification of an atomic datagram means nothing (RFC 6864 §4.1-a, -c)
        if not df and len(self.reassembly):
            self.reassembly.flush(src, dst, proto, ident)
        return packet

    def is_sound(self, src: int, dst: int) -> bool:
        """Whether `receive` lets datagrams between these unicast addresses pass, by the addresses alone. Counts nothing."""
        addresses = self.addresses
        for address in (src, dst):
            if not is_unicast(address) or is_loopback(address) or address in addresses.broadcasts:
                return False
        return src not in addresses.own and (self.any_ip or dst in addresses.own)

    def add_address(self, address: int, prefix: int) -> None:
        """Take an address. ValueError for one that cannot be a host's."""
        self.addresses.add(address, prefix)
        self.routes.version += 1

    def remove_address(self, address: int) -> None:
        """Give an address up. ValueError where it is not ours."""
        self.addresses.remove(address)
        self.routes.version += 1

    def max_receive(self) -> int:
        """The largest transport message in bytes that can be received, MMS_R (RFC 1122 §3.3.2-c)."""
        return self.reassembly.max_datagram - HEADER_LENGTH

    def max_send(self, dst: int) -> int:
        """The largest transport message in bytes that goes to `dst` in one piece, MMS_S (RFC 1122 §3.3.3-a)."""
        return self.path_mtu(dst) - HEADER_LENGTH

    def too_big(self, error: IcmpError, now: int) -> bool:
        """Learn the path MTU from a "fragmentation needed" (RFC 1191 §3-a) whose quote the transport has found genuine (§6.2-a, RFC 5927 §7).

        There is no router on the way to a neighbour, so about that way nobody is believed but the neighbour itself, which may
        have translated for somebody behind it. True where the estimate went down, so that what was lost is to be sent again in smaller pieces.
        """
        if error.source != error.dst and self.addresses.on_link(error.dst) is not None:
            self.counters.strange_path_mtu += 1
            return False
        lowered = self.output.path_mtus.too_big(error.dst, error.mtu, error.datagram_length, now)
        if lowered:
            self.output.forget(error.dst)
        return lowered

    def poll_at(self) -> int | None:
        """When something here is due."""
        return earliest(self._polls)

    def on_time(self, now: int) -> None:
        """Let go of what has timed out, and tell the senders of what was never put together."""
        for first in self.reassembly.expire(now):
            self.errors.time_exceeded(first, CODE_REASSEMBLY_TIMEOUT)
        for dst in self.output.path_mtus.expire(now):
            self.output.forget(dst)
        self.routes.on_time(now)

    def _source_is_sound(self, src: int, dst: int, proto: int) -> bool:
        """RFC 1122 §3.2.1.3-d, -e, -f, and for UDP §4.1.3.6-a; RFC 1812 §5.3.7-a."""
        addresses = self.addresses
        if src in addresses.own:
            self.counters.own_source += 1
            return False
        if is_unicast(src) and not is_loopback(src) and src not in addresses.broadcasts:
            return True
        if src == 0 and proto == PROTO_UDP and dst in addresses.broadcasts:
            return True  # a host that is asking for its address
        self.counters.martian_source += 1
        return False

    def _destination(self, dst: int) -> int:
        """What the address means to us; counted where that is nothing."""
        addresses, counters = self.addresses, self.counters
        if dst in addresses.own:
            return LOCAL
        if dst in addresses.broadcasts or dst == ALL_HOSTS:
            return BROADCAST
        if is_multicast(dst):
            counters.group_not_joined += 1
        elif not is_unicast(dst) or is_loopback(dst):
            counters.martian_destination += 1  # RFC 1122 §3.2.1.3-e, -f, RFC 1812 §5.3.7-b
        elif self.any_ip:
            return FORWARD
        else:
            counters.not_ours += 1  # RFC 1122 §3.1-b, §3.2.1.3-c
        return NOT_OURS

    def _options_are_sound(self, packet: Packet) -> bool:
        wrong = check_options(packet.options)
        if wrong == OPTIONS_OK:
            return True
        if wrong == OPTIONS_SOURCE_ROUTE:
            self.counters.source_route += 1
            return False
        self.counters.bad_options += 1
        # RFC 1122 §3.2.2.5-a, RFC 1812 §4.3.3.5-a
        self.errors.parameter_problem(packet, HEADER_LENGTH + wrong)
        return False
