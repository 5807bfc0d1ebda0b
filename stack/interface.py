"""One interface: the layers tied together, with one entrance, one exit and one deadline.

    receive(frame) -> ethernet -> arp
                               -> ipv4 -> icmp -> echo, and errors to whom they concern
                                       -> udp, tcp
    transmit() <- ethernet.outgoing <- what layers pushed (ARP), and what is pulled from them, a little at a time

Nothing here knows a protocol; this file says only who is asked, in which order. A batch is `receive` for every frame there is, then the
owner serves `ready()`, then `transmit`: acknowledgements and data leave only there, so that one ACK answers a batch
(RFC 9293 §3.10.7.4 MUST-58). Whatever is pulled has bounds of its own, so that `outgoing` holds one datagram's frames at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from usernat.stack.addr import MAC_ZERO
from usernat.stack.counters import Counters
from usernat.stack.deadlines import earliest
from usernat.stack.early_demux import EarlyDemux
from usernat.stack.l2.arp import ArpLayer
from usernat.stack.l2.ethernet import ETHERTYPE_ARP, EthernetLayer
from usernat.stack.l2.neighbour import NeighbourConfig
from usernat.stack.l3.addresses import Addresses
from usernat.stack.l3.icmp import IcmpLayer
from usernat.stack.l3.icmp_message import (
    CODE_HOST_UNREACHABLE,
    CODE_PROTOCOL_UNREACHABLE,
    UNREACHABLE,
    EchoMessage,
    IcmpError,
    read_quote,
)
from usernat.stack.l3.ipv4 import Ipv4Layer
from usernat.stack.l3.ipv4_header import PROTO_ICMP, PROTO_TCP, PROTO_UDP
from usernat.stack.l4.echo import EchoLayer
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.layer import TcpLayer
from usernat.stack.l4.udp import UdpLayer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from usernat.stack.device import Buffer, Capabilities, Frame
    from usernat.stack.l2.source_validation import SourceValidation
    from usernat.stack.l3.packet import Packet
    from usernat.stack.l3.reassembly import Reassembly

OUTGOING_LIMIT = 2048  # frames: more than the largest datagram makes at the smallest MTU
# A datagram of 65,535 bytes in fragments of 1,500 waits for its neighbour's answer whole.
NEIGHBOURS = NeighbourConfig(waiting_each=64, waiting_all=512)
TCP_TURN = 8  # segments that TCP sends in its turn while others wait for theirs


@dataclass(slots=True)
class InterfaceCounters(Counters):
    """What no layer can count, for it belongs to none."""

    unknown_protocol: int = 0
    errors_unclaimed: int = 0


class Interface:
    """A TCP/IP host (RFC 1122 §3.1-a), or (any_ip) the stack of a gateway, on one Ethernet link.

    mac: six bytes, a unicast address. addresses: (address, prefix length); the first is the primary. gateways: default ones, the preferred first.
    All of them are set by hand (RFC 1122 §3.3.1.6-a) and can be changed later. any_ip: unicast for any address is accepted, and answered from that address. rng: for everything that must not be
    foretold. now: µs. neighbours, reassembly: bounds and times of those tables. ValueError for what cannot be.
    """

    def __init__(
        self,
        *,
        mac: bytes,
        capabilities: Capabilities,
        rng: Random,
        now: int,
        addresses: Iterable[tuple[int, int]] = (),
        gateways: Iterable[int] = (),
        any_ip: bool = False,
        tcp: TcpConfig | None = None,
        neighbours: NeighbourConfig = NEIGHBOURS,
        reassembly: Reassembly | None = None,
    ) -> None:
        if len(mac) != 6 or mac[0] & 1 or mac == MAC_ZERO:
            raise ValueError(f"not a host's MAC address: {mac.hex(':')}")
        self._counters = InterfaceCounters()
        self._now = now
        self.addresses = Addresses()
        self.ethernet = EthernetLayer(mac, capabilities, neighbours=neighbours, queue_limit=OUTGOING_LIMIT)
        self.arp = ArpLayer(self.ethernet, self.addresses.own, rng)
        self.ipv4 = Ipv4Layer(
            self.ethernet, self.addresses, capabilities, rng, now, any_ip=any_ip, reassembly=reassembly
        )
        self.icmp = IcmpLayer(self.ipv4)
        self.udp = UdpLayer(self.ipv4, capabilities, rng)
        self.echo = EchoLayer(self.ipv4)
        self.tcp = TcpLayer(self.ipv4, capabilities, rng, now, tcp or TcpConfig())
        self._by_proto: dict[int, UdpLayer | TcpLayer | EchoLayer] = {
            PROTO_UDP: self.udp,
            PROTO_TCP: self.tcp,
            PROTO_ICMP: self.echo,
        }
        self._early_demux = EarlyDemux(self.ethernet, self.ipv4, self.tcp)
        self._timed = (self.tcp, self.ethernet, self.arp, self.ipv4)
        self._polls = tuple(layer.poll_at for layer in self._timed)
        for address, prefix in addresses:
            self.add_address(address, prefix)
        for gateway in gateways:
            self.ipv4.routes.add_default(gateway)

    def receive(self, frame: Buffer, now: int, checksum_ok: bool = False) -> None:
        """Take one frame off the wire; it must not change afterwards. checksum_ok: the device vouches for TCP's and UDP's checksum.

        Never raises for what a frame holds: what is wrong with it is counted.
        """
        self._now = now
        if self._early_demux.receive(frame, now, checksum_ok):
            return
        arrived = self.ethernet.receive(frame)
        if arrived is None:
            return
        if arrived.ethertype == ETHERTYPE_ARP:
            self.arp.receive(arrived, now)
            return
        packet = self.ipv4.receive(arrived.payload, arrived.group, now, checksum_ok, arrived.src)
        if packet is None:
            return
        if packet.proto == PROTO_TCP:
            self.tcp.receive(packet, now)
        elif packet.proto == PROTO_UDP:
            self.udp.receive(packet)
        elif packet.proto == PROTO_ICMP:
            self._receive_icmp(packet, now)
        else:
            self._counters.unknown_protocol += 1
            self.icmp.unreachable(packet, CODE_PROTOCOL_UNREACHABLE)  # RFC 1122 §3.2.2.1-a

    def transmit(self, now: int, budget: int = 64) -> list[Frame]:
        """Frames to put on the wire, at most `budget`; what is not taken waits. Empty once there is nothing to send at this moment."""
        self._now = now
        frames: list[Frame] = []
        outgoing = self.ethernet.outgoing
        more = True
        while True:
            frames += [outgoing.popleft() for _ in range(min(len(outgoing), budget - len(frames)))]
            if not more or len(frames) >= budget:
                return frames
            more = self._pull(now, budget - len(frames))

    def poll_at(self) -> int | None:
        """When to call `on_time`, in µs: not after the next moment at which it has something to do. None where nothing is waited for."""
        return earliest(self._polls)

    def on_time(self, now: int) -> None:
        """Do what is due; `poll_at` is later than `now` afterwards, or None. What it makes to send leaves in `transmit`."""
        self._now = now
        for layer in self._timed:
            layer.on_time(now)
        failures = self.ethernet.neighbours.failures
        while failures:
            next_hop, datagrams = failures.popleft()
            self.ipv4.routes.gateway_failed(next_hop, now)
            for parts in datagrams:
                self._host_unreachable(parts, now)

    @property
    def has_ready(self) -> bool:
        """Whether `ready` would name anything."""
        return bool(self.tcp.ready or self.udp.ready or self.echo.ready)

    def ready(self) -> list[Any]:
        """The sockets, connections and listeners whose readiness has changed since the last call, each once."""
        changed: list[Any] = []
        for layer in (self.tcp, self.udp, self.echo):
            if layer.ready:
                changed += layer.ready
                layer.ready.clear()
        return changed

    def counters(self) -> dict[str, int]:
        """All counters, as "layer.name"."""
        layers: dict[str, Counters] = {
            "interface": self._counters,
            "ethernet": self.ethernet.counters,
            "neighbours": self.ethernet.neighbours.counters,
            "arp": self.arp.counters,
            "ipv4": self.ipv4.counters,
            "ipv4_output": self.ipv4.output.counters,
            "path_mtu": self.ipv4.output.path_mtus.counters,
            "ip_id": self.ipv4.output.ip_ids.counters,
            "reassembly": self.ipv4.reassembly.counters,
            "icmp": self.icmp.counters,
            "icmp_errors": self.icmp.errors.counters,
            "udp": self.udp.counters,
            "echo": self.echo.counters,
            "tcp": self.tcp.counters,
        }
        return {
            name: value for layer, own in layers.items() for name, value in own.as_dict(f"{layer}.").items()
        }

    def add_address(self, address: int, prefix: int) -> None:
        """Take an address, and announce it (RFC 5227 §2.3). ValueError for one that cannot be a host's."""
        self.ipv4.add_address(address, prefix)
        self.arp.announce(address, self._now)

    def remove_address(self, address: int) -> None:
        """Give an address up. ValueError where it is not ours."""
        self.ipv4.remove_address(address)
        self.arp.withdraw(address)

    def validate_sources(self, sources: SourceValidation | None) -> None:
        """Drop from now on what comes from an address that is not its sender's (RFC 1812 §5.3.8), by ARP or by IP; None: no longer."""
        self.arp.sources = self.ipv4.sources = sources

    def _pull(self, now: int, room: int) -> bool:
        """One turn for each layer that has something to send. False where none has any more."""
        if self.icmp.pending:
            self.icmp.transmit(now)
            return True
        others = self.udp.pending or self.echo.pending
        if self.udp.pending:
            self.udp.transmit(now)
        if self.echo.pending:
            self.echo.transmit(now)
        turn = min(room, TCP_TURN) if others else room
        return self.tcp.transmit(now, turn) >= turn or others

    def _receive_icmp(self, packet: Packet, now: int) -> None:
        message = self.icmp.receive(packet)
        if isinstance(message, EchoMessage):
            self.echo.receive(message)
        elif message is not None:
            self._dispatch(message, now)

    def _dispatch(self, error: IcmpError, now: int) -> None:
        """Hand an error to the transport that it is about (RFC 1122 §3.2.2-d)."""
        layer = self._by_proto.get(error.proto)
        if layer is None:
            self._counters.errors_unclaimed += 1
        else:
            layer.on_icmp_error(error, now)

    def _host_unreachable(self, parts: list[Buffer], now: int) -> None:
        """A datagram of ours waited in vain for its neighbour: tell its sender as a router would (RFC 1122 §3.3.8-a)."""
        quote = read_quote(b"".join(parts))
        if quote is not None and not quote.fragment_offset:
            self._dispatch(IcmpError(UNREACHABLE, CODE_HOST_UNREACHABLE, quote, quote.src), now)
