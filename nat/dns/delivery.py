"""An answer on its way back to all who wait for it, or the word that there is none: the clients of one guest a turn, for each guest is screened for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from usernat.nat.dns.message import SERVFAIL, error_reply, for_client
from usernat.nat.dns.turns import cost

if TYPE_CHECKING:
    from usernat.nat.dns.config import DnsCounters
    from usernat.nat.dns.exchange import Client
    from usernat.nat.dns.message import Query
    from usernat.nat.dns.screen import Screen
    from usernat.nat.dns.turns import Turns


class Home(Protocol):
    """What a delivery needs of the forwarder."""

    counters: DnsCounters
    screen: Screen
    turns: Turns

    def delivered(self, delivery: Delivery) -> None:
        """Everybody has been told."""


class Delivery:
    """data: as the resolver sent it in answer to `query`; None: nobody has answered, which is SERVFAIL."""

    __slots__ = ("_clients", "_data", "_home", "_query")

    def __init__(self, home: Home, query: Query, clients: list[Client], data: bytes | None) -> None:
        self._home = home
        self._query = query
        self._clients = clients
        self._data = data

    def turn(self, now: int) -> bool:
        """Tells the clients of one guest; whether others still wait."""
        if self._clients:
            guest = self._clients[0].guest
            turn = [client for client in self._clients if client.guest == guest]
            self._clients = [client for client in self._clients if client.guest != guest]
            if self._data is None:
                self._fail(turn, now)
            else:
                tell(self._home, self._query, turn, self._data, now)
            for client in turn:
                client.done(now)
        if self._clients:
            return True
        self._home.delivered(self)
        return False

    def _fail(self, clients: list[Client], now: int) -> None:
        """RFC 5625 §6.3-b, RFC 1035 §4.1.1-c: SERVFAIL, rather than silence."""
        self._home.turns.spend(len(clients))
        for client in clients:
            client.deliver(error_reply(client.query, SERVFAIL), now)


def tell(home: Home, query: Query, clients: list[Client], data: bytes, now: int) -> None:
    """Gives an answer to clients of one guest. Their question is the same, and so is what they may be told."""
    home.turns.spend(cost(data) + len(clients))
    home.counters.answers += len(clients)
    screened = home.screen.answer(clients[0], data, now)
    if screened is None:
        return
    for client in clients:
        client.deliver(for_client(client.query, query, screened), now)
