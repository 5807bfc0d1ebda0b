"""One UDP forward: a socket of the host, and a socket of the stack for each client that has sent to it.

Each client is known to the guest by a port of the gateway of its own, which the stack has drawn. What the guest's published port sends there
leaves from the published port of the host and goes to that client; what anybody else sends there was meant for the gateway, and goes where it
would go without the forward (C55).

A client is over after silence, as a mapping is, and whoever speaks keeps it (RFC 4787 REQ-6, REQ-6a). When the table is full, new clients are refused by
silence, since a host socket cannot say more. For the same reason an ICMP error of the guest goes nowhere; one about its answers, which
the host hears of, goes to the guest.

What a client sends at once is put before the guest at once, and what the guest answers one client at once leaves so (`host_end.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat.context import microseconds, ttl_beyond
from usernat.nat.flows import FlowInfo
from usernat.nat.forwards.waiting import KEPT
from usernat.nat.host_end import HostEnd, HostEndCounters, alike, apart
from usernat.policy.decision import UDP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.admission import Decision
    from usernat.nat.forward import Forward
    from usernat.nat.forwards.forwards import Forwards
    from usernat.nat.host_datagram import ReportedError
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer
    from usernat.stack.l3.icmp_message import IcmpError
    from usernat.stack.l4.udp import Datagram, UdpSocket


@dataclass(slots=True)
class UdpForwardCounters(HostEndCounters):
    """Of all UDP forwards; datagrams, where nothing else is said."""

    clients: int = 0  # that have been taken in
    delivered: int = 0  # to the guest
    answered: int = 0  # to a client
    passed_over: int = 0  # of guests, to a port of a forward but not about it: they went the ordinary way
    no_resources: int = 0  # dropped: a cap or the guest's quota stood in the way of a new client
    bad_source: int = 0  # dropped: from port 0, to which nothing can be answered
    guest_full: int = 0  # dropped: the guest's link does not take them
    over_quota: int = 0  # dropped: the guest's quota
    guest_errors: int = 0  # ICMP errors of the guest, of which a client cannot be told


class UdpClient:
    """A client as the guest knows it: a flow, and the owner of a socket of the stack."""

    __slots__ = (
        "_forward",
        "_peer",
        "answered",
        "called",
        "decision",
        "down",
        "guest",
        "socket",
        "started",
        "up",
    )

    protocol = UDP

    def __init__(
        self, forward: UdpForward, guest: int, peer: tuple[int, int], socket: UdpSocket, now: int
    ) -> None:
        """peer: the client's address and port."""
        self._forward = forward
        self._peer = peer
        self.guest = guest
        self.socket = socket
        self.started = now
        self.decision: Decision | None = None
        self.called = 0  # the address of the host that it has sent to, from which it expects its answers; 0 where that is not known
        self.answered = False  # whether the guest has ever sent to it
        self.up = 0  # bytes of payload
        self.down = 0

    def deliver(self, datagrams: Sequence[Buffer], ttl: int, now: int) -> tuple[int, int]:
        """Queues a client's datagrams for the guest: for how many there was room, and their bytes of data."""
        sock, guest, guest_port = self.socket, self.guest, self._forward.forward.guest_port
        gateway, port = self._forward.context.config.gateway, sock.port
        assert port is not None
        ttl = ttl_beyond(ttl)
        if not sock.send_all(datagrams, guest, guest_port, src=gateway, src_port=port, ttl=ttl):
            datagrams = [data for data in datagrams if sock.send(data, guest, guest_port, ttl=ttl)]
            if not datagrams:
                return 0, 0
        size = sum(map(len, datagrams))
        self.down += size
        self._forward.refresh(self, now)
        return len(datagrams), size

    def serve(self, now: int) -> None:
        """Guests have sent to this client's port of the gateway, or complain."""
        guest_port = self._forward.forward.guest_port
        for datagrams in alike(self.socket):
            if (datagrams[0].src, datagrams[0].src_port) == (self.guest, guest_port):
                self._forward.answer(self, self._peer, datagrams, now)
            else:
                self._forward.pass_over(datagrams, now)
        while self.socket.errors:
            error = self.socket.errors.popleft()
            about = error.dst, int.from_bytes(error.payload[2:4], "big")
            self._forward.guest_error(error, ours=about == (self.guest, guest_port))

    def quote(self, length: int) -> bytes:
        """The header of an answer with so many bytes, as the guest has sent it."""
        assert self.socket.port is not None
        context = self._forward.context
        guest_port, gateway = self._forward.forward.guest_port, context.config.gateway
        return context.interface.udp.quote(self.guest, guest_port, gateway, self.socket.port, length)

    def info(self, expires_us: int | None) -> FlowInfo:
        """See `flows.Flow`."""
        guest_port = self._forward.forward.guest_port
        return FlowInfo(UDP, self.guest, guest_port, *self._peer, "open", self.started, expires_us)

    def on_expiry(self, now: int) -> None:  # noqa: ARG002 - the time is up whatever the time is
        """See `flows.Flow`."""
        self.abandon()

    def abandon(self) -> None:
        """See `flows.Flow`."""
        self.socket.close()
        self._forward.forget(self, self._peer)


