"""A host in virtual time: the `Host` of `usernat.nat.host`, with a scripted world behind it and no system calls.

    FakeHost.tcp[address, port]  = Listening(peer factory) | Failing(errno or ICMP error) | BLACK_HOLE
    FakeHost.udp[address, port]  = answer(data) -> replies
    FakeHost.echo_hosts          = addresses that answer pings
    FakeHost.call, .post         = somebody outside connects, sends a datagram
    FakeHost.routers             = on the way to everything: datagrams with too small a TTL die there

Entries may have None for "any address" or "any port"; the more specific one counts. What nothing is said of swallows everything.

Like a selector, `run(now)` first lets happen what is due and then tells the owner of every watched socket, once, that it is ready; `poll_at` says
when that is worth doing next. `Faults` make the system calls fail as real ones may at any time: short writes, EAGAIN out of
turn, resets, no descriptors. All chance comes from the `rng` handed in, so a run is repeated by its seed.
"""

from __future__ import annotations

import errno
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from usernat.fuzz.fakelistening import FakeListening
from usernat.fuzz.fakesockets import FakeDatagrams, FakeSocket, FakeTcp, FakeUdpClient
from usernat.nat.errors import HostError
from usernat.nat.host import SPARE_READS
from usernat.nat.host_datagram import ReportedError

if TYPE_CHECKING:
    from random import Random

    from usernat.fuzz.fakepeers import Peer
    from usernat.nat.host import Owner

TCP, UDP, ECHO = "tcp", "udp", "echo"
TIME_EXCEEDED = 11
LATENCY_US = 1_000
Answer = Callable[[bytes], list[bytes]]


@dataclass(frozen=True, slots=True)
class Listening:
    """A TCP server: `peer()` makes the other end of each connection, after `delay_us` or within the very call (None)."""

    peer: Callable[[], Peer]
    delay_us: int | None = LATENCY_US


@dataclass(frozen=True, slots=True)
class Failing:
    """A connect or a datagram that fails: with `error` after `delay_us`, or from the very call (None)."""

    error: ReportedError
    delay_us: int | None = LATENCY_US


BLACK_HOLE = "black hole"


@dataclass(slots=True)
class Faults:
    """Probabilities, per system call."""

    short: float = 0.0  # send takes a part
    again: float = 0.0  # send or recv: EAGAIN though the socket was ready
    reset: float = 0.0  # send or recv: ECONNRESET
    descriptors: float = 0.0  # open: EMFILE


@dataclass(slots=True)
class Record:
    """What the tests ask afterwards."""

    opened: int = 0
    closed: int = 0
    resets: int = 0  # TCP sockets closed with a reset
    connects: list[tuple[int, int, int | None]] = field(default_factory=list)  # address, port, TTL
    # address, port, TTL, DF, data
    datagrams: list[tuple[int, int, int, bool, bytes]] = field(default_factory=list)


