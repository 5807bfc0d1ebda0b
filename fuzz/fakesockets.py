"""The sockets of `FakeHost`: the methods of real ones that flows call, on queues of our own.

A stream socket delivers what it took to its peer a latency later; until then the bytes count against `CAPACITY`, as in a kernel's
buffers. A peer that stops reading fills it for good.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usernat.fuzz.fakehost import FakeHost
    from usernat.fuzz.fakepeers import Peer
    from usernat.nat.host import Owner
    from usernat.nat.host_datagram import ReportedError
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer

CAPACITY = 256 * 1024  # bytes that a stream socket takes before its peer has read them
BACKLOG = 64  # datagrams that wait in a socket
ERRORS_A_READ = 32
SHUT_RD, SHUT_WR = 0, 1
MAX_VIEWS = 1024  # IOV_MAX


class FakeSocket:
    """What all have."""

    def __init__(self, host: FakeHost, owner: Owner) -> None:
        self.host = host
        self.owner = owner
        self.watch_read = False
        self.watch_write = False
        self.error = 0  # pending, SO_ERROR

    def fileno(self) -> int:
        """No descriptor stands behind it."""
        return -1

    def readable(self) -> bool:
        """Whether a read would not block."""
        raise NotImplementedError

    def writable(self) -> bool:
        """Whether a write would not block."""
        return True

    def is_ready(self) -> bool:
        """Whether a selector would report it."""
        return (self.watch_read and self.readable()) or (self.watch_write and self.writable())

    def getsockopt(self, level: int, option: int) -> int:  # noqa: ARG002 - SO_ERROR is the only one asked for
        """The pending error, once."""
        number, self.error = self.error, 0
        return number

    def closed_by_owner(self, *, reset: bool) -> None:
        """The last thing that the owner does."""

    def raise_pending(self) -> None:
        """The pending error, or one that chance brings."""
        number = self.getsockopt(0, 0)
        if number:
            raise OSError(number, "pending")
        if self.host.rng.random() < self.host.faults.again:
            raise BlockingIOError(errno.EAGAIN, "scripted")


class FakeTcp(FakeSocket):
    """The near end of a stream. `push`, `finish`, `reset` and `pause` are for the peer."""

    def __init__(self, host: FakeHost, owner: Owner) -> None:
        super().__init__(host, owner)
        self.peer: Peer | None = None
        self.outcome: ReportedError | None = None  # of a connect that failed
        self.paused = False  # the peer does not read
        self.shut = False  # our FIN is sent
        self._decided = False
        self._dead = False
        self._closed = False
        self._in: deque[bytes] = deque()
        self._in_end = False
        self._out: deque[bytes] = deque()
        self._out_size = 0
        self._delivering = False

    # -- the owner's side ---------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the peer has ended its side, by whatever means."""
        return self._in_end or self._dead

    def readable(self) -> bool:
        """See `FakeSocket`."""
        return self._decided and bool(self._in or self._in_end or self.error or self._dead)

    def writable(self) -> bool:
        """See `FakeSocket`."""
        return self._decided and (self._out_size < CAPACITY or bool(self.error) or self._dead)

    def recv(self, limit: int) -> bytes:
        """As of a socket."""
        self._chance_of_reset()
        if self._in:
            if self.host.rng.random() < self.host.faults.again:
                raise BlockingIOError(errno.EAGAIN, "scripted")
            data = self._in.popleft()
            if len(data) > limit:
                self._in.appendleft(data[limit:])
            return data[:limit]
        if self._in_end:
            return b""  # as of a kernel, whatever comes after the end
        self.raise_pending()
        if self._dead:
            return b""
        raise BlockingIOError(errno.EAGAIN, "nothing there")

    def send(self, data: Buffer) -> int:
        """As of a socket."""
        return self.sendmsg([data])

    def sendmsg(self, buffers: Iterable[Buffer]) -> int:
        """As of a socket."""
        views = list(buffers)
        if len(views) > MAX_VIEWS:
            raise OSError(errno.EMSGSIZE, "too many views")
        self._chance_of_reset()
        self.raise_pending()
        if self.shut or self._dead:
            raise BrokenPipeError(errno.EPIPE, "broken pipe")
        if not self._decided:
            raise OSError(errno.ENOTCONN, "not connected")
        data = b"".join(views)
        taken = data[: CAPACITY - self._out_size]
        if data and not taken:
            raise BlockingIOError(errno.EAGAIN, "full")
        if len(taken) > 1 and self.host.rng.random() < self.host.faults.short:
            taken = taken[: self.host.rng.randrange(1, len(taken))]
        self._out.append(taken)
        self._out_size += len(taken)
        self._deliver_soon()
        return len(taken)

    def getpeername(self) -> object:
        """As of a socket: there is one while the connection stands."""
        if self._dead or not self._decided:
            raise OSError(errno.ENOTCONN, "not connected")
        return self.peer

    def shutdown(self, how: int) -> None:
        """As of a socket; `how` is SHUT_WR."""
        assert how == SHUT_WR
        if self._dead or not self._decided:
            raise OSError(errno.ENOTCONN, "not connected")
        self.shut = True
        self._deliver_soon()

    def closed_by_owner(self, *, reset: bool) -> None:
        """See `FakeSocket`. Unread data makes a close a reset, as in a kernel."""
        self._closed = True
        if self.peer is None or self._dead:
            return
        if reset or self._in:
            self._dead = True
            self._out.clear()
            self.peer.on_reset(self)
        elif not self.shut:
            self.shut = True
            self._deliver_soon()

    # -- the peer's side ----------------------------------------------------------------------------------------------

    def connected(self, peer: Peer) -> None:
        """The connect has succeeded."""
        if not self._closed:
            self.peer = peer
            self._decided = True
            peer.on_open(self)

    def connect_failed(self, error: ReportedError) -> None:
        """The connect has failed."""
        self._decided = self._dead = True
        self.outcome = error
        self.error = error.errno

    def push(self, data: bytes) -> None:
        """The peer sends data."""
        if data and not self._closed and not self._dead:
            self._in.append(data)

    def finish(self) -> None:
        """The peer has sent all."""
        self._in_end = True

    def reset(self, number: int = errno.ECONNRESET) -> None:
        """The peer resets; what it sent before can still be read."""
        if not self._dead:
            self._dead = True
            self.error = number
            self._out.clear()

    def pause(self, *, paused: bool = True) -> None:
        """The peer stops reading, or goes on."""
        self.paused = paused
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if not self._delivering and not self.paused:
            self._delivering = True
            self.host.at(1, self._deliver)

    def _deliver(self) -> None:
        self._delivering = False
        peer = self.peer
        if peer is None or self._dead:
            return
        while self._out and not self.paused and not self._dead:
            data = self._out.popleft()
            self._out_size -= len(data)
            peer.on_data(self, data)
        if self.shut and not self._out and not self._dead:
            peer.on_eof(self)

    def _chance_of_reset(self) -> None:
        if self._decided and self.host.rng.random() < self.host.faults.reset:
            self.reset()


