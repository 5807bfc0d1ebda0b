"""CLOSED (RFC 9293 §3.10.7.1), and segments that go out without a connection: RSTs, and ACKs out of TIME-WAIT.

They wait in a bounded queue for the batch's turn to transmit; RSTs are limited in number a second.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from usernat.stack.l3.token_bucket import TokenBucket
from usernat.stack.l4.tcp.emit import emit_bare
from usernat.stack.l4.tcp.header import ACK, RST
from usernat.stack.l4.tcp.options import TIMESTAMPS_PREFIX
from usernat.stack.l4.tcp.seq import wrap

if TYPE_CHECKING:
    from usernat.stack.l3.ipv4 import Ipv4Layer
    from usernat.stack.l4.tcp.connection import Key
    from usernat.stack.l4.tcp.counters import TcpCounters
    from usernat.stack.l4.tcp.segment import Segment

MAX_WAITING = 1024
BURST = 200

_timestamps = struct.Struct(">III").pack


class Reply(NamedTuple):
    """A segment without text. Numbers as on the wire."""

    key: Key
    seq: int
    ack: int
    flags: int
    window: int
    timestamps: tuple[int, int] | None


def reset_for(seg: Segment) -> Reply | None:
    """The RST that a segment draws which belongs to nothing (§3.10.7.1); None for a RST, which draws none (§3.10.7.1-a)."""
    if seg.flags & RST:
        return None
    key = (seg.packet.src, seg.source_port, seg.packet.dst, seg.destination_port)
    if seg.flags & ACK:
        return Reply(key, seg.ack, 0, RST, 0, None)  # §3.10.7.1-c: <SEQ=SEG.ACK><CTL=RST>
    # §3.10.7.1-b: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
    return Reply(key, 0, wrap(seg.seq + seg.length), RST | ACK, 0, None)


class Replies:
    """The queue."""

    __slots__ = ("_bucket", "_counters", "_waiting")

    def __init__(self, counters: TcpCounters, resets_per_second: int, now: int) -> None:
        self._counters = counters
        self._waiting: deque[Reply] = deque()
        self._bucket = TokenBucket(resets_per_second, max(BURST, resets_per_second // 5), now)

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, reply: Reply) -> None:
        """Queue it, or count it where the queue is full."""
        if len(self._waiting) >= MAX_WAITING:
            self._counters.replies_dropped += 1
        else:
            self._waiting.append(reply)

    def push_reset_for(self, seg: Segment, now: int) -> None:
        """Queue the RST that `seg` draws, if any, and not too many were sent lately."""
        reply = reset_for(seg)
        if reply is None:
            self._counters.stray_reset += 1
        elif not self._bucket.take(now):
            self._counters.resets_limited += 1
        else:
            self._counters.resets_sent += 1
            self.push(reply)

    def transmit(self, ipv4: Ipv4Layer, now: int, budget: int) -> int:
        """Emit at most `budget` of them; returns how many."""
        emitted = 0
        while self._waiting and emitted < budget:
            reply = self._waiting.popleft()
            stamps = reply.timestamps
            options = _timestamps(TIMESTAMPS_PREFIX, *stamps) if stamps is not None else b""
            emit_bare(ipv4, reply.key, reply.seq, reply.ack, reply.flags, reply.window, options, now)
            emitted += 1
        return emitted
