"""Explicit congestion notification (RFC 3168): the network marks a segment instead of dropping it.

Both ends agree in the SYNs (§6.1.1): ECE and CWR on the SYN ask, ECE alone on the SYN-ACK agrees. From then on new text leaves marked as capable (ECT(0)
in the IP header; §6.1.4 to §6.1.6: never a retransmission, a pure ACK or a window probe). A receiver that finds CE on a segment says
ECE on every ACK until it hears CWR (§6.1.3). A sender that hears ECE lowers cwnd as for a loss, once a window, and says CWR with its next new
text (§6.1.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.header import CWR, ECE

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.segment import Segment

ECT_0 = 0b10  # RFC 3168 §5, the two low bits of the TOS octet
CE = 0b11
ECN_MASK = 0b11

OFF, ANSWER, ASK = MODES = ("off", "answer", "ask")


class Ecn:
    """echo: CE has come, we say ECE. cwr_due: cwnd was lowered, our next new text says so. lowered_at: SND.NXT then."""

    __slots__ = ("cwr_due", "echo", "lowered_at")

    def __init__(self, snd_una: int) -> None:
        self.echo = False
        self.cwr_due = False
        self.lowered_at = snd_una


def agreed(mode: str, flags: int, *, answering: bool) -> bool:
    """What the peer's SYN says (RFC 3168 §6.1.1). answering: it has no ACK, ours will be the answer."""
    marks = flags & (ECE | CWR)
    return mode != OFF and marks == ECE | CWR if answering else mode == ASK and marks == ECE


def syn_flags(c: Connection, *, answering: bool) -> int:
    """What our SYN says. RFC 3168 §6.1.1.1: a SYN that got no answer goes again without asking, for there are networks that drop it."""
    if answering:
        return ECE if c.ecn is not None else 0
    return ECE | CWR if c.config.ecn == ASK and not c.snd.timeouts else 0


def on_segment(ecn: Ecn, c: Connection, seg: Segment, now: int) -> None:
    """An acceptable segment of an established connection."""
    if seg.flags & CWR:
        ecn.echo = False
    if seg.text and seg.packet.tos & ECN_MASK == CE:
        ecn.echo = True
        c.layer.counters.congestion_marks += 1
    if seg.flags & ECE and c.snd.snd_una > ecn.lowered_at:
        # RFC 3168 §6.1.2: once for all marks of a window
        _lower(ecn, c, now)


def _lower(ecn: Ecn, c: Connection, now: int) -> None:
    snd = c.snd
    if snd.cc.cwnd <= snd.smss:
        # RFC 3168 §6.1.2, RFC 9438 §4.6-c: less than a segment a round trip is a segment a time-out
        c.timers.hold = now + snd.rtt.rto_us
    ecn.lowered_at = snd.snd_nxt
    if snd.on_congestion(now):
        ecn.cwr_due = True
