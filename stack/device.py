"""What the stack knows of the device below it, and what it hands to it.

The device is the guest link seen from the stack: it says how large a datagram may be and which work it takes over
(checksums, segmentation), as `IFF_VNET_HDR` does for a Linux TAP. The stack emits `Frame`s: scatter lists with the marks that
such a device needs to do that work.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_MTU = 68  # RFC 791 §3.2-frag-e: every module forwards a datagram of 68 octets whole
MAX_DATAGRAM = 65535
UDP_CHECKSUM_OFFSET = 6  # bytes into the UDP header (RFC 768); TCP's is at 16

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Of the guest link, fixed for its life.

    mtu: largest IP datagram in bytes, 68 to 65535 (RFC 1122 §3.3.3-d).
    tx_checksum: the device completes TCP and UDP checksums of frames handed out.
    tx_segmentation: largest IP datagram in bytes that the device segments for us (TCP segmentation offload), 0 for none.
    tx_udp_segmentation: the device cuts one frame into the UDP datagrams of a run (`l4/udp_run.py`), of 64 KiB at most.
    """

    mtu: int = 1500
    tx_checksum: bool = False
    tx_segmentation: int = 0
    tx_udp_segmentation: bool = False

    def __post_init__(self) -> None:
        if not MIN_MTU <= self.mtu <= MAX_DATAGRAM:
            raise ValueError(f"mtu must be {MIN_MTU} to {MAX_DATAGRAM}, not {self.mtu}")
        if not 0 <= self.tx_segmentation <= MAX_DATAGRAM:
            raise ValueError(f"tx_segmentation must be 0 to {MAX_DATAGRAM}, not {self.tx_segmentation}")
        if (self.tx_segmentation or self.tx_udp_segmentation) and not self.tx_checksum:
            raise ValueError("segmentation needs tx_checksum: the device must write each segment's checksum")


class Frame:
    """One Ethernet frame on its way out.

    parts: the frame's bytes as a scatter list; parts[0] starts with the Ethernet header.
    gso_size: payload bytes a segment where the device is to segment, 0 where the frame goes out as it is. Whether that means segments of TCP or
    datagrams of UDP is told by where their checksums are (csum_offset).
    csum_start: offset in bytes, from the frame's start, of the transport header whose checksum the device completes; 0 where all is complete.
    csum_offset: offset of the checksum field from csum_start. The field then holds the folded sum of the pseudo-header.
    header_length: Ethernet, IP and TCP or UDP header together, in bytes (where gso_size is set).
    """

    __slots__ = ("csum_offset", "csum_start", "gso_size", "header_length", "parts")

    def __init__(
        self,
        parts: list[Buffer],
        gso_size: int = 0,
        csum_start: int = 0,
        csum_offset: int = 0,
        header_length: int = 0,
    ) -> None:
        self.parts = parts
        self.gso_size = gso_size
        self.csum_start = csum_start
        self.csum_offset = csum_offset
        self.header_length = header_length

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))
