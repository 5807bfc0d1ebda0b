"""TIME-WAIT (RFC 9293 §3.6.1 MUST-13): for 2 MSL after the end, old duplicates meet a record that knows them.

It needs few facts, so a small record takes the connection's place in the table. All of them wait equally long, so the order in which they
came is the order in which they leave: a dictionary is the whole timer. The table is bounded; the oldest makes room.

A new SYN may take over the tuple at once when it is surely new: by its time stamp (RFC 9293 SHLD-4, RFC 6191) or by its sequence number (RFC 9293 MAY-2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.header import ACK, FIN, RST, SYN
from usernat.stack.l4.tcp.receiver import is_acceptable
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
    """What is left of a connection. snd_nxt, rcv_nxt: as in RFC 9293. edge: RCV.NXT + RCV.WND. connection: whom to tell at the end, if anybody still cares."""

    __slots__ = (
        "connection",
        "edge",
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
        self.edge = c.rcv.edge
        self.timestamps: Timestamps | None = c.timestamps
        self.connection = connection
        self.expires = expires
        self.replies = 0

    def receive(self, seg: Segment, now: int) -> None:
        """RFC 9293 §3.10.7.4 in state TIME-WAIT, in its order: sequence number, RST, SYN, ACK."""
        layer, flags = self.layer, seg.flags
        seq = unwrap(seg.seq, self.rcv_nxt)
        if flags & (SYN | ACK | RST) == SYN and self._is_new(seg, seq, now):
            layer.counters.time_wait_reused += 1
            layer.end_time_wait(self)
            seg.takes_over = self.snd_nxt
            layer.listen_for(seg, now)
        elif not self._check_sequence(seg, seq, now):
            return
        elif flags & RST:
            # RFC 5961 §3.2-c, -d, -f hold here too: an exact one ends the wait (the peer is gone anyway), others are challenged
            if seq == self.rcv_nxt:
                layer.counters.resets_received += 1
                layer.end_time_wait(self)
            else:
                layer.counters.blind_reset += 1
                self.acknowledge(now)
        elif flags & SYN:
            layer.counters.blind_syn += 1
            self.acknowledge(now)  # RFC 5961 §4.2-b
        elif not flags & ACK:
            layer.counters.no_ack += 1  # §3.10.7.4-h
        elif seg.length or seq != self.rcv_nxt:
            # §3.10.7.4-n: behind the peer's FIN there is no text; it had better hear where we stand
            layer.counters.text_after_fin += 1
            self.acknowledge(now)

    def _check_sequence(self, seg: Segment, seq: int, now: int) -> bool:
        """First: the time stamp and the window. What is unacceptable is acknowledged (§3.10.7.4-b), but for a RST (RFC 5961 §3.2-b)."""
        counters, flags = self.layer.counters, seg.flags
        if self.timestamps is not None and not flags & (RST | SYN):
            if seg.tsval < 0:
                counters.missing_timestamps += 1  # RFC 7323 §3.2-d
                return False
            if self.timestamps.is_old(seg.tsval, now):
                counters.paws += 1  # RFC 7323 §5.3-a
                self.acknowledge(now)
                return False
        if is_acceptable(self.rcv_nxt, self.edge, seq, seg.length):
            return True
        if flags & RST:
            if seq == self.rcv_nxt and not flags & SYN:
                return True  # at a closed window, with text (RFC 9293 §3.4 MUST-66)
            counters.blind_reset += 1
            return False
        if flags & (FIN | ACK | SYN) == FIN | ACK and seq + seg.length == self.rcv_nxt:
            # RFC 9293 §3.10.7.4-m: the peer's FIN again, so our ACK of it was lost
            self.layer.restart_time_wait(self, now)
        elif flags & SYN:
            counters.blind_syn += 1
        else:
            counters.out_of_window += 1
        self.acknowledge(now)
        return False

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
