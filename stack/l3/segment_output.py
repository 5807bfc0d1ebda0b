"""The short way out: what `Ipv4Output.send` comes to for a TCP segment where nothing is to be found out any more.

Nearly every segment of a connection is sent like the one before: the path is known, the neighbour's header is there, it is one datagram that
forbids fragmentation and fits, from an address that we may speak from. Then all headers are put together here in one go. Whatever is not so
(an unknown neighbour, a path that has changed, a full queue, broadcasts) goes the long way, which also says what went wrong.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from usernat.stack.device import MAX_DATAGRAM, Buffer, Frame
from usernat.stack.l2.ethernet import HEADER_LENGTH as ETHERNET_HEADER
from usernat.stack.l3.ipv4_header import FLAG_DF, HEADER_LENGTH, PROTO_TCP, VERSION

if TYPE_CHECKING:
    from usernat.stack.l2.ethernet import EthernetLayer
    from usernat.stack.l3.ipv4_output import Ipv4Output

_pack = struct.Struct(">BBHIBBHII").pack  # identification and flags in one word
_TCP_START = ETHERNET_HEADER + HEADER_LENGTH
_VERSION_IHL = VERSION << 4 | HEADER_LENGTH >> 2
# All of the checksum's total that is always the same.
_CONSTANT = (_VERSION_IHL << 8) + FLAG_DF + PROTO_TCP


class SegmentOutput:
    """Of one interface, beside its `Ipv4Output`."""

    __slots__ = ("_any_ip", "_headers", "_ip", "_outgoing", "_own", "_paths", "_queue_limit", "_routes")

    def __init__(self, ip: Ipv4Output, ethernet: EthernetLayer) -> None:
        self._ip = ip
        self._any_ip = ip.any_ip
        self._own = ip.addresses.own
        self._paths = ip.paths
        self._routes = ip.routes
        self._headers = ethernet.neighbours.headers
        self._outgoing = ethernet.outgoing
        self._queue_limit = ethernet.queue_limit

    def send(
        self,
        src: int,
        dst: int,
        header: bytes,
        text: list[Buffer],
        size: int,
        ttl: int,
        tos: int,
        gso_size: int,
        csum_offset: int | None,
        now: int,
    ) -> None:
        """Send a segment with DF. header: TCP's, with its options. size: bytes of `text`. The others are as `Ipv4Output.send` has them.

        What cannot be sent is lost, and counted there.
        """
        ip = self._ip
        path = self._paths.get(dst)
        length = HEADER_LENGTH + len(header) + size
        if (
            path is None
            or path.version != self._routes.version
            or (link_header := self._headers.get(path.next_hop)) is None
            or path.mac is not None
            or (length > path.mtu and not gso_size)
            or length > MAX_DATAGRAM
            or len(self._outgoing) >= self._queue_limit
            or not (self._any_ip or src in self._own)
            or not 0 < ttl < 256
        ):
            ip.send(
                PROTO_TCP,
                src,
                dst,
                [header, *text],
                ttl=ttl,
                tos=tos,
                gso_size=gso_size,
                csum_offset=csum_offset,
                now=now,
            )
            return
        checksum = -(_CONSTANT + tos + length + (ttl << 8) + src + dst) % 65535  # RFC 791 §3.1-c
        headers = (
            link_header
            + _pack(_VERSION_IHL, tos, length, FLAG_DF, ttl, PROTO_TCP, checksum, src, dst)
            + header
        )
        ip.counters.sent += 1
        if csum_offset is None:
            frame = Frame([headers, *text])
        else:
            frame = Frame([headers, *text], gso_size, _TCP_START, csum_offset, len(headers))
        self._outgoing.append(frame)
