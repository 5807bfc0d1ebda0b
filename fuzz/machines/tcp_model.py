"""One TCP connection by RFC 9293 §3.10.7, SEGMENT ARRIVES: a model to hold any implementation against.

    answer = segment_arrives(tcb, Segment(SYN, seq=7))     # the TCB has moved on; the answer is what must leave, or None

It is written for reading beside the RFC: the same order, the same words, sequence numbers compared on the circle of 2**32 as §3.4 has it, and
every octet kept by itself. Nothing is optimised, and no code of a stack is used. `tcp_tcb.py` has the records, `tcp_model_calls.py` the other half: what
the user asks for, and what may leave.

Where the RFC leaves a choice, or leaves it to another RFC, the model takes these:

1.  RFC 5961 is followed throughout: RST counts only at RCV.NXT, a SYN in a synchronized state draws a challenge ACK, an ACK below
    SND.UNA - MAX.SND.WND is as bad as one above SND.NXT (MAY-12).
2.  A passive OPEN is a listener that stays; a connection that "returns to LISTEN" is one that is gone.
3.  Text and FIN on the SYN that opens are not taken (the peer sends them again); on a SYN,ACK that completes an active OPEN they are.
4.  A segment that reaches over the window at both ends is acceptable, though neither its first nor its last octet is in it.
5.  With a zero window, ACK, RST and URG of a segment at RCV.NXT are acted on (where it has no SYN), and its text and FIN are answered
    as unacceptable, unless they end the connection: then there is nobody to answer.
6.  In SYN-RECEIVED a SYN with SEG.SEQ = IRS is the one that we know. Alone it draws our SYN,ACK again; where it comes with ACK, it is
    trimmed off as an octet that we have, and the rest counts (figure 8, simultaneous open).
7.  An ACK that moves SND.UNA always updates SND.WND, for by its ACK it is newer, whatever its SEQ.
8.  Text ahead of a gap is held (SHLD-31), and so is a FIN. What came first stands: neither other text for the same number, nor text
    behind a FIN, nor a FIN before text changes it; only text that is in order itself is taken whole. A FIN beyond the window is
    trimmed as text is.
9.  Text after CLOSE, where nobody will ever read it, draws RST (SHLD-3).
10. In TIME-WAIT the peer's FIN, sent again, restarts the wait, though the window does not hold it. Whatever takes up sequence space,
    or does not begin at RCV.NXT, is acknowledged, and what it acknowledges means nothing. A SYN beyond RCV.NXT opens anew (MAY-2).
11. SEQ of a segment without text is SND.NXT, or the end of the peer's window where that has come to lie before it: the peer would take
    nothing from beyond.
"""

from __future__ import annotations

from usernat.fuzz.machines.frame_check import ACK, FIN, RST, SYN, URG
from usernat.fuzz.machines.tcp_tcb import CIRCLE, Answer, Segment, State, Tcb, after, before, end, renew

RECEIVING = {State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2}


def segment_arrives(tcb: Tcb, seg: Segment, iss: int = 0) -> Answer | None:
    """§3.10.7. iss: the number that a connection opened by this segment starts with."""
    if tcb.state is State.CLOSED:
        return in_closed(seg)
    if tcb.state is State.LISTEN:
        return in_listen(tcb, seg, iss)
    if tcb.state is State.SYN_SENT:
        return in_syn_sent(tcb, seg)
    return otherwise(tcb, seg, iss)


def in_closed(seg: Segment) -> Answer | None:
    """§3.10.7.1: a RST, to anything but a RST."""
    if seg.flags & RST:
        return None
    if seg.flags & ACK:
        return Answer(RST, seg.ack)
    return Answer(RST | ACK, 0, after(seg.seq, seg.length))


def in_listen(tcb: Tcb, seg: Segment, iss: int) -> Answer | None:
    """§3.10.7.2: first RST, second ACK, third SYN, fourth all else."""
    if seg.flags & RST:
        return None
    if seg.flags & ACK:
        return Answer(RST, seg.ack)
    if not seg.flags & SYN:
        return None
    renew(tcb)
    tcb.state, tcb.passive = State.SYN_RECEIVED, True
    tcb.iss = tcb.snd_una = iss
    tcb.snd_nxt = after(iss)
    take_syn(tcb, seg)
    return Answer(SYN | ACK, tcb.iss, tcb.rcv_nxt)


