"""The host's sockets: every descriptor that guest traffic is carried on is opened, watched and closed here.

Flows see `Host` and never a selector. The loop that owns the selector hands its events to `HostSockets.dispatch`, which calls the
owner of each socket; events of other registrations in the same selector are left alone. A socket starts unwatched, and
interest costs a system call only when it changes.

No call here waits: sockets are non-blocking and addresses are numbers. Sockets are counted against a budget
below the process's descriptor limit, so that a guest that opens flows without end meets a refusal and the process around the gateway goes on.

Nothing assumes Linux: where the kernel has no error queue, no TTL of received datagrams or no unprivileged ICMP, the guest loses
that feature and no more (`host_datagram.py`).
"""

from __future__ import annotations

import errno
import logging
import random
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from usernat.nat.errors import HostError
from usernat.nat.host_budget import descriptor_budget
from usernat.nat.host_datagram import HostEcho, HostUdp, is_own_address
from usernat.nat.host_ports import TcpPorts
from usernat.nat.host_sockets import DatagramSocket, ListeningSocket
from usernat.nat.host_tcp import Listening, bind, carry, connect_outcome, listen, reset_on_close
from usernat.nat.readiness import ENDED, READABLE, WRITABLE
from usernat.stack.addr import format_ip
from usernat.stack.counters import Counters

if TYPE_CHECKING:
    import selectors
    from collections.abc import Iterable

    from usernat.nat.host_datagram import ReportedError
    from usernat.stack.device import Buffer

log = logging.getLogger(__name__)

_CONNECTING = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK})
# What each kind leaves of the budget: a flood of ports leaves a quarter to connections, these a sixteenth to name look-ups.
_LEFT_BY_DATAGRAMS = 4
_LEFT_BY_TCP = 16
_LEFT_BY_ACCEPTED = 2  # what comes in from outside leaves half to the guests' own
# A step: with its own turn, as much as one flow's send queue holds. The longer the burst to a guest, the fewer ACKs and wake-ups for it.
SPARE_READS = 24


class Owner(Protocol):
    """Who is told of a socket's events."""

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        """The watched socket is readable or writable. Must not raise."""
        ...


class HostSocket(Protocol):
    """A non-blocking stream or connected datagram socket: these methods of `socket.socket`, with their errors (OSError)."""

    def fileno(self) -> int:
        """As of a socket."""
        ...

    def recv(self, limit: int, /) -> bytes:
        """At most `limit` bytes; b"" at the end of a stream."""
        ...

    def send(self, data: Buffer, /) -> int:
        """How many bytes were taken."""
        ...

    def sendmsg(self, buffers: Iterable[Buffer], /) -> int:
        """The same for a scatter list."""
        ...

    def shutdown(self, how: int, /) -> None:
        """SHUT_WR: a FIN after what was taken."""
        ...

    def getpeername(self) -> object:
        """OSError once the connection has failed: reset, or timed out. SO_ERROR would also tell of ICMP errors, which end nothing."""
        ...


AnySocket = HostSocket | DatagramSocket | ListeningSocket


class Host(Protocol):
    """What flows and services need of the host. Addresses are integers. Opening raises HostError.

    spare_reads: how often flows may read in this step beyond their own turns, all together; whoever does counts it down.
    """

    spare_reads: int

    def connect_tcp(
        self, address: int, port: int, owner: Owner, *, ttl: int | None = None, mapping: int | None = None
    ) -> HostSocket:
        """A connection under way; it is writable once it is decided, and `connect_error` then tells how.

        mapping: connections that name the same one leave from one port of the host, where the system can do it.
        """
        ...

    def connect_error(self, sock: HostSocket) -> ReportedError | None:
        """Why a connect failed, None if it succeeded. To be asked once, when the socket is first writable."""
        ...

    def ended(self, sock: HostSocket) -> bool:
        """Whether the peer's end, or an error, is known to wait behind what can be read. False where the system does not tell."""
        ...

    def listen_tcp(self, address: int, port: int, owner: Owner) -> ListeningSocket:
        """A socket that listens; port 0: one that the kernel chooses."""
        ...

    def accept(self, listening: ListeningSocket) -> tuple[HostSocket, int, int] | None:
        """A connection that waits, with its peer's address and port; None where none does. To be adopted or closed. Raises OSError."""
        ...

    def adopt(self, sock: HostSocket, owner: Owner) -> None:
        """Names the owner of an accepted connection."""
        ...

    def open_udp(self, owner: Owner) -> DatagramSocket:
        """An unconnected socket on a port that the kernel chooses."""
        ...

    def publish_udp(self, address: int, port: int, owner: Owner) -> DatagramSocket:
        """An unconnected socket with that name, which asks to which address of the host each datagram was sent; port 0: one that the kernel chooses."""
        ...

    def connect_udp(self, address: int, port: int, owner: Owner) -> HostSocket:
        """A connected socket on a port that the kernel chooses: it takes datagrams of that peer alone."""
        ...

    def open_echo(self, owner: Owner) -> DatagramSocket | None:
        """A socket for ICMP echo, None where the host lets this process have none."""
        ...

    def is_own(self, address: int) -> bool:
        """Whether the address is one of the host's, loopback apart."""
        ...

    def watch(self, sock: AnySocket, readable: bool, writable: bool) -> None:
        """Sets which events the owner is told of; nothing at first."""
        ...

    def close(self, sock: AnySocket, *, reset: bool = False) -> None:
        """Closes the socket; `reset`: a TCP peer sees a reset, queued data is dropped. Closing twice does nothing."""
        ...