class FakeDatagrams(FakeSocket):
    """An unconnected UDP or echo socket, which takes and brings datagrams one by one.

    `address`, `port`: its own. left_from: for each datagram that left, the source that was asked for.
    """

    def __init__(self, host: FakeHost, owner: Owner, kind: str, port: int, address: int = 0) -> None:
        super().__init__(host, owner)
        self.kind = kind
        self.address = address
        self.port = port
        self.left_from: list[int] = []
        self._in: deque[tuple[bytes, Origin]] = deque(maxlen=BACKLOG)
        self._reports: deque[ReportedError] = deque(maxlen=BACKLOG)

    def readable(self) -> bool:
        """See `FakeSocket`. Errors wake a reader, as EPOLLERR does."""
        return bool(self._in or self._reports or self.error)

    def send(self, data: Buffer, address: int, port: int, ttl: int, df: bool, source: int = 0) -> None:
        """See `usernat.nat.host_sockets.DatagramSocket`."""
        self.raise_pending()
        self.left_from.append(source)
        self.host.carry(self, bytes(data), address, port, ttl, df)

    def send_run(self, *_run: Any, **_how: Any) -> bool:
        """See `usernat.nat.host_sockets.DatagramSocket`."""
        return False

    def receive(self) -> tuple[list[Buffer], Origin] | None:
        """See `usernat.nat.host_sockets.DatagramSocket`."""
        number = self.getsockopt(0, 0)
        if number:
            raise OSError(number, "pending")
        if not self._in:
            return None
        data, origin = self._in.popleft()
        return [data], origin

    def errors(self) -> list[ReportedError]:
        """See `usernat.nat.host_sockets.DatagramSocket`. What is left sets the pending error again, as in Linux."""
        reports = [self._reports.popleft() for _ in range(min(len(self._reports), ERRORS_A_READ))]
        self.error = self._reports[0].errno if self._reports and self._reports[0].offender is not None else 0
        return reports

    def arrive(self, data: bytes, address: int, port: int, ttl: int = 64, called: int = 0) -> None:
        """A datagram comes, to the address `called` of the host; the oldest one goes where there are too many."""
        self._in.append((data, (address, port, ttl, called)))

    def fail_later(self, error: ReportedError, address: int, port: int) -> None:
        """An ICMP error comes, or the host finds a fault of its own."""
        error.address, error.port = address, port
        self._reports.append(error)
        if error.offender is not None:
            self.error = error.errno

    def closed_by_owner(self, *, reset: bool) -> None:  # noqa: ARG002 - there is nobody to be told
        """See `FakeSocket`. Nothing comes out of it any more."""
        self._in.clear()
        self._reports.clear()
        self.error = 0


class FakeUdpClient(FakeSocket):
    """A connected UDP socket."""

    def __init__(self, host: FakeHost, owner: Owner, address: int, port: int) -> None:
        super().__init__(host, owner)
        self._peer = address, port
        self._datagrams = FakeDatagrams(host, owner, "udp", 0)

    def readable(self) -> bool:
        """See `FakeSocket`."""
        return self._datagrams.readable()

    def recv(self, limit: int) -> bytes:
        """As of a socket."""
        received = self._datagrams.receive()
        if received is None:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        return bytes(received[0][0][:limit])

    def send(self, data: Buffer) -> int:
        """As of a socket."""
        self._datagrams.send(data, *self._peer, 64, df=False)
        return len(data)

    def sendmsg(self, buffers: Iterable[Buffer]) -> int:
        """As of a socket."""
        return self.send(b"".join(buffers))

    def getpeername(self) -> object:
        """As of a socket."""
        return self._peer

    def shutdown(self, how: int) -> None:
        """As of a socket: of no effect here."""
