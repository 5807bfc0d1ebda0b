"""The other half of the model of RFC 9293 §3.10: what the user asks for (§3.10.1 to §3.10.5), and what may leave.

    active_open(tcb, iss)           OPEN; the SYN leaves
    taken = send(tcb, b"text")      SEND; 0 where it is an error
    close(tcb)                      CLOSE: no more SENDs, a FIN follows the stream
    answer = abort(tcb)             ABORT
    leaves(tcb, segment)            ModelError where the implementation may not send this now

RECEIVE and STATUS need no function: they read `tcb.delivered` and `tcb.state`.

When text leaves, and in what portions, is the implementation's affair, so the model does not foretell it. It says what is never allowed: text
that is not that of the stream at its number, or beyond what the peer's window shows; a FIN before the end of the stream, or at a
second place; an acknowledgement of anything but RCV.NXT; a window whose right edge moves back (SHLD-14).

Where the RFC leaves a choice: CLOSE changes the state when the FIN leaves, not before (§3.10.4 lets ESTABLISHED become FIN-WAIT-1 at
once). ABORT sends RST in CLOSING and LAST-ACK too, for the peer may lack some of the stream. A connection in TIME-WAIT stays there, whatever
the user does: the wait is for the network's sake.
"""

from __future__ import annotations

from usernat.fuzz.machines.frame_check import ACK, FIN, RST, SYN
from usernat.fuzz.machines.tcp_tcb import Answer, Segment, State, Tcb, after, before, end, renew

OPENING = {State.SYN_SENT, State.SYN_RECEIVED}
SENDING = OPENING | {State.ESTABLISHED, State.CLOSE_WAIT}
OVER = {State.CLOSED, State.LISTEN, State.TIME_WAIT}


class ModelError(AssertionError):
    """The implementation did what RFC 9293 does not let it do."""


def active_open(tcb: Tcb, iss: int) -> None:
    """§3.10.1: OPEN, active, in CLOSED."""
    renew(tcb)
    tcb.state = State.SYN_SENT
    tcb.iss = tcb.snd_una = iss
    tcb.snd_nxt = after(iss)


def send(tcb: Tcb, text: bytes) -> int:
    """§3.10.2: SEND. How much of the text is taken: all, or nothing where there is no connection or it is closing."""
    if tcb.state not in SENDING or tcb.closing:
        return 0
    tcb.stream += text
    return len(text)


def close(tcb: Tcb) -> None:
    """§3.10.4: CLOSE. In SYN-SENT too the FIN waits for the connection to stand; whoever wants it gone calls ABORT."""
    if tcb.state in SENDING:
        tcb.closing = True


def abort(tcb: Tcb) -> Answer | None:
    """§3.10.5: ABORT. The RST that leaves: none where the peer knows of no connection, or needs to know no more."""
    if tcb.state in OVER:
        return None
    answer = None if tcb.state is State.SYN_SENT else Answer(RST | ACK, tcb.next_seq(), tcb.rcv_nxt)
    end(tcb, None)
    return answer


def leaves(tcb: Tcb, seg: Segment) -> None:
    """The implementation sends this. SND.NXT, RCV.WND and the state follow it. ModelError where it may not."""
    if seg.flags & SYN:
        _syn_leaves(tcb, seg)
    elif not seg.flags & RST:
        _demand(bool(seg.flags & ACK), "a segment without ACK")
        _demand(tcb.state not in OPENING | {State.CLOSED, State.LISTEN} or not seg.length, "text too early")
        _demand(seg.ack == tcb.rcv_nxt, f"ACK {seg.ack} is not RCV.NXT")
        if seg.length:
            _text_leaves(tcb, seg)
        else:
            _demand(seg.seq == tcb.next_seq(), f"SEQ {seg.seq} of an ACK is not SND.NXT")
        _window_shown(tcb, seg)


def _syn_leaves(tcb: Tcb, seg: Segment) -> None:
    _demand(tcb.state in OPENING, f"SYN in {tcb.state.name}")
    _demand(seg.seq == tcb.iss and not seg.text, "a SYN that is not at ISS, or has text")
    if tcb.state is State.SYN_SENT:
        _demand(seg.flags == SYN, "a SYN with more")
        tcb.first_wnd = seg.wnd
        return
    _demand(seg.flags == SYN | ACK and seg.ack == tcb.rcv_nxt, "the SYN is not acknowledged")
    _window_shown(tcb, seg)


def _text_leaves(tcb: Tcb, seg: Segment) -> None:
    """Text, FIN or both: as the stream has it, at most to the edge of the peer's window, or one octet to probe a closed one."""
    start = (seg.seq - after(tcb.iss)) % (1 << 32)
    stop = start + len(seg.text)
    _demand(stop <= len(tcb.stream), "text that nobody gave")
    _demand(tcb.stream[start:stop] == seg.text, "text that is not what the stream has there")
    _demand(not before(seg.seq, tcb.snd_una), "text that is acknowledged")
    _demand(not before(tcb.snd_nxt, seg.seq), "a gap between SND.NXT and the text")
    fin = bool(seg.flags & FIN)
    _demand(not fin or (tcb.closing and stop == len(tcb.stream)), "FIN before the end of the stream")
    last = after(seg.seq, seg.length)
    probe = seg.seq == tcb.snd_una and seg.length == 1 and not tcb.snd_wnd
    _demand(probe or not before(_window_end(tcb), last), "beyond the peer's window")
    if before(tcb.snd_nxt, last):
        tcb.snd_nxt = last
    if fin and tcb.state is State.ESTABLISHED:
        tcb.state = State.FIN_WAIT_1
    elif fin and tcb.state is State.CLOSE_WAIT:
        tcb.state = State.LAST_ACK


def _window_end(tcb: Tcb) -> int:
    return after(tcb.snd_una, tcb.snd_wnd)


def _window_shown(tcb: Tcb, seg: Segment) -> None:
    edge = after(seg.ack, seg.wnd)
    _demand(not before(edge, tcb.rcv_edge), "the window's right edge moves back")
    tcb.rcv_edge = edge


def _demand(condition: bool, wrong: str) -> None:
    if not condition:
        raise ModelError(wrong)
