"""What the model of TCP (`tcp_model.py`) knows of one connection: the TCB of RFC 9293 §3.3.1, with a segment and an answer.

Sequence numbers are compared on the circle of 2**32, as §3.4 has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from usernat.fuzz.machines.frame_check import ACK, FIN, SYN

CIRCLE = 1 << 32


class State(IntEnum):
    """RFC 9293 §3.3.2."""

    CLOSED = 0
    LISTEN = 1
    SYN_SENT = 2
    SYN_RECEIVED = 3
    ESTABLISHED = 4
    FIN_WAIT_1 = 5
    FIN_WAIT_2 = 6
    CLOSE_WAIT = 7
    CLOSING = 8
    LAST_ACK = 9
    TIME_WAIT = 10


def before(a: int, b: int) -> bool:
    """Whether a < b on the circle (§3.4)."""
    return 0 < (b - a) % CIRCLE < CIRCLE // 2


def after(number: int, count: int = 1) -> int:
    """The number `count` further on."""
    return (number + count) % CIRCLE


@dataclass(slots=True)
class Segment:
    """SEG.SEQ, SEG.ACK, SEG.WND (scaled already), the urgent pointer as in the header, and the text. flags: header bits."""

    flags: int
    seq: int
    ack: int = 0
    wnd: int = 0
    up: int = 0
    text: bytes = b""

    @property
    def length(self) -> int:
        """SEG.LEN."""
        return len(self.text) + bool(self.flags & SYN) + bool(self.flags & FIN)


@dataclass(slots=True)
class Answer:
    """A segment without text that must leave. at_once: it may not wait, as the ACK of simple text may (§3.8.6.3).

    ack is 0 where the flags have no ACK.
    """

    flags: int
    seq: int
    ack: int = 0
    at_once: bool = True


@dataclass(slots=True)
class Tcb:
    """The Transmission Control Block (§3.3.1). rcv_edge: RCV.NXT + RCV.WND, as the peer was last shown it.

    first_wnd: RCV.WND of our SYN. passive: opened by LISTEN. listening: a passive OPEN stands for this tuple. stream: all text of SENDs, from ISS + 1.
    closing: CLOSE was called, so that a FIN follows the stream. unread: the user will not RECEIVE again. error: "reset" or "refused".
    held: octets ahead of a gap. fin_at: the number of the peer's FIN. delivered: all text received, from IRS + 1.
    restarts: how often the wait of TIME-WAIT began anew.
    """

    state: State = State.CLOSED
    passive: bool = False
    listening: bool = False
    iss: int = 0
    snd_una: int = 0
    snd_nxt: int = 0
    snd_wnd: int = 0
    snd_wl1: int = 0
    snd_wl2: int = 0
    max_snd_wnd: int = 0
    stream: bytearray = field(default_factory=bytearray)
    closing: bool = False
    irs: int = 0
    rcv_nxt: int = 0
    rcv_edge: int = 0
    first_wnd: int = 0
    rcv_up: int = 0
    held: dict[int, int] = field(default_factory=dict)
    fin_at: int | None = None
    delivered: bytearray = field(default_factory=bytearray)
    restarts: int = 0
    unread: bool = False
    error: str | None = None

    def rcv_wnd(self) -> int:
        """RCV.WND."""
        return (self.rcv_edge - self.rcv_nxt) % CIRCLE

    def in_window(self, number: int) -> bool:
        """RCV.NXT =< number < RCV.NXT + RCV.WND."""
        return (number - self.rcv_nxt) % CIRCLE < self.rcv_wnd()

    def next_seq(self) -> int:
        """SEQ of a segment without text (choice 11)."""
        window_end = after(self.snd_una, self.snd_wnd)
        beyond = self.snd_una != self.iss and before(window_end, self.snd_nxt)
        return window_end if beyond else self.snd_nxt

    def our_fin_acknowledged(self) -> bool:
        """Whether SND.UNA is behind our FIN."""
        return self.closing and before(after(self.iss, 1 + len(self.stream)), self.snd_una)

    def peer_has_finished(self) -> bool:
        """Whether RCV.NXT is behind the peer's FIN."""
        return self.fin_at is not None and self.rcv_nxt == after(self.fin_at)

    def acknowledge(self, *, at_once: bool = True) -> Answer:
        """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>."""
        return Answer(ACK, self.next_seq(), self.rcv_nxt, at_once)


def renew(tcb: Tcb) -> None:
    """A new connection: all is forgotten but what does not belong to it."""
    fresh = Tcb(tcb.state, listening=tcb.listening, first_wnd=tcb.first_wnd)
    for name in Tcb.__slots__:
        setattr(tcb, name, getattr(fresh, name))


def end(tcb: Tcb, error: str | None) -> None:
    """The connection is gone: CLOSED, or LISTEN where a passive OPEN stands behind it."""
    tcb.state = State.LISTEN if tcb.listening else State.CLOSED
    tcb.error = error
