"""The bytes of outgoing segments: header and options packed in one call, the checksum completed or left to the device, text by reference.

What does not change (ports, addresses, their part of the pseudo-header sum) is kept by the connection; everything else is read at the
moment of emission, so that each segment shows the newest acknowledgement, window and time stamp.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from usernat.stack.checksum import fold, pseudo_header, sum_words
from usernat.stack.l3.ipv4_header import ECN_MASK, ECT_0, PROTO_TCP
from usernat.stack.l4.tcp.ecn import syn_flags
from usernat.stack.l4.tcp.header import ACK, CHECKSUM_OFFSET, ECE, HEADER_LENGTH, MAX_OPTIONS_LENGTH, SYN, URG
from usernat.stack.l4.tcp.negotiation import FIXED_HEADERS
from usernat.stack.l4.tcp.options import (
    TIMESTAMPS_LENGTH,
    TIMESTAMPS_PREFIX,
    sack_blocks_that_fit,
    write_sack,
    write_syn_options,
)
from usernat.stack.l4.tcp.seq import MASK, wrap
from usernat.stack.l4.tcp.timers import NEVER

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.l3.ipv4 import Ipv4Layer
    from usernat.stack.l4.tcp.connection import Connection, Key

_pack = struct.Struct(">IIIHHHH").pack  # both ports in one word
_pack_with_timestamps = struct.Struct(">IIIHHHHIII").pack

MAX_URGENT = 0xFFFF


def emit(
    c: Connection,
    seq: int,
    flags: int,
    text: list[Buffer],
    length: int,
    now: int,
    *,
    sack: bytes = b"",
    gso_size: int = 0,
    ect: bool = False,
) -> None:
    """Send a segment (not a SYN) of the connection: `length` bytes of `text` from `seq`. gso_size: the device cuts it.

    ect: it may be marked instead of dropped (RFC 3168 §6.1.4-a: a segment with text).
    sack: the SACK option, if there is to be one. Moves the window's edge and clears what ACK was due; what was sent is the caller's to note.
    """
    rcv, timestamps = c.rcv, c.timestamps
    window = rcv.window_field()
    urgent = 0
    if c.snd.urgent > seq:
        # RFC 9293 §3.8.5 MUST-62: SEG.UP is the octet after the urgent data. One too far away is shown as far as the field goes.
        flags |= URG
        urgent = min(c.snd.urgent - seq, MAX_URGENT)
    tos = c.tos & ~ECN_MASK
    if c.ecn is not None:
        if c.ecn.echo:
            flags |= ECE
        if ect:
            tos |= ECT_0
    seq &= MASK
    acked = rcv.rcv_nxt & MASK
    header_length = HEADER_LENGTH + len(sack) + (TIMESTAMPS_LENGTH if timestamps is not None else 0)
    offset_flags = header_length << 10 | flags
    total = c.pseudo_sum + header_length + length
    if timestamps is not None:  # RFC 7323 §3.2-b
        tsval, tsecr = timestamps.value(now), timestamps.recent
        timestamps.last_ack_sent = rcv.rcv_nxt
    if c.tx_checksum:
        csum = fold(total)
    else:
        # RFC 9293 §3.1 MUST-2. Words of 32 bits may be added whole (`checksum.py`).
        total += c.ports + seq + acked + offset_flags + window + urgent + sum_words((sack, *text))
        if timestamps is not None:
            total += TIMESTAMPS_PREFIX + tsval + tsecr
        csum = fold(total) ^ 0xFFFF
    if timestamps is not None:
        header = _pack_with_timestamps(
            c.ports, seq, acked, offset_flags, window, csum, urgent, TIMESTAMPS_PREFIX, tsval, tsecr
        )
    else:
        header = _pack(c.ports, seq, acked, offset_flags, window, csum, urgent)
    if sack:
        header += sack
    rcv.acknowledged()
    c.timers.delayed_ack = NEVER
    c.layer.counters.segments_sent += 1
    _hand_down(c, header, text, length, now, tos, gso_size)


def emit_syn(c: Connection, now: int) -> None:
    """Send our SYN, with ACK where the peer's has come, and all that is to be negotiated. RFC 3168 §6.1.1-a: never ECT."""
    timestamps = c.timestamps
    answering = c.rcv.irs != c.rcv.rcv_nxt
    stamps = None
    if timestamps is not None:
        stamps = (timestamps.value(now), timestamps.recent if answering else 0)  # RFC 7323 §3.2-g
        timestamps.last_ack_sent = c.rcv.rcv_nxt
    options = write_syn_options(
        c.rcv.mss,  # RFC 9293 §3.7.1 MUST-14, SHLD-5, MAY-3
        c.rcv.scale if c.offer_scale else None,
        sack_permitted=c.offer_sack,
        timestamps=stamps,
    )
    flags, ack = (SYN | ACK, wrap(c.rcv.rcv_nxt)) if answering else (SYN, 0)
    flags |= syn_flags(c, answering=answering)
    header_length = HEADER_LENGTH + len(options)
    window = min(c.rcv.limit, 0xFFFF)  # RFC 7323 §2.2-c: never scaled
    csum = fold(c.pseudo_sum + header_length) if c.tx_checksum else 0
    header = _pack(c.ports, wrap(c.snd.iss), ack, header_length << 10 | flags, window, csum, 0) + options
    if not c.tx_checksum:
        header = _with_checksum(header, c.pseudo_sum + header_length)
    c.rcv.acknowledged()
    c.timers.delayed_ack = NEVER
    c.layer.counters.segments_sent += 1
    _hand_down(c, header, [], 0, now, c.tos & ~ECN_MASK)


