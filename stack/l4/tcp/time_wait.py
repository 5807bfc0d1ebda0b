"""TIME-WAIT (RFC 9293 §3.6.1 MUST-13): for 2 MSL after the end, old duplicates meet a record that knows them.

It needs few facts, so a small record takes the connection's place in the table. All of them wait equally long, so the order in which they
came is the order in which they leave: a dictionary is the whole timer. The table is bounded; the oldest makes room.

A new SYN may take over the tuple at once when it is surely new: by its time stamp (RFC 6191, SHLD-4) or by its sequence number (MAY-2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.header import ACK, RST, SYN
from usernat.stack.l4.tcp.seq import is_before, unwrap, wrap
from usernat.stack.l4.tcp.state import CLOSED
from usernat.stack.l4.tcp.timestamps import STALE_US, Timestamps

if TYPE_CHECKING:
    from weakref import ref

    from usernat.stack.l4.tcp.connection import Connection, Key
    from usernat.stack.l4.tcp.layer import TcpLayer
    from usernat.stack.l4.tcp.segment import Segment

MAX_REPLIES = 16  # ACKs out of one record: a peer needs one, an endless exchange of old ACKs should end


class TimeWait:
    """What is left of a connection. snd_nxt, rcv_nxt: as in RFC 9293. connection: whom to tell at the end, if anybody still cares."""

    __slots__ = (
        "connection",
        "expires",
        "key",
        "layer",
        "rcv_nxt",
        "replies",
        "snd_nxt",
        "timestamps",
        "window",
    )

    def __init__(self, layer: TcpLayer, c: Connection, connection: ref[Connection], expires: int) -> None:
        self.layer = layer
        self.key: Key = c.key
        self.snd_nxt = c.snd.snd_nxt
        self.rcv_nxt = c.rcv.rcv_nxt
        self.window = c.rcv.window_field()
        self.timestamps: Timestamps | None = c.timestamps
        self.connection = connection
        self.expires = expires
        self.replies = 0

    def receive(self, seg: Segment, now: int) -> None:
        """RFC 9293 §3.10.7.4 in state TIME-WAIT."""
        layer, flags = self.layer, seg.flags
        seq = unwrap(seg.seq, self.rcv_nxt)
        if flags & RST:
            # RFC 5961 §3.2-f holds here too. An exact RST ends the wait: the peer is gone anyway.
            if seq == self.rcv_nxt:
                layer.counters.resets_received += 1
                layer.end_time_wait(self)
            else:
                layer.counters.blind_reset += 1
            return
        if flags & SYN:
            if not flags & ACK and self._is_new(seg, seq, now):
                layer.counters.time_wait_reused += 1
                layer.end_time_wait(self)
                seg.takes_over = self.snd_nxt
                layer.listen_for(seg, now)
            else:
                layer.counters.blind_syn += 1
                self.acknowledge(now)  # RFC 5961 §4.2-b
            return
        if self.timestamps is not None and (seg.tsval < 0 or self.timestamps.is_old(seg.tsval, now)):
            layer.counters.paws += 1
            return
        if not flags & ACK:
            layer.counters.no_ack += 1
            return
        if seg.length:
            # §3.10.7.4-m: what can still come is a retransmission of the peer's FIN: acknowledged, and the wait begins anew
            if seq + seg.length == self.rcv_nxt:
                layer.restart_time_wait(self, now)
            self.acknowledge(now)
        elif seq != self.rcv_nxt:
            layer.counters.out_of_window += 1
            self.acknowledge(now)

    def acknowledge(self, now: int) -> None:
        """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>."""
        if self.replies >= MAX_REPLIES:
            self.layer.counters.challenge_acks_throttled += 1
            return
        self.replies += 1
        stamps = self.timestamps
        self.layer.reply(
            self.key,
            wrap(self.snd_nxt),
            wrap(self.rcv_nxt),
            ACK,
            self.window,
            (stamps.value(now), stamps.recent) if stamps is not None else None,
        )

    def ended(self) -> None:
        """The wait is over."""
        connection = self.connection()
        if connection is not None:
            connection.state = CLOSED
            connection.mark_ready()

    def _is_new(self, seg: Segment, seq: int, now: int) -> bool:
        """Whether a SYN cannot be an old duplicate (RFC 6191 §2, RFC 9293 §3.6.1 MAY-2)."""
        stamps = self.timestamps
        if (
            stamps is not None
            and seg.tsval >= 0
            and now - stamps.recent_at < STALE_US
            and seg.tsval != stamps.recent
        ):
            return is_before(stamps.recent, seg.tsval)
        return seq > self.rcv_nxt
