"""A link-layer bench: one interface's Ethernet and ARP, spoken to in frames at times."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from usernat.stack.addr import MAC_BROADCAST, MAC_ZERO, parse_ip, parse_mac
from usernat.stack.device import Capabilities
from usernat.stack.l2.arp import ARP_CODEC, REPLY, REQUEST, ArpLayer, ArpPacket
from usernat.stack.l2.ethernet import (
    ETHERNET_CODEC,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    EthernetHeader,
    EthernetLayer,
)

if TYPE_CHECKING:
    from usernat.stack.l2.neighbour import NeighbourConfig

MS = 1_000
S = 1_000_000
OUR_MAC = parse_mac("52:55:0a:00:02:02")
GUEST_MAC = parse_mac("52:54:00:12:34:56")
OTHER_MAC = parse_mac("52:54:00:65:43:21")
GATEWAY = parse_ip("10.0.2.2")
DNS = parse_ip("10.0.2.3")
GUEST = parse_ip("10.0.2.15")
OTHER = parse_ip("10.0.2.16")


def ethernet(
    payload: bytes, ethertype: int = ETHERTYPE_ARP, *, src: bytes = GUEST_MAC, dst: bytes = OUR_MAC
) -> bytes:
    return ETHERNET_CODEC.write(EthernetHeader(dst, src, ethertype)) + payload


def arp(
    op: int, spa: int, tpa: int, *, sha: bytes = GUEST_MAC, tha: bytes = MAC_ZERO, **changes: int
) -> bytes:
    packet = ArpPacket(1, ETHERTYPE_IPV4, 6, 4, op, sha, spa, tha, tpa)
    return ARP_CODEC.write(packet._replace(**changes))  # type: ignore[arg-type]  # of integer fields only


class Link:
    """`says` what the layers have sent, decoded; `hears` what somebody else sends."""

    def __init__(self, neighbours: NeighbourConfig | None = None, seed: int = 1) -> None:
        self.ethernet = EthernetLayer(OUR_MAC, Capabilities(), neighbours=neighbours)
        self.addresses = {GATEWAY: 24, DNS: 24}
        self.arp = ArpLayer(self.ethernet, self.addresses, Random(seed))
        self.neighbours = self.ethernet.neighbours

    def hears(self, frame: bytes, now: int = 0) -> None:
        received = self.ethernet.receive(frame)
        if received is not None and received.ethertype == ETHERTYPE_ARP:
            self.arp.receive(received, now)

    def hears_arp(self, op: int, spa: int, tpa: int, now: int = 0, *, mac: bytes = GUEST_MAC) -> None:
        dst = MAC_BROADCAST if op == REQUEST else OUR_MAC
        self.hears(ethernet(arp(op, spa, tpa, sha=mac), src=mac, dst=dst), now)

    def guest_answers(self, now: int = 0) -> None:
        self.hears_arp(REPLY, GUEST, GATEWAY, now)

    def send(
        self, next_hop: int, data: bytes = b"datagram", now: int = 0, *, mac: bytes | None = None
    ) -> int:
        return self.ethernet.send(next_hop, ETHERTYPE_IPV4, [data[:4], memoryview(data)[4:]], now, mac)

    def says(self) -> list[bytes]:
        frames = [bytes(frame) for frame in self.ethernet.outgoing]
        self.ethernet.outgoing.clear()
        return frames

    def says_arp(self) -> list[tuple[bytes, ArpPacket]]:
        """Destination MAC and packet of each frame; all must be ARP from our own address."""
        said = []
        for frame in self.says():
            header = ETHERNET_CODEC.read(frame)
            packet = ARP_CODEC.read(frame, ETHERNET_CODEC.size)
            assert header is not None
            assert packet is not None
            assert header.ethertype == ETHERTYPE_ARP
            assert header.src == packet.sha == OUR_MAC
            said.append((header.dst, packet))
        return said

    def run(self, until: int) -> list[tuple[int, bytes, ArpPacket]]:
        """Let time pass from deadline to deadline; the ARP packets sent with their times."""
        said: list[tuple[int, bytes, ArpPacket]] = []
        while True:
            times = [at for at in (self.ethernet.poll_at(), self.arp.poll_at()) if at is not None]
            now = min(times, default=until + 1)
            if now > until:
                return said
            self.ethernet.on_time(now)
            self.arp.on_time(now)
            later = [at for at in (self.ethernet.poll_at(), self.arp.poll_at()) if at is not None]
            assert all(at > now for at in later), "a deadline that was served is over"
            said += [(now, dst, packet) for dst, packet in self.says_arp()]
