"""One UDP forward: a socket of the host, and a socket of the stack for each client that has sent to it.

Each client is known to the guest by a port of the gateway of its own, which the stack has drawn. What the guest's published port sends there
leaves from the published port of the host and goes to that client; what anybody else sends there was meant for the gateway, and goes where it
would go without the forward (C55).

A client is over after silence, as a mapping is, and whoever speaks keeps it (RFC 4787 REQ-6, REQ-6a). When the table is full, new clients are refused by
silence, since a host socket cannot say more. For the same reason an ICMP error of the guest goes nowhere; one about its answers, which
the host hears of, goes to the guest.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat.context import microseconds
from usernat.nat.flows import FlowInfo
from usernat.policy.decision import UDP
from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from usernat.nat.admission import Decision
    from usernat.nat.forward import Forward
    from usernat.nat.forwards.forwards import Forwards
    from usernat.nat.host_datagram import ReportedError
    from usernat.stack.l3.icmp_message import IcmpError
    from usernat.stack.l4.udp import Datagram, UdpSocket

DATAGRAMS_AN_EVENT = 64


@dataclass(slots=True)
class UdpForwardCounters(Counters):
    """Of all UDP forwards; datagrams, where nothing else is said."""

    clients: int = 0  # that have been taken in
    delivered: int = 0  # to the guest
    answered: int = 0  # to a client
    passed_over: int = 0  # of guests, to a port of a forward but not about it: they went the ordinary way
    no_resources: int = 0  # dropped: a cap or the guest's quota stood in the way of a new client
    bad_source: int = 0  # dropped: from port 0, to which nothing can be answered
    guest_full: int = 0  # dropped: the guest's link does not take them
    host_full: int = 0  # dropped: the host socket took no more
    host_failed: int = 0  # dropped: the host could not send it, and the guest was told
    over_quota: int = 0  # dropped: the guest's quota
    guest_errors: int = 0  # ICMP errors of the guest, of which a client cannot be told
    errors_translated: int = 0  # ICMP errors about answers, passed on to the guest
    errors_unmatched: int = 0  # dropped: about nobody who is a client now


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

    def deliver(self, data: bytes, ttl: int, now: int) -> bool:
        """Queues a client's datagram for the guest; False where there is no room."""
        # RFC 1812 §5.3.1-a; a host takes what is for it whatever the TTL
        if not self.socket.send(data, self.guest, self._forward.forward.guest_port, ttl=max(ttl - 1, 1)):
            return False
        self.down += len(data)
        self._forward.refresh(self, now)
        return True

    def serve(self, now: int) -> None:
        """Guests have sent to this client's port of the gateway, or complain."""
        guest_port = self._forward.forward.guest_port
        while (datagram := self.socket.recv()) is not None:
            if (datagram.src, datagram.src_port) == (self.guest, guest_port):
                self._forward.answer(self, self._peer, datagram, now)
            else:
                self._forward.pass_over(datagram, now)
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


