"""What UDP and echo sockets share: bounded queues both ways, readiness, and taking turns to send.

A socket that has something to send stands in its layer's line. `DatagramLayer.transmit` serves the first in line with
one message and sends it to the end, so that a busy socket delays every other by one message and no more: a datagram, or a run of some
(`udp_run.py`), of 64 KB at most.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from usernat.stack.counters import Counters
from usernat.stack.l3.icmp_message import (
    CODE_FRAGMENTATION_NEEDED,
    CODE_NET_UNREACHABLE,
    UNREACHABLE,
    IcmpError,
    our_datagram,
)
from usernat.stack.l3.packet import DROPPED, QUEUED, SENT, TOO_BIG, SendResult

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.l3.ipv4 import Ipv4Layer

QUEUE_ITEMS = 1024
QUEUE_BYTES = 1 << 20
MAX_ERRORS = 64

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class BoundedQueue(Generic[T]):
    """First in, first out; at most so many items, and so many bytes as their sizes say. What is put in at once, as a run, comes out at once."""

    __slots__ = ("_count", "_items", "_max_bytes", "_max_items", "bytes")

    def __init__(self, max_items: int = QUEUE_ITEMS, max_bytes: int = QUEUE_BYTES) -> None:
        self._items: deque[tuple[T, int, int]] = deque()
        self._count = 0
        self._max_items = max_items
        self._max_bytes = max_bytes
        self.bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def spacious(self) -> bool:
        """Whether at least half of it is free."""
        return 2 * self._count <= self._max_items and 2 * self.bytes <= self._max_bytes

    def room_for(self, count: int) -> int:
        """Bytes that so many items may have together; 0 where not so many fit any more."""
        return self._max_bytes - self.bytes if self._count + count <= self._max_items else 0

    def put(self, item: T, size: int, count: int = 1) -> bool:
        """False where it does not fit. count: as how many items it counts."""
        if self._count + count > self._max_items or self.bytes + size > self._max_bytes:
            return False
        self._items.append((item, size, count))
        self._count += count
        self.bytes += size
        return True

    def get(self) -> T | None:
        """The oldest item."""
        if not self._items:
            return None
        item, size, count = self._items.popleft()
        self._count -= count
        self.bytes -= size
        return item

    def clear(self) -> None:
        """Drop all items."""
        self._items.clear()
        self._count = self.bytes = 0


class DatagramSocket(Generic[In, Out]):
    """The part of a socket that does not depend on the protocol. `owner` is the user's own; `errors` is for it to drain."""

    def __init__(self, layer: DatagramLayer) -> None:
        self.owner: Any = None
        self.errors: deque[IcmpError] = deque(maxlen=MAX_ERRORS)
        self.closed = False
        self.inbox: BoundedQueue[In] = BoundedQueue()
        self.outbox: BoundedQueue[Out] = BoundedQueue()
        self._layer = layer

    def recv(self) -> In | None:
        """The oldest message that came, None where there is none."""
        return self.inbox.get()

    @property
    def send_room(self) -> int:
        """Bytes of data that one more message may have; 0 where the queue is full."""
        return self.outbox.room_for(1)

    def room_for(self, count: int) -> int:
        """Bytes of data that so many more messages may have together; 0 where the queue does not take as many."""
        return self.outbox.room_for(count)

    def close(self) -> None:
        """Give the name up and drop what is queued, either way. May be called again."""
        if not self.closed:
            self.closed = True
            self.inbox.clear()
            self.outbox.clear()
            self.errors.clear()
            self._layer.release(self)

    def _enqueue(self, message: Out, size: int, count: int = 1) -> bool:
        if self.closed or not self.outbox.put(message, size, count):
            return False
        self._layer.schedule(self)
        return True


@dataclass(slots=True)
class DatagramCounters(Counters):
    """What came and went, and why what was dropped was dropped."""

    received: int = 0
    delivered: int = 0
    sent: int = 0
    not_sent: int = 0
    no_listener: int = 0
    queue_full: int = 0
    errors_delivered: int = 0
    errors_unmatched: int = 0
    errors_lost: int = 0


class DatagramLayer(ABC):
    """The line of sockets that have something to send, and the set of those whose readiness has changed."""

    counters: DatagramCounters

    def __init__(self, ipv4: Ipv4Layer) -> None:
        self.ready: dict[Any, None] = {}  # an ordered set; the interface empties it
        self._ipv4 = ipv4
        self._line: deque[Any] = deque()
        self._in_line: set[Any] = set()

    @property
    def pending(self) -> bool:
        """Whether a socket has something to send."""
        return bool(self._line)

    def transmit(self, now: int) -> None:
        """Send one message of the socket whose turn it is."""
        socket = self._line.popleft()
        outbox = socket.outbox
        spacious = outbox.spacious
        message = outbox.get()
        if outbox:
            self._line.append(socket)
        else:
            self._in_line.discard(socket)
        if not spacious and outbox.spacious:
            self.ready[socket] = None  # it may be written to again
        if message is not None:
            self.emit(socket, message, now)

    def deliver_error(self, socket: Any | None, error: IcmpError, now: int) -> None:
        """An ICMP error from the wire, for the socket that its quote names: None where it names none (RFC 1191 §6.2-a)."""
        if socket is None:
            self.counters.errors_unmatched += 1
            return
        if error.type == UNREACHABLE and error.code == CODE_FRAGMENTATION_NEEDED:
            self._ipv4.too_big(error, now)
        self.counters.errors_delivered += 1
        self.report(socket, error)

    def schedule(self, socket: Any) -> None:
        """Put a socket in line, once."""
        if socket not in self._in_line:
            self._in_line.add(socket)
            self._line.append(socket)

    def release(self, socket: Any) -> None:
        """Forget a socket that was closed."""
        self.ready.pop(socket, None)
        if socket in self._in_line:
            self._in_line.discard(socket)
            self._line.remove(socket)

    @abstractmethod
    def emit(self, socket: Any, message: Any, now: int) -> None:
        """Send one message of a socket: one datagram, or a run."""

    def report(self, socket: Any, error: IcmpError) -> None:
        """Tell a socket of an error (RFC 1122 §4.1.3.3-a); the oldest of too many is lost."""
        if len(socket.errors) == MAX_ERRORS:
            self.counters.errors_lost += 1
        socket.errors.append(error)
        self.ready[socket] = None

    def report_unsent(
        self,
        socket: Any,
        result: SendResult,
        proto: int,
        src: int,
        dst: int,
        parts: list[Buffer],
        *,
        df: bool,
    ) -> bool:
        """Whether a datagram was not sent. What time does not mend its socket is told, as a router would (RFC 1122 §3.3.8-a)."""
        if result in {SENT, QUEUED}:
            return False
        if result != DROPPED:
            code = CODE_FRAGMENTATION_NEEDED if result == TOO_BIG else CODE_NET_UNREACHABLE
            mtu = self._ipv4.path_mtu(dst) if result == TOO_BIG else 0
            quote = our_datagram(proto, src, dst, parts[0], sum(map(len, parts)), df=df)
            self.report(socket, IcmpError(UNREACHABLE, code, quote, src, mtu=mtu))
        return True
