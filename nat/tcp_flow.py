"""One TCP connection of a guest, spliced to one of the host.

    OPENING   see `tcp_opening.py`, and `forwards/opening.py` for those that come in from the host
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
from typing import TYPE_CHECKING, Protocol

from usernat.nat.flows import FlowInfo
from usernat.nat.host_tcp import stands
from usernat.policy.decision import TCP

if TYPE_CHECKING:
    from usernat.nat.admission import Decision
    from usernat.nat.host import HostSocket
    from usernat.nat.splicer import Splicer
    from usernat.stack.l4.tcp.connection import Connection

WRITE = 1024 * 1024  # bytes that one system call moves at most
READ = 64 * 1024  # the same; larger ones cost more for their memory than they save in calls
READS_AN_EVENT = 8  # of one flow, before others have their turn; then `Host.spare_reads`
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


class Opening(Protocol):
    """How a flow begins: it ends with `TcpFlow.spliced` or `TcpFlow.remove`."""

    state: str

    def on_host(self, now: int) -> None:
        """The host's socket is ready for what it was watched for."""
        ...

    def serve(self, now: int) -> None:
        """The guest's end has something new."""
        ...

    def on_expiry(self, now: int) -> None:
        """The flow's deadline has come."""
        ...

    def abandon(self) -> None:
        """End the guest's side without ceremony."""
        ...


