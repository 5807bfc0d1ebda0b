"""Questions over TCP: one connection a resolver (RFC 7766 §6.2.2-a), shared and pipelined (§6.2.1-a, §6.2.1.1-a).

    connecting ──writable──> open ──idle, end of stream, error──> closed
                               │ an answer is late
                               └──> retired: no new questions; closed when nothing waits any more

Answers are matched by id and question, in any order (RFC 7766 §7-b). A connection that ends with questions unanswered hands
them back, to be asked again on a new one (§6.2.4-a).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.dns.framing import MessageBuffer, framed
from usernat.nat.dns.message import is_answer, with_id

if TYPE_CHECKING:
    from usernat.nat.dns.config import Resolver
    from usernat.nat.dns.exchange import Exchange, Home

READ_SIZE = 65536
TURN = 16  # messages and reads at a time, so that a fast resolver cannot hold the loop


class TcpTry:
    """One question on a shared connection."""

    __slots__ = ("_id", "_upstream", "exchange", "resolver")

    def __init__(self, upstream: TcpUpstream, id_: int, exchange: Exchange) -> None:
        self.resolver = upstream.resolver
        self.exchange = exchange
        self._upstream = upstream
        self._id = id_

    def late(self) -> None:
        """The next question gets a new connection."""
        self._upstream.retire()

    def close(self) -> None:
        """Nobody waits for this answer any more."""
        self._upstream.forget(self._id)


class TcpUpstream:
    """One connection to a resolver. Raises OSError where the host refuses to open it."""

    def __init__(self, home: Home, resolver: Resolver, now: int) -> None:
        self.resolver = resolver
        self.usable = True
        self._home = home
        self._host = home.host
        self._waiting: dict[int, TcpTry] = {}
        self._out = bytearray()
        self._in = MessageBuffer()
        self._connected = False
        self._closed = False
        self._proven = False  # it has answered
        self._socket = home.host.connect_tcp(*resolver, self)
        home.counters.upstream_connections += 1
        self._rest(now)

    def ask(self, exchange: Exchange) -> TcpTry:
        """Puts the question on its way under an id that no other on this connection has."""
        id_ = self._home.rng.getrandbits(16)
        while id_ in self._waiting:
            id_ = self._home.rng.getrandbits(16)
        waiting = self._waiting[id_] = TcpTry(self, id_, exchange)
        self._out += framed(with_id(id_, exchange.query.wire))
        self._watch()
        return waiting

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        """The connection is there, has answers, or takes more."""
        if not self._connected:
            if self._host.connect_error(self._socket) is not None:
                self._lost(now)
                return
            self._connected = True
        try:
            if writable:
                self._flush()
        except OSError:
            self._lost(now)
            return
        if readable:
            self._home.turns.serve(self, now)
        self._watch()
        if self.usable:
            self._rest(now)

    def _flush(self) -> None:
        while self._out:
            try:
                taken = self._socket.send(bytes(self._out[:READ_SIZE]))
            except BlockingIOError:
                break
            del self._out[:taken]

    def _watch(self) -> None:
        """Answers are not waited for while some that are there wait for their turn."""
        if not self._closed:
            readable = self._connected and self not in self._home.turns
            self._host.watch(self._socket, readable=readable, writable=not self._connected or bool(self._out))

    def turn(self, now: int) -> bool:
        """Hands on some of the answers that are there."""
        for _ in range(TURN):
            if not self._home.turns.may(now):
                return True
            message = self._in.take()
            if message is not None:
                self._home.turns.spend(1)
                self._answered(message, now)
            elif not self._fill(now):
                self._watch()
                return False
            if self._closed:
                return False  # retired, and closed with its last answer
        return True

    def _fill(self, now: int) -> bool:
        """Reads on. False: there is nothing, or no more."""
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._lost(now)
            return False
        self._in.feed(data)
        return True

    def _answered(self, message: bytes, now: int) -> None:
        id_ = int.from_bytes(message[:2], "big")
        waiting = self._waiting.get(id_)
        if waiting is None or not is_answer(message, waiting.exchange.query, id_):
            self._home.counters.mismatch += 1
            return
        self._proven = True
        waiting.exchange.answered(waiting, message, now)  # closes the try, and so forgets the id

    def _lost(self, now: int) -> None:
        """The connection has ended. What it had not answered is asked elsewhere, or again where it had been good once."""
        self.close()
        for waiting in list(self._waiting.values()):
            waiting.exchange.failed(waiting, now, again=self._proven)

    def forget(self, id_: int) -> None:
        """An answer to the id would come too late."""
        del self._waiting[id_]
        if not self.usable and not self._waiting:
            self.close()

    def retire(self) -> None:
        """No new questions."""
        self.usable = False

    def _rest(self, now: int) -> None:
        self._home.timers.set(self, now + self._home.config.upstream_idle_us)

    def on_time(self, now: int) -> None:
        """It was idle for long enough."""
        if self._waiting:
            self._rest(now)
        else:
            self.close()

    def close(self) -> None:
        """Lets go of the socket and the timer."""
        self.usable = False
        self._closed = True
        self._home.timers.clear(self)
        self._home.turns.drop(self)
        self._host.close(self._socket)
