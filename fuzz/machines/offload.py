"""What a device with checksum and segmentation offload does to a `Frame`, as IFF_VNET_HDR describes it, in plain steps.

`on_the_wire` gives the frames as they leave such a device, complete. It believes the marks and nothing else, so that
marks which are wrong make frames which `FrameChecker` finds wrong. Of a run of UDP datagrams it believes the fields that a kernel goes by, too: the
checksum of each is made from that of the whole.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from usernat.fuzz.machines.frame_check import (
    FIN,
    PSH,
    TCP_PROTO,
    UDP,
    demand,
    internet_sum,
    pseudo_header,
)
from usernat.stack.device import MAX_DATAGRAM, Capabilities

if TYPE_CHECKING:
    from usernat.stack.device import Frame

NOTHING, SEGMENTS, DATAGRAMS = OFFLOADS = (
    "nothing",
    "segments",  # of TCP, and checksums
    "datagrams",  # in runs of UDP, besides
)
IP_START = 14
TCP_CHECKSUM, UDP_CHECKSUM = 16, 6
MOST_IN_A_RUN = 64  # datagrams: kernels from before 6.9 cut no more
ONCE = FIN | PSH  # flags that the last piece alone keeps


def capabilities(mtu: int, offload: str) -> Capabilities:
    """Of a device that takes over so much."""
    return Capabilities(
        mtu=mtu,
        tx_checksum=offload != NOTHING,
        tx_segmentation=MAX_DATAGRAM if offload != NOTHING else 0,
        tx_udp_segmentation=offload == DATAGRAMS,
    )


def is_run(frame: Frame) -> bool:
    """Whether the device is to cut datagrams of UDP out of it."""
    return bool(frame.gso_size) and frame.csum_offset == UDP_CHECKSUM


def on_the_wire(frame: Frame) -> list[bytes]:
    """One frame, or, where the device is to segment, one for each piece."""
    data = bytes(frame)
    if is_run(frame):
        return _cut(data, frame)
    if frame.gso_size:
        return _segmented(data, frame)
    if frame.csum_start:
        return [_summed(data, frame.csum_start, frame.csum_offset)]
    return [data]


def _summed(data: bytes, start: int, offset: int) -> bytes:
    """The field holds the pseudo-header's sum already, so the sum over all of it is the whole one's."""
    value = 0xFFFF - internet_sum(data[start:]) or 0xFFFF
    at = start + offset
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]


def _segmented(data: bytes, frame: Frame) -> list[bytes]:
    header, text = data[: frame.header_length], data[frame.header_length :]
    return [
        _piece(header, text, at, frame.gso_size, frame.csum_start)
        for at in range(0, len(text), frame.gso_size)
    ]


def _piece(header: bytes, text: bytes, at: int, size: int, tcp_start: int) -> bytes:
    """The frame with text[at : at + size]; lengths, sequence number, flags and checksums are its own."""
    ours = text[at : at + size]
    ip = bytearray(header[IP_START:tcp_start])
    tcp = bytearray(header[tcp_start:])
    _complete(ip, len(ip) + len(tcp) + len(ours))
    (sequence,) = struct.unpack_from(">I", tcp, 4)
    struct.pack_into(">I", tcp, 4, (sequence + at) & 0xFFFFFFFF)
    if at + size < len(text):
        tcp[13] &= ~ONCE
    struct.pack_into(">H", tcp, TCP_CHECKSUM, 0)
    src, dst = struct.unpack_from(">II", ip, 12)
    covered = pseudo_header(src, dst, TCP_PROTO, len(tcp) + len(ours)) + tcp + ours
    struct.pack_into(">H", tcp, TCP_CHECKSUM, 0xFFFF - internet_sum(covered))
    return header[:IP_START] + bytes(ip) + bytes(tcp) + ours


def _cut(data: bytes, frame: Frame) -> list[bytes]:
    """Datagrams with lengths, identifications and checksums of their own."""
    start, size = frame.csum_start, frame.gso_size
    whole, text = len(data) - start, data[frame.header_length :]
    demand(frame.header_length == start + UDP.size, "the header of a run is not that of UDP")
    demand(len(text) <= MOST_IN_A_RUN * size, "a run of more datagrams than a kernel cuts")
    (ident,) = struct.unpack_from(">H", data, IP_START + 4)
    (field,) = struct.unpack_from(">H", data, start + UDP_CHECKSUM)
    frames = []
    for number, at in enumerate(range(0, len(text), size)):
        ours = text[at : at + size]
        ip, udp = bytearray(data[IP_START:start]), bytearray(data[start : frame.header_length])
        length = len(udp) + len(ours)
        struct.pack_into(">H", ip, 4, (ident + number) & 0xFFFF)
        _complete(ip, len(ip) + length)
        # The sum of the pseudo-header, in ones' complement, with one length in place of the other.
        struct.pack_into(">HH", udp, 4, length, (field + length - whole) % 0xFFFF)
        frames.append(_summed(data[:IP_START] + bytes(ip) + bytes(udp) + ours, start, UDP_CHECKSUM))
    return frames


def _complete(ip: bytearray, total: int) -> None:
    """The header with its length and checksum."""
    struct.pack_into(">H", ip, 2, total)
    struct.pack_into(">H", ip, 10, 0)
    struct.pack_into(">H", ip, 10, 0xFFFF - internet_sum(bytes(ip)))
