"""What a device does with a frame that holds a run of UDP datagrams (`stack/l4/udp_run.py`): it cuts it, as Linux does.

    Ethernet | IPv4: total length, identification    | UDP: length | data of datagram 1 | data of datagram 2 | …
             |       of the whole, of the first      | of the whole|<----- gso_size --->|

Each datagram has the headers with its own lengths and checksum of IP, and an identification one above that of the datagram before. Its UDP checksum is left
as the pseudo-header's sum: whoever cuts here has said that nobody needs to sum.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from usernat.stack.checksum import fold, pseudo_header, sum_words
from usernat.stack.l2.ethernet import ETHERTYPE_IPV4
from usernat.stack.l2.ethernet import HEADER_LENGTH as IP_START
from usernat.stack.l3.ipv4_header import IPV4, PROTO_UDP, VERSION
from usernat.stack.l4.udp import UDP, UDP_HEADER_LENGTH

if TYPE_CHECKING:
    from usernat.stack.device import Buffer

MOST = 128  # datagrams that a kernel puts into one frame (UDP_MAX_SEGMENTS of <linux/udp.h>)
_two = struct.Struct(">HH").pack
_one = struct.Struct(">H").pack


def cut(frame: Buffer, gso_size: int) -> list[bytes] | None:
    """The frames with one datagram each; None where the frame is no such run: nothing of it is believed."""
    view = memoryview(frame)
    values = IPV4.read_values(view, IP_START)
    if values is None or int.from_bytes(view[12:IP_START], "big") != ETHERTYPE_IPV4:
        return None
    version, ihl, _tos, length, ident, _, _df, more, offset, _ttl, proto, _sum, src, dst = values
    udp_start = IP_START + (ihl << 2)
    udp = UDP.read_values(view, udp_start)
    if version != VERSION or ihl < 5 or proto != PROTO_UDP or more or offset or udp is None:
        return None
    data_start, end = udp_start + UDP_HEADER_LENGTH, IP_START + length
    size = end - data_start
    if int.from_bytes(view[IP_START:udp_start], "big") % 65535:
        return None  # RFC 1122 §3.2.1.2-a: the pieces will have new ones
    if end > len(view) or udp[2] != UDP_HEADER_LENGTH + size or not 0 < size <= MOST * gso_size:
        return None
    return _datagrams(view, udp_start, end, gso_size, ident, pseudo_header(src, dst, PROTO_UDP, 0))


def _datagrams(
    view: memoryview, udp_start: int, end: int, gso_size: int, ident: int, pseudo: int
) -> list[bytes]:
    # What all have in common: before the lengths, between identification and checksum, behind that up to UDP's length
    front, middle, back = (
        view[: IP_START + 2],
        view[IP_START + 6 : IP_START + 10],
        view[IP_START + 12 : udp_start + 4],
    )
    total = sum_words((front[IP_START:], middle, back[:-4]))
    frames = []
    for at in range(udp_start + UDP_HEADER_LENGTH, end, gso_size):
        data = view[at : min(at + gso_size, end)]
        udp_length = UDP_HEADER_LENGTH + len(data)
        ip_length = udp_start - IP_START + udp_length
        lengths = _two(ip_length, ident)
        ip_sum = _one(fold(total + ip_length + ident) ^ 0xFFFF)
        frames.append(
            b"".join(
                (front, lengths, middle, ip_sum, back, _two(udp_length, fold(pseudo + udp_length)), data)
            )
        )
        ident = (ident + 1) & 0xFFFF
    return frames
