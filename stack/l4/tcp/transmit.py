"""A connection's turn to send: what leaves, in which order, and how large.

    a SYN that is due  ->  a zero-window probe  ->  text, FIN and retransmissions  ->  an ACK, if nothing took it along

Called once per batch, after everything that arrived has been taken in and the application has had its say, so that one ACK answers
the batch (RFC 9293 §3.10.7.4 MUST-58, MUST-59; RFC 5681 §4.2-b) and rides on data where there is any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.emit import emit, emit_syn, sack_option
from usernat.stack.l4.tcp.header import ACK, CWR, FIN, PSH
from usernat.stack.l4.tcp.negotiation import segment_sizes
from usernat.stack.l4.tcp.receiver import ACK_NOW
from usernat.stack.l4.tcp.state import (
    AFTER_OUR_FIN,
    ESTABLISHED,
)
from usernat.stack.l4.tcp.timers import NEVER, arm

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection


def transmit(c: Connection, now: int, budget: int) -> int:
    """Emit at most `budget` frames (at least 1); returns how many. `c.unfinished` says whether more could have left."""
    c.unfinished = False
    emitted = 0
    if c.state < ESTABLISHED:
        if c.syn_due:
            _send_syn(c, now)
            emitted = 1
        elif c.rcv.ack == ACK_NOW:
            # SYN-RECEIVED: a challenge ACK, or the answer to what was not acceptable
            emitted = _send_control(c, now)
    else:
        emitted = _send_text(c, now, budget)
        if (c.rcv.ack == ACK_NOW or c.keepalive_due) and (emitted < budget or not c.unfinished):
            emitted += _send_control(c, now)
    arm(c, now)
    return emitted


def _send_syn(c: Connection, now: int) -> None:
    """RFC 9293 §3.10.1, §3.10.7.2-c: SND.NXT = ISS + 1 once it has left."""
    snd = c.snd
    emit_syn(c, now)
    c.syn_due = False
    again = snd.snd_nxt > snd.iss
    snd.sent(snd.iss, snd.iss + 1, now)
    if again:
        c.layer.counters.retransmissions += 1


def _send_text(c: Connection, now: int, budget: int) -> int:
    """New text, FIN and retransmissions, and a probe where one is due."""
    snd = c.snd
    emitted = 0
    if c.probe_due:
        c.probe_due = False
        if not snd.snd_wnd and (snd.has_unsent() or snd.snd_nxt > snd.snd_una):
            _send_range(c, *snd.probe_range(), now, 1)
            emitted = 1
    if (snd.snd_nxt == snd.snd_una and not snd.has_unsent()) or c.timers.hold < NEVER:
        return emitted
    mss, largest = segment_sizes(c)
    idle = now - c.sent_at if snd.snd_nxt == snd.snd_una else 0
    if idle > snd.rtt.rto_us:
        # RFC 5681 §4.1-a: after more than one RTO without sending, the old window says nothing about the path any more
        snd.cc.on_idle()
    while emitted < budget:
        sack = sack_option(c) if snd.sack else b""
        room = mss - len(sack)
        # a device would put the same urgent pointer or CWR, and no SACK option, on all segments that it cuts
        alone = sack or snd.urgent > snd.snd_nxt or (c.ecn is not None and c.ecn.capable and snd.cc.lowered)
        planned = snd.next_range(room, room if alone else largest)
        if planned is None:
            return emitted
        _send_range(c, *planned, now, room, sack)
        emitted += 1
        if idle:
            snd.cc.on_pause(idle)
            idle = 0
        if snd.recovery is None and not snd.has_unsent():
            snd.cwnd_limited = False  # as `next_range` would say: there is nothing more
            return emitted
    c.unfinished = snd.recovery is not None or snd.has_unsent()
    return emitted


def _send_range(c: Connection, start: int, end: int, now: int, mss: int, sack: bytes = b"") -> None:
    """Emit [start, end) of the sequence space; more than `mss` octets are for the device to cut."""
    snd = c.snd
    queue_end = snd.queue.end
    fin = end > queue_end
    length = end - start - fin
    flags = ACK
    if fin:
        flags = ACK | FIN
    if end >= queue_end:
        flags |= PSH * (length > 0)  # RFC 9293 §3.9.1.2 MUST-61, SHLD-27: on the last octet that there is
    again = start < snd.snd_nxt
    ect = False
    # RFC 3168 §6.1.5-a, §6.1.6-a
    if c.ecn is not None and c.ecn.capable and length > 0 and not again and snd.snd_wnd:
        ect = True
        if snd.cc.lowered:
            # RFC 3168 §6.1.2-c: with the first new text after cwnd was lowered, for whatever reason
            flags |= CWR
            snd.cc.lowered = False
    emit(
        c,
        start,
        flags,
        snd.queue.slices(start, length),
        length,
        now,
        sack=sack,
        gso_size=mss if length > mss else 0,
        ect=ect,
    )
    snd.sent(start, end, now)
    c.sent_at = now
    if again:
        c.layer.counters.retransmissions += 1
        if snd.sack and start == snd.snd_una:
            c.timers.retransmit = NEVER  # RFC 6298 §5-a: what RACK sent again has its RTO, too, before the timer sends it once more
        return
    c.timers.probe = NEVER  # RFC 8985 §7.2-a: new text starts the wait anew
    if fin:
        c.state = AFTER_OUR_FIN.get(c.state, c.state)  # RFC 9293 §3.10.4


def _send_control(c: Connection, now: int) -> int:
    """An ACK that nothing took along, and a keep-alive probe."""
    snd = c.snd
    emitted = 0
    if c.keepalive_due:
        c.keepalive_due = False
        if c.keepalive is not None and snd.snd_nxt == snd.snd_una:
            emit(c, snd.snd_nxt - 1, ACK, [], 0, now)  # RFC 9293 §3.8.4 SHLD-12
            c.keepalive.sent(now)
            c.layer.counters.keepalive_probes += 1
            emitted = 1
    if c.rcv.ack == ACK_NOW:
        # RFC 9293 §3.10.7.4: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>
        emit(c, snd.acceptable_seq, ACK, [], 0, now, sack=sack_option(c))
        emitted += 1
    return emitted