@dataclass(slots=True)
class HostCounters(Counters):
    """Of the host's sockets."""

    opened: int = 0
    closed: int = 0
    refused_budget: int = 0  # not opened: the budget of descriptors is used up
    refused_system: int = 0  # not opened: the system said no
    unwatchable: int = 0  # the selector would not take a socket


class _Entry:
    """A socket that is open: the `data` of its selector key."""

    __slots__ = ("events", "mapping", "open", "owner", "told")

    def __init__(self, owner: Owner, mapping: int | None) -> None:
        self.owner = owner
        self.events = 0
        self.told = 0  # the last that the selector said
        self.mapping = mapping
        self.open = True


class HostSockets:
    """The real host. It opens sockets and registers them in `selector` (`readiness.py`), which stays its owner's."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        *,
        rng: random.Random | None = None,
        max_sockets: int | None = None,
    ) -> None:
        """rng: identifiers of raw echo sockets. max_sockets: the budget, by default from the descriptor limit."""
        self.counters = HostCounters()
        self.max_sockets = descriptor_budget() if max_sockets is None else max_sockets
        self._selector = selector
        self._rng = rng or random.SystemRandom()
        self._entries: dict[Any, _Entry] = {}
        self._ports = TcpPorts()
        self._warned = False
        self.spare_reads = 0

    def __len__(self) -> int:
        return len(self._entries)

    def connect_tcp(
        self, address: int, port: int, owner: Owner, *, ttl: int | None = None, mapping: int | None = None
    ) -> socket.socket:
        """See `Host`. The peer's urgent data stays in the stream, as RFC 6093 §2 would have it.

        A SYN of the peer that crosses ours opens the connection, as Linux does it (RFC 5382 REQ-2a).
        """
        sock = self._socket(socket.SOCK_STREAM, 0, _LEFT_BY_TCP)
        if mapping is not None and not self._ports.bind(sock, mapping):
            mapping = None
        carry(sock)
        if ttl is not None:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        try:
            return self._connect(sock, address, port, owner, mapping)
        except HostError as error:
            if mapping is None or error.number != errno.EADDRNOTAVAIL:
                raise
        return self.connect_tcp(address, port, owner, ttl=ttl)

    def connect_error(self, sock: HostSocket) -> ReportedError | None:
        """See `Host`."""
        assert isinstance(sock, socket.socket)
        return connect_outcome(sock)

    def ended(self, sock: HostSocket) -> bool:
        """See `Host`. As of when the owner was last told."""
        entry = self._entries.get(sock)
        return entry is not None and entry.told & ENDED != 0

    def listen_tcp(self, address: int, port: int, owner: Owner) -> Listening:
        """See `Host`."""
        listening = listen(self._socket(socket.SOCK_STREAM, 0, _LEFT_BY_TCP), address, port)
        self._add(listening, owner)
        return listening

    def accept(self, listening: ListeningSocket) -> tuple[HostSocket, int, int] | None:
        """See `Host`."""
        assert isinstance(listening, Listening)
        self._permit(_LEFT_BY_ACCEPTED)
        accepted = listening.accept()
        if accepted is not None:
            self._add(accepted[0], self._entries[listening].owner)
        return accepted

    def adopt(self, sock: HostSocket, owner: Owner) -> None:
        """See `Host`."""
        self._entries[sock].owner = owner

    def connect_udp(self, address: int, port: int, owner: Owner) -> socket.socket:
        """See `Host`."""
        return self._connect(self._socket(socket.SOCK_DGRAM, 0), address, port, owner)

    def open_udp(self, owner: Owner) -> HostUdp:
        """See `Host`."""
        sock = HostUdp(self._socket(socket.SOCK_DGRAM, 0, _LEFT_BY_DATAGRAMS))
        self._add(sock, owner)
        return sock

    def publish_udp(self, address: int, port: int, owner: Owner) -> HostUdp:
        """See `Host`."""
        sock = HostUdp(bind(self._socket(socket.SOCK_DGRAM, 0), address, port), published=True)
        self._add(sock, owner)
        return sock

    def open_echo(self, owner: Owner) -> HostEcho | None:
        """See `Host`. Unprivileged (Linux `net.ipv4.ping_group_range`, macOS), else raw, else none and one warning."""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                plain = self._socket(kind, socket.IPPROTO_ICMP, _LEFT_BY_DATAGRAMS)
            except HostError as error:
                if error.number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                continue
            sock = HostEcho(plain, self._raw_ident() if kind == socket.SOCK_RAW else None)
            self._add(sock, owner)
            return sock
        if not self._warned:
            self._warned = True
            log.warning(
                "guests cannot ping beyond the gateway: this process may open neither unprivileged ICMP sockets"
                " (sysctl net.ipv4.ping_group_range) nor raw ones (CAP_NET_RAW)"
            )
        return None

    def is_own(self, address: int) -> bool:
        """See `Host`."""
        return is_own_address(address)

    def watch(self, sock: AnySocket, readable: bool, writable: bool) -> None:
        """See `Host`."""
        entry = self._entries.get(sock)
        events = (readable and READABLE) | (writable and WRITABLE)
        if entry is None or events == entry.events:
            return
        try:
            if not events:
                self._selector.unregister(sock)
            elif entry.events:
                self._selector.modify(sock, events, entry)
            else:
                self._selector.register(sock, events, entry)
        except (OSError, KeyError):
            # The kernel's table of watches is full: the flow's idle time-out will end it.
            self.counters.unwatchable += 1
            events = 0
        entry.events = events

    def dispatch(self, events: Iterable[tuple[selectors.SelectorKey, int]], now: int) -> None:
        """Tells the owners of what `selector.select()` returned; keys of other registrations are passed over."""
        self.spare_reads = SPARE_READS
        for key, mask in events:
            entry = key.data
            if entry.__class__ is _Entry and entry.open:  # an owner before it in the batch may have closed it
                entry.told = mask
                entry.owner.on_host(mask & READABLE != 0, mask & WRITABLE != 0, now)

    def close(self, sock: AnySocket, *, reset: bool = False) -> None:
        """See `Host`."""
        entry = self._entries.pop(sock, None)
        if entry is None:
            return
        entry.open = False
        if entry.mapping is not None:
            self._ports.release(entry.mapping)
        if entry.events:
            self._selector.unregister(sock)
        if reset and isinstance(sock, socket.socket):
            reset_on_close(sock)
        self.counters.closed += 1
        try:  # noqa: SIM105 - `suppress` takes longer than all the rest of it
            sock.close()  # type: ignore[union-attr] # every socket in the table is one of ours and has it
        except OSError:  # a pending error of a socket that nobody cares for any more
            pass

    def close_all(self) -> None:
        """Closes every socket there is, TCP with a reset."""
        for sock in list(self._entries):
            self.close(sock, reset=True)

    def _socket(self, kind: int, protocol: int, leaves: int | None = None) -> socket.socket:
        """leaves: what part of the budget this kind leaves to others, as its denominator."""
        self._permit(leaves)
        try:
            sock = socket.socket(socket.AF_INET, kind, protocol)
        except OSError as error:
            self.counters.refused_system += 1
            raise HostError(error.errno or errno.EACCES) from error
        sock.setblocking(False)
        return sock

    def _permit(self, leaves: int | None) -> None:
        left = self.max_sockets // leaves if leaves else 0
        if len(self._entries) >= self.max_sockets - left:
            self.counters.refused_budget += 1
            raise HostError(errno.EMFILE)

    def _raw_ident(self) -> int:
        """An identifier that no raw echo socket of ours has: every one of them sees all replies (C46)."""
        taken = {sock.raw_ident for sock in self._entries if isinstance(sock, HostEcho)}
        while (ident := self._rng.getrandbits(16)) in taken:
            pass
        return ident

    def _connect(
        self, sock: socket.socket, address: int, port: int, owner: Owner, mapping: int | None = None
    ) -> socket.socket:
        number = sock.connect_ex((format_ip(address), port))
        if number not in _CONNECTING:
            sock.close()
            if mapping is not None:
                self._ports.release(mapping)
            raise HostError(number)
        self._add(sock, owner, mapping)
        return sock

    def _add(self, sock: AnySocket, owner: Owner, mapping: int | None = None) -> None:
        self._entries[sock] = _Entry(owner, mapping)
        self.counters.opened += 1
