"""One connection on a random walk: any segments, calls and pauses in any order, the model of RFC 9293 §3.10 in step.

`test_tcp_product.py` tries each segment once in each state; here they follow on one another, on whatever the ones before have left behind: gaps in
the text, closed windows, retransmissions, a FIN that came early, a connection that has ended and begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.stack.l4.tcp.in_step import IRS, Bench, InStep
from tests.stack.l4.tcp.test_tcp_product import ACKNOWLEDGEMENT, SEQUENCE, acknowledgements, sequence_numbers
from usernat.fuzz.machines.frame_check import ACK, FIN, PSH, RST, SYN, URG
from usernat.fuzz.machines.tcp_tcb import Segment, State, after

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection

MS, SECOND = 1_000, 1_000_000
USUAL = [ACK, ACK | PSH, ACK | FIN, ACK | URG, FIN, SYN, SYN | ACK, RST, RST | ACK]
OVER = (State.CLOSED, State.LISTEN)
RECEIVING = (State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2)

flags = st.one_of(st.sampled_from(USUAL), st.integers(0, 63))
windows = st.sampled_from([0, 1, 10, 1000, 65535])
lengths = st.sampled_from([0, 0, 1, 2, 5, 16, 30, 600, 3000])
pauses = st.sampled_from([1, MS, 39 * MS, 45 * MS, 250 * MS, SECOND, 5 * SECOND, 70 * SECOND])


class Walk(RuleBasedStateMachine):
    """filler: text that differs from one segment to the next."""

    @initialize(listening=st.booleans(), buffer=st.sampled_from([1, 16, 700, 5000]))
    def begin(self, listening: bool, buffer: int) -> None:
        self.bench = Bench(buffer, user_timeout_us=None)
        self.step = InStep(self.bench, listening=listening, first_wnd=buffer)
        self.filler = 0

    @property
    def tcb_state(self) -> State:
        return self.step.tcb.state

    @property
    def conn(self) -> Connection:
        assert self.step.conn is not None
        return self.step.conn

    def text(self, length: int) -> bytes:
        """Bytes that no two segments share."""
        self.filler += 1
        return bytes((self.filler + offset) & 255 for offset in range(length))

    def accept(self) -> None:
        """The listener's queue is served at once."""
        self.bench.listener.accept()

    # -- the peer ---------------------------------------------------------------------------------------------------

    @rule(
        flags=flags,
        seq=st.sampled_from(SEQUENCE),
        ack=st.sampled_from(ACKNOWLEDGEMENT),
        shift=st.integers(-3, 3),
        wnd=windows,
        up=st.sampled_from([0, 1, 7, 65535]),
        length=lengths,
    )
    def any_segment(self, flags: int, seq: str, ack: str, shift: int, wnd: int, up: int, length: int) -> None:
        """Whatever a stranger, or a broken peer, might send."""
        tcb = self.step.tcb
        number = after(sequence_numbers(tcb)[seq], shift)
        acknowledged = acknowledgements(tcb)[ack] if flags & ACK else 0
        self.step.arrives(
            Segment(flags, number, acknowledged, wnd, up if flags & URG else 0, self.text(length))
        )
        self.accept()

    @precondition(lambda self: self.tcb_state not in OVER)
    @rule(
        ahead=st.sampled_from([0, 0, 0, 1, 4]),
        length=lengths,
        fin=st.booleans(),
        wnd=windows,
        back=st.integers(0, 3),
    )
    def sound_segment(self, ahead: int, length: int, fin: bool, wnd: int, back: int) -> None:
        """The next text, or some a little ahead; it acknowledges all or nearly all."""
        tcb = self.step.tcb
        out = (tcb.snd_nxt - tcb.snd_una) % (1 << 32)
        ack = after(tcb.snd_nxt, -min(back, out))
        kind = ACK | FIN if fin and length % 3 == 0 else ACK
        self.step.arrives(Segment(kind, after(tcb.rcv_nxt, ahead), ack, wnd, 0, self.text(length)))
        self.accept()

    @precondition(lambda self: self.tcb_state in RECEIVING)
    @rule(length=st.sampled_from([1, 5, 16]), pause=pauses)
    def text_and_a_pause(self, length: int, pause: int) -> None:
        """Simple text, the acknowledgement of which may wait, but not for long."""
        tcb = self.step.tcb
        self.step.arrives(Segment(ACK, tcb.rcv_nxt, tcb.snd_nxt, 65535, 0, self.text(length)))
        self.step.waits(self.bench.rig.now + pause)

    @precondition(lambda self: self.tcb_state is State.LISTEN)
    @rule(wnd=windows)
    def call(self, wnd: int) -> None:
        self.step.arrives(Segment(SYN, IRS, wnd=wnd))

    @precondition(lambda self: self.tcb_state in (State.SYN_SENT, State.SYN_RECEIVED))
    @rule(wnd=windows, kind=st.sampled_from([ACK, SYN | ACK, SYN]))
    def handshake(self, wnd: int, kind: int) -> None:
        tcb = self.step.tcb
        seq = IRS if kind & SYN else tcb.rcv_nxt
        self.step.arrives(Segment(kind, seq, tcb.snd_nxt if kind & ACK else 0, wnd))
        self.accept()

    # -- the user ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.tcb_state is State.CLOSED)
    @rule()
    def open(self) -> None:
        self.step.opens()

    @precondition(lambda self: self.step.conn is not None)
    @rule(length=st.sampled_from([1, 3, 100, 536, 5000]))
    def send(self, length: int) -> None:
        self.step.sends(self.text(length))

    @precondition(lambda self: self.step.conn is not None)
    @rule(count=st.sampled_from([1, 3, 16, 600, 9000]))
    def read(self, count: int) -> None:
        self.step.reads(count)

    @precondition(lambda self: self.step.conn is not None)
    @rule()
    def shutdown(self) -> None:
        self.step.shuts_down()

    @precondition(lambda self: self.step.conn is not None)
    @rule()
    def close(self) -> None:
        self.step.closes()

    @precondition(lambda self: self.step.conn is not None)
    @rule()
    def abort(self) -> None:
        self.step.aborts()

    # -- time -------------------------------------------------------------------------------------------------------

    @rule(pause=pauses)
    def wait(self, pause: int) -> None:
        self.step.waits(self.bench.rig.now + pause)

    def teardown(self) -> None:
        """Nothing is held once it is over."""
        if not hasattr(self, "step"):
            return
        self.step.drops()
        if self.step.conn is not None:
            self.step.conn.close()
        report = self.bench.layer.report()
        assert report == dict.fromkeys(report, 0)


Walk.TestCase.settings = settings(max_examples=settings().max_examples * 5)
TestWalk = pytest.mark.rfc("9293", "3.10.7.4-k", "SHLD-14", "SHLD-31", "MUST-13", "3.10.7.4-q", "SHLD-3")(
    Walk.TestCase
)
