"""Explicit congestion notification (RFC 3168, RFC 9293 §3.8.2 SHLD-8): the network marks a segment instead of dropping it.

Both ends agree in the SYNs (§6.1.1): ECE and CWR on the SYN ask, ECE alone on the SYN-ACK agrees. From then on new text leaves marked as capable (ECT(0)
in the IP header; §6.1.4 to §6.1.6: never a retransmission, a pure ACK or a window probe). A receiver that finds CE on a segment says
ECE on every ACK until it hears CWR (§6.1.3). A sender that hears ECE lowers cwnd as for a loss, once a window, and says CWR with its next new
text (§6.1.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l3.ipv4_header import CE, ECN_MASK
from usernat.stack.l4.tcp.header import ACK, CWR, ECE

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.segment import Segment

OFF, ANSWER, ASK = MODES = ("off", "answer", "ask")


class Ecn:
    """capable: our new text may be marked. echo: CE has come, we say ECE. lowered_at: SND.NXT when we last heeded an ECE."""

    __slots__ = ("capable", "echo", "lowered_at")

    def __init__(self, snd_una: int, *, capable: bool) -> None:
        self.capable = capable
        self.echo = False
        self.lowered_at = snd_una


def agreed(c: Connection, flags: int) -> bool:
    """Whether the peer's SYN makes it so (RFC 3168 §6.1.1-b).

    Once a SYN of ours has asked, a peer that agrees may mark what it sends, and we answer marks, although a later SYN of ours did not
    ask (§6.1.1-g). §6.1.1-d: nothing is agreed where the peer's says nothing, which any other pair of the two bits does (§6.1.1-f).
    """
    marks = flags & (ECE | CWR)
    asked = c.config.ecn == ASK and not c.passive
    if flags & ACK:
        return asked and marks == ECE
    return marks == ECE | CWR and ((asked and not c.snd.timeouts) or (c.passive and c.config.ecn != OFF))


def start(c: Connection) -> Ecn:
    """It is agreed. §6.1.1-c: whoever sent a SYN of its own must have asked with each: after one that did not, nothing may be marked ECT."""
    return Ecn(c.snd.snd_nxt, capable=c.passive or not c.snd.timeouts)


def syn_flags(c: Connection, *, answering: bool) -> int:
    """What our SYN says (RFC 3168 §6.1.1-b, §6.1.1-e). §6.1.1.1-a: a SYN that got no answer goes again without asking, for there are networks that drop it."""
    if answering:
        return ECE if c.ecn is not None else 0
    return ECE | CWR if c.config.ecn == ASK and not c.snd.timeouts else 0


def on_syn_again(c: Connection, flags: int) -> None:
    """RFC 3168 §6.1.1-d: a peer whose SYN comes again without asking has given it up, and would not heed marks."""
    if c.ecn is not None and not agreed(c, flags):
        c.ecn = None


def on_ack(ecn: Ecn, c: Connection, flags: int, ack: int, now: int) -> None:
    """An acceptable ACK, before it is heeded otherwise: cwnd is lowered from what was in flight then."""
    c.snd.marked = flags & ECE > 0
    if c.snd.marked and ack > ecn.lowered_at:  # RFC 3168 §6.1.2-b: once for all marks of a window
        _lower(ecn, c, now)


def on_segment(ecn: Ecn, c: Connection, seg: Segment) -> None:
    """RFC 3168 §6.1.3-a, -b, §6.1.5-b: an acceptable segment of an established connection, as its receiver sees it."""
    if seg.flags & CWR:
        ecn.echo = False
    if seg.text and seg.packet.tos & ECN_MASK == CE:
        ecn.echo = True
        c.layer.counters.congestion_marks += 1


def _lower(ecn: Ecn, c: Connection, now: int) -> None:
    snd = c.snd
    if snd.cc.cwnd <= snd.smss:
        # RFC 3168 §6.1.2-e, RFC 9438 §4.6-c: less than a segment a round trip is a segment a time-out
        c.timers.hold = now + snd.rtt.rto_us
    ecn.lowered_at = snd.snd_nxt
    snd.on_congestion(now)
