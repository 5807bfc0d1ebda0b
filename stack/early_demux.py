"""Early demultiplexing: a frame of a TCP connection that stands goes from the wire to its connection in one look.

The layers below TCP ask the same of every segment of a connection, and come to the same answer as for the one before: is this our MAC address and that a
host's, may such an address send, is that one to be received for? So their answer is kept with the connection, as the Ethernet header and the addresses
that it was given for; what changes from one datagram to the next is looked at anew each time:

    Ethernet  the header is the one that was found sound; the frame is not longer than the device's largest
    IPv4      version 4, no options, not a fragment, length and header checksum right, TTL above 1; the sender's MAC address may still use the address
    TCP       the segment is the one that the connection waits for (`l4/tcp/prediction.py`)

A frame for which any of this does not hold goes the way of all frames, layer by layer, and is judged and counted there. Linux has both halves of this
under the same names: early demux keeps the route with the socket, header prediction the rest.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from usernat.stack.l2.ethernet import HEADER_LENGTH as ETHERNET_HEADER
from usernat.stack.l3.ipv4_header import FLAG_DF, HEADER_LENGTH, PROTO_TCP, VERSION
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.header import HEADER_LENGTH as TCP_HEADER
from usernat.stack.l4.tcp.prediction import take_predicted

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.l2.ethernet import EthernetLayer
    from usernat.stack.l3.ipv4 import Ipv4Layer
    from usernat.stack.l4.tcp.layer import TcpLayer

# Ethernet as a whole; IPv4 from version to destination; TCP without checksum and urgent pointer.
_headers = struct.Struct(">14s BxHxxHBBxxII HHIIHH").unpack_from
SHORTEST = ETHERNET_HEADER + HEADER_LENGTH + TCP_HEADER
_TCP_START = ETHERNET_HEADER + HEADER_LENGTH
_VERSION_IHL = VERSION << 4 | HEADER_LENGTH >> 2


class EarlyDemux:
    """Of one interface."""

    __slots__ = ("_ethernet", "_ipv4", "_longest", "_routes", "_table", "_tcp", "_version")

    def __init__(self, ethernet: EthernetLayer, ipv4: Ipv4Layer, tcp: TcpLayer) -> None:
        self._ethernet = ethernet
        self._ipv4 = ipv4
        self._tcp = tcp
        self._routes = ipv4.routes
        self._version = ipv4.routes.version
        self._longest = ethernet.longest
        self._table = tcp.table

    def receive(self, frame: Buffer, now: int, checksum_ok: bool) -> bool:
        """Whether the frame has been taken in; if not, nothing has been done, and it goes the long way."""
        length = len(frame)
        if not SHORTEST <= length <= self._longest:
            return False
        (
            link_header,
            version_ihl,
            total_length,
            flags_offset,
            ttl,
            proto,
            src,
            dst,
            source_port,
            destination_port,
            seq,
            ack,
            offset_flags,
            window,
        ) = _headers(frame)
        if (
            proto != PROTO_TCP
            or version_ihl != _VERSION_IHL
            or flags_offset != FLAG_DF
            or ttl < 2
            or not HEADER_LENGTH + TCP_HEADER <= total_length <= length - ETHERNET_HEADER
        ):
            return False
        c = self._table.get((src, source_port, dst, destination_port))
        if c.__class__ is not Connection:
            return False
        assert isinstance(c, Connection)
        if self._version != self._routes.version:
            self._forget()
        if c.link_header != link_header and not self._vouch(c, link_header, src, dst):
            return False
        view = memoryview(frame)
        if int.from_bytes(view[ETHERNET_HEADER:_TCP_START], "big") % 65535:  # RFC 1122 §3.2.1.2-a
            return False
        sources = self._ipv4.sources  # RFC 1812 §5.3.8-a
        if sources is not None and sources.bindings.get(src) != link_header[6:12]:
            return False
        segment = view[_TCP_START : ETHERNET_HEADER + total_length]
        if not take_predicted(c, seq, ack, offset_flags, window, segment, now, checksum_ok=checksum_ok):
            return False
        self._tcp.now = now
        self._tcp.counters.segments_received += 1
        self._ipv4.counters.received += 1
        return True

    def _vouch(self, c: Connection, link_header: bytes, src: int, dst: int) -> bool:
        """Whether all that depends on these alone is as it must be; it is then kept."""
        if not (self._ethernet.is_sound(link_header) and self._ipv4.is_sound(src, dst)):
            return False
        c.link_header = link_header
        return True

    def _forget(self) -> None:
        """An address of ours has come or gone: what was kept is to be judged anew."""
        self._version = self._routes.version
        for entry in self._table.values():
            if isinstance(entry, Connection):
                entry.link_header = b""
