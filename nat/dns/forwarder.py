"""The DNS forwarder at the gateway's DNS address, port 53, UDP and TCP (RFC 5625): what guests ask there is asked of the host's resolvers.

    guest ──UDP──> serve ──┐                            ┌──> UdpTry ──────> resolver
                           ├─> submit ─> Exchange ─────>┤                      │
    guest ──TCP──> Session ┘   (screened, joined)       └──> TcpUpstream ──> resolver
                                  clients <── Delivery (screened) <────────────┘

The forwarder is transparent, unless a policy reads names (`clean.py`): no cache, any type and class, flags and EDNS untouched, TC as it comes (RFC 5625
§4.4-c), so that the client asks again over TCP, as we then do (RFC 9210 §3-b); over TCP what came over TCP, with or without a question over UDP before (RFC 9210 §3-c,
§4.1-c, RFC 7766 §5-b). It listens on the guests' network only (RFC 5625 §6.2-a, RFC 9210 §4.1-b). Nothing here waits: every step is an
event of a socket or of a timer, or the turn of somebody who was not through with his (`turns.py`); a step is bounded, and every table has a cap.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from usernat.nat.dns.clean import cleaned
from usernat.nat.dns.config import DnsConfig, DnsCounters, Resolver
from usernat.nat.dns.exchange import Client, Exchange, Key, Timed, Try
from usernat.nat.dns.message import (
    MIN_UDP,
    NXDOMAIN,
    SERVFAIL,
    Query,
    blocked_reply,
    error_reply,
    parse_query,
    truncated_reply,
)
from usernat.nat.dns.resolvers import DNS_PORT, ResolverList
from usernat.nat.dns.screen import FORWARD, FORWARD_CLEAN, SILENCE, Screen, Unscreened
from usernat.nat.dns.session import Session
from usernat.nat.dns.turns import Turns, cost
from usernat.nat.dns.upstream_tcp import TcpUpstream
from usernat.nat.dns.upstream_udp import UdpTry
from usernat.stack.deadlines import Deadlines
from usernat.stack.l4.tcp.incoming import Incoming

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from usernat.nat.dns.delivery import Delivery
    from usernat.nat.host import Host
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.layer import TcpLayer
    from usernat.stack.l4.udp import Datagram, UdpLayer, UdpSocket

TURN = 16  # datagrams, and connections, at a time
TIMERS = 64  # at a time, whatever else there is to do: queries end in time under load, too


class UdpClient:
    """The sender of one datagram."""

    __slots__ = ("_counters", "_own", "_peer", "_socket", "query")

    def __init__(self, socket: UdpSocket, datagram: Datagram, query: Query, counters: DnsCounters) -> None:
        self.query = query
        self._socket = socket
        self._own = datagram.dst
        self._peer = (datagram.src, datagram.src_port)
        self._counters = counters

    @property
    def guest(self) -> int:
        """The sender's address."""
        return self._peer[0]

    @property
    def guest_port(self) -> int:
        """And port."""
        return self._peer[1]

    @property
    def identity(self) -> object:
        """A stub resolver repeats its query from the same port under the same id."""
        return self._peer, self.query.id

    def deliver(self, data: bytes, now: int) -> None:  # noqa: ARG002 -- sent at once
        """Sends the answer, however large (RFC 5625 §4.4-a, §4.4.3-a: the IP layer fragments), cut down where the client could not take it."""
        if len(data) > (self.query.udp_size or MIN_UDP):
            self._counters.truncated += 1
            data = truncated_reply(self.query, data)
        if not self._socket.send(data, *self._peer, src=self._own):
            self._counters.send_failed += 1

    def done(self, now: int) -> None:
        """Nothing is kept."""


class _Decided:
    """A client about whose query there was a word later than it was asked."""

    __slots__ = ("_carry_out",)

    def __init__(self, carry_out: Callable[[int], None]) -> None:
        self._carry_out = carry_out

    def turn(self, now: int) -> bool:
        """Does as it was decided."""
        self._carry_out(now)
        return False


