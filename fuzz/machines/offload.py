"""What a device with checksum and segmentation offload does to a `Frame`, as IFF_VNET_HDR describes it, in plain steps.

`on_the_wire` gives the frames as they leave such a device, complete. It believes the marks and nothing else, so that
marks which are wrong make frames which `FrameChecker` finds wrong.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from usernat.fuzz.machines.frame_check import FIN, PSH, TCP_PROTO, internet_sum, pseudo_header

if TYPE_CHECKING:
    from usernat.stack.device import Frame

IP_START = 14
TCP_CHECKSUM = 16
ONCE = FIN | PSH  # flags that the last piece alone keeps


def on_the_wire(frame: Frame) -> list[bytes]:
    """One frame, or, where the device is to segment, one for each piece."""
    data = bytes(frame)
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
    struct.pack_into(">H", ip, 2, len(ip) + len(tcp) + len(ours))
    struct.pack_into(">H", ip, 10, 0)
    struct.pack_into(">H", ip, 10, 0xFFFF - internet_sum(bytes(ip)))
    (sequence,) = struct.unpack_from(">I", tcp, 4)
    struct.pack_into(">I", tcp, 4, (sequence + at) & 0xFFFFFFFF)
    if at + size < len(text):
        tcp[13] &= ~ONCE
    struct.pack_into(">H", tcp, TCP_CHECKSUM, 0)
    src, dst = struct.unpack_from(">II", ip, 12)
    covered = pseudo_header(src, dst, TCP_PROTO, len(tcp) + len(ours)) + tcp + ours
    struct.pack_into(">H", tcp, TCP_CHECKSUM, 0xFFFF - internet_sum(covered))
    return header[:IP_START] + bytes(ip) + bytes(tcp) + ours
