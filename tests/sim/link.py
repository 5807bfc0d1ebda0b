"""One direction of a link: how fast, how far, how much it holds, and what it spoils.

    send -> lost? -> marked? spoilt? doubled? -> queue (drop-tail, or full: lost; perhaps marked) -> sent out at `rate` -> `delay_us`, or later -> onward

Frames leave the queue first come, first served, at a constant rate; so the moment at which one leaves is known when it enters, and a
frame costs the loop one event. The size that counts is the frame's, Ethernet header included, preamble and checksum not.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING

from tests.sim.faults import ETHERNET_LENGTH, Faults
from usernat.stack.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.sim.faults import LossPattern
    from tests.sim.loop import Loop

    Onward = Callable[[bytes, bool], None]
    Tap = Callable[[int, bytes, str], None]

NS = 1_000  # nanoseconds a µs: the time a frame takes is no whole number of µs
ECN_BITS = 0b11
CE = 0b11  # RFC 3168 §5; 0b00 is Not-ECT, what lies between says that the transport knows ECN

CARRIED, LOST, DROPPED, MARKED = "carried", "lost", "dropped", "marked"


class Queue:
    """Drop-tail: a frame that does not fit is dropped. The one that is being sent out counts as waiting.

    packets, octets: how much may wait, None for any amount. mark_above: ECN-capable packets that find this many waiting
    are marked Congestion Experienced instead of ever being dropped early (RFC 3168 §5), None for never.
    longest: the most packets that ever waited.
    """

    def __init__(
        self, *, packets: int | None = None, octets: int | None = None, mark_above: int | None = None
    ) -> None:
        self._max_packets = packets
        self._max_octets = octets
        self.mark_above = mark_above
        self.longest = 0
        self._waiting: deque[tuple[int, int]] = deque()  # when it has been sent out (ns), octets
        self._octets = 0

    def length(self, now: int) -> int:
        """Packets waiting at `now` (µs)."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now * NS:
            self._octets -= waiting.popleft()[1]
        return len(waiting)

    def has_room(self, size: int, now: int) -> bool:
        """Whether a frame of `size` octets fits."""
        if self._max_packets is not None and self.length(now) >= self._max_packets:
            return False
        self.length(now)
        return self._max_octets is None or self._octets + size <= self._max_octets

    def put(self, size: int, gone_ns: int) -> None:
        """A frame waits until it has been sent out at `gone_ns`."""
        self._waiting.append((gone_ns, size))
        self._octets += size
        self.longest = max(self.longest, len(self._waiting))


def mark_congestion(frame: bytes) -> bytes | None:
    """The frame marked CE; None for one that is not IPv4 or not ECN-capable (RFC 3168 §5)."""
    if frame[12:14] != b"\x08\x00" or not frame[ETHERNET_LENGTH + 1] & ECN_BITS:
        return None
    header = bytearray(frame[ETHERNET_LENGTH : ETHERNET_LENGTH + ((frame[ETHERNET_LENGTH] & 15) << 2)])
    header[1] |= CE
    header[10:12] = bytes(2)
    header[10:12] = checksum(header).to_bytes(2, "big")
    return frame[:ETHERNET_LENGTH] + bytes(header) + frame[ETHERNET_LENGTH + len(header) :]


class Link:
    """One way. rate: bit/s, None for no limit. delay_us: of propagation. queue: what may wait for its turn.

    jitter_us: each frame takes up to this much longer, drawn evenly, but none overtakes another: a host's processing time.
    losses: patterns, asked in turn until one takes the frame. faults, rng: drawn for each frame.
    tap: called as tap(now, frame, fate) for each frame, with the time at which it was handed in.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        rate: int | None = None,
        delay_us: int = 0,
        queue: Queue | None = None,
        jitter_us: int = 0,
        losses: Sequence[LossPattern] = (),
        faults: Faults | None = None,
        rng: Random | None = None,
    ) -> None:
        self._loop = loop
        self.rate = rate
        self.delay_us = delay_us
        self.queue = queue or Queue()
        self.jitter_us = jitter_us
        self.losses = list(losses)
        self.faults = faults
        self.rng = rng or Random(1)
        self.counts = dict.fromkeys((CARRIED, LOST, DROPPED, MARKED), 0)  # a marked frame is carried, too
        self.tap: Tap | None = None
        self._free_ns = 0  # when all that was handed in will have been sent out
        self._last_arrival = 0

    def send(self, frame: bytes, checksum_ok: bool, onward: Onward) -> None:
        """Carry a frame, and call onward(frame, checksum_ok) when it arrives, if it does."""
        faults, rng = self.faults, self.rng
        if any(loses(frame) for loses in self.losses) or (faults is not None and rng.random() < faults.loss):
            self._tell(frame, LOST)
            return
        if faults is None:
            self._carry(frame, checksum_ok, onward, 0)
            return
        if faults.mark and rng.random() < faults.mark:
            frame = self._mark(frame)
        spoilt = faults.spoil(frame, rng)
        # A device that completes checksums vouches for the frame, unless the cable has spoilt it since.
        checksum_ok = checksum_ok and spoilt == frame
        for _ in range(2 if rng.random() < faults.duplicate else 1):
            late = faults.late_us if rng.random() < faults.reorder else 0
            self._carry(spoilt, checksum_ok, onward, late)

    def _carry(self, frame: bytes, checksum_ok: bool, onward: Onward, late_us: int) -> None:
        now = self._loop.clock.now
        gone = now
        if self.rate is not None:
            queue = self.queue
            if not queue.has_room(len(frame), now):
                self._tell(frame, DROPPED)
                return
            if queue.mark_above is not None and queue.length(now) >= queue.mark_above:
                frame = self._mark(frame)
            self._free_ns = max(self._free_ns, now * NS) + len(frame) * 8 * 10**9 // self.rate
            queue.put(len(frame), self._free_ns)
            gone = -(-self._free_ns // NS)
        at = gone + self.delay_us
        if self.jitter_us:
            at = self._last_arrival = max(self._last_arrival, at + self.rng.randrange(self.jitter_us))
        self._tell(frame, CARRIED)
        self._loop.call_at(at + late_us, onward, frame, checksum_ok)

    def _mark(self, frame: bytes) -> bytes:
        marked = mark_congestion(frame)
        if marked is None:
            return frame
        self._tell(marked, MARKED)
        return marked

    def _tell(self, frame: bytes, fate: str) -> None:
        self.counts[fate] += 1
        if self.tap is not None:
            self.tap(self._loop.clock.now, frame, fate)
