"""TCP options (RFC 9293 §3.2): read from anything, written exactly.

    kind 0                End of Option List
    kind 1                No-Operation
    kind 2, length 4      Maximum Segment Size, 16 bits                 only with SYN (RFC 9293 §3.2 MUST-65)
    kind 3, length 3      Window Scale, a shift                         only with SYN (RFC 7323 §2.2-b)
    kind 4, length 2      SACK-permitted                                only with SYN (RFC 2018 §2-a)
    kind 5, length 8n+2   SACK: n times left edge, right edge           RFC 2018 §3-a
    kind 8, length 10     Time stamps: TSval, TSecr                     RFC 7323 §3.2

Almost every segment of a connection carries just the time stamps, aligned as RFC 7323 appendix A shows them; `segment.py` reads those in
one step and comes here for the rest. The walk below ends with the option area whatever the lengths say: each step moves on by at least one
octet, and a length below two or past the end makes the rest unreadable (RFC 9293 §3.1 MUST-7); what was read before it stands.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.stack.device import Buffer

END = 0
NO_OPERATION = 1
MAXIMUM_SEGMENT_SIZE = 2
WINDOW_SCALE = 3
SACK_PERMITTED = 4
SACK = 5
TIMESTAMPS = 8

TIMESTAMPS_LENGTH = 12  # with the two No-Operations that align it
TIMESTAMPS_PREFIX = 0x0101080A  # NOP, NOP, kind 8, length 10
SACK_OVERHEAD = 4  # NOP, NOP, kind, length
SACK_BLOCK_LENGTH = 8

# Prefix, TSval and TSecr where they stand in their usual place.
timestamps_at = struct.Struct(">III").unpack_from
_pair = struct.Struct(">II")


class Options:
    """What a segment's options say. None, or an empty list, stands for absent. sack: pairs of sequence numbers as on the wire."""

    __slots__ = ("malformed", "mss", "sack", "sack_permitted", "timestamps", "window_scale")

    def __init__(self) -> None:
        self.mss: int | None = None
        self.window_scale: int | None = None
        self.sack_permitted = False
        self.sack: list[tuple[int, int]] = []
        self.timestamps: tuple[int, int] | None = None
        self.malformed = False


def read_options(area: Buffer) -> Options:
    """Read an option area of any content. Never raises; the first of repeated options counts."""
    options = Options()
    at, end = 0, len(area)
    while at < end:
        kind = area[at]
        if kind == END:  # MUST-4
            break
        if kind == NO_OPERATION:  # MUST-4
            at += 1
            continue
        # RFC 9293 §3.1 MUST-6, MUST-68: everything else has a length octet and is skipped by it, known or not
        length = area[at + 1] if at + 1 < end else 0
        if length < 2 or at + length > end:
            options.malformed = True  # MUST-7
            break
        _read_one(options, kind, length, area, at)
        at += length
    return options


def _read_one(options: Options, kind: int, length: int, area: Buffer, at: int) -> None:
    """One option whose octets are all there, at any alignment (RFC 9293 §3.2 MUST-64). A length that its kind cannot have: passed over."""
    if kind == TIMESTAMPS and length == 10:
        if options.timestamps is None:
            options.timestamps = _pair.unpack_from(area, at + 2)
    elif kind == SACK and length >= 10 and length % 8 == 2:
        if not options.sack:
            options.sack = [_pair.unpack_from(area, at + 2 + offset) for offset in range(0, length - 2, 8)]
    elif kind == MAXIMUM_SEGMENT_SIZE and length == 4:
        if options.mss is None:
            options.mss = area[at + 2] << 8 | area[at + 3]
    elif kind == WINDOW_SCALE and length == 3:
        if options.window_scale is None:
            options.window_scale = area[at + 2]
    elif kind == SACK_PERMITTED and length == 2:
        options.sack_permitted = True
    else:
        options.malformed = options.malformed or kind in {
            MAXIMUM_SEGMENT_SIZE,
            WINDOW_SCALE,
            SACK_PERMITTED,
            SACK,
            TIMESTAMPS,
        }


def write_syn_options(
    mss: int, scale: int | None, *, sack_permitted: bool, timestamps: tuple[int, int] | None
) -> bytes:
    """The options of a SYN or SYN-ACK, in whole words (RFC 9293 §3.1 MUST-69). `None` and False leave an option out."""
    parts = [struct.pack(">BBH", MAXIMUM_SEGMENT_SIZE, 4, mss)]
    if timestamps is not None:
        # Two octets stand in front either way, so that the time stamps are aligned.
        lead = bytes((SACK_PERMITTED, 2)) if sack_permitted else bytes((NO_OPERATION, NO_OPERATION))
        parts += [lead, struct.pack(">BBII", TIMESTAMPS, 10, *timestamps)]
    elif sack_permitted:
        parts.append(bytes((NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2)))
    if scale is not None:
        parts.append(bytes((NO_OPERATION, WINDOW_SCALE, 3, scale)))
    return b"".join(parts)


def write_sack(blocks: Sequence[tuple[int, int]]) -> bytes:
    """The SACK option with these blocks (at least one), aligned. Edges as on the wire."""
    length = 2 + SACK_BLOCK_LENGTH * len(blocks)
    edges = [edge for block in blocks for edge in block]
    return struct.pack(f">BBBB{len(edges)}I", NO_OPERATION, NO_OPERATION, SACK, length, *edges)


def sack_blocks_that_fit(space: int) -> int:
    """How many SACK blocks fit into `space` octets of options: at most four, three beside time stamps (RFC 2018 §3-a)."""
    return max(0, (space - SACK_OVERHEAD) // SACK_BLOCK_LENGTH)