class TcpFlow:
    """See above.

    opening: how it begins, None once it is spliced. sock: the host's socket, None while there is none yet, or no more. decision: by which it was
    admitted. up, down: bytes from the guest and to it.
    """

    __slots__ = (
        "_blocked",
        "_connection",
        "_down_done",
        "_endpoints",
        "_failed_at",
        "_half_open",
        "_interest",
        "_last",
        "_looks",
        "_nat",
        "_starved",
        "_up_done",
        "decision",
        "down",
        "guest",
        "opening",
        "sock",
        "started",
        "up",
    )

    protocol = TCP

    def __init__(self, nat: Splicer, endpoints: tuple[int, int, int, int], now: int) -> None:
        """endpoints: the guest's address and port, and those of the other end: as the guest sees it, or of the client that came in."""
        self._nat = nat
        self.opening: Opening | None = None
        self._connection: Connection | None = None
        self._half_open = True  # the guest has not answered our SYN-ACK, as far as we care
        self._blocked = False  # guest to host: the kernel takes no more now
        self._starved = False  # host to guest: the send queue has no room
        self._up_done = False  # guest to host has ended
        self._down_done = False  # host to guest has ended
        # When the host's socket died, while the guest has still to hear what came before.
        self._failed_at: int | None = None
        self._looks = False  # whether the host's socket is asked for a reset now and then
        self._interest = 0  # what the host's socket is watched for: 1 reading, 2 writing
        self._last = now  # when anything last went either way
        self._endpoints = endpoints
        self.guest = endpoints[0]
        self.started = now
        self.sock: HostSocket | None = None
        self.decision: Decision | None = None
        self.up = 0
        self.down = 0

    def spliced(self, connection: Connection, now: int) -> None:
        """Both ends are there: `sock` has connected, and the guest's connection stands or will."""
        assert self.sock is not None
        self.opening = None
        self._connection = connection
        connection.owner = self
        connection.nodelay = True  # the host's peer has done its Nagle; a second one holds tails back
        self._last = now
        self._interest = _READING
        self._nat.context.host.watch(self.sock, readable=True, writable=False)
        self._nat.context.table.deadlines.set(self, now + self._nat.established_us)
        if connection.established:
            self.serve(now)  # what it has sent already

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        """See `host.Owner`."""
        connection = self._connection
        if connection is None:
            assert self.opening is not None
            self.opening.on_host(now)
            return
        self._last = now
        if writable:
            self._blocked = False
            self._up(connection, now)
        if readable and self.sock is not None:
            self._down(connection, now)
        self._settle(connection, now)

    def serve(self, now: int) -> None:
        """The guest's connection has become readable, writable, established or closed; or there is news for the opening."""
        connection = self._connection
        if connection is None:
            if self.opening is not None:
                self.opening.serve(now)
            return
        self._last = now
        if connection.error is not None or (connection.closed and self.sock is None):
            self._guest_ended(connection)
            return
        if self._half_open and connection.established:
            self._half_open = False
            self._nat.opened(self)
        if not self._blocked and not self._up_done:
            self._up(connection, now)
        if self._starved and self.sock is not None:
            self._down(connection, now)
        self._settle(connection, now)

    def resume(self, now: int) -> None:
        """See `quota.Stream`."""
        if self._connection is not None:
            self.serve(now)

    def _up(self, connection: Connection, now: int) -> None:
        """Guest to host: all that the kernel takes. Bounded by the receive queue, which does not grow meanwhile."""
        sock = self.sock
        if sock is None:
            return
        quota = self._nat.context.quota
        try:
            while connection.readable:
                limit = WRITE
                if quota.active and (limit := min(WRITE, quota.up.room(now))) == 0:
                    quota.up.wait(self, now)
                    return
                views = connection.peek(limit)
                sent = sock.sendmsg(views[:MAX_VIEWS]) if SCATTERS and len(views) > 1 else sock.send(views[0])
                connection.consume(sent)
                self.up += sent
                if quota.active:
                    quota.up.went(sent, now)
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
            if self._read(connection, now):
                self._down_done = True
                connection.shutdown()
        except BlockingIOError:
            return
        except OSError:
            self._host_failed(connection, now)

    def _read(self, connection: Connection, now: int) -> bool:
        """As much as the send queue has room for, within the turn of this flow and what the others leave; whether the host's peer has ended its side."""
        sock = self.sock
        assert sock is not None
        self._starved = False
        quota, host = self._nat.context.quota, self._nat.context.host
        own = READS_AN_EVENT
        while own or host.spare_reads:
            if own:
                own -= 1
            else:
                host.spare_reads -= 1
            room = connection.send_room
            if room < self._nat.min_room:
                self._starved = True
                return False
            wanted = min(room, READ)
            if quota.active and (wanted := min(wanted, quota.down.room(now))) == 0:
                self._starved = True
                quota.down.wait(self, now)
                return False
            data = sock.recv(wanted)
            if not data:
                return True
            connection.send(data)
            self.down += len(data)
            if quota.active:
                quota.down.went(len(data), now)
            if len(data) < wanted and not host.ended(sock):
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
        if self._down_done and not self._looks:
            self._looks = True
            context.table.deadlines.set(self, min(self._idle_at(connection), now + HALF_CLOSED_LOOK_US))

    def _host_failed(self, connection: Connection, now: int) -> None:
        """The host's socket is dead (C11): whatever the guest was told has arrived may be lost, so it is reset; by `_settle`, which follows."""
        self._nat.counters.reset_by_host += 1
        # An end that follows an error is no FIN of the peer, only the kernel's "nothing more".
        with suppress(OSError):
            self._read(connection, now)
        self._failed_at = now
        self._close_host()

    def _reset_in_time(self, connection: Connection, failed_at: int, now: int) -> None:
        """Resets the guest once it has acknowledged all that it was sent, of which its connection tells, or has not in time."""
        if connection.unacknowledged and now < failed_at + LAST_WORDS_US:
            self._nat.context.table.deadlines.set(self, failed_at + LAST_WORDS_US)
            return
        connection.abort()
        self.remove()

    def _close_host(self, *, reset: bool = False) -> None:
        if self.sock is not None:
            self._nat.context.host.close(self.sock, reset=reset)
            self.sock = None

    def _guest_ended(self, connection: Connection) -> None:
        """The guest's connection is gone: finished, or reset, timed out, evicted."""
        if connection.error is None:
            self._nat.counters.finished += 1
            self.remove()
            return
        self._nat.counters.reset_by_guest += 1
        self.remove(reset=True)

    def on_expiry(self, now: int) -> None:
        """See `flows.Flow`."""
        nat, connection = self._nat, self._connection
        if connection is None:
            assert self.opening is not None
            self.opening.on_expiry(now)
            return
        if self._failed_at is not None:
            self._settle(connection, now)
            return
        idle_at = self._idle_at(connection)
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

    def _idle_at(self, connection: Connection) -> int:
        """When the flow has been silent for too long. Its deadline in the table is not moved with what passes, only when it comes."""
        patience = self._nat.transitory_us if self.sock is None else self._nat.established_us
        return max(self._last, connection.heard_at) + patience

    def abandon(self) -> None:
        """See `flows.Flow`: both ends are reset; a SYN that is still held is dropped."""
        if self._connection is not None:
            self._connection.abort()
        elif self.opening is not None:
            self.opening.abandon()
        self.remove(reset=True)

    def remove(self, *, reset: bool = False) -> None:
        """Nothing remains. reset: the host's peer is told so."""
        nat = self._nat
        self.opening = None
        if self._connection is not None:
            self._connection.owner = None
        self._close_host(reset=reset)
        if self._half_open:
            self._half_open = False
            nat.opened(self)
        nat.context.quota.forget(self)
        if nat.context.table.remove(self) and self.decision is not None:
            nat.context.audit.ended(self.decision, self.up, self.down)

    def info(self, expires_us: int | None) -> FlowInfo:
        """See `flows.Flow`."""
        if self._connection is None:
            state = self.opening.state if self.opening is not None else "closing"
        elif self._half_open:
            state = "opening"
        elif self.sock is None:
            state = "closing"
        else:
            state = _STATES[self._up_done, self._down_done]
            expires_us = self._idle_at(self._connection)
        guest, guest_port, destination, port = self._endpoints
        return FlowInfo(TCP, guest, guest_port, destination, port, state, self.started, expires_us)
