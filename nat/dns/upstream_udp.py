"""One question over UDP: a socket of its own, connected, on a port that the kernel chooses, under a random id.

Connected, so that the kernel lets through only what comes from the resolver's address and port (RFC 5452 §9.1-a); of its own, so
that no two outstanding questions share a port (§9.2-b, RFC 5625 §6.1-a, RFC 6056 §4-b). Linux draws the port at random from
`net.ipv4.ip_local_port_range`, without those of `net.ipv4.ip_local_reserved_ports` (RFC 5452 §9.2-d). What has another id or question is ignored and the true answer still
awaited (RFC 5452 §9.1-b), until so much of it came that somebody must be guessing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.dns.message import MAX_MESSAGE, is_answer, with_id

if TYPE_CHECKING:
    from usernat.nat.dns.config import Resolver
    from usernat.nat.dns.exchange import Exchange, Home

MAX_MISMATCHES = 32  # chance of a hit among 65,536 ids: 1 in 2,048


class UdpTry:
    """Sends the question at once. Raises OSError where the host refuses."""

    __slots__ = ("_counters", "_exchange", "_host", "_id", "_mismatches", "_socket", "_turns", "resolver")

    def __init__(self, home: Home, resolver: Resolver, exchange: Exchange) -> None:
        self.resolver = resolver
        self._host = home.host
        self._exchange = exchange
        self._counters = home.counters
        self._turns = home.turns
        self._mismatches = 0
        self._id = home.rng.getrandbits(16)  # RFC 5452 §9.2-c
        self._socket = home.host.connect_udp(*resolver, self)  # RFC 5452 §9.2-a, §9.2-b
        try:
            self._socket.send(with_id(self._id, exchange.query.wire))
            home.host.watch(self._socket, readable=True, writable=False)
        except OSError:
            home.host.close(self._socket)
            raise

    def on_host(self, readable: bool, writable: bool, now: int) -> None:  # noqa: ARG002 -- never writable: not watched for it
        """Something came, or an ICMP error."""
        if not self._turns.serve(self, now):
            self._host.watch(self._socket, readable=False, writable=False)  # until its turn

    def turn(self, now: int) -> bool:
        """Reads what came."""
        while self._mismatches < MAX_MISMATCHES:
            try:
                data = self._socket.recv(MAX_MESSAGE)
            except BlockingIOError:
                self._host.watch(self._socket, readable=True, writable=False)
                return False
            except OSError:
                self._exchange.failed(self, now, again=False)
                return False
            self._turns.spend(1)
            if is_answer(data, self._exchange.query, self._id):
                self._exchange.answered(self, data, now)
                return False
            self._counters.mismatch += 1
            self._mismatches += 1
        self._counters.spoofed += 1
        self._exchange.failed(self, now, again=True)
        return False

    def late(self) -> None:
        """The socket stays open for a late answer."""

    def close(self) -> None:
        """Closes the socket: what comes later is the kernel's to refuse."""
        self._turns.drop(self)
        self._host.close(self._socket)