def in_syn_sent(tcb: Tcb, seg: Segment) -> Answer | None:
    """§3.10.7.3: first ACK, second RST, fourth SYN, fifth all else."""
    acceptable = False
    if seg.flags & ACK:
        acceptable = before(tcb.iss, seg.ack) and not before(tcb.snd_nxt, seg.ack)
        if not acceptable:
            return None if seg.flags & RST else Answer(RST, seg.ack)
    if seg.flags & RST:
        if acceptable:
            end(tcb, "refused")
        return None
    if not seg.flags & SYN:
        return None
    take_syn(tcb, seg)
    if not acceptable:
        tcb.state = State.SYN_RECEIVED
        return Answer(SYN | ACK, tcb.iss, tcb.rcv_nxt)
    tcb.snd_una = tcb.snd_wl2 = seg.ack
    tcb.state = State.ESTABLISHED
    answer = tcb.acknowledge()
    rest = Segment(seg.flags & ~SYN, after(seg.seq), seg.ack, seg.wnd, seg.up, seg.text)
    return sixth_and_on(tcb, rest, answer)


def take_syn(tcb: Tcb, seg: Segment) -> None:
    """The peer's SYN. Its window is the first that we hear of."""
    tcb.irs = seg.seq
    tcb.rcv_nxt = tcb.rcv_up = after(seg.seq)
    tcb.rcv_edge = after(tcb.rcv_nxt, tcb.first_wnd)
    tcb.snd_wnd = tcb.max_snd_wnd = seg.wnd
    tcb.snd_wl1, tcb.snd_wl2 = seg.seq, tcb.snd_una


def otherwise(tcb: Tcb, seg: Segment, iss: int) -> Answer | None:
    """§3.10.7.4: first the sequence number, second RST, fourth SYN, fifth ACK, sixth URG, seventh the text, eighth FIN."""
    known_syn = tcb.state is State.SYN_RECEIVED and seg.flags & SYN and seg.seq == tcb.irs
    if known_syn and not seg.flags & RST:  # choice 6
        if not seg.flags & ACK:
            return Answer(SYN | ACK, tcb.iss, tcb.rcv_nxt)
        seg = Segment(seg.flags & ~SYN, after(seg.seq), seg.ack, seg.wnd, seg.up, seg.text)
    if tcb.state is State.TIME_WAIT and seg.flags & (SYN | ACK | RST) == SYN and before(tcb.rcv_nxt, seg.seq):
        return reopen(tcb, seg, iss)  # choice 10
    answer: Answer | None = None
    if not acceptable(tcb, seg):
        if tcb.state is State.TIME_WAIT:
            tcb.restarts += is_fin_again(tcb, seg)
        answer = None if seg.flags & RST else tcb.acknowledge()
        if seg.flags & SYN or seg.seq != tcb.rcv_nxt or tcb.rcv_wnd():  # choice 5
            return answer
    if seg.flags & RST:
        return second(tcb, seg)
    if seg.flags & SYN:
        return fourth(tcb)
    if not seg.flags & ACK:
        return answer
    goes_on, said = fifth(tcb, seg)
    if tcb.state in (State.CLOSED, State.LISTEN):
        return None
    return sixth_and_on(tcb, seg, said or answer) if goes_on else said or answer


def is_fin_again(tcb: Tcb, seg: Segment) -> bool:
    """Whether this is the peer's FIN, the last thing before RCV.NXT (choice 10)."""
    return seg.flags & (FIN | ACK | SYN | RST) == FIN | ACK and after(seg.seq, seg.length) == tcb.rcv_nxt


def acceptable(tcb: Tcb, seg: Segment) -> bool:
    """First: table 6."""
    if seg.length == 0:
        return seg.seq == tcb.rcv_nxt or tcb.in_window(seg.seq)
    last = after(seg.seq, seg.length - 1)
    over_both_ends = (tcb.rcv_nxt - seg.seq) % CIRCLE < seg.length  # choice 4: RCV.NXT lies in it
    return tcb.rcv_wnd() > 0 and (tcb.in_window(seg.seq) or tcb.in_window(last) or over_both_ends)


def second(tcb: Tcb, seg: Segment) -> Answer | None:
    """Second: RST, in the window."""
    if seg.seq != tcb.rcv_nxt:
        return tcb.acknowledge()
    if tcb.state is State.TIME_WAIT:
        end(tcb, None)
    elif tcb.state is State.SYN_RECEIVED and not tcb.passive:
        end(tcb, "refused")
    else:
        end(tcb, "reset")
    return None


def fourth(tcb: Tcb) -> Answer | None:
    """Fourth: SYN, in the window."""
    if tcb.state is State.SYN_RECEIVED and tcb.passive:
        end(tcb, "reset")  # choice 2
        return None
    return tcb.acknowledge()