def sack_option(c: Connection) -> bytes:
    """The SACK option for the segment about to be emitted, empty if nothing is to be reported.

    RFC 2018 §4-a: only where the peer permitted it; §4-b: then on every segment while something is missing.
    """
    rcv = c.rcv
    if not c.snd.sack or (rcv.reassembly is None and rcv.duplicate is None):
        return b""
    # on the narrowest paths no more than leaves room for text
    space = min(MAX_OPTIONS_LENGTH, c.layer.ipv4.path_mtu(c.remote) - FIXED_HEADERS - 1)
    if c.timestamps is not None:
        space -= TIMESTAMPS_LENGTH
    blocks = rcv.sack_blocks(sack_blocks_that_fit(space))
    return write_sack([(wrap(start), wrap(stop)) for start, stop in blocks]) if blocks else b""


def _hand_down(
    c: Connection, header: bytes, text: list[Buffer], length: int, now: int, tos: int, gso_size: int = 0
) -> None:
    """To IP. What IP cannot send counts as sent and lost: the timer brings it back, by then in pieces that fit."""
    csum_offset = CHECKSUM_OFFSET if c.tx_checksum else None
    c.layer.ipv4.send_segment(c.local, c.remote, header, text, length, c.ttl, tos, gso_size, csum_offset, now)


def _with_checksum(header: bytes, pseudo_sum: int) -> bytes:
    """The header, where no text follows, with its checksum over itself and the pseudo-header."""
    checksum = fold(pseudo_sum + sum_words((header,))) ^ 0xFFFF
    return header[:CHECKSUM_OFFSET] + checksum.to_bytes(2, "big") + header[CHECKSUM_OFFSET + 2 :]


def emit_bare(
    ipv4: Ipv4Layer, key: Key, seq: int, ack: int, flags: int, window: int, options: bytes, now: int
) -> None:
    """Send a segment without text that belongs to no live connection: a RST, or an ACK out of TIME-WAIT. Numbers as on the wire.

    There are few of them, so that the checksum is completed here whatever the device could do.
    """
    remote, remote_port, local, local_port = key
    length = HEADER_LENGTH + len(options)
    header = _pack(local_port << 16 | remote_port, seq, ack, length << 10 | flags, window, 0, 0) + options
    segment = _with_checksum(header, pseudo_header(local, remote, PROTO_TCP, length))
    ipv4.send(PROTO_TCP, local, remote, [segment], now=now)
