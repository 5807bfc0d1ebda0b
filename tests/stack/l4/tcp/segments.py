"""Segments taken apart and options put together by hand, for `peer.py`."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MS = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
MASK = 0xFFFFFFFF
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "W": 128}  # E: ECE, W: CWR

SACK_PERMITTED = b"\x01\x01\x04\x02"


@dataclass
class Seg:
    """A segment taken apart. seq and ack relative; flags as letters in the order FSRPAUEW; options by kind."""

    at: int
    flags: str
    seq: int
    ack: int
    window: int
    data: bytes
    urgent: int
    options: dict[int, bytes] = field(default_factory=dict)
    option_bytes: bytes = b""
    gso_size: int = 0
    tos: int = 0

    @property
    def tsval(self) -> int:
        return int(struct.unpack(">II", self.options[8])[0])

    @property
    def tsecr(self) -> int:
        return int(struct.unpack(">II", self.options[8])[1])


def mss(value: int) -> bytes:
    return struct.pack(">BBH", 2, 4, value)


def scale(shift: int) -> bytes:
    return struct.pack(">BBBB", 1, 3, 3, shift)


def stamps(value: int, echo: int = 0) -> bytes:
    return struct.pack(">BBBBII", 1, 1, 8, 10, value & MASK, echo & MASK)


def read_options(area: bytes) -> dict[int, bytes]:
    """Options of a segment of the stack's, which are always in order (RFC 9293 MUST-68, MUST-69)."""
    assert len(area) % 4 == 0
    options = {}
    at = 0
    while at < len(area):
        kind = area[at]
        if kind == 0:
            assert not any(area[at:])
            break
        if kind == 1:
            at += 1
            continue
        length = area[at + 1]
        assert 2 <= length <= len(area) - at
        options[kind] = area[at + 2 : at + length]
        at += length
    return options


LINUX_SYN = mss(1460) + SACK_PERMITTED[2:] + stamps(1000)[2:] + scale(7)  # what a Linux guest offers
