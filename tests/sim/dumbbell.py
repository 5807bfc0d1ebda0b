"""N senders, one bottleneck, N receivers: the network that congestion control is measured on.

    sender i ──┐                     ┌── receiver i
               ├── the bottleneck ───┤                  the way back: a link for each pair, for ACKs only
    sender j ──┘                     └── receiver j

Each pair is on a subnet of its own (a /30), as if it had a cable to itself; the bottleneck is where the cables share a rate, a queue and
its losses. All ends are real interfaces without segmentation offload, so that the links meet each segment alone. They know each other's MAC
address from the start: on a real path nobody asks for it over a whole round trip, which would be the first that TCP measures. The devices complete checksums: that saves a third of the time a packet costs, and no link here spoils any.

All delay lies on the way back; on which half of a round trip it lies, no sender can tell.

Senders may take a little random time for each frame. Without that, everything that happens here happens in step with
everything else, and who finds the queue full is decided once and for all by who is in which place of the row (Floyd and Jacobson, "On
Traffic Phase Effects in Packet-Switched Gateways", 1992); ns-2 has `overhead_` for the same reason.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.link import Link
from tests.sim.loop import SECOND, Loop
from usernat.stack.addr import parse_ip
from usernat.stack.device import Capabilities
from usernat.stack.interface import Interface
from usernat.stack.l4.tcp.config import TcpConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.sim.faults import Faults, LossPattern
    from tests.sim.link import Queue
    from tests.sim.loop import Station
    from usernat.stack.device import Frame
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.listener import Listener

FIRST_SUBNET = parse_ip("10.0.0.0")
PORT = 5001
BLOCK = bytes(range(256)) * 256  # what a bulk sender says, over and over
MTU = 1500
# Large enough never to be what limits a flow, unless that is meant; the offered window does not have to be earned first.
BUFFERS = ("send_buffer", "receive_buffer", "initial_receive_window")


class Flow:
    """A bulk transfer. heard: bytes that the far application has read.

    size: bytes to send, None for no end of them. closes: a FIN follows on the last of them.
    """

    def __init__(
        self, sender: Station, receiver: Station, hosts: tuple[Interface, Interface], remote: int
    ) -> None:
        self.sender = sender
        self.receiver = receiver
        self.hosts = hosts
        self.remote = remote
        self.heard = 0
        self.size: int | None = None
        self.closes = True
        self.established_at: int | None = None
        self.finished_at: int | None = None
        self._sent = 0
        self._connection: Connection | None = None
        self._accepted: Connection | None = None
        self._listener: Listener = hosts[1].tcp.listen(None, PORT)
        sender.app = self._speak
        receiver.app = self._hear

    @property
    def connection(self) -> Connection:
        """The sending end; only once the flow has begun."""
        assert self._connection is not None, "this flow has not begun"
        return self._connection

    def begin(self) -> None:
        """Connect, and send all that there is room for from then on."""
        self._connection = self.hosts[0].tcp.connect(self.remote, PORT)
        self.sender.wake()

    def _speak(self, now: int) -> None:
        conn = self._connection
        if conn is None or not conn.established:
            return
        if self.established_at is None:
            self.established_at = now
        if self.size is None:
            while conn.send_room >= len(BLOCK):
                self._sent += conn.send(BLOCK)
        elif self._sent < self.size:
            while self._sent < self.size and conn.send_room:
                self._sent += conn.send(BLOCK[: self.size - self._sent])
            if self._sent == self.size and self.closes:
                conn.shutdown()

    def _hear(self, now: int) -> None:
        if self._accepted is None:
            accepted: Any = self._listener.accept()
            if accepted is None:
                return
            self._accepted = accepted
        conn = self._accepted
        count = conn.readable
        if count:
            conn.consume(count)
            self.heard += count
        if self.finished_at is None and conn.at_eof:
            self.finished_at = now
            conn.close()


class Dumbbell(Loop):
    """rate: of the bottleneck, bit/s. rtt_us: of each pair without queueing and serialisation, or one for all.

    queue, losses, faults: of the bottleneck, towards the receivers. losses_back: on every way back.
    jitter_us: of each frame a sender emits. starts: when each flow begins (µs), all at once if left out. config: of `TcpConfig`.
    """

    def __init__(
        self,
        flows: int = 1,
        *,
        rate: int | None = None,
        rtt_us: int | Sequence[int] = 100_000,
        queue: Queue | None = None,
        losses: Iterable[LossPattern] = (),
        losses_back: Iterable[LossPattern] = (),
        faults: Faults | None = None,
        jitter_us: int = 0,
        starts: Sequence[int] | None = None,
        seed: int = 1,
        **config: Any,
    ) -> None:
        super().__init__()
        self.clock.now = SECOND  # a moment like any other: not the origin of all things
        self.epoch_us = self.clock.now
        rng = Random(seed)
        self.bottleneck = Link(
            self, rate=rate, queue=queue, losses=tuple(losses), faults=faults, rng=Random(rng.getrandbits(32))
        )
        self._losses_back = tuple(losses_back)
        self._config = TcpConfig(**{**dict.fromkeys(BUFFERS, 16 << 20), **config})
        rtts = [rtt_us] * flows if isinstance(rtt_us, int) else rtt_us
        self.flows = [self._pair(number, rtt, jitter_us, rng) for number, rtt in enumerate(rtts)]
        for flow, start in zip(self.flows, starts or [0] * len(self.flows), strict=True):
            self.call_at(self.clock.now + start, flow.begin)

    def _pair(self, number: int, rtt_us: int, jitter_us: int, rng: Random) -> Flow:
        hosts = (self._host(number, 1, rng), self._host(number, 2, rng))
        for side, other in ((0, 1), (1, 0)):
            hosts[side].ethernet.neighbours.learn(
                self._address(number, other + 1), hosts[other].ethernet.mac, self.clock.now
            )
        sender, receiver = self.add(hosts[0]), self.add(hosts[1])
        sender.out = partial(self._send, self.bottleneck, receiver.arrive)
        if jitter_us:
            access = Link(self, jitter_us=jitter_us, rng=Random(rng.getrandbits(32)))
            sender.out = partial(self._send, access, partial(self._enter, receiver))
        receiver.out = partial(
            self._send, Link(self, delay_us=rtt_us, losses=self._losses_back), sender.arrive
        )
        return Flow(sender, receiver, hosts, self._address(number, 2))

    def _host(self, number: int, side: int, rng: Random) -> Interface:
        return Interface(
            mac=bytes((2, 0, 0, 0, number, side)),
            capabilities=Capabilities(MTU, tx_checksum=True),
            rng=Random(rng.getrandbits(32)),
            now=self.clock.now,
            addresses=[(self._address(number, side), 30)],
            tcp=self._config,
        )

    @staticmethod
    def _address(number: int, side: int) -> int:
        return FIRST_SUBNET + 4 * number + side

    def _enter(self, receiver: Station, frame: bytes, checksum_ok: bool) -> None:
        self.bottleneck.send(frame, checksum_ok, receiver.arrive)

    @staticmethod
    def _send(link: Link, onward: Any, frame: Frame) -> None:
        link.send(bytes(frame), frame.csum_start > 0, onward)

    def elapsed(self) -> int:
        """Virtual µs since this network was made."""
        return self.clock.now - self.epoch_us

    def goodputs(self, begin_us: int, end_us: int) -> list[float]:
        """Run to `end_us` after the beginning; bit/s that each application has read since `begin_us`."""
        self.run(self.epoch_us + begin_us)
        before = [flow.heard for flow in self.flows]
        self.run(self.epoch_us + end_us)
        duration = (end_us - begin_us) / SECOND
        return [8 * (flow.heard - heard) / duration for flow, heard in zip(self.flows, before, strict=True)]

    def counter(self, name: str) -> int:
        """A TCP counter, over all senders."""
        return sum(getattr(flow.hosts[0].tcp.counters, name) for flow in self.flows)
