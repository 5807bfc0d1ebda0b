"""Ethernet II (RFC 894, RFC 1122 §2.3.3-a): frames in, checked; datagrams out, to the right MAC address.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                     destination MAC address                   |
    +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                               |      source MAC address       |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |           ethertype           |  payload …
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

In: what is not for us, or not IPv4 or ARP, is dropped under a name. Out: the neighbour cache keeps the fourteen bytes of
header ready for each neighbour that it knows, so a datagram costs one dict look-up and one concatenation; only the headers
that the layers above built are copied by it, never their payload. Frames gather in `outgoing`, from where the interface
takes them. Padding to the 60 bytes of a wire is left to the device: a virtual link needs none.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from construct import Bytes, Int16ub, Struct

from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, MAC_ZERO, format_mac, is_multicast
from usernat.stack.counters import Counters
from usernat.stack.device import MAX_DATAGRAM, Buffer, Capabilities, Frame
from usernat.stack.l2.neighbour import DROPPED, SENT, NeighbourCache, NeighbourConfig
from usernat.stack.wire import Codec

if TYPE_CHECKING:
    from collections.abc import Iterable

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPES = (ETHERTYPE_IPV4, ETHERTYPE_ARP)  # all that we speak
VLAN_TAGS = frozenset((0x8100, 0x88A8, 0x9100))  # IEEE 802.1Q, 802.1ad, and the older double tag
MIN_ETHERTYPE = 0x0600  # below, the field is the length of an IEEE 802.3 frame (RFC 894, RFC 1122 §2.3.3)

QUEUE_LIMIT = 1024  # frames in `outgoing`: some round trips of a fast link, and 64 MB at the very worst

ETHERNET_HEADER = Struct("dst" / Bytes(6), "src" / Bytes(6), "ethertype" / Int16ub)


class EthernetHeader(NamedTuple):
    """The header as it stands on the wire."""

    dst: bytes
    src: bytes
    ethertype: int


ETHERNET_CODEC = Codec(ETHERNET_HEADER, EthernetHeader)
HEADER_LENGTH = ETHERNET_CODEC.size
_read_values = ETHERNET_CODEC.read_values
_new = tuple.__new__  # half the time that a NamedTuple's own constructor takes


class EthernetFrame(NamedTuple):
    """A frame received. group: it was sent to a broadcast or multicast MAC address."""

    dst: bytes
    src: bytes
    ethertype: int
    payload: memoryview
    group: bool

    def __str__(self) -> str:
        return f"Ethernet {format_mac(self.src)} > {format_mac(self.dst)} {self.ethertype:#06x} {len(self.payload)} bytes"


@dataclass(slots=True)
class EthernetCounters(Counters):
    """What the layer dropped, and why."""

    short: int = 0  # no whole header
    jumbo: int = 0  # more than the device's MTU
    vlan: int = 0  # tagged
    length_frame: int = 0  # IEEE 802.3: a length in place of the ethertype
    unknown_ethertype: int = 0
    bad_source: int = 0  # a group address, or zero, as the source
    own_source: int = 0  # our own MAC address as the source: looped back, or forged
    not_for_us: int = 0  # unicast to another MAC address
    queue_full: int = 0  # nobody took the outgoing frames


class EthernetLayer:
    """The Ethernet side of one interface. The constructor raises ValueError for a MAC address that is not a host's.

    mac: our address, six bytes. queue_limit: frames that `outgoing` holds at most.
    outgoing: frames that wait for the interface to take them.
    longest: frame in bytes that can be received.
    neighbours: the cache through which `send` finds MAC addresses; `neighbours.failures` says who did not answer.
    """

    def __init__(
        self,
        mac: bytes,
        capabilities: Capabilities,
        *,
        neighbours: NeighbourConfig | None = None,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        if len(mac) != 6 or mac[0] & 1 or mac == MAC_ZERO:
            raise ValueError(f"not the MAC address of a host: {mac.hex(':')}")
        self.mac = mac
        self.outgoing: deque[Frame] = deque()
        self.counters = EthernetCounters()
        self.queue_limit = queue_limit
        # A device that segments for us hands over what its guest left unsegmented, too.
        self.longest = HEADER_LENGTH + (MAX_DATAGRAM if capabilities.tx_segmentation else capabilities.mtu)
        # What follows the destination in the header of our frames, by ethertype.
        self._tails = {kind: mac + kind.to_bytes(2, "big") for kind in ETHERTYPES}
        self.neighbours = NeighbourCache(self._tails[ETHERTYPE_IPV4], self.emit, neighbours)
        self._headers = self.neighbours.headers

    def receive(self, frame: Buffer) -> EthernetFrame | None:
        """The frame taken apart, or None where it was dropped (and counted)."""
        values = _read_values(frame)
        counters = self.counters
        if values is None:
            counters.short += 1
            return None
        dst, src, ethertype = values
        group = False
        if dst != self.mac:
            if not dst[0] & 1:
                counters.not_for_us += 1
                return None
            group = True  # RFC 1122 §2.4-a: the layers above are told
        if ethertype not in ETHERTYPES:
            self._count_ethertype(ethertype)
            return None
        if src[0] & 1 or src == MAC_ZERO:
            counters.bad_source += 1
            return None
        if src == self.mac:
            counters.own_source += 1
            return None
        if len(frame) > self.longest:
            counters.jumbo += 1
            return None
        return _new(EthernetFrame, (dst, src, ethertype, memoryview(frame)[HEADER_LENGTH:], group))

    def is_sound(self, header: bytes) -> bool:
        """Whether `receive` lets IPv4 in a unicast frame with this header pass, by the header alone."""
        dst, src, ethertype = header[:6], header[6:12], int.from_bytes(header[12:], "big")
        return (
            dst == self.mac
            and ethertype == ETHERTYPE_IPV4
            and not (src[0] & 1 or src in {MAC_ZERO, self.mac})
        )

    def send(
        self,
        next_hop: int,
        ethertype: int,
        parts: list[Buffer],
        now: int,
        mac: bytes | None = None,
        *,
        gso_size: int = 0,
        csum_start: int = 0,
        csum_offset: int = 0,
        header_length: int = 0,
    ) -> int:
        """Send one datagram: SENT, QUEUED (until the neighbour's MAC address is known) or DROPPED (and counted).

        next_hop: the neighbour. Neighbours are known by their IPv4 addresses and spoken to in IPv4.
        parts: the datagram, its headers in parts[0]; the list becomes the frame's, which prepends the Ethernet header.
        mac: the destination where the caller knows better: directed broadcasts, clients that have no address yet.
        The offload marks are those of `Frame`: offsets count from the start of the frame.
        """
        frame = Frame(parts, gso_size, csum_start, csum_offset, header_length)
        header = self._headers.get(next_hop) if mac is None else mac + self._tails[ethertype]
        if header is None:
            group = group_mac(next_hop)
            if group is None:
                return self.neighbours.hold(next_hop, frame, now)
            header = group + self._tails[ethertype]
        parts[0] = header + parts[0]
        return self.emit(frame)

    def send_to(self, mac: bytes, ethertype: int, parts: Iterable[Buffer]) -> int:
        """Send a frame of our own to a known MAC address: SENT or DROPPED."""
        return self.emit(Frame([mac + self._tails[ethertype], *parts]))

    def emit(self, frame: Frame) -> int:
        """Queue a complete frame: SENT, or DROPPED where the queue is full."""
        if len(self.outgoing) >= self.queue_limit:
            self.counters.queue_full += 1
            return DROPPED
        self.outgoing.append(frame)
        return SENT

    def poll_at(self) -> int | None:
        """When `on_time` is due next, in µs."""
        return self.neighbours.poll_at()

    def on_time(self, now: int) -> None:
        """Age the neighbours and repeat what was asked about them."""
        self.neighbours.on_time(now)

    def _count_ethertype(self, ethertype: int) -> None:
        if ethertype in VLAN_TAGS:
            self.counters.vlan += 1
        elif ethertype < MIN_ETHERTYPE:  # RFC 1122 §2.3.3-b: no RFC 1042 framing on a virtual link
            self.counters.length_frame += 1
        else:
            self.counters.unknown_ethertype += 1


def group_mac(address: int) -> bytes | None:
    """The MAC address of an IPv4 group: the limited broadcast's or a multicast group's. None for all other addresses.

    RFC 1122 §3.3.6-c. Which unicast-looking addresses are directed broadcasts only the internet layer knows.
    """
    if address == LIMITED_BROADCAST:
        return MAC_BROADCAST
    if is_multicast(address):
        return b"\x01\x00\x5e" + (address & 0x7FFFFF).to_bytes(3, "big")  # RFC 1112 §6.4: the low 23 bits
    return None
