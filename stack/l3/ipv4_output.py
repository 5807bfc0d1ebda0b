"""The way down through IPv4: find the way, cut if need be, put the header on, hand to Ethernet.

What does not change from one datagram to the next of a destination (who the neighbour is, how much fits) is looked up
once and kept until a route, an address or the path MTU changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, is_loopback, is_unicast
from usernat.stack.counters import Counters
from usernat.stack.device import MAX_DATAGRAM, Buffer, Capabilities
from usernat.stack.l2.ethernet import ETHERTYPE_IPV4, EthernetLayer, group_mac
from usernat.stack.l2.ethernet import HEADER_LENGTH as ETHERNET_HEADER
from usernat.stack.l3.fragment import fragments
from usernat.stack.l3.ip_id import IpIds
from usernat.stack.l3.ipv4_header import DEFAULT_TTL, FLAG_DF, FLAG_MF, HEADER_LENGTH, write_header
from usernat.stack.l3.options import copied
from usernat.stack.l3.packet import DROPPED, NO_ROUTE, TOO_BIG, SendResult
from usernat.stack.l3.path_mtu import PathMtu
from usernat.stack.l3.routes import Routes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from usernat.stack.l3.addresses import Addresses

MAX_PATHS = 4096


@dataclass(slots=True)
class Ipv4OutputCounters(Counters):
    """What was sent, and what could not be."""

    sent: int = 0
    fragments_made: int = 0
    too_big: int = 0
    no_route: int = 0
    foreign_source: int = 0
    no_identification: int = 0
    paths_evicted: int = 0


class Path:
    """What is known of one destination. mac: where it needs no resolving (broadcast, multicast)."""

    __slots__ = ("mac", "mtu", "next_hop", "source", "version")

    def __init__(self, next_hop: int, source: int | None, mtu: int, mac: bytes | None, version: int) -> None:
        self.next_hop = next_hop
        self.source = source
        self.mtu = mtu
        self.mac = mac
        self.version = version


class Ipv4Output:
    """Sends datagrams of the layers above. any_ip: as a gateway, also from addresses that are not ours.

    default_ttl: of datagrams whose sender names none, 1 to 255; to be changed at any time (RFC 1122 §3.2.1.7-c).
    """

    def __init__(
        self,
        ethernet: EthernetLayer,
        addresses: Addresses,
        capabilities: Capabilities,
        rng: Random,
        *,
        any_ip: bool = False,
    ) -> None:
        self.counters = Ipv4OutputCounters()
        self.routes = Routes(addresses)
        self.path_mtus = PathMtu(capabilities.mtu)
        self.ip_ids = IpIds(rng)
        self._ethernet = ethernet
        self.addresses = addresses
        self.any_ip = any_ip
        self.paths: dict[int, Path] = {}
        self.default_ttl = DEFAULT_TTL

    def send(
        self,
        proto: int,
        src: int,
        dst: int,
        parts: Sequence[Buffer],
        *,
        ttl: int | None = None,
        tos: int = 0,
        df: bool = True,
        gso_size: int = 0,
        csum_offset: int | None = None,
        now: int,
        mac: bytes | None = None,
        options: bytes = b"",
    ) -> SendResult:
        """Send one datagram; the result is one of those in `packet.py`.

        parts: the transport header (all of it in parts[0]) and its data. gso_size: the device cuts the segment into pieces of that many
        bytes; without df, each of the other parts becomes one. csum_offset: the device completes the checksum at that offset of the transport header. mac: the receiver's, where it
        must not be asked for by ARP (a DHCP client). tos, ttl: of this datagram (RFC 1122 §3.2.1.6-a, §3.4-a), `default_ttl` where not given; ValueError
        for a TTL that is not 1 to 255 (§3.2.1.7-a). options: as `options.py:to_send` made them. df: not to be fragmented, by us or on the way, so that path MTU discovery works (RFC 1191 §3-e).
        """
        if ttl is None:
            ttl = self.default_ttl
        if not 0 < ttl < 256:
            raise ValueError(f"a datagram's TTL is 1 to 255, not {ttl}")
        path = self.paths.get(dst)
        if path is None or path.version != self.routes.version:
            path = self._find(dst)
            if path is None:
                self.counters.no_route += 1
                return NO_ROUTE
        # RFC 1122 §3.2.1.3-b; 0.0.0.0 only while an address is being learnt (§3.2.1.3-e)
        if src not in self.addresses.own and not self.any_ip and (src or dst != LIMITED_BROADCAST):
            self.counters.foreign_source += 1
            return NO_ROUTE
        header_length = HEADER_LENGTH + len(options)
        length = header_length + sum(map(len, parts))
        if (length > path.mtu and not gso_size) or length > MAX_DATAGRAM:
            if df or length > MAX_DATAGRAM:
                self.counters.too_big += 1  # RFC 791 §3.2-frag-a, RFC 6864 §4.3-b
                return TOO_BIG
            return self._send_fragments(
                path, proto, src, dst, parts, ttl, tos, now, mac, options
            )  # RFC 1122 §3.3.3-b
        if df:
            ident = None
        elif gso_size:  # the device counts up from the first
            ident = self.ip_ids.run(src, dst, proto, len(parts) - 1, now)
        else:
            ident = self.ip_ids.next(src, dst, proto, now)
        # RFC 6864 §4.1-b: an atomic datagram's identification means nothing; where none is free, better atomic than mistaken for another
        flags = FLAG_DF if ident is None else 0
        header = write_header(
            tos, length, ident or 0, flags, ttl, proto, src, dst, options
        )  # RFC 1122 §3.2.1.8-a
        self.counters.sent += 1
        if csum_offset is None:
            return self._ethernet.send(path.next_hop, ETHERTYPE_IPV4, [header, *parts], now, mac or path.mac)
        return self._ethernet.send(
            path.next_hop,
            ETHERTYPE_IPV4,
            [header, *parts],
            now,
            mac or path.mac,
            gso_size=gso_size,
            csum_start=ETHERNET_HEADER + header_length,
            csum_offset=csum_offset,
            header_length=ETHERNET_HEADER + header_length + len(parts[0]),
        )

    def path_mtu(self, dst: int) -> int:
        """The largest datagram in bytes that is believed to reach `dst` whole."""
        return self.path_mtus.get(dst)

    def source_for(self, dst: int) -> int | None:
        """The address of ours to send to `dst` from, None where there is none or no route."""
        path = self.paths.get(dst)
        if path is None or path.version != self.routes.version:
            path = self._find(dst)
        return path.source if path is not None else None

    def doubt(self, dst: int, now: int) -> None:
        """Negative advice from a transport that hears nothing from `dst`: look whether the next hop lives (RFC 1122 §3.3.1.4)."""
        path = self.paths.get(dst)
        if path is not None:
            self._ethernet.neighbours.doubt(path.next_hop, now)

    def forget(self, dst: int) -> None:
        """Look the way to `dst` up anew: its path MTU has changed."""
        self.paths.pop(dst, None)

    def _find(self, dst: int) -> Path | None:
        """Look up the way to a destination, and keep it."""
        mac = _group_mac(dst, self.addresses)
        next_hop = dst
        if mac is None:
            if not is_unicast(dst) or is_loopback(dst) or dst in self.addresses.own:
                return None  # RFC 1122 §3.2.1.3-e, §3.2.1.3-f; and nothing of ours goes to ourselves by wire
            found = self.routes.next_hop(dst)
            if found is None:
                return None
            next_hop = found
        source = self.addresses.on_link(next_hop)
        if source is None:
            source = self.addresses.primary
        if len(self.paths) >= MAX_PATHS:
            del self.paths[next(iter(self.paths))]
            self.counters.paths_evicted += 1
        path = Path(next_hop, source, self.path_mtus.get(dst), mac, self.routes.version)
        self.paths[dst] = path
        return path

    def _send_fragments(
        self,
        path: Path,
        proto: int,
        src: int,
        dst: int,
        parts: Sequence[Buffer],
        ttl: int,
        tos: int,
        now: int,
        mac: bytes | None,
        options: bytes,
    ) -> SendResult:
        """Send in fragments, which share an identification (RFC 791 §3.2-frag-c); all options are in the first, some in each."""
        ident = self.ip_ids.next(src, dst, proto, now)
        if ident is None:
            self.counters.no_identification += 1
            return DROPPED
        result = NO_ROUTE
        for offset, more, pieces in fragments(parts, path.mtu - HEADER_LENGTH - len(options)):
            length = HEADER_LENGTH + len(options) + sum(map(len, pieces))
            flags_offset = offset >> 3 | (FLAG_MF if more else 0)
            header = write_header(tos, length, ident, flags_offset, ttl, proto, src, dst, options)
            if not offset:
                options = copied(options)
            self.counters.fragments_made += 1
            result = self._ethernet.send(
                path.next_hop, ETHERTYPE_IPV4, [header, *pieces], now, mac or path.mac
            )
        self.counters.sent += 1
        return result


def _group_mac(dst: int, addresses: Addresses) -> bytes | None:
    """RFC 1122 §3.3.6-b, -c: a broadcast or multicast datagram goes in a frame of that kind, on the link itself."""
    return MAC_BROADCAST if addresses.is_broadcast(dst) else group_mac(dst)
