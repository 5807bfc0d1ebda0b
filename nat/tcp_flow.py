"""One TCP connection of a guest, spliced to one of the host.

    HELD      the guest's SYN waits while the host connects
    OPEN      bytes go both ways; each direction ends by itself, by FIN (half-close)
    CLOSING   both directions have ended and the host's socket is closed; the guest's connection is finishing in the stack

Bytes are not copied here. Guest to host: views of the frames go to `sendmsg`, and are consumed as far as the kernel took them. Host to guest: one
`recv` gives one bytes object, which the send queue keeps until it is acknowledged.

Back-pressure is a matter of not doing: what the host does not take stays in the receive queue, which closes the window offered to the guest; and the
host is not read while the send queue has no room, which closes the window of the host's peer. Interest in events costs a system
call, so it changes only when a direction gets stuck or unstuck; while the host waits for the guest (`_starved`), reading
is resumed straight from the guest's acknowledgement, which is still to come as long as anything is queued.

What was acknowledged to an end and then lost is never covered up: any failure of one side is a reset of the other (RFC 7857 §2.2-a). But
what the host's peer had sent before it reset goes to the guest first, as it would on a wire: servers answer an upload that they will not
take, and reset the rest of it.

The two ends are TCPs of their own, so the states that RFC 7857 §2-a would have a NAT guess at are known; `info` names them.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from usernat.nat import errors
from usernat.nat.flows import FlowInfo
from usernat.nat.host import stands
from usernat.policy.decision import TCP

if TYPE_CHECKING:
    from usernat.nat.host import HostSocket
    from usernat.nat.host_datagram import ReportedError
    from usernat.nat.tcp_nat import TcpNat
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.incoming import Incoming

WRITE = 256 * 1024  # bytes that one system call moves at most
READ = 64 * 1024  # the same; larger ones cost more for their memory than they save in calls
READS_AN_EVENT = 8  # of one flow, before others have their turn
MIN_ROOM = 4096  # bytes of send room below which reading is not worth a system call; a queue has 8192 even when memory is short
MAX_VIEWS = 512  # of one sendmsg; POSIX lets a system have as few as 16, those that exist have 1024
SCATTERS = hasattr(socket.socket, "sendmsg")  # Windows has no such call
_READING, _WRITING = 1, 2
_STATES = {  # by (guest to host has ended, host to guest has ended)
    (False, False): "open",
    (True, False): "guest-closed",
    (False, True): "host-closed",
}
# The host's socket is not watched for reading once it has sent its FIN, so it is asked this often for a reset that may have followed.
HALF_CLOSED_LOOK_US = 2_000_000
# How long a reset waits for what came before it: a few round trips and retransmissions. Longer would harm a guest that reads only once
# its own writing has failed.
LAST_WORDS_US = 1_000_000


class TcpFlow:
    """See above. `sock` is the host's socket, None once it is closed."""

    __slots__ = (
        "_blocked",
        "_connection",
        "_down_done",
        "_endpoints",
        "_failed_at",
        "_incoming",
        "_interest",
        "_last",
        "_nat",
        "_opening",
        "_starved",
        "_up_done",
        "guest",
        "sock",
        "started",
    )

    protocol = TCP

    def __init__(self, nat: TcpNat, incoming: Incoming, now: int) -> None:
        self._nat = nat
        self._incoming: Incoming | None = incoming  # while the SYN is held
        self._connection: Connection | None = None
        self._opening = True
        self._blocked = False  # guest to host: the kernel takes no more now
        self._starved = False  # host to guest: the send queue has no room
        self._up_done = False  # guest to host has ended
        self._down_done = False  # host to guest has ended
        # When the host's socket died, while the guest has still to hear what came before.
        self._failed_at: int | None = None
        self._interest = 0  # what the host's socket is watched for: 1 reading, 2 writing
        self._last = now  # when anything last went either way
        self._endpoints = (incoming.remote, incoming.remote_port, incoming.local, incoming.local_port)
        self.guest = incoming.remote
        self.started = now
        self.sock: HostSocket | None = None

    def begin(self, now: int) -> None:
        """The host is connecting."""
        assert self.sock is not None
        self._nat.context.host.watch(self.sock, readable=False, writable=True)
        self._nat.context.table.deadlines.set(self, now + self._nat.connect_us)

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        """See `host.Owner`."""
        connection = self._connection
        if connection is None:
            self._decided(now)
            return
        self._last = now
        if writable:
            self._blocked = False
            self._up(connection, now)
        if readable and self.sock is not None:
            self._down(connection, now)
        self._settle(connection, now)

    def serve(self, now: int) -> None:
        """The guest's connection has become readable, writable, established or closed; or the held SYN was cancelled."""
        connection = self._connection
        if connection is None:
            if self._incoming is not None and self._incoming.cancelled:
                self._nat.counters.cancelled += 1
                self._remove(reset=True)
            return
        self._last = now
        if connection.error is not None or (connection.closed and self.sock is None):
            self._guest_ended(connection)
            return
        if self._opening and connection.established:
            self._opening = False
            self._nat.opened(self)
        if not self._blocked and not self._up_done:
            self._up(connection, now)
        if self._starved and self.sock is not None:
            self._down(connection, now)
        self._settle(connection, now)

    def _decided(self, now: int) -> None:
        """The host's connect has an outcome."""
        assert self.sock is not None
        assert self._incoming is not None
        nat, incoming = self._nat, self._incoming
        failure = nat.context.host.connect_error(self.sock)
        if failure is not None:
            self._pass_on(failure, incoming)
            self._remove()
            return
        nat.counters.connected += 1
        self._connection = incoming.accept()
        self._connection.owner = self
        self._connection.nodelay = True  # the host's peer has done its Nagle; a second one holds tails back
        self._incoming = None
        self._last = now
        self._interest = _READING
        nat.context.host.watch(self.sock, readable=True, writable=False)
        nat.context.table.deadlines.set(self, now + nat.established_us)

    def _pass_on(self, failure: ReportedError, incoming: Incoming) -> None:
        """RFC 5382 REQ-9: the guest hears what the host heard.

        An ICMP error ends the host's attempt to connect, as in every kernel, and with it this flow; but not the guest's, whose next SYN begins another.
        """
        counters = self._nat.counters
        if errors.is_reset(failure.errno) and not failure.icmp:
            counters.refused += 1
            incoming.refuse()
            return
        counters.unreachable += 1
        if failure.icmp:  # with its type, so that TTL probes over TCP find the routers on the way
            self._nat.context.translate(failure, incoming.packet.datagram)
            incoming.drop()
        elif errors.is_resources(failure.errno):
            incoming.unreachable(errors.NO_RESOURCES)
        else:
            incoming.unreachable(errors.unreachable_code(failure.errno))

    def _up(self, connection: Connection, now: int) -> None:
        """Guest to host: all that the kernel takes. Bounded by the receive queue, which does not grow meanwhile."""
        sock = self.sock
        if sock is None:
            return
        try:
            while connection.readable:
                views = connection.peek(WRITE)
                sent = sock.sendmsg(views[:MAX_VIEWS]) if SCATTERS and len(views) > 1 else sock.send(views[0])
                connection.consume(sent)
            if connection.at_eof and not self._up_done:
                self._up_done = True
                sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            self._blocked = True
        except OSError:
            self._host_failed(connection, now)

    def _down(self, connection: Connection, now: int) -> None:
        """Host to guest."""
        try:
            if self._read(connection):
                self._down_done = True
                connection.shutdown()
        except BlockingIOError:
            return
        except OSError:
            self._host_failed(connection, now)

    def _read(self, connection: Connection) -> bool:
        """As much as the send queue has room for, within the turn of this flow; whether the host's peer has ended its side."""
        sock = self.sock
        assert sock is not None
        self._starved = False
        for _ in range(READS_AN_EVENT):
            room = connection.send_room
            if room < self._nat.min_room:
                self._starved = True
                return False
            wanted = min(room, READ)
            data = sock.recv(wanted)
            if not data:
                return True
            connection.send(data)
            if len(data) < wanted:
                return False  # that was all: another call would only say so
        return False

    def _settle(self, connection: Connection, now: int) -> None:
        """After anything has moved: interest, deadline, and whether it is over."""
        if self._failed_at is not None:
            self._reset_in_time(connection, self._failed_at, now)
            return
        sock = self.sock
        if sock is None:
            return
        context = self._nat.context
        if self._up_done and self._down_done:
            self._close_host()
            context.table.deadlines.set(self, now + self._nat.transitory_us)
            if connection.closed:
                self._guest_ended(connection)
            return
        interest = (0 if self._starved or self._down_done else _READING) | (_WRITING if self._blocked else 0)
        if interest != self._interest:
            self._interest = interest
            context.host.watch(sock, readable=interest & _READING != 0, writable=interest & _WRITING != 0)
        patience = HALF_CLOSED_LOOK_US if self._down_done else self._nat.established_us
        context.table.deadlines.set(self, now + patience)

    def _host_failed(self, connection: Connection, now: int) -> None:
        """The host's socket is dead (C11): whatever the guest was told has arrived may be lost, so it is reset; by `_settle`, which follows."""
        self._nat.counters.reset_by_host += 1
        # An end that follows an error is no FIN of the peer, only the kernel's "nothing more".
        with suppress(OSError):
            self._read(connection)
        self._failed_at = now
        self._close_host()

    def _reset_in_time(self, connection: Connection, failed_at: int, now: int) -> None:
        """Resets the guest once it has acknowledged all that it was sent, of which its connection tells, or has not in time."""
        if connection.unacknowledged and now < failed_at + LAST_WORDS_US:
            self._nat.context.table.deadlines.set(self, failed_at + LAST_WORDS_US)
            return
        connection.abort()
        self._remove()

    def _close_host(self, *, reset: bool = False) -> None:
        if self.sock is not None:
            self._nat.context.host.close(self.sock, reset=reset)
            self.sock = None

    def _guest_ended(self, connection: Connection) -> None:
        """The guest's connection is gone: finished, or reset, timed out, evicted."""
        if connection.error is None:
            self._nat.counters.finished += 1
            self._remove()
            return
        self._nat.counters.reset_by_guest += 1
        self._remove(reset=True)

    def on_expiry(self, now: int) -> None:
        """See `flows.Flow`."""
        nat, connection = self._nat, self._connection
        if connection is None:
            assert self._incoming is not None
            nat.counters.timed_out += 1
            self._incoming.unreachable(errors.HOST_UNREACHABLE)
            self._remove(reset=True)
            return
        if self._failed_at is not None:
            self._settle(connection, now)
            return
        patience = nat.transitory_us if self.sock is None else nat.established_us
        idle_at = max(self._last, connection.heard_at) + patience
        if now >= idle_at:
            nat.counters.idle += 1  # RFC 5382 REQ-5
            self.abandon()
            return
        if self.sock is not None and self._down_done:
            if not stands(self.sock):
                self._host_failed(connection, now)
                self._settle(connection, now)
                return
            idle_at = min(idle_at, now + HALF_CLOSED_LOOK_US)
        nat.context.table.deadlines.set(self, idle_at)

    def abandon(self) -> None:
        """See `flows.Flow`: both ends are reset; a SYN that is still held is dropped."""
        if self._connection is not None:
            self._connection.abort()
        elif self._incoming is not None:
            self._incoming.drop()
        self._remove(reset=True)

    def _remove(self, *, reset: bool = False) -> None:
        """Nothing remains."""
        nat = self._nat
        if self._connection is not None:
            self._connection.owner = None
        self._close_host(reset=reset)
        if self._opening:
            self._opening = False
            nat.opened(self)
        nat.context.table.remove(self)

    def info(self, expires_us: int | None) -> FlowInfo:
        """See `flows.Flow`."""
        if self._connection is None:
            state = "connecting"
        elif self._opening:
            state = "opening"
        elif self.sock is None:
            state = "closing"
        else:
            state = _STATES[self._up_done, self._down_done]
        guest, guest_port, destination, port = self._endpoints
        return FlowInfo(TCP, guest, guest_port, destination, port, state, self.started, expires_us)