class DnsForwarder:
    """Times in µs.

    screen: asked about every query that came well-formed, before anything goes upstream, and about every answer, once for each guest that waits.
    rng: draws the ids, so it must be unpredictable outside of tests (RFC 5452 §9.2-c).
    """

    def __init__(
        self,
        udp: UdpLayer,
        tcp: TcpLayer,
        host: Host,
        config: DnsConfig,
        rng: Random,
        *,
        screen: Screen | None = None,
    ) -> None:
        self.config = config
        self.counters = DnsCounters()
        self.resolvers = ResolverList(config.resolvers, config.dead_us)
        self.timers: Deadlines[Timed] = Deadlines()
        self.turns = Turns()
        self.host = host
        self.rng = rng
        self.screen: Screen = screen or Unscreened()
        self._exchanges: dict[Key, Exchange] = {}
        self._exchange_bytes = 0
        self._deliveries: set[Delivery] = set()
        self._closed = False
        self._serial = count(1)  # sets transfers apart, which cannot share an answer
        self._upstreams: dict[Resolver, TcpUpstream] = {}
        self._sessions: dict[Session, None] = {}  # oldest first
        # RFC 5625 §4.4.1-a, RFC 7766 §5-a, RFC 9210 §3-a: both transports, always
        self._socket = udp.bind(config.address, DNS_PORT)
        self._socket.owner = self
        self._listener = tcp.listen(config.address, DNS_PORT)
        self._listener.owner = self

    # -- from the guests ----------------------------------------------------------------------------------------------

    def serve(self, now: int) -> None:
        """Takes the queries and connections that wait."""
        self.turns.serve(self, now)

    def turn(self, now: int) -> bool:
        """Takes some of each; whether there may be more."""
        return self._take_datagrams(now) | self._take_connections(now)

    def _take_datagrams(self, now: int) -> bool:
        for _ in range(TURN):
            if not self.turns.may(now):
                return True
            datagram = self._socket.recv()
            if datagram is None:
                return False
            self._receive(datagram, now)
        return True

    def _take_connections(self, now: int) -> bool:
        for _ in range(TURN):
            connection = self._listener.accept()
            if connection is None:
                return False
            assert not isinstance(connection, Incoming)  # this listener holds no SYNs
            self.turns.spend(1)
            self._accept(connection, now)
        return True

    def _receive(self, datagram: Datagram, now: int) -> None:
        self.turns.spend(cost(datagram.data))
        query = parse_query(bytes(datagram.data))
        if isinstance(query, str):
            self.counters.drop(query)
            return
        self.submit(UdpClient(self._socket, datagram, query, self.counters), now, over_tcp=False)

    def _accept(self, connection: Connection, now: int) -> None:
        if len(self._sessions) >= self.config.sessions:
            # RFC 9210 §4.2-a: the oldest idle one makes room
            idle = next((one for one in self._sessions if one.idle and one not in self.turns), None)
            if idle is None:
                self.counters.sessions_refused += 1
                connection.abort()
                return
            self.counters.sessions_evicted += 1
            idle.close()
        self.counters.sessions += 1
        session = Session(self, connection, now)
        self._sessions[session] = None
        session.serve(now)

    def session_ended(self, session: Session) -> None:
        """A session is over."""
        self._sessions.pop(session, None)

    # -- to the resolvers ---------------------------------------------------------------------------------------------

    def submit(self, client: Client, now: int, *, over_tcp: bool) -> None:
        """Answers the query of a client, now or later."""
        self.counters.queries += 1
        if client.query.rcode:
            self.counters.rejected += 1
            self._answer(client, error_reply(client.query, client.query.rcode), now)
            return

        asking = True

        def decided(outcome: int, now: int) -> None:
            if asking:
                self._carry_out(client, outcome, now, over_tcp=over_tcp)
            elif not self._closed:  # a word that comes in time; many may come at once

                def later(now: int) -> None:
                    self.turns.spend(1)
                    self._carry_out(client, outcome, now, over_tcp=over_tcp)

                self.turns.serve(_Decided(later), now)

        self.screen.query(client, decided, now)
        asking = False

    def _carry_out(self, client: Client, outcome: int, now: int, *, over_tcp: bool) -> None:
        if outcome == FORWARD:
            self._forward(client, client.query, now, over_tcp=over_tcp)
        elif outcome == FORWARD_CLEAN:
            self._forward(client, cleaned(client.query), now, over_tcp=over_tcp)
        else:
            self._refuse(client, outcome, now)

    def _refuse(self, client: Client, outcome: int, now: int) -> None:
        self.counters.screened += 1
        if outcome == SILENCE:
            client.done(now)
        elif outcome == NXDOMAIN:
            self._answer(client, blocked_reply(client.query), now)
        else:
            self._answer(client, error_reply(client.query, outcome), now)

    def _forward(self, client: Client, query: Query, now: int, *, over_tcp: bool) -> None:
        is_transfer = over_tcp and query.is_transfer
        key = (over_tcp, query.wire[2:], next(self._serial) if is_transfer else 0)
        exchange = self._exchanges.get(key)
        if exchange is not None:
            self.counters.joined += 1
            if not exchange.join(client):
                # told, for a session waits for every query's end
                self._answer(client, error_reply(client.query, SERVFAIL), now)
        elif self._is_full(query):
            self.counters.overload += 1
            self._answer(client, error_reply(client.query, SERVFAIL), now)
        else:
            exchange = self._exchanges[key] = Exchange(self, key, query, now)
            self._exchange_bytes += len(query.wire)
            exchange.join(client)
            exchange.ask(now)

    @staticmethod
    def _answer(client: Client, data: bytes, now: int) -> None:
        client.deliver(data, now)
        client.done(now)

    def _is_full(self, query: Query) -> bool:
        return (
            len(self._exchanges) + len(self._deliveries) >= self.config.outstanding
            or self._exchange_bytes + len(query.wire) > self.config.outstanding_bytes
        )

    def open_try(self, resolver: Resolver, exchange: Exchange, now: int) -> Try:
        """Sends the question of the exchange to the resolver. Raises OSError."""
        if not exchange.over_tcp:
            return UdpTry(self, resolver, exchange)
        upstream = self._upstreams.get(resolver)
        if upstream is None or not upstream.usable:
            upstream = self._upstreams[resolver] = TcpUpstream(self, resolver, now)
        return upstream.ask(exchange)

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over."""
        if self._exchanges.pop(exchange.key, None) is not None:
            self._exchange_bytes -= len(exchange.query.wire)

    def deliver(self, delivery: Delivery, now: int) -> None:
        """Sees to it that the clients of an exchange are told, in turns."""
        self._deliveries.add(delivery)
        self.turns.serve(delivery, now)

    def delivered(self, delivery: Delivery) -> None:
        """They have been."""
        self._deliveries.discard(delivery)

    # -- time ---------------------------------------------------------------------------------------------------------

    def on_time(self, now: int) -> None:
        """Meets the deadlines of exchanges, sessions and upstream connections, and goes on with what is left to do."""
        due = self.timers.expire(now)
        for timed in due[:TIMERS]:
            timed.on_time(now)
        for timed in due[TIMERS:]:
            if self.timers.get(timed) is None:
                self.timers.set(timed, now + 1)  # as with all else, the next moment
        self.turns.run(now)

    def poll_at(self) -> int | None:
        """The next of them."""
        due = (self.timers.next(), self.turns.poll_at())
        return min((when for when in due if when is not None), default=None)

    def close(self) -> None:
        """Drops everything: sessions are closed, clients get no answer, no host socket stays open."""
        self._closed = True
        for exchange in list(self._exchanges.values()):
            exchange.close()
        for upstream in self._upstreams.values():
            upstream.close()
        for session in list(self._sessions):
            session.close()
        self.turns.clear()
        self._deliveries.clear()
        self._listener.close()
        self._socket.close()
