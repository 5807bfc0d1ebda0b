"""One TCP forward: a listening socket of the host, and the connections that came in by it.

Connections are accepted a few at a time, and only while few of them are waiting for the guest: the others wait in the kernel's backlog, where they cost
nothing here, and go on as soon as the guest has answered one. Beyond the cap of connections that stand, a client is accepted and reset,
since nobody knows when one of those will end. Where nothing can be accepted because the process has run out of descriptors, the listening
socket is left alone for a moment: it would be readable for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat.context import microseconds
from usernat.nat.forwards.opening import HostOpening
from usernat.nat.splicer import SpliceCounters, Splicer
from usernat.nat.tcp_flow import TcpFlow
from usernat.policy.decision import TCP

if TYPE_CHECKING:
    from usernat.nat.forward import Forward
    from usernat.nat.forwards.forwards import Forwards
    from usernat.nat.host import HostSocket

ACCEPTS_AN_EVENT = 16


@dataclass(slots=True)
class TcpForwardCounters(SpliceCounters):
    """Of all TCP forwards."""

    accepted: int = 0
    connected: int = 0  # the guest has answered
    refused: int = 0  # by the guest, and the client was reset
    unreachable: int = 0  # there is no guest, and the client was reset
    timed_out: int = 0  # the guest took too long, and the client was reset
    cancelled: int = 0  # the client was gone before the guest had answered
    no_resources: int = 0  # a cap or the guest's quota stood in the way, and the client was reset
    aborted: int = 0  # gone before they could be accepted
    paused: int = 0  # times that nothing was accepted because too many wait for the guest
    accept_failed: int = 0  # times that the host could accept nothing


class TcpForward(Splicer):
    """An owner of the listening socket. forward: with the port that it has."""

    counters: TcpForwardCounters

    def __init__(self, forwards: Forwards, forward: Forward) -> None:
        """Listens. Raises HostError."""
        super().__init__(forwards.context)
        self.counters = forwards.tcp_counters
        self.published_us = microseconds(self.context.config.timeouts.published)
        self.closed = False
        self._forwards = forwards
        self._opening: dict[TcpFlow, None] = {}
        self._most_opening = self.context.config.limits.forward_opening
        self._paused = False
        self._sock = self.context.host.listen_tcp(forward.address, forward.port, self)
        self.forward = forward._replace(port=self._sock.port)
        self.listen(wanted=True)

    def listen(self, *, wanted: bool) -> None:
        """Whether to be told of those who wait. Of no effect once it is closed."""
        self.context.host.watch(self._sock, readable=wanted, writable=False)

    def on_host(self, readable: bool, writable: bool, now: int) -> None:  # noqa: ARG002 - it is watched for reading only
        """Accepts who waits, some of them."""
        host, counters = self.context.host, self.counters
        for _ in range(ACCEPTS_AN_EVENT):
            if self.closed:  # by somebody who was told of the connection before
                return
            if len(self._opening) >= self._most_opening:
                counters.paused += 1
                self._paused = True
                self.listen(wanted=False)
                return
            try:
                accepted = host.accept(self._sock)
            except ConnectionAbortedError:
                counters.aborted += 1
                continue
            except OSError:
                counters.accept_failed += 1
                self._forwards.rest(self, now)
                return
            if accepted is None:
                return
            self._take(*accepted, now)

    def _take(self, sock: HostSocket, address: int, port: int, now: int) -> None:
        context, guest = self.context, self._forwards.guest()
        if context.quota.exhausted or not context.table.admit(TCP, guest, now):
            self.counters.no_resources += 1
            context.host.close(sock, reset=True)
            return
        self.counters.accepted += 1
        flow = TcpFlow(self, (guest, self.forward.guest_port, address, port), now)
        flow.sock = sock
        context.host.adopt(sock, flow)
        flow.opening = opening = HostOpening(self, flow)
        context.table.add(flow, now)
        self._opening[flow] = None
        flow.decision = self._forwards.admitted(self.forward, (address, port), guest)
        opening.begin(now)

    def opened(self, flow: TcpFlow) -> None:
        """See `Splicer`."""
        self._opening.pop(flow, None)
        if self._paused:
            self._paused = False
            self.listen(wanted=True)

    def close(self) -> None:
        """Listens no more: who waits in the backlog is reset. Connections that were accepted go on. Harmless when called again."""
        if not self.closed:
            self.context.host.close(self._sock)
            self.closed = True
            self._forwards.forget(self)