class UdpForward:
    """An owner of the published socket. forward: with the port that it has."""

    def __init__(self, forwards: Forwards, forward: Forward) -> None:
        """Binds. Raises HostError."""
        self.context = forwards.context
        self.counters = forwards.udp_counters
        self.closed = False
        self._forwards = forwards
        timeouts = self.context.config.timeouts
        self._timeout_us = microseconds(timeouts.udp)
        # Of clients that the guest has never answered: strangers who send once must not hold all places for minutes.
        self._unanswered_us = min(self._timeout_us, microseconds(timeouts.udp_dns))
        self._clients: dict[tuple[int, int], UdpClient] = {}
        self._sock = self.context.host.publish_udp(forward.address, forward.port, self)
        self.forward = forward._replace(port=self._sock.port)
        self.context.host.watch(self._sock, readable=True, writable=False)

    def on_host(self, readable: bool, writable: bool, now: int) -> None:  # noqa: ARG002 - it is watched for reading only
        """Clients have sent, or ICMP complains of what they were sent."""
        for count in range(DATAGRAMS_AN_EVENT):
            if self.closed:  # by somebody who was told of a client
                return
            try:
                received = self._sock.receive()
            except OSError:  # of an earlier datagram; the error queue knows more
                self._tell()
                return
            if received is None:
                if count == 0:
                    self._tell()
                return
            self._deliver(*received, now)

    def _deliver(self, data: bytes, address: int, port: int, ttl: int, now: int) -> None:
        counters, quota = self.counters, self.context.quota
        if port == 0:
            counters.bad_source += 1  # RFC 768: "no reply"
            return
        client = self._client((address, port), now)
        if client is None:
            counters.no_resources += 1
            return
        client.called = self._sock.arrived_at
        if not self._forwards.waiting.fits(len(data)):
            counters.guest_full += 1
        elif quota.active and not quota.datagram_down(len(data), now):
            counters.over_quota += 1
        elif client.deliver(data, ttl, now):
            self._forwards.waiting.add(client.socket, len(data))
            counters.delivered += 1
        else:
            counters.guest_full += 1

    def _client(self, peer: tuple[int, int], now: int) -> UdpClient | None:
        """The client at `peer`, who may be new; None where there is no room for one more."""
        client, guest = self._clients.get(peer), self._forwards.guest()
        if client is not None:
            if client.guest == guest:
                return client
            client.abandon()  # the guest has moved
        context = self.context
        if context.quota.exhausted or not context.table.admit(UDP, guest, now):
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

    def answer(self, client: UdpClient, peer: tuple[int, int], datagram: Datagram, now: int) -> None:
        """Sends the guest's datagram to the client."""
        counters, quota, size = self.counters, self.context.quota, len(datagram.data)
        client.answered = True
        self.refresh(client, now)
        if quota.active and not quota.datagram_up(size, now):
            counters.over_quota += 1
            return
        failure = self._send(datagram, client.called, peer)
        if failure == 0:
            client.up += size
            counters.answered += 1
        elif failure in (errno.EAGAIN, errno.ENOBUFS):
            counters.host_full += 1
        else:
            counters.host_failed += 1
            self.context.host_failed(
                datagram.packet, failure, self._tell() if failure == errno.EMSGSIZE else 0
            )

    def _send(self, datagram: Datagram, source: int, peer: tuple[int, int]) -> int:
        """0 or an errno. A socket may first complain of an earlier datagram, once."""
        failure = 0
        for _ in range(2):
            try:
                # RFC 1812 §5.3.1-a; the last hop may be the host's loopback, which is here
                self._sock.answer(datagram.data, source, *peer, max(datagram.ttl - 1, 1), datagram.df)
            except OSError as error:
                failure = error.errno or errno.EIO
            else:
                return 0
            if failure in (errno.EAGAIN, errno.EMSGSIZE):
                break
            self._tell()
        return failure

    def pass_over(self, datagram: Datagram, now: int) -> None:
        """C55: not from the published port, so it has nothing to do with the forward."""
        self.counters.passed_over += 1
        self._forwards.udp.handle(datagram.packet, datagram.src_port, datagram.dst_port, datagram.data, now)

    def guest_error(self, error: IcmpError, *, ours: bool) -> None:
        """An ICMP error of a guest. ours: about what a client has sent."""
        if ours or not self._forwards.udp.hairpinned(error):
            self.counters.guest_errors += 1

    # -- what the host says -----------------------------------------------------------------------------------------------

    def _tell(self) -> int:
        """Tells the guest what ICMP has said of its answers; returns the path MTU if the host refused the latest one for its size."""
        mtu = 0
        for report in self._sock.errors():
            if report.offender is None and report.mtu:  # by the host itself, which names no port then
                mtu = report.mtu
            elif report.icmp and self._pass_on(report):
                self.counters.errors_translated += 1
            else:
                self.counters.errors_unmatched += 1
        return mtu

    def _pass_on(self, report: ReportedError) -> bool:
        client = self._clients.get((report.address, report.port))
        return client is not None and self.context.translate(report, client.quote(len(report.data)))

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
            self.context.host.close(self._sock)
            self._forwards.forget(self)
