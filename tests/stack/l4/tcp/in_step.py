"""A connection of the stack and one of the model of RFC 9293 §3.10, taken through the same segments, calls and times in step.

After every event the two are compared: what left, the state, the numbers, the text. What leaves is read here from the bytes of the frames. The
model foretells answers (ACK, RST, SYN,ACK); of text that the stack sends when it likes, it says whether it may.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tests.stack.l4.tcp.peer import FixedIsn
from tests.stack.packets import GATEWAY, GUEST, GUEST_MAC, TCP
from tests.stack.rig import Rig
from usernat.fuzz.machines import tcp_model_calls as calls
from usernat.fuzz.machines.frame_check import ACK, RST, SYN, check_tcp
from usernat.fuzz.machines.tcp_model import segment_arrives
from usernat.fuzz.machines.tcp_tcb import Answer, Segment, State, Tcb, end
from usernat.stack.l3.packet import Packet
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.time_wait import TimeWait

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.listener import Listener

MASK = 0xFFFFFFFF
ISS = MASK - 9  # our numbers wrap within the first text
IRS = MASK - 4  # and so do the peer's
WINDOW = 1000  # that the peer offers
DELAYED_ACK_LIMIT = 500_000  # RFC 9293 §3.8.6.3 MUST-40
NOWHERE = memoryview(b"")


class Bench:
    """One interface on which many connections are tried. Everything that limits answers is out of the way."""

    def __init__(self, buffer: int, **config: Any) -> None:
        self.rig = Rig(
            tcp=TcpConfig(receive_buffer=buffer, challenge_acks=1 << 30, resets_per_second=1 << 30, **config)
        )
        self.layer = self.rig.interface.tcp
        self.layer.isn = FixedIsn(ISS)
        self.listener: Listener = self.layer.listen(None, 80)
        self.ports = iter(range(1024, 65536))

    def take(self, port: int, local_port: int, seg: Segment) -> None:
        """The peer's segment arrives."""
        data = struct.pack(
            ">HHIIBBHHH", port, local_port, seg.seq, seg.ack, 80, seg.flags, seg.wnd, 0, seg.up
        )
        payload = memoryview(data + seg.text)
        packet = Packet(GUEST, GATEWAY, TCP, 64, 0, True, payload, payload, NOWHERE, checksum_ok=True)
        self.layer.receive(packet, self.rig.now)

    def sent(self) -> list[tuple[int, Segment]]:
        """What leaves now, with the port that it goes to."""
        self.rig.interface.ethernet.neighbours.learn(GUEST, GUEST_MAC, self.rig.now)
        segments = []
        for frame in map(bytes, self.rig.frames()):
            if frame[12:14] != b"\x08\x00":
                continue  # ARP
            check_tcp(GATEWAY, GUEST, frame[34:])
            port, seq, ack, offset, flags, wnd, up = struct.unpack_from(">2xHIIBBHxxH", frame, 34)
            text = frame[34 + (offset >> 4) * 4 :]
            segments.append((port, Segment(flags, seq, ack, wnd, up, text)))
        return segments


