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

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat import errors
from usernat.nat.admission import ADMITTED, ASK, READ
from usernat.nat.context import microseconds, ttl_beyond
from usernat.nat.splicer import SpliceCounters, Splicer
from usernat.nat.tcp_flow import TcpFlow
from usernat.nat.tcp_opening import GuestOpening, turn_away
from usernat.policy.decision import TCP
from usernat.stack.l4.tcp.incoming import Incoming

if TYPE_CHECKING:
    from usernat.nat.context import Context
    from usernat.nat.host import HostSocket
    from usernat.nat.tcp_flow import Opening

_MAY_BE = frozenset({ADMITTED, READ, ASK})


@dataclass(slots=True)
class TcpNatCounters(SpliceCounters):
    """Of all TCP flows that guests open."""

    connected: int = 0  # the host has connected
    refused: int = 0  # the peer refused, and the guest was reset
    unreachable: int = 0  # the host could not reach the peer, and the guest was told
    timed_out: int = 0  # the host's connect took too long, and the guest was told
    cancelled: int = 0  # the guest gave up while the host was connecting
    no_resources: int = 0  # no flow could be opened, and the guest was told
    evicted: int = 0  # opening flows that gave way to newer ones


class TcpNat(Splicer):
    """The wildcard listener, and the flows that guests open."""

    counters: TcpNatCounters

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.counters = TcpNatCounters()
        timeouts = context.config.timeouts
        self.connect_us = microseconds(timeouts.tcp_connect)
        self.first_bytes_us = microseconds(timeouts.first_bytes)
        self._opening: dict[int, dict[TcpFlow, None]] = {}  # guest: its opening flows, oldest first
        self._most_opening = context.config.limits.tcp_opening
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
        guest, guest_port, _, port = incoming.key
        decision = self.context.admission.ask(incoming.packet, port, guest_port, now)
        if decision.outcome not in _MAY_BE:
            turn_away(incoming, decision.outcome)
            return
        if len(self._opening.get(guest, ())) >= self._most_opening or self.context.table.full(TCP, guest):
            self._evict(guest)
        if not self.context.table.admit(TCP, guest, now):
            self.counters.no_resources += 1
            incoming.unreachable(errors.NO_RESOURCES)  # RFC 6888 REQ-11
            self.context.audit.limited(decision)
            return
        flow = TcpFlow(self, incoming.key, now)
        incoming.owner = flow
        opening = GuestOpening(self, flow, incoming)
        self.add(flow, opening, now)
        opening.begin(decision, now)

    def add(self, flow: TcpFlow, opening: Opening, now: int) -> None:
        """Takes in a flow that begins."""
        flow.opening = opening
        self.context.table.add(flow, now)
        self._opening.setdefault(flow.guest, {})[flow] = None

    def connect(self, flow: TcpFlow, address: int, incoming: Incoming) -> HostSocket:
        """Has the host connect to where the guest's SYN leads. Raises OSError."""
        ttl = ttl_beyond(incoming.ttl)
        guest, guest_port, _, port = incoming.key
        mapping = guest << 16 | guest_port
        host = self.context.host
        try:
            return host.connect_tcp(address, port, flow, ttl=ttl, mapping=mapping)
        except OSError as error:
            if not errors.is_resources(error.errno or 0) or not self._evict(guest, spare=flow):
                raise
        return host.connect_tcp(address, port, flow, ttl=ttl, mapping=mapping)

    def _evict(self, guest: int, spare: TcpFlow | None = None) -> bool:
        """Ends the guest's oldest opening flow; False where it has none but `spare`."""
        oldest = next((flow for flow in self._opening.get(guest, ()) if flow is not spare), None)
        if oldest is None:
            return False
        self.counters.evicted += 1
        oldest.abandon()
        return True

    def opened(self, flow: TcpFlow) -> None:
        """See `Splicer`."""
        opening = self._opening.get(flow.guest)
        if opening is not None and flow in opening:
            del opening[flow]
            if not opening:
                del self._opening[flow.guest]
