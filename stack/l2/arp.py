"""ARP over Ethernet (RFC 826), with the courtesies of RFC 5227.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |   hrd: hardware type, 1       |   pro: protocol type, 0x0800  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  hln: 6       |  pln: 4       |   op: 1 request, 2 reply      |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                  sha: sender's MAC address                    |
    +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                               |  spa: sender's IPv4 address   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                               |  tha: target's MAC address    |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                  tpa: target's IPv4 address                   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

Answers are given for our own addresses and no others: this is no proxy, and a guest that probes for a free address
must find it free. What is learnt goes to the neighbour cache, which in turn has its questions asked here. A packet in which
somebody else speaks from an address of ours teaches nothing: it is answered by a defence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from construct import Bytes, Int8ub, Int16ub, Int32ub, Struct

from usernat.stack.addr import MAC_BROADCAST, MAC_ZERO, format_ip, format_mac, is_loopback, is_unicast
from usernat.stack.counters import Counters
from usernat.stack.l2.acd import Claim, ConflictDetection
from usernat.stack.l2.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, EthernetFrame, EthernetLayer
from usernat.stack.wire import Codec

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from usernat.stack.l2.source_validation import SourceValidation

HARDWARE_ETHERNET = 1
REQUEST = 1
REPLY = 2

ARP_PACKET = Struct(
    "hrd" / Int16ub,
    "pro" / Int16ub,
    "hln" / Int8ub,
    "pln" / Int8ub,
    "op" / Int16ub,
    "sha" / Bytes(6),
    "spa" / Int32ub,
    "tha" / Bytes(6),
    "tpa" / Int32ub,
)


class ArpPacket(NamedTuple):
    """One ARP packet, by the field names of RFC 826 (without their `ar$`)."""

    hrd: int
    pro: int
    hln: int
    pln: int
    op: int
    sha: bytes
    spa: int
    tha: bytes
    tpa: int

    def __str__(self) -> str:
        verb = {REQUEST: "who has", REPLY: "reply to"}.get(self.op, f"op {self.op}")
        return f"ARP {verb} {format_ip(self.tpa)} from {format_ip(self.spa)} at {format_mac(self.sha)}"


ARP_CODEC = Codec(ARP_PACKET, ArpPacket)


@dataclass(slots=True)
class ArpCounters(Counters):
    """Why packets were dropped, and what else was noteworthy."""

    short: int = 0  # fewer than 28 bytes
    bad_type: int = 0  # not IPv4 over Ethernet
    spoofed_mac: int = 0  # the sender's MAC address is not the frame's
    bad_sender: int = 0  # the sender's address cannot be a host's
    spoofed_source: int = 0  # the sender's address is not its own (`sources`)
    conflicts: int = 0  # somebody spoke from an address of ours
    defended: int = 0  # and was answered
    claims_lost: int = 0  # addresses that we probed for and somebody has or wants
    no_address: int = 0  # questions not asked, for we have no address to ask from
    requests_sent: int = 0
    replies_sent: int = 0


class ArpLayer:
    """ARP of one interface; it attaches itself to the neighbour cache of its Ethernet layer.

    addresses: our own, the preferred first; shared with the interface and read anew each time.
    rng: chooses the moments of address probes. sources: says who may speak from which address; None: anybody from any.
    """

    def __init__(self, ethernet: EthernetLayer, addresses: Collection[int], rng: Random) -> None:
        self.counters = ArpCounters()
        self.sources: SourceValidation | None = None
        self._ethernet = ethernet
        self._neighbours = ethernet.neighbours
        self._neighbours.ask = self._ask  # RFC 1122 §2.3.3-e
        self._addresses = addresses
        self._conflicts = ConflictDetection(self._broadcast, rng)

    def receive(self, frame: EthernetFrame, now: int) -> None:
        """RFC 826, "Packet Reception"."""
        packet = ARP_CODEC.read(frame.payload)  # what follows is padding (RFC 826 tx-b)
        if packet is None:
            self.counters.short += 1
            return
        if not self._acceptable(packet, frame.src):
            return
        if self._conflicts.claims:
            self.counters.claims_lost += self._conflicts.on_arp(
                packet.spa, packet.tpa, request=packet.op == REQUEST
            )
        if packet.spa in self._addresses:  # RFC 5227 §2.4-a
            self.counters.conflicts += 1
            self.counters.defended += self._conflicts.defend(packet.spa, now)
            return
        if self.sources is not None and not self._may_speak(self.sources, packet):
            self.counters.spoofed_source += 1
            return
        for_us = packet.tpa in self._addresses
        # RFC 5227 §2.1.1-f: a probe, whose sender has no address, teaches nothing
        # RFC 826 rx-b, rx-c, rx-d: before the opcode is looked at; the known are updated (RFC 5227 §2.3-b), the new learnt if they
        # speak to us
        if packet.spa and (for_us or packet.spa in self._neighbours):
            self._neighbours.learn(packet.spa, packet.sha, now)
        if for_us and packet.op == REQUEST:  # RFC 826 rx-e, rx-f; RFC 5227 §2.1.1-g: probes, too
            self._reply(packet)

    def claim(self, address: int, now: int) -> Claim:
        """Probe for an address before it is used (RFC 5227 §2.1): watch the claim's `state`."""
        return self._conflicts.claim(address, now)

    def announce(self, address: int, now: int) -> None:
        """Tell all that an address is ours (RFC 5227 §2.3): twice, two seconds apart."""
        self._conflicts.announce(address, now)

    def withdraw(self, address: int) -> None:
        """Say no more about an address: it is ours no longer, or no longer wanted."""
        self._conflicts.withdraw(address)

    def poll_at(self) -> int | None:
        """When the next probe or announcement is due, in µs. What the neighbour cache asks has its own time."""
        return self._conflicts.poll_at()

    def on_time(self, now: int) -> None:
        """Send the probes and announcements that are due."""
        self._conflicts.on_time(now)

    def _acceptable(self, packet: ArpPacket, source: bytes) -> bool:
        """Whether the packet is one that we speak, from somebody who may speak so; else it is counted."""
        # RFC 826 rx-a
        if (packet.hrd, packet.pro, packet.hln, packet.pln) != (HARDWARE_ETHERNET, ETHERTYPE_IPV4, 6, 4):
            self.counters.bad_type += 1
            return False
        if packet.sha != source:  # RFC 826 sec-b
            self.counters.spoofed_mac += 1
            return False
        # RFC 826 sec-a; the group and zero MAC addresses were refused as the frame's source
        if packet.spa and (not is_unicast(packet.spa) or is_loopback(packet.spa)):
            self.counters.bad_sender += 1
            return False
        return True

    def _may_speak(self, sources: SourceValidation, packet: ArpPacket) -> bool:
        """Whether the sender's address is the sender's; a probe has none (RFC 5227 §2.1.1-f)."""
        spa, sha = packet.spa, packet.sha
        return not spa or sources.bindings.get(spa) == sha or sources.admit(spa, sha)

    def _reply(self, request: ArpPacket) -> None:
        """To the requester alone (RFC 5227 §2.6-a)."""
        self.counters.replies_sent += 1
        self._send(request.sha, REPLY, request.tpa, request.sha, request.spa)

    def _ask(self, address: int, mac: bytes | None) -> None:
        """RFC 826 tx-a: ask all, or the one who had the address last."""
        sender = self._speaker(address)
        if sender is None:
            self.counters.no_address += 1
            return
        self.counters.requests_sent += 1
        self._send(mac or MAC_BROADCAST, REQUEST, sender, MAC_ZERO, address)

    def _broadcast(self, sender: int, target: int) -> None:
        """A probe, announcement or defence."""
        self._send(MAC_BROADCAST, REQUEST, sender, MAC_ZERO, target)

    def _speaker(self, target: int) -> int | None:
        """The address of ours to ask from: the one that has the longest prefix in common, the preferred among equals."""
        return min(self._addresses, key=lambda address: (address ^ target).bit_length(), default=None)

    def _send(self, to: bytes, op: int, sender: int, target_mac: bytes, target: int) -> None:
        mac = self._ethernet.mac
        packet = ArpPacket(HARDWARE_ETHERNET, ETHERTYPE_IPV4, 6, 4, op, mac, sender, target_mac, target)
        self._ethernet.send_to(to, ETHERTYPE_ARP, [ARP_CODEC.write(packet)])
