"""What a sender knew, and what became of its segments, over time: the raw material of plots and of tests about them.

Sequence numbers are relative, 0 being the first octet of text; times are seconds since the network was made, windows octets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.sim.faults import sequence, text_length
from tests.sim.link import CARRIED, DROPPED, LOST
from tests.sim.loop import SECOND
from usernat.stack.l4.tcp.congestion import UNLIMITED

if TYPE_CHECKING:
    from tests.sim.dumbbell import Dumbbell


class Sample(NamedTuple):
    """ssthresh: None while there has been no loss. queue: packets waiting at the bottleneck."""

    time: float
    cwnd: int
    ssthresh: int | None
    snd_una: int
    snd_nxt: int
    queue: int


class Sending(NamedTuple):
    """A text segment as the bottleneck saw it. arrived: neither lost nor dropped. again: a retransmission."""

    time: float
    seq: int
    length: int
    arrived: bool
    again: bool


class Trace:
    """Watches the first flow of a network that has not run yet. samples: one whenever anything has changed."""

    def __init__(self, network: Dumbbell) -> None:
        self._network = network
        self._sent_up_to = 0
        self.samples: list[Sample] = []
        self.sendings: list[Sending] = []
        network.observers.append(self._observe)
        network.bottleneck.tap = self._tap

    @property
    def _time(self) -> float:
        return self._network.elapsed() / SECOND

    def _observe(self, now: int) -> None:
        flow = self._network.flows[0]
        if flow.established_at is None:
            return
        snd = flow.connection.snd
        first = snd.iss + 1
        ssthresh = snd.cc.ssthresh if snd.cc.ssthresh < UNLIMITED else None
        queue = self._network.bottleneck.queue.length(now)
        sample = Sample(self._time, snd.cc.cwnd, ssthresh, snd.snd_una - first, snd.snd_nxt - first, queue)
        if not self.samples or self.samples[-1][1:] != sample[1:]:
            self.samples.append(sample)

    def _tap(self, now: int, frame: bytes, fate: str) -> None:
        length = text_length(frame)
        if not length or fate not in {CARRIED, LOST, DROPPED}:
            return
        snd = self._network.flows[0].connection.snd
        seq = sequence(frame) - (snd.iss + 1) & 0xFFFF_FFFF
        self.sendings.append(Sending(self._time, seq, length, fate == CARRIED, again=seq < self._sent_up_to))
        self._sent_up_to = max(self._sent_up_to, seq + length)

    @property
    def timeouts(self) -> int:
        """Of the retransmission timer."""
        return self._network.counter("retransmit_timeouts")

    @property
    def lost(self) -> list[Sending]:
        """What did not arrive."""
        return [sending for sending in self.sendings if not sending.arrived]

    @property
    def again(self) -> list[Sending]:
        """What was sent more than once, from the second time on."""
        return [sending for sending in self.sendings if sending.again]