class UdpForward(HostEnd):
    """The owner of the published socket. forward: with the port that it has."""

    counters: UdpForwardCounters

    def __init__(self, forwards: Forwards, forward: Forward) -> None:
        """Binds. Raises HostError."""
        super().__init__(forwards.context, forwards.udp_counters)
        self.closed = False
        self._forwards = forwards
        timeouts = self.context.config.timeouts
        self._timeout_us = microseconds(timeouts.udp)
        # Of clients that the guest has never answered: strangers who send once must not hold all places for minutes.
        self._unanswered_us = min(self._timeout_us, microseconds(timeouts.udp_dns))
        self._clients: dict[tuple[int, int], UdpClient] = {}
        self.sock = self.context.host.publish_udp(forward.address, forward.port, self)
        self.forward = forward._replace(port=self.sock.port)
        self.context.host.watch(self.sock, readable=True, writable=False)

    # -- what clients send ------------------------------------------------------------------------------------------------

    def _deliver(self, datagrams: Sequence[Buffer], origin: Origin, now: int) -> None:
        address, port, ttl, called = origin
        if self.closed:  # by somebody who was told of a client
            return
        if port == 0:
            self.counters.bad_source += len(datagrams)  # RFC 768: "no reply"
            return
        for begin in range(len(datagrams)):
            client = self._client((address, port), now)
            if client is not None:
                client.called = called
                self._take_in(client, datagrams[begin:], ttl, now)
                return
            self.counters.no_resources += 1

    def _take_in(self, client: UdpClient, datagrams: Sequence[Buffer], ttl: int, now: int) -> None:
        counters, quota, waiting = self.counters, self.context.quota, self._forwards.waiting
        room = waiting.room(sum(map(len, datagrams)), len(datagrams))
        taken: list[Buffer] = []
        for data in datagrams:
            weight = len(data) + KEPT
            if weight > room:
                counters.guest_full += 1
            elif quota.active and not quota.datagram_down(len(data), now):
                counters.over_quota += 1
            else:
                room -= weight
                taken.append(data)
        if taken:
            count, size = client.deliver(apart(taken, datagrams), ttl, now)
            waiting.add(client.socket, size, count)
            counters.delivered += count
            counters.guest_full += len(taken) - count

    def _client(self, peer: tuple[int, int], now: int) -> UdpClient | None:
        """The client at `peer`, who may be new; None where there is no room for one more."""
        client, guest = self._clients.get(peer), self._forwards.guest()
        if client is not None:
            if client.guest == guest:
                return client
            client.abandon()  # the guest has moved
        context = self.context
        if self.closed or context.quota.exhausted or not context.table.admit(UDP, guest, now):
            return None
        try:
            socket = context.interface.udp.bind(context.config.gateway, 0)  # C56
        except ValueError:  # too many
            return None
        client = self._clients[peer] = socket.owner = UdpClient(self, guest, peer, socket, now)
        context.table.add(client, now)
        self.refresh(client, now)
        self.counters.clients += 1
        client.decision = self._forwards.admitted(self.forward, peer, guest)
        return client

    def refresh(self, client: UdpClient, now: int) -> None:
        """Somebody has spoken."""
        timeout = self._timeout_us if client.answered else self._unanswered_us
        self.context.table.deadlines.set(client, now + timeout)

    # -- what guests send -------------------------------------------------------------------------------------------------

    def answer(
        self, client: UdpClient, peer: tuple[int, int], datagrams: Sequence[Datagram], now: int
    ) -> None:
        """Sends the guest's datagrams, which differ in their data alone, to the client."""
        counters, quota = self.counters, self.context.quota
        client.answered = True
        self.refresh(client, now)
        if quota.active:
            within = [each for each in datagrams if quota.datagram_up(len(each.data), now)]
            counters.over_quota += len(datagrams) - len(within)
            datagrams = within
        count, size = self._send_all(datagrams, *peer, client.called)
        counters.answered += count
        client.up += size

    def pass_over(self, datagrams: Sequence[Datagram], now: int) -> None:
        """C55: not from the published port, so they have nothing to do with the forward."""
        self.counters.passed_over += len(datagrams)
        self._forwards.udp.handle_all(datagrams, now)

    def guest_error(self, error: IcmpError, *, ours: bool) -> None:
        """An ICMP error of a guest. ours: about what a client has sent."""
        if ours or not self._forwards.udp.hairpinned(error):
            self.counters.guest_errors += 1

    def _quote(self, report: ReportedError) -> bytes | None:
        client = self._clients.get((report.address, report.port))
        return None if client is None else client.quote(len(report.data))

    # -- ends -------------------------------------------------------------------------------------------------------------

    def forget(self, client: UdpClient, peer: tuple[int, int]) -> None:
        """The client is over."""
        self._clients.pop(peer, None)
        if self.context.table.remove(client) and client.decision is not None:
            self.context.audit.ended(client.decision, client.up, client.down)

    def close(self) -> None:
        """Gives the port back; its clients can be answered no more, and are over. Harmless when called again."""
        if not self.closed:
            self.closed = True
            for client in list(self._clients.values()):
                client.abandon()
            self.context.host.close(self.sock)
            self._forwards.forget(self)
