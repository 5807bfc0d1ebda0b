"""The timers of a connection: when each is due, and what it does then (RFC 9293 §3.10.8).

They are plain numbers, set and cleared while segments pass; the layer's deadlines hear only of the earliest, once per batch. A timer that
fires marks the connection and switches itself off; it is set again by `arm` when what it asked for has left. So a link that takes nothing for a
while holds retransmissions up and is not flooded with them afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp import black_hole
from usernat.stack.l4.tcp.receiver import ACK_NOW
from usernat.stack.l4.tcp.state import (
    ESTABLISHED,
    FIN_WAIT_2,
    SYN_RECEIVED,
    SYN_SENT,
    TcpError,
)
from usernat.stack.l4.tcp.tail_probe import pto_us

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection

NEVER = 1 << 62

R1 = 3  # RFC 9293 §3.8.3 SHLD-10: retransmissions after which the application hears of trouble (SHLD-9)
MAX_OVERRIDE_US = 500_000  # RFC 9293 §3.8.6.2.1: the override time-out is 0.1 to 1.0 s
MAX_PROBE_SHIFT = 16


class Timers:
    """Times in µs, NEVER where off.

    retransmit: RFC 6298. probe: the tail loss probe (RFC 8985 §7.2). reorder: RACK's (§6.2-h). At most one of these two is set, and never
    to a later time than `retransmit`, so that of the three just one counts, as if there were no others (§8-a). persist: zero-window probes, or the end of waiting for a better window. delayed_ack: RFC 9293 §3.8.6.3.
    hold: no text before then, new or old (`ecn.py`). keepalive: §3.8.4. give_up: R2 of §3.8.3. linger: the wait in FIN-WAIT-2 after close().
    """

    __slots__ = (
        "delayed_ack",
        "give_up",
        "hold",
        "keepalive",
        "linger",
        "persist",
        "probe",
        "probes",
        "reorder",
        "retransmit",
    )

    def __init__(self) -> None:
        self.retransmit = NEVER
        self.probe = NEVER
        self.reorder = NEVER
        self.persist = NEVER
        self.delayed_ack = NEVER
        self.keepalive = NEVER
        self.give_up = NEVER
        self.hold = NEVER
        self.linger = NEVER
        self.probes = 0  # zero-window probes since the window closed

    def due(self) -> int | None:
        """The earliest, or None."""
        first = min(
            self.retransmit,
            self.probe,
            self.reorder,
            self.persist,
            self.delayed_ack,
            self.keepalive,
            self.hold,
            self.give_up,
            self.linger,
        )
        return first if first < NEVER else None


def arm(c: Connection, now: int) -> None:
    """Set the timers as the state of both halves asks. Called when the connection's turn to transmit is over."""
    timers, snd = c.timers, c.snd
    outstanding = snd.snd_nxt > snd.snd_una
    if outstanding and (snd.snd_wnd or c.state <= SYN_RECEIVED):
        timers.persist = NEVER
        timers.probes = 0
        if timers.retransmit == NEVER:
            timers.retransmit = now + snd.rtt.rto_us  # RFC 6298 §5.1-a, §5.3-a, §5.6-a, §5-a
        if c.state >= ESTABLISHED:
            _arm_early(c, now)
    elif outstanding or (snd.has_unsent() and c.state >= ESTABLISHED):
        # RFC 9293 §3.8.6 MUST-35: a window that shrank to nothing under what is out is probed like any other
        timers.retransmit = timers.probe = timers.reorder = NEVER
        if timers.persist == NEVER and not c.probe_due:
            timers.persist = now + _persist_interval(c)
    else:
        timers.retransmit = timers.probe = timers.reorder = timers.persist = NEVER  # RFC 6298 §5.2-a
        timers.probes = 0
        timers.give_up = NEVER
    if (outstanding or timers.persist < NEVER) and timers.give_up == NEVER:
        limit = c.config.syn_timeout_us if c.state <= SYN_RECEIVED else c.user_timeout_us
        if limit is not None:
            timers.give_up = now + limit
    if c.rcv.ack and timers.delayed_ack == NEVER:
        timers.delayed_ack = now + c.config.delayed_ack_us
    if c.keepalive is not None and c.state >= ESTABLISHED:
        timers.keepalive = NEVER if outstanding else c.keepalive.due(c)  # RFC 9293 §3.8.4 MUST-26
    else:
        timers.keepalive = NEVER