def fifth(tcb: Tcb, seg: Segment) -> tuple[bool, Answer | None]:
    """Fifth: the ACK field. Whether the segment goes on to the sixth step, and what is to be answered."""
    new = before(tcb.snd_una, seg.ack) and not before(tcb.snd_nxt, seg.ack)
    if tcb.state is State.SYN_RECEIVED:
        if not new:
            return False, Answer(RST, seg.ack)
        tcb.state = State.ESTABLISHED
        tcb.snd_una = seg.ack
        tcb.snd_wl1 = seg.seq
        take_window(tcb, seg)
        return True, None
    if tcb.state is State.TIME_WAIT:
        return False, tcb.acknowledge() if seg.length or seg.seq != tcb.rcv_nxt else None
    oldest = after(tcb.snd_una, -tcb.max_snd_wnd)
    if before(seg.ack, oldest) or before(tcb.snd_nxt, seg.ack):
        return False, tcb.acknowledge()
    if not before(seg.ack, tcb.snd_una):
        newer = before(tcb.snd_wl1, seg.seq) or (tcb.snd_wl1 == seg.seq and not before(seg.ack, tcb.snd_wl2))
        tcb.snd_una = seg.ack
        if new or newer:
            take_window(tcb, seg)
    if tcb.our_fin_acknowledged():
        if tcb.state is State.FIN_WAIT_1:
            tcb.state = State.FIN_WAIT_2
        elif tcb.state is State.CLOSING:
            tcb.state = State.TIME_WAIT
        elif tcb.state is State.LAST_ACK:
            end(tcb, None)
    return tcb.state in RECEIVING, None


def take_window(tcb: Tcb, seg: Segment) -> None:
    """SND.WND, and what it was learnt from. SND.WL1 never goes back (choice 7)."""
    tcb.snd_wnd = seg.wnd
    tcb.max_snd_wnd = max(tcb.max_snd_wnd, seg.wnd)
    if before(tcb.snd_wl1, seg.seq):
        tcb.snd_wl1 = seg.seq
    tcb.snd_wl2 = seg.ack


def sixth_and_on(tcb: Tcb, seg: Segment, answer: Answer | None) -> Answer | None:
    """Sixth URG, seventh the text, eighth FIN; in ESTABLISHED, FIN-WAIT-1 and FIN-WAIT-2 only, for nothing follows a peer's FIN."""
    if seg.flags & URG and before(tcb.rcv_up, after(seg.seq, seg.up)):
        tcb.rcv_up = after(seg.seq, seg.up)
    if seg.text:
        if tcb.unread and before(tcb.rcv_nxt, after(seg.seq, len(seg.text))):
            answer = Answer(RST | ACK, tcb.next_seq(), tcb.rcv_nxt)  # choice 9
            end(tcb, None)
            return answer
        answer = seventh(tcb, seg, answer)
    if seg.flags & FIN or tcb.fin_at is not None:
        answer = eighth(tcb, seg, answer)
    return answer


def seventh(tcb: Tcb, seg: Segment, answer: Answer | None) -> Answer:
    """Seventh: what is new of the text and in the window. Simple text in order may be acknowledged a little later."""
    simple = seg.seq == tcb.rcv_nxt and not tcb.held and answer is None
    in_order = (tcb.rcv_nxt - seg.seq) % CIRCLE < len(seg.text)
    for offset, octet in enumerate(seg.text):
        number = after(seg.seq, offset)
        behind_fin = tcb.fin_at is not None and not before(number, tcb.fin_at)
        if tcb.in_window(number) and not behind_fin:
            tcb.held[number] = octet if in_order else tcb.held.get(number, octet)
        else:
            simple = False
    while tcb.rcv_nxt in tcb.held:
        tcb.delivered.append(tcb.held.pop(tcb.rcv_nxt))
        tcb.rcv_nxt = after(tcb.rcv_nxt)
    return tcb.acknowledge(at_once=not simple)


def eighth(tcb: Tcb, seg: Segment, answer: Answer | None) -> Answer | None:
    """Eighth: FIN, which counts once all text before it is there."""
    if seg.flags & FIN:
        position = after(seg.seq, len(seg.text))
        contradicted = any(not before(number, position) for number in tcb.held)
        if tcb.fin_at is None and tcb.in_window(position) and not contradicted:
            tcb.fin_at = position
        answer = tcb.acknowledge()
    if tcb.fin_at != tcb.rcv_nxt:
        return answer
    tcb.rcv_nxt = after(tcb.rcv_nxt)
    if tcb.state is State.ESTABLISHED:
        tcb.state = State.CLOSE_WAIT
    elif tcb.state is State.FIN_WAIT_1:
        tcb.state = State.CLOSING
    else:
        tcb.state = State.TIME_WAIT
    return tcb.acknowledge()


def reopen(tcb: Tcb, seg: Segment, iss: int) -> Answer | None:
    """A new SYN in TIME-WAIT: what LISTEN, or CLOSED, makes of it."""
    if not tcb.listening:
        end(tcb, None)
        return in_closed(seg)
    return in_listen(tcb, seg, iss)