class InStep:
    """The stack's connection and the model's. owed: when an ACK must have left at the latest."""

    def __init__(self, bench: Bench, *, listening: bool, first_wnd: int) -> None:
        self.bench = bench
        self.layer = bench.layer
        self.port = next(bench.ports)
        self.local_port = 80 if listening else 81
        self.key = (GUEST, self.port, GATEWAY, self.local_port)
        self.tcb = Tcb(State.LISTEN if listening else State.CLOSED, listening=listening, first_wnd=first_wnd)
        self.conn: Connection | None = None
        self.owed: int | None = None
        self.answered = False
        self.taken = 0  # octets that the user has read
        self.phase: tuple[object, ...] = ()  # the state, as far as time is concerned
        self.since = bench.rig.now  # when that began

    # -- events -------------------------------------------------------------------------------------------------------

    def arrives(self, seg: Segment) -> None:
        """A segment of the peer's."""
        restarts, expires = self.tcb.restarts, self._expires()
        if expires is not None:
            self.bench.rig.now += 1  # so that a wait which begins anew ends later
        answer = segment_arrives(self.tcb, seg, ISS)
        self.bench.take(self.port, self.local_port, seg)
        if expires is not None and self._expires() is not None:
            assert (self.tcb.restarts > restarts) is (self._expires() != expires), "the wait of 2 MSL"
        self.turn(answer)

    def opens(self) -> None:
        """OPEN, active."""
        self.layer.connect(GUEST, self.port, local_port=self.local_port)
        calls.active_open(self.tcb, ISS)
        self.turn(None)

    def sends(self, text: bytes) -> None:
        """SEND."""
        assert self.conn is not None
        assert self.conn.send(text) == calls.send(self.tcb, text)
        self.turn(None)

    def shuts_down(self) -> None:
        """CLOSE; the user goes on reading."""
        assert self.conn is not None
        self.conn.shutdown()
        calls.close(self.tcb)
        self.turn(None)

    def closes(self) -> None:
        """CLOSE, and the user never reads again."""
        assert self.conn is not None
        unread = self.conn.readable or self.tcb.state is State.SYN_SENT
        if unread and self.tcb.state not in calls.OVER:
            answer = calls.abort(self.tcb)  # RFC 9293 §3.6.1 SHLD-3
        else:
            answer = None
            calls.close(self.tcb)
        self.tcb.unread = True
        self.conn.close()
        self.turn(answer)

    def aborts(self) -> None:
        """ABORT."""
        assert self.conn is not None
        answer = calls.abort(self.tcb)
        self.tcb.unread = True
        self.conn.abort()
        self.turn(answer)

    def reads(self, count: int) -> bytes:
        """RECEIVE. It may be followed by a window update."""
        assert self.conn is not None
        data = self.conn.recv(count)
        self.taken += len(data)
        self.turn(None, update=True)
        return data

    def waits(self, until: int) -> None:
        """The clock moves; what comes due on the way may be sent."""
        rig = self.bench.rig
        while (due := rig.interface.poll_at()) is not None and due <= until:
            rig.now = max(rig.now, due)
            rig.interface.on_time(rig.now)
            after = rig.interface.poll_at()
            assert after is None or after > rig.now, "poll_at is still due after on_time"
            self._ends_by_time()
            self.turn(None, timer=True)
        rig.now = max(rig.now, until)
        assert self.owed is None or self.owed >= rig.now, "an ACK was owed and has not left in time"

    def _ends_by_time(self) -> None:
        """What only time can do (§3.10.8): the wait of 2 MSL is over, or the peer has not been heard for too long."""
        tcb, config = self.tcb, self.layer.config
        if tcb.state in (State.CLOSED, State.LISTEN) or self.key in self.layer.table:
            return
        lasted = self.bench.rig.now - self.since
        if tcb.state is State.TIME_WAIT:
            assert lasted >= 2 * config.msl_us, "the wait of 2 MSL was cut short"
            end(tcb, None)
        elif tcb.state is State.FIN_WAIT_2:
            assert tcb.unread, "FIN-WAIT-2 has no end while somebody reads"
            assert lasted >= config.fin_wait_2_us, "FIN-WAIT-2 was cut short"
            end(tcb, None)
        else:
            assert tcb.state in calls.OPENING, f"{tcb.state.name} ended by itself"
            assert lasted >= config.syn_timeout_us, "RFC 9293 MUST-23"
            end(tcb, "timed_out")

    def settle(self) -> None:
        """An ACK that may wait leaves within its time."""
        if self.owed is not None:
            self.waits(self.owed)
            assert self.owed is None, "an ACK was owed and has not left in time"

    def drops(self) -> None:
        """Whatever has become of it, it is in nobody's way."""
        while self.bench.listener.accept() is not None:
            pass  # the queue has its bounds
        entry = self.layer.table.get(self.key)
        if isinstance(entry, Connection):
            entry.fail(None)
        elif isinstance(entry, TimeWait):
            self.layer.end_time_wait(entry)

    def _expires(self) -> int | None:
        entry = self.layer.table.get(self.key)
        return entry.expires if isinstance(entry, TimeWait) else None

    # -- comparison ---------------------------------------------------------------------------------------------------

    def turn(self, answer: Answer | None, *, update: bool = False, timer: bool = False) -> None:
        """What leaves now is what the model says, and both are in the same place."""
        now = self.bench.rig.now
        if answer is not None and answer.flags == ACK:
            due = now + (0 if answer.at_once else DELAYED_ACK_LIMIT)
            self.owed = due if self.owed is None else min(due, self.owed)
        expected = [answer] if answer is not None and answer.flags != ACK else []
        self.answered = False
        for port, seg in self.bench.sent():
            assert port == self.port, "to another peer"
            self.answered = True
            if seg.flags & RST or (seg.flags & SYN and expected):
                assert expected, f"unexpected {seg}"
                wanted = expected.pop()
                assert (seg.flags, seg.seq, seg.ack) == (wanted.flags, wanted.seq, wanted.ack), (seg, wanted)
            if not seg.flags & RST:
                idle = self.owed is None and not update and not timer
                assert seg.length or not idle, f"unexpected {seg}"
                calls.leaves(self.tcb, seg)
                assert self.owed is None or now <= self.owed, "RFC 9293 MUST-40: an ACK has left too late"
                self.owed = None
        assert not expected, f"{expected[0]} has not left"
        assert self.owed is None or self.owed > now, f"{answer} has not left"
        if self.tcb.state in calls.OVER - {State.TIME_WAIT}:
            self.owed = None
        self.compare()

    def compare(self) -> None:
        """State and numbers of both."""
        tcb = self.tcb
        phase = (tcb.state in calls.OPENING or tcb.state, tcb.restarts, tcb.unread)
        if phase != self.phase:
            self.phase, self.since = phase, self.bench.rig.now
        entry = self.layer.table.get(self.key)
        if isinstance(entry, Connection) and entry is not self.conn:
            if self.conn is not None:
                self.conn.close()  # the user lets go of what the last one had left to read
            self.conn, self.taken = entry, 0
        conn = self.conn
        if tcb.state in (State.CLOSED, State.LISTEN):
            assert entry is None, (entry, tcb.state)
        elif tcb.state is State.TIME_WAIT:
            assert isinstance(entry, TimeWait), (entry, tcb.state)
            self._equal(entry.rcv_nxt, tcb.rcv_nxt, "RCV.NXT")
            self._equal(entry.snd_nxt, tcb.snd_nxt, "SND.NXT")
        else:
            assert isinstance(entry, Connection), (entry, tcb.state)
            assert entry.state.name == tcb.state.name, (entry, tcb.state)
            self._compare_numbers(entry)
        if conn is not None:
            error = None if conn.error is None else conn.error.name.lower()
            assert error == tcb.error, (error, tcb.error)
            if not tcb.unread and tcb.error is None:
                assert len(tcb.delivered) == self.taken + conn.readable, "how much text has come"
                assert b"".join(conn.peek(1 << 30)) == tcb.delivered[self.taken :], "the text"
                assert conn.at_eof == (tcb.peer_has_finished() and not conn.readable)

    def _compare_numbers(self, conn: Connection) -> None:
        tcb, snd, rcv = self.tcb, conn.snd, conn.rcv
        self._equal(snd.snd_una, tcb.snd_una, "SND.UNA")
        self._equal(snd.snd_nxt, tcb.snd_nxt, "SND.NXT")
        assert snd.snd_wnd == tcb.snd_wnd, (snd.snd_wnd, tcb.snd_wnd, "SND.WND")
        if tcb.state is State.SYN_SENT:
            return
        self._equal(rcv.rcv_nxt, tcb.rcv_nxt, "RCV.NXT")
        self._equal(rcv.edge, tcb.rcv_edge, "RCV.NXT + RCV.WND")
        self._equal(snd.snd_wl1, tcb.snd_wl1, "SND.WL1")
        self._equal(snd.snd_wl2, tcb.snd_wl2, "SND.WL2")
        self._equal(rcv.urgent, tcb.rcv_up, "RCV.UP")
        held = len(rcv.reassembly) if rcv.reassembly is not None else 0
        assert held == len(tcb.held), (held, tcb.held, "text ahead of a gap")
        fin = None if rcv.fin is None else rcv.fin & MASK
        assert fin == tcb.fin_at, (fin, tcb.fin_at, "the FIN's number")

    @staticmethod
    def _equal(ours: int, models: int, what: str) -> None:
        assert ours & MASK == models, f"{what}: {ours & MASK} instead of {models}"
