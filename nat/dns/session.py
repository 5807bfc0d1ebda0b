"""A guest's TCP connection to the forwarder: queries pipelined in (RFC 7766 §6.2.1.1-b), answers out in the order in which they come (§7-a).

Reading goes in turns, and stops while too many of its queries wait, so the guest's own window holds it back. A guest that sends queries and does
not read the answers is cut off. It may close its half and still gets every answer (RFC 1035 §4.2.2-c); normally it also closes
first (§4.2.2-b, RFC 9210 §4.3-a), but not for ever: an idle session is closed (RFC 7766 §6.2.3-a).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from usernat.nat.dns.framing import MessageBuffer, framed
from usernat.nat.dns.message import Query, parse_query
from usernat.nat.dns.turns import cost

if TYPE_CHECKING:
    from usernat.nat.dns.config import DnsConfig, DnsCounters
    from usernat.nat.dns.exchange import Client, Timed
    from usernat.nat.dns.turns import Turns
    from usernat.stack.deadlines import Deadlines
    from usernat.stack.l4.tcp.connection import Connection

READ_SIZE = 16384
TURN = 16  # queries and reads at a time


class Home(Protocol):
    """What a session needs of the forwarder."""

    config: DnsConfig
    counters: DnsCounters
    timers: Deadlines[Timed]
    turns: Turns

    def submit(self, client: Client, now: int, *, over_tcp: bool) -> None:
        """Answers the client's query, now or later."""

    def session_ended(self, session: Session) -> None:
        """The session is over."""


class TcpClient:
    """One query of a session."""

    __slots__ = ("_session", "query")

    def __init__(self, session: Session, query: Query) -> None:
        self._session = session
        self.query = query

    @property
    def guest(self) -> int:
        """The address of the connection's other end."""
        return self._session.guest[0]

    @property
    def guest_port(self) -> int:
        """And its port."""
        return self._session.guest[1]

    @property
    def identity(self) -> object:
        """Every query of a stream is meant."""
        return self

    def deliver(self, data: bytes, now: int) -> None:
        """Sends an answer."""
        self._session.deliver(data, now)

    def done(self, now: int) -> None:
        """Makes room for another query."""
        self._session.done(now)


class Session:
    """One connection. Times in µs."""

    __slots__ = (
        "_connection",
        "_home",
        "_in",
        "_out",
        "_out_bytes",
        "_over",
        "_reading",
        "_waiting",
        "guest",
    )

    def __init__(self, home: Home, connection: Connection, now: int) -> None:
        self._home = home
        self._connection = connection
        self.guest = (connection.remote, connection.remote_port)
        self._in = MessageBuffer()
        self._out: list[memoryview] = []
        self._out_bytes = 0
        self._waiting = 0  # queries not answered yet
        self._reading = False
        self._over = False
        connection.owner = self
        home.timers.set(self, now + home.config.session_idle_us)

    @property
    def idle(self) -> bool:
        """Whether nothing is owed to the guest."""
        return not self._waiting and not self._out

    def serve(self, now: int) -> None:
        """The connection has data, has room, or has ended."""
        if self._over:
            return
        if self._connection.closed or self._connection.error is not None:
            self._end()  # RFC 7766 §6.2.4-b: answers that come later go nowhere
            return
        self._flush()
        self._home.turns.serve(self, now)

    def turn(self, now: int) -> bool:
        """Reads on. What is left when the turn is over comes with no event, and so waits for the next turn."""
        if self._over:
            return False
        self._reading = True
        more = self._read(now)
        self._reading = False
        if not more and self._connection.at_eof and self.idle and not self._over:
            self._connection.close()
            self._end()
        return more and not self._over

    def _read(self, now: int) -> bool:
        for _ in range(TURN):
            if self._over or self._waiting >= self._home.config.session_queries:
                return False  # `done` goes on
            if not self._home.turns.may(now):
                return True
            message = self._in.take()
            if message is not None:
                self._query(message, now)
            elif data := self._connection.recv(READ_SIZE):
                self._in.feed(data)
            else:
                return False
        return True

    def _query(self, message: bytes, now: int) -> None:
        self._home.turns.spend(cost(message))
        query = parse_query(message)
        if isinstance(query, str):
            self._home.counters.drop(query)
            return
        self._home.timers.set(self, now + self._home.config.session_idle_us)
        self._waiting += 1
        self._home.submit(TcpClient(self, query), now, over_tcp=True)

    def deliver(self, data: bytes, now: int) -> None:
        """An answer is there."""
        if self._over:
            return
        self._home.timers.set(self, now + self._home.config.session_idle_us)
        self._out.append(memoryview(framed(data)))
        self._out_bytes += len(data) + 2
        self._flush()
        if self._out_bytes > self._home.config.session_bytes:
            self._home.counters.sessions_not_reading += 1
            self._connection.abort()
            self._end()

    def done(self, now: int) -> None:
        """A query has all its answers: there may be room to read more of them."""
        self._waiting -= 1
        if not self._reading:
            self.serve(now)

    def _flush(self) -> None:
        while self._out:
            piece = self._out[0]
            taken = self._connection.send(piece)
            self._out_bytes -= taken
            if taken < len(piece):
                self._out[0] = piece[taken:]
                return
            # The rest as one piece: thousands of small answers may wait for a guest that reads late
            self._out = [memoryview(b"".join(self._out[1:]))] if len(self._out) > 1 else []

    def on_time(self, now: int) -> None:
        """Nothing was asked or answered for a while."""
        if self._over:
            return
        if self._waiting or self in self._home.turns:
            self._home.timers.set(self, now + self._home.config.session_idle_us)
            return
        self._home.counters.sessions_idle += 1
        self.close()

    def close(self) -> None:
        """Ends the connection: in order where the guest has read all, with a reset where it has not."""
        if self._out:
            self._connection.abort()
        else:
            self._connection.close()
        self._end()

    def _end(self) -> None:
        self._over = True
        self._out.clear()
        self._home.timers.clear(self)
        self._home.turns.drop(self)
        self._home.session_ended(self)
