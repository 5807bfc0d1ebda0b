"""The sending half: SND.UNA, SND.NXT, SND.WND, what acknowledgements do to them, and what to send next.

Sequence space is handled as ranges [start, end). The stream occupies [queue.start, queue.end) and the FIN, once the application has
finished, the one number behind it: `stream_end` covers both, so that a FIN is sent, acknowledged and sent again like an octet of text,
in one place (`segment_end` and `transmit.py` know that it has no octet).

What may be sent next is decided in this order: a tail loss probe that is due; what loss recovery wants sent again; new data, as far as the peer's window, congestion
control, Nagle and the sender's silly-window avoidance allow; what recovery has for idle moments. Nothing moves until `sent` says that a
segment has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.flight import Flight, round_trip
from usernat.stack.l4.tcp.newreno_recovery import NewRenoRecovery
from usernat.stack.l4.tcp.rack import Rack
from usernat.stack.l4.tcp.recovery import FAST, SIGNS, TIMEOUT, Acknowledgement
from usernat.stack.l4.tcp.sack_recovery import SackRecovery, split_dsack
from usernat.stack.l4.tcp.scoreboard import DUP_THRESH
from usernat.stack.l4.tcp.send_queue import SendQueue
from usernat.stack.l4.tcp.tail_probe import TailProbe

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.congestion import CongestionControl
    from usernat.stack.l4.tcp.flight import Sent
    from usernat.stack.l4.tcp.memory import MemoryBudget
    from usernat.stack.l4.tcp.recovery import Recovery
    from usernat.stack.l4.tcp.rtt import RttEstimator
    from usernat.stack.rangeset import Range

MAX_EXPECTED_SAMPLES = 64
# What the device cuts is lost as a whole: a window goes in so many parts that the others show it.
BURSTS = DUP_THRESH + 1


class Sender:
    """iss, snd_una, snd_nxt, snd_wnd, snd_wl1, snd_wl2: as in RFC 9293 §3.3.1, unwrapped. max_window: the largest SND.WND ever.

    smss: payload of a full segment without SACK blocks. scale: Snd.Wind.Shift. sack: the peer sent SACK-permitted.
    recover: RFC 6582. cwnd_limited: it was cwnd that ended the last turn. keep_timer: the last ACK must not restart the timer.
    marked: the last ACK echoed a congestion mark.
    override: the time to wait for a better window is over. urgent: SND.UP, the octet after the urgent data.
    timeouts: of the retransmission timer since the last progress. undone: congestion events that turned out to be none.
    undone_at: SND.NXT at the last of them.
    probe: the state of tail loss probes.
    """

    __slots__ = (
        "_memory",
        "_rack",
        "cc",
        "cwnd_limited",
        "fin_queued",
        "flight",
        "iss",
        "keep_timer",
        "marked",
        "max_window",
        "nodelay",
        "override",
        "probe",
        "queue",
        "recover",
        "recovery",
        "rtt",
        "sack",
        "scale",
        "smss",
        "snd_nxt",
        "snd_una",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "timeouts",
        "undone",
        "undone_at",
        "urgent",
    )

    def __init__(
        self, iss: int, smss: int, cc: CongestionControl, rtt: RttEstimator, memory: MemoryBudget
    ) -> None:
        self._memory = memory
        self.cc = cc
        self.rtt = rtt
        self.iss = iss
        self.snd_una = iss
        self.snd_nxt = iss
        self.snd_wnd = 0
        self.snd_wl1 = 0
        self.snd_wl2 = 0
        self.max_window = 0
        self.scale = 0
        self.smss = smss
        self.sack = False
        self.nodelay = False
        self.fin_queued = False
        self.urgent = iss
        self.queue = SendQueue(iss + 1)
        self.flight = Flight()
        self.recovery: Recovery | None = None
        self.probe = TailProbe()
        self._rack: Rack | None = None
        self.recover = iss  # RFC 6582 §3.2-0a
        self.cwnd_limited = False
        self.keep_timer = False
        self.marked = False
        self.override = False
        self.timeouts = 0
        self.undone = 0
        self.undone_at = iss

    @property
    def stream_end(self) -> int:
        """The number after the last one there is to send, the FIN's included."""
        return self.queue.end + self.fin_queued

    @property
    def fin_acknowledged(self) -> bool:
        """Whether the peer has acknowledged our FIN."""
        return self.fin_queued and self.snd_una > self.queue.end

    @property
    def acceptable_seq(self) -> int:
        """SEG.SEQ for a segment without text: SND.NXT, but never beyond the peer's window.

        A probe, or a window that shrank, can put SND.NXT there. The peer would not take a segment from beyond its window, and two
        ends with closed windows would never hear of room.
        """
        if self.snd_una == self.iss:
            return self.snd_nxt  # the peer's window begins behind our SYN
        return min(self.snd_nxt, self.snd_una + self.snd_wnd)

    # -- what arrives -------------------------------------------------------------------------------------------------

    def on_ack(self, ack: int, blocks: list[Range], echo_us: int | None, now: int) -> None:
        """An ACK in [SND.UNA, SND.NXT] that moves SND.UNA, or brings SACK blocks (unwrapped), or both.

        echo_us: the round trip that the time stamp echo speaks of, None without time stamps.
        """
        acked = ack - self.snd_una
        dsack, blocks = split_dsack(blocks, ack)
        if blocks:
            self.probe.due = False  # RFC 8985 §7.2-a: with SACK information RACK goes on by itself
        mended = self.probe.on_ack(ack, dsack, bare=False)
        gone = self._advance(ack, echo_us, now) if acked else []
        if dsack is not None:
            self.rack_state().on_dsack(ack, self.snd_nxt)
        recovery = self.recovery
        if recovery is None and any(ack < start < stop <= self.snd_nxt for start, stop in blocks):
            recovery = self.recovery = SackRecovery(self)  # RFC 2883 §5-a: a D-SACK alone is no sign of loss
        if recovery is not None:
            recovery.on_ack(Acknowledgement(acked, gone, blocks, dsack, echo_us), now)
            mended = mended and recovery.phase == SIGNS
            if recovery.is_over:
                self._forget_recovery()
        elif acked and self.cwnd_limited and not (mended or self.marked):
            # RFC 3168 §6.1.2-d: a marked ACK does not enlarge cwnd
            self.cc.on_ack(acked, now, self.rtt.srtt_us)
        if mended:  # RFC 8985 §7.4-a
            self.cc.on_loss(self.snd_nxt - ack + acked, now)

    def on_next_ack(self, ack: int, echo_us: int | None, now: int) -> None:
        """What `on_ack` comes to where SND.UNA moves without SACK blocks, nothing is being sent again and no probe is out."""
        acked = ack - self.snd_una
        self._advance(ack, echo_us, now)
        if self.cwnd_limited and not self.marked:
            self.cc.on_ack(acked, now, self.rtt.srtt_us)

    def on_bare_ack(self) -> None:
        """An ACK that acknowledges nothing and carries neither text nor SACK blocks, on a connection with SACK."""
        self.probe.on_ack(self.snd_una, None, bare=True)

    def _advance(self, ack: int, echo_us: int | None, now: int) -> list[Sent]:
        """SND.UNA moves; returns the pieces that this acknowledges."""
        in_flight = self.snd_nxt - self.snd_una
        self.snd_una = ack
        self.timeouts = 0
        self.probe.due = False
        self._memory.used -= self.queue.release(ack)  # RFC 2018 §8-b: and nothing before, whatever was SACKed
        gone = self.flight.acknowledged(ack)
        # RFC 7323 §4.1-b: this ACK moves SND.UNA, so its echo may be used
        measured = round_trip(gone, now, echo_us)  # RFC 6298 §3-b: by each ACK that can give one
        if measured is not None:
            # RFC 7323 appendix G: one ACK for two segments gives FlightSize / (2 * SMSS) samples a round trip
            self.rtt.sample(measured, now, min(max(1, in_flight // (2 * self.smss)), MAX_EXPECTED_SAMPLES))
            self.cc.on_round_trip(measured, ack, self.snd_nxt)
            self.probe.sampled = True
        return gone

    def on_duplicate(self, now: int) -> None:
        """A duplicate ACK by RFC 5681 §2-a, on a connection without SACK."""
        if self.recovery is None:
            self.recovery = NewRenoRecovery(self)
        self.recovery.on_duplicate(now)

    def set_window(self, window: int, seq: int, ack: int) -> None:
        """RFC 9293 §3.10.7.4-k: SND.WND, with what it was learnt from. `window` is scaled already (§3.1 REC-1: to any size)."""
        reopened = window > 0 and not self.snd_wnd
        self.snd_wnd = window
        self.snd_wl1 = seq
        self.snd_wl2 = ack
        self.max_window = max(self.max_window, window)
        if reopened and self.snd_nxt > self.snd_una and self.snd_una > self.iss:
            # What was out when the window closed, a probe's octet not least, was not taken in: it goes again at once.
            self.resend()

    def on_timeout(self, now: int) -> None:
        """The retransmission timer expired (RFC 6298 §5.4 to §5.6): go back to SND.UNA."""
        self.rtt.back_off()
        self.probe.reset()
        if self.recovery is None:
            self.recovery = self._make_recovery()
        self.recovery.on_timeout(now, again=self.timeouts > 0)
        self.timeouts += 1

    def on_reordering_timeout(self, now: int) -> None:
        """The time that RACK gave to what is late is over (RFC 8985 §6.2-h)."""
        if self.recovery is not None:
            self.recovery.on_reordering_timeout(now)

    def on_congestion(self, now: int) -> None:
        """The peer echoes a congestion mark: as a loss, but nothing is sent again, and none where a loss is answered (RFC 3168 §6.1.2-a, -b)."""
        if self.recovery is None or self.recovery.phase not in {FAST, TIMEOUT}:
            self.cc.on_mark(self.snd_nxt - self.snd_una, now)
        else:
            self.recovery.confirm()
            self.cc.lowered = True

    def resend(self) -> None:
        """Send again all that is out, without taking it for congestion."""
        if self.snd_nxt > self.snd_una:
            if self.recovery is None:
                self.recovery = self._make_recovery()
            self.recovery.resend()

    def _make_recovery(self) -> Recovery:
        return SackRecovery(self) if self.sack else NewRenoRecovery(self)

    def _forget_recovery(self) -> None:
        self.recovery = None
        self.flight.let_time_go()

    def rack_state(self) -> Rack:
        """What RACK knows of the path, which outlives a recovery."""
        if self._rack is None:
            self._rack = Rack(self.snd_una)
        return self._rack

    @property
    def may_probe(self) -> bool:
        """RFC 8985 §7.2-a, §7.3-a: whether a tail loss probe, not a time-out, is what comes next."""
        probe, recovery = self.probe, self.recovery
        if not self.sack or probe.due or not probe.is_allowed:
            return False
        return recovery is None or (recovery.phase == SIGNS and not recovery.board.sacked)

    # -- what leaves --------------------------------------------------------------------------------------------------

    def next_range(self, mss: int, largest: int) -> Range | None:
        """What to send next, or None for nothing now.

        mss: payload of one segment as things stand. largest: what may leave at once, more than mss where the device segments.
        """
        if self.probe.due:
            return self._tail_probe(mss)
        if self.recovery is None:
            return self._new_data(self.cc.cwnd - (self.snd_nxt - self.snd_una), mss, largest)
        again = self.recovery.retransmission(mss)
        if again is not None:
            return again
        # RFC 5681 §3.2-h, RFC 6675 §4-d, rule 2 of NextSeg: new text, as far as windows allow
        return self._new_data(self.recovery.room(), mss, largest) or self.recovery.leftover(mss)

    def segment_end(self, start: int, stop: int, mss: int) -> int:
        """Where a segment from `start` ends that may reach to `stop` and carries at most `mss` octets; the FIN weighs nothing."""
        text_end = min(start + mss, self.queue.end)
        return text_end + 1 if text_end == self.queue.end and stop > text_end else min(text_end, stop)

    def _new_data(self, room: int, mss: int, largest: int) -> Range | None:
        """New text, and the FIN, as far as everything allows. `room`: what congestion control leaves."""
        start = self.snd_nxt
        available = self.queue.end - start
        # RFC 9293 §3.8.6 MUST-34, SHLD-15: negative where the peer has taken back what it had offered, and then nothing new leaves
        window = self.snd_una + self.snd_wnd - start
        if available <= 0:
            # A FIN alone: it needs the peer's window but no congestion window.
            self.cwnd_limited = False
            return (start, start + 1) if self.fin_queued and available == 0 and window > 0 else None
        self.cwnd_limited = room < window and room - available < mss
        size = min(available, window, room, max(mss, min(largest, self.cc.cwnd // BURSTS)))
        if size <= 0:
            return None
        if size < available or size > mss:
            size = self._whole_segments(size, available, mss)
        elif size < mss and not self._may_send_short(size, available):
            size = 0
        if not size:
            return None
        end = start + size
        if self.fin_queued and size == available and window > size:
            end += 1  # RFC 9293 §3.10.4: the FIN rides on the last text
        return (start, end)

    def _tail_probe(self, mss: int) -> Range | None:
        """RFC 8985 §7.3-c: new text, whatever cwnd says, else the last segment again."""
        fresh = self._new_data(mss, mss, mss)
        if fresh is not None:
            return fresh
        start = max(self.snd_una, min(self.snd_nxt, self.queue.end) - mss)
        end = min(self.snd_nxt, self.snd_una + self.snd_wnd)
        if start < end:
            return (start, end)
        self.probe.skip()
        return None

    def _whole_segments(self, size: int, available: int, mss: int) -> int:
        """Cut to full segments (RFC 9293 §3.9.1.2 SHLD-28); a short rest only where it would go alone, too."""
        rest = size % mss
        if not rest:
            return size
        if size == available and (self.nodelay or self.fin_queued):
            return size
        if size > rest:
            return size - rest  # Nagle: the rest waits for the acknowledgement of what goes before it
        return size if self._may_send_short(size, available) else 0

    def _may_send_short(self, size: int, available: int) -> bool:
        """Nagle (RFC 9293 §3.7.4 SHLD-7, MUST-17) and silly-window avoidance (§3.8.6.2.1 MUST-38) for less than a full segment."""
        idle = self.snd_nxt == self.snd_una
        if size == available:
            return idle or self.nodelay or self.fin_queued
        return self.override or ((idle or self.nodelay) and 2 * size >= self.max_window)

    def sent(self, start: int, end: int, now: int) -> None:
        """The range has left in a segment."""
        again = end <= self.snd_nxt
        if not again:
            self.override = False
            self.snd_nxt = end
            self.flight.sent(start, end, now)
        if self.recovery is not None:
            self.recovery.on_sent(start, end, now, again=again)
        elif again:
            self.flight.resent(start, end, now)
        if self.probe.due:
            self.probe.sent(self.snd_nxt, again=again)

    def has_unsent(self) -> bool:
        """Whether there is text or a FIN that has never left."""
        return self.snd_nxt < self.queue.end + self.fin_queued

    def probe_range(self) -> Range:
        """RFC 9293 §3.8.6.1 MUST-36: one octet, new if all else is acknowledged, else the first of what is out."""
        return (self.snd_una, self.snd_una + 1)

    def clear(self) -> None:
        """Let go of all that is held."""
        self._memory.used -= self.queue.clear()
        self.flight.clear()
        self.recovery = None
