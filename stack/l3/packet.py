"""What the internet layer hands up, and what it answers to a datagram handed down.

`Packet` is one validated, reassembled IPv4 datagram. It keeps views of the frame that it came in and copies nothing.
"""

from __future__ import annotations

from usernat.stack.addr import format_ip
from usernat.stack.l2.neighbour import DROPPED, QUEUED, SENT

__all__ = ["DROPPED", "NO_ROUTE", "QUEUED", "SENT", "TOO_BIG", "Packet", "SendResult"]

# What became of a datagram given to `Ipv4Layer.send`: besides what Ethernet says of it (SENT; QUEUED until the next hop's
# MAC address is known; DROPPED for want of room), plain integers too, for they are compared once per frame:
TOO_BIG = 2  # larger than the path takes, and not to be fragmented
NO_ROUTE = 3  # no route, or not an address to send from

SendResult = int


class Packet:
    """One IPv4 datagram, whole and validated.

    src, dst: addresses as integers. proto, ttl, tos: as in the header (RFC 1122 §3.2.1.6-b, §3.4-a). df: the sender forbids fragmentation.
    payload: the transport header and on, without link padding.
    datagram: from the IP header on (rebuilt where it came in fragments), for the quotes of ICMP errors.
    options: the raw IP options, often empty (RFC 1122 §3.2.1.8-b).
    forwarded: the destination is not an address of ours (gateway mode).
    broadcast: sent to a broadcast or multicast address, of IP or of the link: never to be answered with an error.
    checksum_ok: the device vouches for the transport checksum.
    link_source: the sender's MAC address.
    """

    __slots__ = (
        "broadcast",
        "checksum_ok",
        "datagram",
        "df",
        "dst",
        "forwarded",
        "link_source",
        "options",
        "payload",
        "proto",
        "src",
        "tos",
        "ttl",
    )

    def __init__(
        self,
        src: int,
        dst: int,
        proto: int,
        ttl: int,
        tos: int,
        df: bool,
        payload: memoryview,
        datagram: memoryview,
        options: memoryview,
        forwarded: bool = False,
        broadcast: bool = False,
        checksum_ok: bool = False,
        link_source: bytes = bytes(6),
    ) -> None:
        self.src = src
        self.dst = dst
        self.proto = proto
        self.ttl = ttl
        self.tos = tos
        self.df = df
        self.payload = payload
        self.datagram = datagram
        self.options = options
        self.forwarded = forwarded
        self.broadcast = broadcast
        self.checksum_ok = checksum_ok
        self.link_source = link_source

    def __str__(self) -> str:
        flags = " DF" if self.df else ""
        return (
            f"IPv4 {format_ip(self.src)} > {format_ip(self.dst)} proto {self.proto} "
            f"ttl {self.ttl} tos {self.tos:#04x}{flags} {len(self.payload)} bytes"
        )
