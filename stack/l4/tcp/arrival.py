"""SEGMENT ARRIVES (RFC 9293 §3.10.7), in its order, for connections. The CLOSED state is `reset.py`, LISTEN is `listener.py`.

§3.10.7.3, SYN-SENT:              first the ACK bit, second RST, third security (none), fourth SYN, fifth the rest
§3.10.7.4, all others:            first the sequence number, second RST, third security (none), fourth SYN, fifth the ACK field,
                                  sixth URG, seventh the text, eighth FIN

Each step is one function that says whether the segment goes on to the next. The checks of RFC 5961 against blind attacks and of RFC 7323
against old duplicates stand where those RFCs put them. Nothing is sent from here: what is due is marked, and leaves with the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp import black_hole, ecn
from usernat.stack.l4.tcp.header import ACK, FIN, RST, SYN, URG
from usernat.stack.l4.tcp.negotiation import take_syn
from usernat.stack.l4.tcp.receiver import ACK_NOW
from usernat.stack.l4.tcp.seq import unwrap
from usernat.stack.l4.tcp.state import (
    AFTER_OUR_FIN_ACKED,
    AFTER_PEER_FIN,
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_2,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    TcpError,
)
from usernat.stack.l4.tcp.timers import NEVER, start_linger

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.segment import Segment

MAX_SACK_BLOCKS = 4  # RFC 2018 §3-a


def segment_arrives(c: Connection, seg: Segment, now: int) -> None:
    """Take in one segment."""
    c.heard_at = now
    if c.keepalive is not None:
        c.keepalive.heard()
    if c.state == SYN_SENT:
        _in_syn_sent(c, seg, now)
    elif c.state != CLOSED:
        _otherwise(c, seg, now)
    c.wake()


# -- §3.10.7.3 SYN-SENT ---------------------------------------------------------------------------------------------------


def _in_syn_sent(c: Connection, seg: Segment, now: int) -> None:
    snd, counters = c.snd, c.layer.counters
    ack = unwrap(seg.ack, snd.snd_nxt)
    # First, the ACK bit
    acceptable = False
    if seg.flags & ACK:
        acceptable = snd.iss < ack <= snd.snd_nxt
        if not acceptable:
            counters.bad_ack += 1  # §3.10.7.3-a
            c.layer.refuse(seg)
            return
    # Second, the RST bit. §3.10.7.3-b, RFC 5961 §3.2-e: only with an ACK of our SYN
    if seg.flags & RST:
        if acceptable:
            counters.resets_received += 1
            c.fail(TcpError.REFUSED)
        else:
            counters.blind_reset += 1
        return
    # Fourth, the SYN bit. §3.10.7.3-d, §3.10.7.4-p: without it there is nothing here, not even a FIN
    if not seg.flags & SYN:
        counters.no_syn += 1
        return
    take_syn(c, seg, now)
    if not acceptable:
        # §3.10.7.3-c, RFC 9293 §3.5 MUST-10: both ends open at once. Our SYN goes again, with ACK.
        c.state = SYN_RECEIVED
        c.syn_due = True
        return
    _establish(c, seg, c.rcv.irs, ack, seg.window, now)  # RFC 7323 §2.2-c: its window is not scaled
    c.rcv.ack = ACK_NOW
    # Fifth: URG, text and FIN on the SYN,ACK, as in §3.10.7.4 from the sixth check on
    seq = c.rcv.irs + 1
    if seg.flags & URG:
        _check_urgent(c, seg, seq)
    if seg.length > 1:
        _take_text(c, seg, seq)
        _check_fin(c, seg, seq, now)


def _establish(c: Connection, seg: Segment, seq: int, ack: int, window: int, now: int) -> None:
    """Our SYN is acknowledged: enter ESTABLISHED. RFC 5681 §3.1-b, RFC 6928 §2-c: this ACK does not enlarge cwnd."""
    snd = c.snd
    lost = snd.timeouts
    snd.on_ack(ack, [], _echo(c, seg, now), now)
    snd.set_window(window, seq, ack)
    c.state = ESTABLISHED
    c.in_trouble = False
    c.timers.retransmit = c.timers.give_up = NEVER
    if lost:
        snd.rtt.after_syn_timeout()  # RFC 6298 §5.7-a
    if lost > 1:
        snd.cc.on_lost_syn()
    c.sent_at = now
    c.layer.on_established(c)


# -- §3.10.7.4 other states -----------------------------------------------------------------------------------------------


def _otherwise(c: Connection, seg: Segment, now: int) -> None:
    flags = seg.flags
    seq = unwrap(seg.seq, c.rcv.rcv_nxt)
    if flags & (SYN | RST) == SYN and c.state == SYN_RECEIVED and seq == c.rcv.irs:
        if not flags & ACK:
            # The peer's SYN again: it has not seen our SYN,ACK (§3.10.7.4-g: a duplicate; it is answered as the first was)
            c.layer.counters.duplicate_syn += 1
            ecn.on_syn_again(c, flags)
            c.syn_due = True
            return
        # Simultaneous open: the SYN has been taken in already, the ACK is new (RFC 9293 §3.5, figure 8)
        flags &= ~SYN
        seq += 1
    if not _check_sequence(c, seg, flags, seq, now):
        return
    if flags & RST:
        _take_reset(c, seq, now)
        return
    if flags & SYN:
        _take_syn(c, now)
        return
    if not _check_ack(c, seg, flags, seq, now):
        return
    if c.ecn is not None:
        ecn.on_segment(c.ecn, c, seg)
    if flags & URG:
        _check_urgent(c, seg, seq)
    if seg.text:
        _take_text(c, seg, seq)
    if (flags & FIN or c.rcv.fin is not None) and c.state != CLOSED:
        _check_fin(c, seg, seq, now)


def _check_sequence(c: Connection, seg: Segment, flags: int, seq: int, now: int) -> bool:
    """First: is it of this connection, now? RFC 7323 §5.3-b: time stamps are looked at before the window."""
    rcv, timestamps, counters = c.rcv, c.timestamps, c.layer.counters
    if timestamps is not None and not flags & RST:  # RFC 7323 §5.2-a
        if seg.tsval < 0:
            counters.missing_timestamps += 1  # RFC 7323 §3.2-d, -e: dropped silently, and no more than that
            return False
        if timestamps.is_old(seg.tsval, now):
            counters.paws += 1  # RFC 7323 §5.3-a
            _answer_unacceptable(c, seg, seq, now)
            return False
    if not rcv.acceptable(seq, seg.length):  # RFC 7323 §5.3-c: after the time stamp all is as without
        if seq == rcv.rcv_nxt and rcv.edge == seq and not flags & SYN:
            # Zero window: its ACK, RST and URG count all the same (§3.10.7.4, RFC 9293 §3.4 MUST-66); text and FIN do not fit.
            rcv.ack = ACK_NOW
        elif flags & RST:
            counters.blind_reset += 1  # RFC 9293 §3.10.7.4-b, RFC 5961 §3.2-b: silently
            return False
        else:
            counters.out_of_window += 1
            _answer_unacceptable(c, seg, seq, now)
            return False
    if timestamps is not None and not flags & RST:
        timestamps.take(seg.tsval, seq, now)  # RFC 7323 §4.3-a
    return True


def _answer_unacceptable(c: Connection, seg: Segment, seq: int, now: int) -> None:
    """§3.10.7.4-b: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.

    A segment without sequence space is answered at the pace of challenge ACKs: two ends that do not agree would answer each other's
    ACKs for ever.
    """
    if seg.length:
        c.rcv.note_duplicate(seq, len(seg.text))
        c.rcv.ack = ACK_NOW
    else:
        c.challenge(now)


def _take_reset(c: Connection, seq: int, now: int) -> None:
    """Second: RST, by the three checks of RFC 5961 §3.2-a (RFC 9293 §3.10.7.4-d)."""
    counters = c.layer.counters
    if seq != c.rcv.rcv_nxt:
        counters.blind_reset += 1
        c.challenge(now)  # §3.2-d: in the window, but not exact
        return
    counters.resets_received += 1  # RFC 5961 §3.2-c, §4.2-c; RFC 9293 §3.5.3 SHLD-2: with or without text
    if c.state == SYN_RECEIVED and not c.passive:
        c.fail(TcpError.REFUSED)  # RFC 9293 §3.10.7.4-e, §3.5 MUST-11
    else:
        c.fail(TcpError.RESET)


def _take_syn(c: Connection, now: int) -> None:
    """Fourth: a SYN where none can be. RFC 5961 §4.2-a, -b, RFC 9293 §3.10.7.4-f: challenge it, whatever its number."""
    c.layer.counters.blind_syn += 1
    if c.state == SYN_RECEIVED and c.passive:
        c.fail(TcpError.RESET)  # RFC 9293 §3.10.7.4-g: back to LISTEN; the peer's next SYN opens anew
    else:
        c.challenge(now)


def _check_ack(c: Connection, seg: Segment, flags: int, seq: int, now: int) -> bool:
    """Fifth: the ACK field."""
    snd, counters = c.snd, c.layer.counters
    if not flags & ACK:
        counters.no_ack += 1  # §3.10.7.4-h
        return False
    ack = unwrap(seg.ack, snd.snd_una)
    if c.state == SYN_RECEIVED:
        if not snd.snd_una < ack <= snd.snd_nxt:
            counters.bad_ack += 1  # §3.10.7.4-i
            c.layer.refuse(seg)
            return False
        # RFC 7323 §2.2-c: a SYN,ACK's window (simultaneous open) is not scaled
        _establish(c, seg, seq, ack, seg.window if seg.flags & SYN else seg.window << snd.scale, now)
        return c.state != CLOSED  # there may have been no room for it in its listener's queue
    # RFC 5961 §5.2-a, -b, -c (RFC 9293 MAY-12), §3.10.7.4-j
    if not snd.snd_una - snd.max_window <= ack <= snd.snd_nxt:
        counters.bad_ack += 1
        c.challenge(now)
        return False
    if c.ecn is not None:
        ecn.on_ack(c.ecn, c, flags, ack, now)
    if ack >= snd.snd_una:
        _acknowledge(c, seg, seq, ack, now)
    if snd.fin_queued and snd.fin_acknowledged:
        return _our_fin_acknowledged(c, now)
    return True


def _acknowledge(c: Connection, seg: Segment, seq: int, ack: int, now: int) -> None:
    """An ACK in [SND.UNA, SND.NXT]: what it acknowledges, by number and by SACK, and the window it offers."""
    snd, timers = c.snd, c.timers
    window = seg.window << snd.scale  # RFC 7323 §2.3-b
    moved = ack > snd.snd_una
    room = moved and c.has_room
    _hear(c, seg, ack, window, now)
    if moved:
        timers.give_up = NEVER
        timers.probe = NEVER
        c.in_trouble = False
        if c.black_hole is not None:
            black_hole.on_progress(c, now)
        if not snd.keep_timer:
            timers.retransmit = NEVER  # RFC 6298 §5.3-a: `arm` starts it again if anything is out
        if c.has_room and not (room and len(snd.queue)):
            c.mark_ready()
    elif not window and not c.reading_over:
        # RFC 9293 §3.8.6.1 MUST-37, §3.8.6 SHLD-17: a peer that answers probes lives. Once nobody holds the connection any more, the user
        # time-out counts all the same, as the RFC lets a host manage its resources: what is left must not stay for ever.
        timers.give_up = NEVER
    # §3.10.7.4-k: not from segments older than the last one that spoke of the window. One that moves SND.UNA is newer by its
    # ACK, whatever its SEQ: a FIN sent again carries an old SEQ, and to count the old window from the new SND.UNA would go beyond.
    if moved or snd.snd_wl1 < seq or (snd.snd_wl1 == seq and snd.snd_wl2 <= ack):
        snd.set_window(window, max(seq, snd.snd_wl1), ack)


def _hear(c: Connection, seg: Segment, ack: int, window: int, now: int) -> None:
    """What it acknowledges: by number, by SACK, or by saying the same again."""
    snd = c.snd
    moved = ack > snd.snd_una
    if moved:
        snd.keep_timer = False
    if snd.sack:
        reported = seg.options.sack[:MAX_SACK_BLOCKS] if seg.options is not None else []
        if moved or reported:
            snd.on_ack(ack, [(unwrap(a, ack), unwrap(b, ack)) for a, b in reported], _echo(c, seg, now), now)
        elif not seg.length and window == snd.snd_wnd:  # RFC 5681 §2-a: a window update is none
            snd.on_bare_ack()
    elif moved:
        snd.on_ack(ack, [], _echo(c, seg, now), now)
    elif not seg.length and window == snd.snd_wnd and ack < snd.snd_nxt and window and not seg.flags & FIN:
        c.layer.counters.duplicate_acks += 1  # RFC 5681 §2-a
        snd.on_duplicate(now)


def _echo(c: Connection, seg: Segment, now: int) -> int | None:
    """The round trip in µs by the time stamp that the peer echoes (RFC 7323 §3.2-g: only with ACK)."""
    if c.timestamps is None or seg.tsval < 0 or not seg.tsecr:
        return None
    return c.timestamps.rtt_us(seg.tsecr, now)


def _our_fin_acknowledged(c: Connection, now: int) -> bool:
    """§3.10.7.4-l: FIN-WAIT-1 to FIN-WAIT-2, CLOSING to TIME-WAIT, LAST-ACK to CLOSED. False where the record is gone."""
    state = AFTER_OUR_FIN_ACKED.get(c.state)
    if state is None:
        return True
    if state == CLOSED:
        c.finish()
        return False
    c.state = state
    if state == TIME_WAIT:
        c.enter_time_wait(now)
        return False
    start_linger(c, now)
    return True


def _check_urgent(c: Connection, seg: Segment, seq: int) -> None:
    """Sixth: URG. The data stays where it is in the stream (RFC 6093 §6); the pointer is tracked and nothing is read by it.

    RFC 9293 §3.8.5 MUST-30, MUST-31: RCV.UP only moves on, however far; MUST-32: the application hears of it.
    """
    if c.state >= CLOSE_WAIT:
        return
    urgent = seq + seg.urgent
    if urgent > c.rcv.urgent:
        c.rcv.urgent = urgent
        c.layer.counters.urgent += 1
        c.mark_ready()


def _take_text(c: Connection, seg: Segment, seq: int) -> None:
    """Seventh: the segment text, in ESTABLISHED, FIN-WAIT-1 and FIN-WAIT-2 (§3.10.7.4-n: nowhere else)."""
    rcv = c.rcv
    text = seg.text
    if not text:
        return
    if c.state >= CLOSE_WAIT:
        c.layer.counters.text_after_fin += 1
        return
    if c.reading_over:
        if seq + len(text) > rcv.rcv_nxt:
            c.layer.counters.text_after_close += 1
            c.reset()  # RFC 9293 §3.6.1 SHLD-3: data after CLOSE is lost, and the peer should know
        return  # old text, with a new FIN behind it
    if rcv.take(seq, text):
        c.mark_ready()
    assert rcv.rcv_nxt <= rcv.edge, "the window's edge never moves back"  # RFC 9293 §3.10.7.4-q


def _check_fin(c: Connection, seg: Segment, seq: int, now: int) -> None:
    """Eighth: FIN (§3.10.7.4-o), which counts once all text before it is there; one that comes early is remembered."""
    rcv = c.rcv
    if rcv.finished:
        return
    if seg.flags & FIN:
        if rcv.fin is None:
            rcv.take_fin(seq + len(seg.text))
        else:
            rcv.ack = ACK_NOW  # RFC 5681 §3.2-a: sent again while text before it is missing
    if not rcv.reach_fin():
        return
    was = c.state
    c.state = AFTER_PEER_FIN[was]
    c.mark_ready()  # end of file
    if was == FIN_WAIT_2:
        c.enter_time_wait(now)