def _arm_early(c: Connection, now: int) -> None:
    """What comes before the retransmission time-out: RACK's second look, or a tail loss probe."""
    timers, snd = c.timers, c.snd
    reorder_at = snd.recovery.reorder_at if snd.recovery is not None else None
    timers.reorder = NEVER
    if reorder_at is not None:
        timers.probe = NEVER
        if reorder_at < timers.retransmit:
            timers.reorder = max(reorder_at, now + 1)
    elif not snd.may_probe:
        timers.probe = NEVER
    elif timers.probe == NEVER:
        # RFC 8985 §7.2-b: not later than the time-out, in whose place it then comes
        timers.probe = min(now + pto_us(snd.rtt, snd.snd_nxt - snd.snd_una, snd.smss), timers.retransmit)


def _persist_interval(c: Connection) -> int:
    """RFC 9293 §3.8.6.1 SHLD-29, SHLD-30: the first probe after one RTO, then ever longer; and the override time-out."""
    rto = c.snd.rtt.rto_us
    if c.snd.snd_wnd:
        return min(rto, MAX_OVERRIDE_US)
    return min(rto << min(c.timers.probes, MAX_PROBE_SHIFT), c.config.max_rto_us)


def on_time(c: Connection, now: int) -> None:
    """Do what is due at `now`."""
    timers = c.timers
    if timers.give_up <= now:
        c.fail(TcpError.TIMED_OUT)  # RFC 9293 §3.10.8-a
        return
    if timers.linger <= now:
        c.layer.counters.fin_wait_2_timeouts += 1
        c.fail(None)
        return
    if timers.keepalive <= now and not _keep_alive(c):
        return
    if timers.hold <= now:
        timers.hold = NEVER
    if timers.delayed_ack <= now:
        timers.delayed_ack = NEVER
        c.rcv.ack = ACK_NOW
    if timers.persist <= now:
        timers.persist = NEVER
        _persist(c)
    if timers.reorder <= now:
        timers.reorder = NEVER
        c.snd.on_reordering_timeout(now)
    if timers.probe <= now:
        timers.probe = timers.retransmit = NEVER  # RFC 8985 §7.3-e: the time-out begins anew behind the probe
        c.snd.probe.due = True
        c.layer.counters.tail_loss_probes += 1
    if timers.retransmit <= now:
        timers.retransmit = NEVER
        _retransmit(c, now)
    c.wake()


def _keep_alive(c: Connection) -> bool:
    """Probe, or give the peer up: False."""
    assert c.keepalive is not None
    c.timers.keepalive = NEVER
    if c.keepalive.is_dead:
        c.fail(TcpError.TIMED_OUT)
        return False
    c.keepalive_due = True
    return True


def _persist(c: Connection) -> None:
    """The window has stayed shut (probe it), or too small (use what there is)."""
    if c.snd.snd_wnd:
        c.snd.override = True
    else:
        c.timers.probes += 1
        c.probe_due = True
        c.layer.counters.window_probes += 1


def _retransmit(c: Connection, now: int) -> None:
    """RFC 9293 §3.10.8-b, RFC 6298 §5.4-a: the earliest segment goes again; the timer starts when it has left."""
    snd = c.snd
    c.layer.counters.retransmit_timeouts += 1
    if c.state in (SYN_SENT, SYN_RECEIVED):
        c.syn_due = True
        snd.rtt.back_off()
        snd.timeouts += 1
    else:
        snd.on_timeout(now)
        black_hole.on_timeout(c, now)
    if snd.timeouts == R1:
        c.report_trouble(now)  # RFC 9293 §3.8.3 MUST-22: of a SYN as of text


def start_linger(c: Connection, now: int) -> None:
    """Closed both ways by us and in FIN-WAIT-2: the peer does not get for ever (a departure, `config.py` says why)."""
    if c.state == FIN_WAIT_2 and c.reading_over and c.timers.linger == NEVER:
        c.timers.linger = now + c.config.fin_wait_2_us
