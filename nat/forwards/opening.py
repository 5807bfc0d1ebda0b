"""From a connection that the host has accepted to one with the guest.

    accepted ──> calling ──> the guest answers ──────────────> spliced
                         ──> it refuses, or is not there ────> the client is reset
                         ──> the client is gone ─────────────> the guest's connection is reset

Nothing is read from the client until the guest has answered: its bytes, and its end where it has sent all already, wait in the kernel, and are carried
over like all others. So a client that is gone shows itself only by its socket: by an event as long as it has sent nothing, and after that
when it is looked at, now and then and before the two ends are joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.host_tcp import stands
from usernat.stack.l3.icmp_message import UNREACHABLE
from usernat.stack.l4.tcp.layer import TableFullError
from usernat.stack.l4.tcp.state import TcpError

if TYPE_CHECKING:
    from usernat.nat.forwards.tcp import TcpForward
    from usernat.nat.tcp_flow import TcpFlow
    from usernat.stack.l4.tcp.connection import Connection

LOOK_US = 500_000


class HostOpening:
    """One connection that comes in. `state` is for people."""

    __slots__ = ("_connection", "_flow", "_forward", "_give_up_at", "state")

    def __init__(self, forward: TcpForward, flow: TcpFlow) -> None:
        """flow: has the accepted socket."""
        self._forward = forward
        self._flow = flow
        self._connection: Connection
        self._give_up_at = 0
        self.state = "calling"

    def begin(self, now: int) -> None:
        """Calls the guest."""
        context, flow = self._forward.context, self._flow
        assert flow.sock is not None
        try:
            # C56: from the gateway's address, on a port that the stack draws
            self._connection = context.interface.tcp.connect(
                flow.guest, self._forward.forward.guest_port, local=context.config.gateway
            )
        except (ValueError, TableFullError):
            self._forward.counters.no_resources += 1
            flow.remove(reset=True)
            return
        self._connection.owner = flow
        self._give_up_at = now + self._forward.published_us
        context.host.watch(flow.sock, readable=True, writable=False)
        self._look_again(now)

    def on_host(self, now: int) -> None:  # noqa: ARG002 - see `tcp_flow.Opening`
        """The client has sent something, or its end, or is gone. What it has sent can wait."""
        sock = self._flow.sock
        assert sock is not None
        if stands(sock):
            self._forward.context.host.watch(sock, readable=False, writable=False)
        else:
            self._client_left()

    def serve(self, now: int) -> None:
        """The guest has answered, or somebody has for it."""
        connection, flow, counters = self._connection, self._flow, self._forward.counters
        assert flow.sock is not None
        if connection.error is not None:
            if connection.error in (TcpError.REFUSED, TcpError.RESET):
                counters.refused += 1
            else:
                counters.unreachable += 1
            flow.remove(reset=True)
        elif connection.established:
            if stands(flow.sock):
                counters.connected += 1
                flow.spliced(connection, now)
            else:
                self._client_left()
        elif connection.soft_error is not None and connection.soft_error[0] == UNREACHABLE:
            # To the stack this is no reason to give up (RFC 9293 §3.9.2.2 MUST-56), to us it is: the guest is one hop away, and it is not there.
            counters.unreachable += 1
            self._give_up()

    def on_expiry(self, now: int) -> None:
        """It is time to look, or to give up."""
        assert self._flow.sock is not None
        if not stands(self._flow.sock):
            self._client_left()
        elif now >= self._give_up_at:
            self._forward.counters.timed_out += 1
            self._give_up()
        else:
            self._look_again(now)

    def abandon(self) -> None:
        """End without ceremony."""
        self._connection.abort()

    def _look_again(self, now: int) -> None:
        self._forward.context.table.deadlines.set(self._flow, min(self._give_up_at, now + LOOK_US))

    def _client_left(self) -> None:
        self._forward.counters.cancelled += 1
        self._give_up()

    def _give_up(self) -> None:
        self._connection.owner = None
        self._connection.abort()
        self._flow.remove(reset=True)
