"""What UDP mappings and echo bindings have in common: a guest endpoint, one unconnected host socket, the destinations.

    guest datagram ──> known destination? ── no ──> admission ──> cap ──> host socket ──┐
                             └── yes ────────────────────────────────────────────────────┴──> sent with TTL - 1
    host datagram  ──> from whom the guest has sent to? ──> guest's queue
    host error     ──> about which datagram? ──> ICMP error that quotes it

One flow per guest endpoint, whatever its destinations (RFC 4787 REQ-1, RFC 5508 REQ-1a), with a host socket and so a port of its own (RFC 4787
REQ-3), however many there are (REQ-11: what does not fit is refused, never treated otherwise). So the policy is asked once for each
destination, which is what a flow is to it. A flow ends by silence alone; no ICMP error ends it (RFC 4787 REQ-12, RFC 5508 REQ-6).

While the guest's queue is full the host sockets are not read: their kernel queues hold what they can, and drop what they cannot.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from usernat.nat import errors
from usernat.nat.admission import ADMITTED, ASK, CLOSED, DENIED, NOBODY, READ
from usernat.nat.datagram_flow import DatagramFlow
from usernat.nat.destinations import Budget, Destinations
from usernat.nat.host_end import HostEndCounters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.admission import Decision
    from usernat.nat.context import Context
    from usernat.nat.host_sockets import DatagramSocket
    from usernat.stack.device import Buffer
    from usernat.stack.l3.icmp_message import IcmpError
    from usernat.stack.l3.packet import Packet
    from usernat.stack.l4.datagrams import DatagramSocket as GuestSocket
    from usernat.stack.l4.udp import Datagram

MOST_HELD = 1 << 20  # bytes of datagrams that wait for somebody's answer
_REFUSALS = {
    CLOSED: errors.PORT_UNREACHABLE,
    DENIED: errors.ADMINISTRATIVELY_PROHIBITED,  # RFC 1812 §5.2.7.1-a, RFC 5508 REQ-8
    READ: errors.ADMINISTRATIVELY_PROHIBITED,  # a datagram has no first bytes that could be waited for
    NOBODY: errors.HOST_UNREACHABLE,  # RFC 1812 §4.3.3.1-b
}


@dataclass(slots=True)
class DatagramCounters(HostEndCounters):
    """Of all flows of one kind; datagrams."""

    forwarded: int = 0  # from the guest to the host
    delivered: int = 0  # from the host to the guest
    filtered: int = 0  # from somebody that the guest has not sent to
    guest_full: int = 0  # dropped: the guest's queue was full
    no_resources: int = 0  # dropped: no flow could be opened, and the guest was told
    not_a_request: int = 0  # dropped: nothing that opens a flow
    guest_errors: int = 0  # dropped: errors of guests that are about nothing of another guest
    held_full: int = 0  # dropped: too much waits for somebody's answer
    paused: int = 0  # times that a socket was left unread because the guest's queue was full


class DatagramNat:
    """The flows of one kind. Subclasses know the guest's side of the protocol."""

    protocol: int
    replies_refresh: bool  # RFC 4787 REQ-6a

    def __init__(self, context: Context, budget: Budget, destinations: int) -> None:
        """destinations: how many each flow may remember."""
        self.context = context
        self.counters = DatagramCounters()
        self._budget = budget
        self._destinations = destinations
        self._flows: dict[int, DatagramFlow] = {}  # guest << 16 | port
        self._paused: dict[DatagramFlow, None] = {}
        self.closed = False
        self._held = 0  # bytes of datagrams that wait for somebody's answer

    def handle(self, packet: Packet, guest_port: int, port: int, data: Buffer, now: int) -> None:
        """Takes a guest's datagram."""
        flow = self._flows.get(packet.src << 16 | guest_port)
        if flow is not None and self.decided(flow, packet.dst, port):
            flow.forward(packet, port, data, now)
            return
        decision = self.context.admission.ask(packet, self.policy_port(port), guest_port, now)
        if decision.outcome == ASK:
            self._ask(decision, packet, guest_port, port, data, now)
        else:
            self._settle(decision, packet, guest_port, port, data, now)

    def handle_all(self, datagrams: Sequence[Datagram], now: int) -> None:
        """Takes a guest's datagrams that differ in their data alone, as `handle` for each would."""
        first = datagrams[0]
        if len(datagrams) > 1:
            flow = self._flows.get(first.src << 16 | first.src_port)
            if flow is not None and self.decided(flow, first.dst, first.dst_port):
                flow.forward_all(datagrams, now)
                return
        for each in datagrams:
            self.handle(each.packet, each.src_port, each.dst_port, each.data, now)

    def _ask(
        self, decision: Decision, packet: Packet, guest_port: int, port: int, data: Buffer, now: int
    ) -> None:
        """The datagram waits with the question, as do those that follow meanwhile and find room."""
        assert decision.request is not None
        assert decision.verdict is not None
        admission = self.context.admission
        size = len(packet.datagram)
        if self._held + size > MOST_HELD:
            self.counters.held_full += 1
            return
        self._held += size

        def told(allowed: bool, now: int) -> None:
            self._held -= size
            if not self.closed:
                self._settle(admission.told(decision, allowed), packet, guest_port, port, data, now)

        self.context.asker.ask(decision.request, decision.verdict, told, now)

    def _settle(
        self, decision: Decision, packet: Packet, guest_port: int, port: int, data: Buffer, now: int
    ) -> None:
        if decision.outcome != ADMITTED:
            code = _REFUSALS.get(decision.outcome)
            if code is not None:
                self.context.icmp.unreachable(packet, code)
            return
        flow = self._flows.get(packet.src << 16 | guest_port)
        if flow is not None and self.decided(flow, packet.dst, port):
            flow.forward(packet, port, data, now)  # it waited for the same answer as another before it
            return
        # To the policy each destination is a flow, so each takes its part of what a guest may open a second.
        context = self.context
        if flow is None:
            admitted = context.table.admit(self.protocol, packet.src, now)
        else:
            admitted = context.quota.admit(0, now)
        if not admitted:
            self.counters.no_resources += 1
            context.icmp.unreachable(packet, errors.NO_RESOURCES)  # RFC 6888 REQ-11
            context.audit.limited(decision)
            return
        context.audit.opened(decision)
        flow = flow or self._open(packet, guest_port, now)
        if flow is None:
            context.audit.ended(decision, 0, 0)
            return
        flow.ledger.open(self.account(packet.dst, port), decision)
        flow.timeout_us = max(flow.timeout_us, self.timeout_for(port))
        flow.forward(packet, port, data, now)

    def _open(self, packet: Packet, guest_port: int, now: int) -> DatagramFlow | None:
        """None where the host has no socket, and the guest was told."""
        context = self.context
        flow = DatagramFlow(self, packet.src, guest_port, Destinations(self._destinations, self._budget), now)
        try:
            sock = self.open_socket(flow)
        except OSError as error:
            self.counters.no_resources += 1
            context.host_failed(packet, error.errno or errno.EMFILE)
            return None
        if sock is None:
            self.counters.no_resources += 1
            # The host's administrator lets us have no such socket: RFC 5508 REQ-8 asks for code 13
            context.icmp.unreachable(packet, errors.ADMINISTRATIVELY_PROHIBITED)
            return None
        flow.sock = sock
        context.host.watch(sock, readable=True, writable=False)
        context.table.add(flow, now)
        self._flows[packet.src << 16 | guest_port] = flow
        return flow

    def take_errors(self, sock: GuestSocket[Any, Any]) -> None:
        """The guest's ICMP errors refresh nothing (RFC 7857 §7.1-a), and a host socket cannot emit them, so none goes outside."""
        while sock.errors:
            if self.hairpinned(sock.errors.popleft()):
                self.counters.errors_translated += 1
            else:
                self.counters.guest_errors += 1

    def hairpinned(self, error: IcmpError) -> bool:  # noqa: ARG002 - a reply is never answered with an error
        """Takes an error of one guest to another guest whose datagram it is about; False where there is none."""
        return False

    def pause(self, flow: DatagramFlow) -> None:
        """The guest's queue is full: the socket stays unread until `resume`."""
        self.counters.paused += 1
        self._paused[flow] = None
        self.context.host.watch(flow.sock, readable=False, writable=False)

    def resume(self) -> None:
        """The guest's queue has room again."""
        for flow in self._paused:
            self.context.host.watch(flow.sock, readable=True, writable=False)
        self._paused.clear()

    def forget(self, flow: DatagramFlow) -> None:
        """The flow is over."""
        self.context.host.close(flow.sock)
        self.context.table.remove(flow)
        self._paused.pop(flow, None)
        self._flows.pop(flow.guest << 16 | flow.guest_port, None)

    def decided(self, flow: DatagramFlow, destination: int, port: int) -> bool:
        """Whether admission has been asked for this destination of the flow."""
        raise NotImplementedError

    def account(self, address: int, port: int) -> int:
        """The key of the account of a destination (`Ledger`)."""
        raise NotImplementedError

    def policy_port(self, port: int) -> int:
        """The port that the policy is asked about."""
        raise NotImplementedError

    def timeout_for(self, port: int) -> int:
        """µs of silence after which a flow to that port is over."""
        raise NotImplementedError

    def permits(self, flow: DatagramFlow, source: int, port: int) -> bool:
        """Whether a datagram from there may reach the guest."""
        raise NotImplementedError

    def open_socket(self, flow: DatagramFlow) -> DatagramSocket | None:
        """The host socket. Raises HostError; None where the host allows none at all."""
        raise NotImplementedError

    def room(self) -> int:
        """Bytes that MOST_AN_EVENT datagrams for the guest may have, 0 where its queue has no room for as many."""
        raise NotImplementedError

    def deliver(
        self, flow: DatagramFlow, datagrams: Sequence[Buffer], source: int, port: int, ttl: int
    ) -> bool:
        """Queues datagrams for the guest, within the room; False where that cannot be."""
        raise NotImplementedError
