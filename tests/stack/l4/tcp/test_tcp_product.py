"""Every state of RFC 9293 §3.10.7 against every kind of segment: the whole product, held against the model.

state x window open or closed x 64 combinations of flags x sequence number x acknowledgement x text. Each case starts from a connection brought
into its state by segments and calls, with text in flight where that can be and both sides' numbers about to wrap. A connection is
used for the next case only where model and stack agree that this one has left nothing behind.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.stack.l4.tcp.in_step import IRS, MASK, WINDOW, Bench, InStep
from usernat.fuzz.machines.frame_check import ACK, FIN, SYN, URG
from usernat.fuzz.machines.tcp_tcb import Segment, State, Tcb, after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUFFER = 16  # bytes of our window: small, so that text can be larger
SENT = b"twenty octets of it."
FLAGS = range(64)
TEXTS = {"none": b"", "one": b"1", "more than the window": bytes(range(65, 65 + BUFFER + 5))}
URGENT = 3


# -- into each state -----------------------------------------------------------------------------------------------------


def peer_says(step: InStep, flags: int = ACK, *, seq: int | None = None, text: bytes = b"") -> None:
    """A sound segment of the peer's that acknowledges everything."""
    tcb = step.tcb
    step.arrives(Segment(flags, tcb.rcv_nxt if seq is None else seq, tcb.snd_nxt, WINDOW, text=text))
    step.settle()


def syn_received(step: InStep) -> None:
    step.arrives(Segment(SYN, IRS, wnd=WINDOW))


def simultaneous(step: InStep) -> None:
    step.opens()
    step.arrives(Segment(SYN, IRS, wnd=WINDOW))


def established(step: InStep, *, fill: int = 0) -> None:
    syn_received(step)
    peer_says(step)
    assert step.bench.listener.accept() is step.conn
    peer_says(step, text=b"f" * (fill or 1))
    assert step.conn is not None
    step.conn.nodelay = True


def established_busy(step: InStep, *, fill: int = 0) -> None:
    established(step, fill=fill)
    step.sends(SENT)


def fin_wait_1(step: InStep, *, fill: int = 0) -> None:
    established_busy(step, fill=fill)
    step.shuts_down()


def fin_wait_1_unread(step: InStep) -> None:
    established_busy(step)
    assert step.reads(1) == b"f"
    step.closes()


def fin_wait_2(step: InStep, *, fill: int = 0) -> None:
    fin_wait_1(step, fill=fill)
    peer_says(step)


def fin_wait_2_unread(step: InStep) -> None:
    fin_wait_1_unread(step)
    peer_says(step)


def peer_ends(step: InStep) -> None:
    """A FIN that acknowledges nothing new."""
    step.arrives(Segment(ACK | FIN, step.tcb.rcv_nxt, step.tcb.snd_una, WINDOW))
    step.settle()


def close_wait(step: InStep, *, fill: int = 0) -> None:
    established_busy(step, fill=fill)
    peer_ends(step)


def closing(step: InStep, *, fill: int = 0) -> None:
    fin_wait_1(step, fill=fill)
    peer_ends(step)


def last_ack(step: InStep, *, fill: int = 0) -> None:
    close_wait(step, fill=fill)
    step.shuts_down()


def time_wait(step: InStep, *, fill: int = 0) -> None:
    fin_wait_2(step, fill=fill)
    peer_ends(step)


def full(before: Callable[..., None], fill: int) -> Callable[[InStep], None]:
    """With the window filled by text that nobody has read: closed. A FIN takes up the last number of it."""
    return lambda step: before(step, fill=fill)


# name: how to get there, whether a passive OPEN stands behind it, the state of the model
SETUPS: dict[str, tuple[Callable[[InStep], None], bool, State]] = {
    "CLOSED": (lambda _: None, False, State.CLOSED),
    "LISTEN": (lambda _: None, True, State.LISTEN),
    "SYN-SENT": (InStep.opens, False, State.SYN_SENT),
    "SYN-RECEIVED": (syn_received, True, State.SYN_RECEIVED),
    "SYN-RECEIVED active": (simultaneous, False, State.SYN_RECEIVED),
    "ESTABLISHED": (established_busy, True, State.ESTABLISHED),
    "ESTABLISHED idle": (established, True, State.ESTABLISHED),
    "FIN-WAIT-1": (fin_wait_1, True, State.FIN_WAIT_1),
    "FIN-WAIT-1 unread": (fin_wait_1_unread, True, State.FIN_WAIT_1),
    "FIN-WAIT-2": (fin_wait_2, True, State.FIN_WAIT_2),
    "FIN-WAIT-2 unread": (fin_wait_2_unread, True, State.FIN_WAIT_2),
    "CLOSE-WAIT": (close_wait, True, State.CLOSE_WAIT),
    "CLOSING": (closing, True, State.CLOSING),
    "LAST-ACK": (last_ack, True, State.LAST_ACK),
    "TIME-WAIT": (time_wait, True, State.TIME_WAIT),
    "ESTABLISHED full": (full(established_busy, BUFFER), True, State.ESTABLISHED),
    "FIN-WAIT-1 full": (full(fin_wait_1, BUFFER), True, State.FIN_WAIT_1),
    "FIN-WAIT-2 full": (full(fin_wait_2, BUFFER), True, State.FIN_WAIT_2),
    "CLOSE-WAIT full": (full(close_wait, BUFFER - 1), True, State.CLOSE_WAIT),
    "CLOSING full": (full(closing, BUFFER - 1), True, State.CLOSING),
    "LAST-ACK full": (full(last_ack, BUFFER - 1), True, State.LAST_ACK),
    "TIME-WAIT full": (full(time_wait, BUFFER - 1), True, State.TIME_WAIT),
}