class FakeHost:
    """See above. mtu: bytes; larger datagrams with DF fail. max_sockets: EMFILE beyond. echo: None where pings are not allowed."""

    def __init__(
        self, rng: Random, *, max_sockets: int = 1 << 20, mtu: int = 65535, echo: bool = True
    ) -> None:
        self.rng = rng
        self.now = 0
        self.mtu = mtu
        self.max_sockets = max_sockets
        self.faults = Faults()
        self.record = Record()
        self.tcp: dict[tuple[int | None, int | None], Listening | Failing | str] = {}
        self.udp: dict[tuple[int | None, int | None], Answer | Failing] = {}
        self.echo_hosts: set[int] = set()
        self.echo_failures: dict[int, Failing] = {}
        self.routers: tuple[int, ...] = ()
        self.own: set[int] = set()  # addresses of the host itself
        self.spare_reads = 0
        self.tells_ends = True  # as Linux does; other systems let one find out by reading
        self.sockets: dict[FakeSocket, None] = {}
        self._echo = echo
        self._watched: dict[FakeSocket, None] = {}
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = count()
        self._ports = count(20000)

    # -- the Host protocol --------------------------------------------------------------------------------------------

    def connect_tcp(
        self,
        address: int,
        port: int,
        owner: Owner,
        *,
        ttl: int | None = None,
        mapping: int | None = None,  # noqa: ARG002 - no port can be seen here
    ) -> FakeTcp:
        """See `usernat.nat.host.Host`."""
        self._permit()
        self.record.connects.append((address, port, ttl))
        script = self._expired(ttl, address, port) or find(self.tcp, address, port) or BLACK_HOLE
        if isinstance(script, Failing) and script.delay_us is None:
            raise HostError(script.error.errno)
        sock = FakeTcp(self, owner)
        self._add(sock)
        if isinstance(script, Listening):
            peer = script.peer()
            if script.delay_us is None:
                sock.connected(peer)
            else:
                self.at(script.delay_us, lambda: sock.connected(peer))
        elif isinstance(script, Failing):
            error = script.error
            self.at(script.delay_us or 0, lambda: sock.connect_failed(error))
        return sock

    def connect_error(self, sock: Any) -> ReportedError | None:
        """See `usernat.nat.host.Host`."""
        assert isinstance(sock, FakeTcp)
        return sock.outcome

    def ended(self, sock: Any) -> bool:
        """See `usernat.nat.host.Host`."""
        assert isinstance(sock, FakeTcp)
        return self.tells_ends and sock.ended

    def is_own(self, address: int) -> bool:
        """See `usernat.nat.host.Host`."""
        return address in self.own

    def connect_udp(self, address: int, port: int, owner: Owner) -> FakeUdpClient:
        """See `usernat.nat.host.Host`."""
        self._permit()
        sock = FakeUdpClient(self, owner, address, port)
        self._add(sock)
        return sock

    def listen_tcp(self, address: int, port: int, owner: Owner) -> FakeListening:
        """See `usernat.nat.host.Host`."""
        self._permit()
        sock = FakeListening(self, owner, address, self._take_name(address, port, TCP))
        self._add(sock)
        return sock

    def accept(self, listening: Any) -> tuple[FakeTcp, int, int] | None:
        """See `usernat.nat.host.Host`."""
        assert isinstance(listening, FakeListening)
        if listening not in self.sockets:
            raise OSError(errno.EBADF, "closed")
        self._permit()
        accepted = listening.accept()
        if accepted is not None:
            self._add(accepted[0])
        return accepted

    def adopt(self, sock: Any, owner: Owner) -> None:
        """See `usernat.nat.host.Host`."""
        sock.owner = owner

    def open_udp(self, owner: Owner) -> FakeDatagrams:
        """See `usernat.nat.host.Host`."""
        return self.publish_udp(0, 0, owner)

    def publish_udp(self, address: int, port: int, owner: Owner) -> FakeDatagrams:
        """See `usernat.nat.host.Host`."""
        self._permit()
        sock = FakeDatagrams(self, owner, UDP, self._take_name(address, port, UDP), address)
        self._add(sock)
        return sock

    def open_echo(self, owner: Owner) -> FakeDatagrams | None:
        """See `usernat.nat.host.Host`."""
        if not self._echo:
            return None
        self._permit()
        sock = FakeDatagrams(self, owner, ECHO, next(self._ports))
        self._add(sock)
        return sock

    def watch(self, sock: Any, readable: bool, writable: bool) -> None:
        """See `usernat.nat.host.Host`."""
        sock.watch_read, sock.watch_write = readable, writable
        if sock in self.sockets and (readable or writable):
            self._watched[sock] = None
        else:
            self._watched.pop(sock, None)

    def close(self, sock: Any, *, reset: bool = False) -> None:
        """See `usernat.nat.host.Host`."""
        if sock in self.sockets:
            del self.sockets[sock]
            self._watched.pop(sock, None)
            self.record.closed += 1
            self.record.resets += reset
            sock.closed_by_owner(reset=reset)

    # -- the outside --------------------------------------------------------------------------------------------------

    def call(self, address: int, port: int, peer: Peer, source: tuple[int, int]) -> FakeTcp | None:
        """`peer` connects from `source` (address, port); None where nobody listens, or too many wait."""
        listening = self._bound(address, port, TCP)
        return listening.call(peer, source) if listening is not None else None

    def post(self, address: int, port: int, data: bytes, source: tuple[int, int]) -> bool:
        """A datagram comes from `source`; whether anybody has the port."""
        sock = self._bound(address, port, UDP)
        if sock is not None:
            sock.arrive(data, *source, called=address)
        return sock is not None

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self, now: int) -> bool:
        """Lets happen what is due, and tells owners, once. Whether anybody was told anything."""
        self.now = now
        self.spare_reads = SPARE_READS
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        ready = [sock for sock in self._watched if sock.is_ready()]
        for sock in ready:
            if sock in self._watched:  # an owner before it may have closed it
                sock.owner.on_host(
                    sock.watch_read and sock.readable(), sock.watch_write and sock.writable(), now
                )
        return bool(ready)

    def poll_at(self) -> int | None:
        """When `run` has something to do, µs; None for never."""
        if any(sock.is_ready() for sock in self._watched):
            return self.now
        return self._due[0][0] if self._due else None

    def at(self, delay_us: int, action: Callable[[], None]) -> None:
        """`action` happens `delay_us` from now."""
        heapq.heappush(self._due, (self.now + delay_us, next(self._serial), action))

    # -- datagrams, called by the sockets -----------------------------------------------------------------------------

    def carry(self, sock: FakeDatagrams, data: bytes, address: int, port: int, ttl: int, df: bool) -> None:
        """A datagram leaves a socket. OSError where the host knows already that it cannot go."""
        self.record.datagrams.append((address, port, ttl, df, data))
        if df and len(data) + 28 > self.mtu:
            # A kernel names no port.
            sock.fail_later(ReportedError(errno.EMSGSIZE, icmp=True, code=4, mtu=self.mtu), address, 0)
            raise OSError(errno.EMSGSIZE, "message too long")
        script = self._expired(ttl, address, port) or (
            self._echo_script(address) if sock.kind == ECHO else find(self.udp, address, port)
        )
        if isinstance(script, Failing):
            if script.delay_us is None:
                raise OSError(script.error.errno, "scripted")
            error = script.error
            self.at(script.delay_us, lambda: sock.fail_later(error, address, port))
        elif script is not None:
            for reply in script(data):
                self.at(LATENCY_US, lambda reply=reply: sock.arrive(reply, address, port))  # type: ignore[misc]

    def _echo_script(self, address: int) -> Answer | Failing | None:
        if address in self.echo_failures:
            return self.echo_failures[address]
        return (lambda data: [data]) if address in self.echo_hosts else None

    def _expired(self, ttl: int | None, address: int, port: int) -> Failing | None:
        """The error of the router at which the TTL runs out."""
        if ttl is None or ttl > len(self.routers):
            return None
        router = self.routers[ttl - 1]
        report = ReportedError(
            errno.EHOSTUNREACH, icmp=True, type=TIME_EXCEEDED, offender=router, address=address, port=port
        )
        return Failing(report)

    def _take_name(self, address: int, port: int, kind: str) -> int:
        """The port, or one that is chosen; a HostError where another socket of the kind has it."""
        if port and self._bound(address, port, kind) is not None:
            raise HostError(errno.EADDRINUSE)
        return port or next(self._ports)

    def _bound(self, address: int, port: int, kind: str) -> Any:
        """The socket that takes what is sent there."""
        for sock in self.sockets:
            if (
                isinstance(sock, FakeListening | FakeDatagrams)
                and (sock.kind, sock.port) == (kind, port)
                and (sock.address in {0, address})
            ):
                return sock
        return None

    def _permit(self) -> None:
        if len(self.sockets) >= self.max_sockets or self.rng.random() < self.faults.descriptors:
            raise HostError(errno.EMFILE)

    def _add(self, sock: FakeSocket) -> None:
        self.sockets[sock] = None
        self.record.opened += 1


def find(world: dict[tuple[int | None, int | None], Any], address: int, port: int) -> Any:
    """The entry for a destination, the most specific one first."""
    for key in ((address, port), (address, None), (None, port), (None, None)):
        if key in world:
            return world[key]
    return None
