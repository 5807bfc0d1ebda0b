"""One question on its way upstream, from the first client that asks to the answer for all who wait.

    ask ──> try resolver 1 ──try_us──> also try resolver 2 ──try_us──> also try … ──total_us──> SERVFAIL
                 │ refused: at once
                 └────────────────────> resolver 2

A resolver that is slow is not given up: its socket stays open until the end, and the first valid answer from any of them wins. The end comes
after `total_us`, whatever happens (RFC 5625 §6.1-b): then nothing is left that a late or forged answer could match.
Every try has its own socket (or its own id on a shared TCP connection) and its own random id (RFC 5452 §9.2-a to c).
Clients that ask the very same question, flags and options included, wait for the same exchange (RFC 5452 §5-a), and are told in turns (`delivery.py`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from usernat.nat.dns.delivery import Delivery, tell

if TYPE_CHECKING:
    from random import Random

    from usernat.nat.dns.config import DnsConfig, DnsCounters, Resolver
    from usernat.nat.dns.message import Query
    from usernat.nat.dns.resolvers import ResolverList
    from usernat.nat.dns.screen import Screen
    from usernat.nat.dns.turns import Turns
    from usernat.nat.host import Host
    from usernat.stack.deadlines import Deadlines

Key = tuple[bool, bytes, int]  # over TCP; the query without its id; 0, or a number that keeps it apart


class Client(Protocol):
    """Who waits for an answer: a datagram's sender or a TCP session."""

    query: Query

    @property
    def guest(self) -> int:
        """Its address."""

    @property
    def guest_port(self) -> int:
        """And port."""

    @property
    def identity(self) -> object:
        """Equal for repetitions of one query by one client."""

    def deliver(self, data: bytes, now: int) -> None:
        """Hands over an answer, the id being the client's own."""

    def done(self, now: int) -> None:
        """That was all."""


class Try(Protocol):
    """One question at one resolver."""

    resolver: Resolver

    def late(self) -> None:
        """The answer did not come in time; it is still welcome."""

    def close(self) -> None:
        """Lets go of it."""


class Timed(Protocol):
    """What has a deadline."""

    def on_time(self, now: int) -> None:
        """It is reached."""


class Home(Protocol):
    """What an exchange and its tries need of the forwarder."""

    config: DnsConfig
    counters: DnsCounters
    host: Host
    resolvers: ResolverList
    rng: Random
    screen: Screen
    timers: Deadlines[Timed]
    turns: Turns

    def open_try(self, resolver: Resolver, exchange: Exchange, now: int) -> Try:
        """Sends the question of the exchange. Raises OSError."""

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over."""

    def deliver(self, delivery: Delivery, now: int) -> None:
        """Sees to it that the clients are told, in turns."""

    def delivered(self, delivery: Delivery) -> None:
        """They have been."""


class Exchange:
    """The state of one question, in the form in which it goes upstream. Times in µs."""

    __slots__ = (
        "_attempts",
        "_clients",
        "_deadline",
        "_home",
        "_plan",
        "_transferring",
        "_tries",
        "key",
        "query",
    )

    def __init__(self, home: Home, key: Key, query: Query, now: int) -> None:
        self.key = key
        self.query = query
        self._home = home
        self._clients: list[Client] = []
        self._plan = deque(home.resolvers.order(now))
        self._attempts = max(home.config.tries, len(self._plan))  # left
        self._tries: list[Try] = []
        self._transferring = False
        self._deadline = now + home.config.total_us

    @property
    def over_tcp(self) -> bool:
        """Whether it is asked over TCP, as the client did (RFC 5625 §4.4.1-b)."""
        return self.key[0]

    def join(self, client: Client) -> bool:
        """Another client waits for the answer; False where too many do.

        A repetition of one that waits already is absorbed (RFC 1035 §4.2.1-a).
        """
        counters = self._home.counters
        if any(other.identity == client.identity for other in self._clients):
            counters.repeated += 1
        elif len(self._clients) >= self._home.config.joined:
            counters.too_many_joined += 1
            return False
        else:
            self._clients.append(client)
        return True

    def ask(self, now: int) -> None:
        """Asks the next resolver that can be asked; where none is left, waits for those that were."""
        home = self._home
        while self._plan and self._attempts:
            resolver = self._plan.popleft()
            self._attempts -= 1
            home.counters.tries += 1
            try:
                opened = home.open_try(resolver, self, now)
            except OSError:
                home.counters.try_failed += 1
                home.resolvers.failed(resolver, now)
                continue
            self._tries.append(opened)
            # RFC 9210 §4.1-a: for a connection too, far below the system's own time-out
            home.timers.set(self, min(now + home.config.try_us, self._deadline))
            return
        home.timers.set(self, self._deadline)
        if not self._tries:
            self._give_up(now)

    def answered(self, by: Try, data: bytes, now: int) -> None:
        """A valid answer came. That of a zone transfer may go on in further messages."""
        self._home.resolvers.worked(by.resolver)
        if self.over_tcp and self.query.is_transfer:
            tell(self._home, self.query, self._clients, data, now)  # there is one, since nobody can join
            self._transferring = True
            self._deadline = now + self._home.config.total_us
            self._home.timers.set(self, self._deadline)
        else:
            self._finish(data, now)

    def failed(self, by: Try, now: int, *, again: bool) -> None:
        """A try came to nothing. `again`: the resolver itself may be well (it closed a connection that was idle)."""
        self._home.counters.try_failed += 1
        self._tries.remove(by)
        by.close()
        if self._transferring:
            self._end_transfer(now)
            return
        if again:
            self._plan.appendleft(by.resolver)  # RFC 7766 §6.2.4-a
        else:
            self._home.resolvers.failed(by.resolver, now)
        self.ask(now)

    def on_time(self, now: int) -> None:
        """The newest try had its time, or the whole exchange."""
        if self._transferring:
            self._end_transfer(now)
        elif now >= self._deadline:
            self._give_up(now)
        else:
            self._home.counters.try_timed_out += 1
            slow = self._tries[-1]
            slow.late()
            self._home.resolvers.failed(slow.resolver, now)
            self._plan.append(slow.resolver)
            self.ask(now)

    def _give_up(self, now: int) -> None:
        self._home.counters.no_answer += 1
        for waiting in self._tries:
            waiting.late()
            self._home.resolvers.failed(waiting.resolver, now)
        self._finish(None, now)

    def _finish(self, data: bytes | None, now: int) -> None:
        clients = self._clients
        self._clients = []
        self.close()
        self._home.deliver(Delivery(self._home, self.query, clients, data), now)

    def _end_transfer(self, now: int) -> None:
        """The end of the transfer, or of what we shall see of it."""
        clients = self._clients
        self._clients = []
        self.close()
        for client in clients:
            client.done(now)

    def close(self) -> None:
        """Lets go of every socket and timer; clients that still wait get no answer."""
        self._home.timers.clear(self)
        for waiting in self._tries:
            waiting.close()
        self._tries.clear()
        self._clients.clear()
        self._home.ended(self)
