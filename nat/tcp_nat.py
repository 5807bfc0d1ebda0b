"""TCP through the gateway: from a guest's SYN to a flow.

The wildcard listener holds each SYN unanswered. Admission is asked, and a host connection begun; only when the host has decided does the
guest hear anything: SYN-ACK, RST, or the ICMP error that the host met (RFC 5382 REQ-9). So a guest never sees a connection that
does not exist, and is never left hanging by a denial.

A flow is *opening* until its guest has answered our SYN-ACK. Those are the ones that cost a stranger nothing to make, so
they have a cap of their own per guest, and where something runs short the oldest of them gives way to the newest. A flow that
stands is never ended to make room (RFC 6888 REQ-11).

All connections of one guest endpoint leave from one port of the host (RFC 5382 REQ-1; `host_ports.py`), to which nobody can connect: what comes
in unasked meets the host's own refusal, be it from the world or from another guest. Who calls an address of the host is seen there as the
world would see it (REQ-8a). Nothing of a stream is looked into (REQ-6), and all of it passes: data and ends in any order, each direction by
itself, and resets (REQ-2).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat import errors
from usernat.nat.admission import NOBODY, SILENT
from usernat.nat.context import Context, microseconds
from usernat.nat.tcp_flow import MIN_ROOM, TcpFlow
from usernat.policy.decision import TCP
from usernat.stack.counters import Counters
from usernat.stack.l4.tcp.incoming import Incoming

if TYPE_CHECKING:
    from usernat.nat.host import HostSocket


@dataclass(slots=True)
class TcpNatCounters(Counters):
    """Of all TCP flows."""

    connected: int = 0  # the host has connected
    refused: int = 0  # the peer refused, and the guest was reset
    unreachable: int = 0  # the host could not reach the peer, and the guest was told
    timed_out: int = 0  # the host's connect took too long, and the guest was told
    cancelled: int = 0  # the guest gave up while the host was connecting
    no_resources: int = 0  # no flow could be opened, and the guest was told
    evicted: int = 0  # opening flows that gave way to newer ones
    finished: int = 0  # ended by both sides
    reset_by_guest: int = 0
    reset_by_host: int = 0
    idle: int = 0  # silent for too long


class TcpNat:
    """The wildcard listener and what flows have in common."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.counters = TcpNatCounters()
        timeouts = context.config.timeouts
        self.connect_us = microseconds(timeouts.tcp_connect)
        self.established_us = microseconds(timeouts.tcp_established)
        self.transitory_us = microseconds(timeouts.tcp_transitory)
        self._opening: dict[int, dict[TcpFlow, None]] = {}  # guest: its opening flows, oldest first
        self._most_opening = context.config.limits.tcp_opening
        self.min_room = min(MIN_ROOM, context.interface.tcp.config.send_buffer // 2)
        self._listener = context.interface.tcp.listen(None, None, backlog=self._most_opening, hold=True)
        self._listener.owner = self

    def serve(self, now: int) -> None:
        """Takes every SYN that waits."""
        while (incoming := self._listener.accept()) is not None:
            assert isinstance(incoming, Incoming), "the listener holds"
            self._open(incoming, now)

    def close(self) -> None:
        """Takes no SYN any more."""
        self._listener.close()

    def _open(self, incoming: Incoming, now: int) -> None:
        address = self.context.admission.ask(incoming.packet, incoming.local_port, incoming.remote_port)
        if address < 0:
            self._turn_away(incoming, address)
            return
        guest = incoming.remote
        table = self.context.table
        if len(self._opening.get(guest, ())) >= self._most_opening or table.full(TCP, guest):
            self._evict(guest)
        if not table.admit(TCP, guest, now):
            self._no_resources(incoming)
            return
        flow = TcpFlow(self, incoming, now)
        try:
            flow.sock = self._connect(flow, address, incoming)
        except OSError as error:
            self._failed_at_once(incoming, error.errno or errno.EIO)
            return
        incoming.owner = flow
        table.add(flow, now)
        self._opening.setdefault(guest, {})[flow] = None
        flow.begin(now)

    def _connect(self, flow: TcpFlow, address: int, incoming: Incoming) -> HostSocket:
        # RFC 1812 §5.3.1-a; the last hop is the host's loopback, which is here
        ttl = max(incoming.ttl - 1, 1)
        mapping = incoming.remote << 16 | incoming.remote_port
        host = self.context.host
        try:
            return host.connect_tcp(address, incoming.local_port, flow, ttl=ttl, mapping=mapping)
        except OSError as error:
            if not errors.is_resources(error.errno or 0) or not self._evict(incoming.remote):
                raise
        return host.connect_tcp(address, incoming.local_port, flow, ttl=ttl, mapping=mapping)

    def _turn_away(self, incoming: Incoming, answer: int) -> None:
        if answer == SILENT:
            incoming.drop()
        elif answer == NOBODY:
            incoming.unreachable(errors.HOST_UNREACHABLE)
        else:  # CLOSED, and DENIED: at once and without doubt
            incoming.refuse()

    def _failed_at_once(self, incoming: Incoming, number: int) -> None:
        if errors.is_resources(number):
            self._no_resources(incoming)
        elif errors.is_reset(number):
            self.counters.refused += 1
            incoming.refuse()
        else:
            self.counters.unreachable += 1
            incoming.unreachable(errors.unreachable_code(number))

    def _no_resources(self, incoming: Incoming) -> None:
        self.counters.no_resources += 1
        incoming.unreachable(errors.NO_RESOURCES)  # RFC 6888 REQ-11

    def _evict(self, guest: int) -> bool:
        """Ends the guest's oldest opening flow; False where it has none."""
        opening = self._opening.get(guest)
        if not opening:
            return False
        self.counters.evicted += 1
        next(iter(opening)).abandon()
        return True

    def opened(self, flow: TcpFlow) -> None:
        """The flow is opening no more: its guest has answered, or it is over."""
        opening = self._opening.get(flow.guest)
        if opening is not None and flow in opening:
            del opening[flow]
            if not opening:
                del self._opening[flow.guest]
