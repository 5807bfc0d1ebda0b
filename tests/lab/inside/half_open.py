"""A guest that begins connections and never goes on: SYNs made by hand, past the guest's own TCP.

Where the guest's kernel has a route for the peer it answers the SYN-ACK of an unknown connection with RST; where its route is a
blackhole it drops the SYN-ACK in silence. So the caller's route decides which of the two happens.
"""

from __future__ import annotations

import socket
import struct

from tests.lab.guest import ADDRESS

ETHERTYPE_IPV4 = 0x0800
FIRST_PORT = 20_000


def syns(device: str, gateway_mac: str, peer: str, port: int, count: int) -> None:
    """Send count SYNs to one peer, each from a port of its own, straight onto the device."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((device, ETHERTYPE_IPV4))
        own_mac = raw.getsockname()[4]
        ethernet = bytes.fromhex(gateway_mac.replace(":", "")) + own_mac + ETHERTYPE_IPV4.to_bytes(2, "big")
        for number in range(count):
            raw.send(ethernet + _syn(peer, FIRST_PORT + number, port, number))


def _syn(peer: str, source_port: int, port: int, ident: int) -> bytes:
    addresses = socket.inet_aton(ADDRESS) + socket.inet_aton(peer)
    tcp = struct.pack("!HHIIBBHHH", source_port, port, 1000 + ident, 0, 5 << 4, 0x02, 64240, 0, 0)
    check = rfc1071(addresses + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp)) + tcp)
    tcp = tcp[:16] + check + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), ident, 0, 64, socket.IPPROTO_TCP, 0) + addresses
    return ip[:10] + rfc1071(ip) + ip[12:] + tcp


def rfc1071(data: bytes) -> bytes:
    """The Internet checksum of an even number of bytes that are not all zero."""
    total = int.from_bytes(data, "big") % 0xFFFF
    return (0xFFFF - total).to_bytes(2, "big")