# -- the segments --------------------------------------------------------------------------------------------------------


def sequence_numbers(tcb: Tcb) -> dict[str, int]:
    """Around RCV.NXT and the right edge; where there is no RCV.NXT yet, wherever."""
    edge = tcb.rcv_edge
    return {
        "IRS": tcb.irs,
        "old": after(tcb.rcv_nxt, -10),
        "just before": after(tcb.rcv_nxt, -1),
        "RCV.NXT": tcb.rcv_nxt,
        "in the window": after(tcb.rcv_nxt, tcb.rcv_wnd() // 2),
        "last of the window": after(edge, -1),
        "right edge": edge,
        "beyond": after(edge, 1000),
        "opposite": after(tcb.rcv_nxt, 1 << 31),
    }


def acknowledgements(tcb: Tcb) -> dict[str, int]:
    """Around SND.UNA - MAX.SND.WND, SND.UNA and SND.NXT."""
    return {
        "too old": after(tcb.snd_una, -tcb.max_snd_wnd - 1),
        "old": after(tcb.snd_una, -tcb.max_snd_wnd),
        "just before": after(tcb.snd_una, -1),
        "SND.UNA": tcb.snd_una,
        "middle": after(tcb.snd_una, (tcb.snd_nxt - tcb.snd_una & MASK) // 2),
        "all but one": after(tcb.snd_nxt, -1),
        "SND.NXT": tcb.snd_nxt,
        "beyond": after(tcb.snd_nxt),
    }


SEQUENCE = tuple(sequence_numbers(Tcb()))
ACKNOWLEDGEMENT = tuple(acknowledgements(Tcb()))


def cases() -> Iterator[tuple[int, str, str, str]]:
    """Flags, sequence number, acknowledgement, text. Without ACK the field means nothing and is left out of the product."""
    for flags in FLAGS:
        yield from product([flags], SEQUENCE, ACKNOWLEDGEMENT if flags & ACK else ACKNOWLEDGEMENT[:1], TEXTS)


def segment(tcb: Tcb, flags: int, seq: str, ack: str, text: str) -> Segment:
    """The segment of a case, at where the connection stands."""
    return Segment(
        flags,
        sequence_numbers(tcb)[seq],
        acknowledgements(tcb)[ack] if flags & ACK else 0,
        WINDOW,
        URGENT if flags & URG else 0,
        TEXTS[text],
    )


def facts(tcb: Tcb) -> tuple[object, ...]:
    """Everything of the model that a segment can change."""
    sizes = (len(tcb.held), len(tcb.delivered))
    return (
        *sizes,
        *(getattr(tcb, name) for name in Tcb.__slots__ if name not in ("held", "delivered", "stream")),
    )


def start(bench: Bench, name: str) -> InStep:
    """A fresh connection in a state."""
    make, listening, state = SETUPS[name]
    step = InStep(bench, listening=listening, first_wnd=BUFFER)
    make(step)
    assert step.tcb.state is state
    return step


@pytest.mark.rfc("9293", "MUST-66", "SHLD-2", "3.4-a", "MAY-12", "MAY-13")
@pytest.mark.rfc("9293", *(f"3.10.7.1-{row}" for row in "abc"), *(f"3.10.7.2-{row}" for row in "abcd"))
@pytest.mark.rfc(
    "9293", *(f"3.10.7.3-{row}" for row in "abcd"), *(f"3.10.7.4-{row}" for row in "abcdefghijlmnop")
)
@pytest.mark.rfc("5961", *(f"3.2-{row}" for row in "abcdef"), "4.2-a", "4.2-b", "5.2-a", "5.2-b")
@pytest.mark.parametrize("name", SETUPS)
def test_every_segment_in_every_state(name: str) -> None:
    """RFC 9293 §3.10.7, whole."""
    wrong: list[str] = []
    bench = Bench(BUFFER)
    step: InStep | None = None
    count = 0
    for flags, seq, ack, text in cases():
        count += 1
        if step is None:
            step = start(bench, name)
        tcb = step.tcb
        was = facts(tcb)
        seg = segment(tcb, flags, seq, ack, text)
        try:
            step.arrives(seg)
            step.settle()
        except AssertionError as error:
            letters = "".join(letter for bit, letter in enumerate("FSRPAU") if flags >> bit & 1)
            wrong.append(f"[{letters}] SEQ {seq}, ACK {ack}, text {text}: {str(error).splitlines()[0]}")
            was = ()
        if facts(tcb) != was or step.answered or seg.text:
            step.drops()
            step = None
    assert not wrong, f"{len(wrong)} of {count} in {name}:\n" + "\n".join(wrong[:40])


def test_nothing_is_missing() -> None:
    """All eleven states, all flags, and each position is a number of its own somewhere."""
    assert {state for _, _, state in SETUPS.values()} == set(State)
    assert len(set(cases())) == 32 * 9 * 3 * (8 + 1)
    bench = Bench(BUFFER)
    tcb = start(bench, "ESTABLISHED").tcb
    assert len(set(sequence_numbers(tcb).values())) == len(SEQUENCE)
    assert len(set(acknowledgements(tcb).values())) == len(ACKNOWLEDGEMENT)
