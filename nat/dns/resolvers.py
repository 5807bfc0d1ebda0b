"""Which upstream resolvers there are, and which of them to ask first.

A resolver that failed is not forgotten but asked last for a while, so that a dead first one costs its time-out once, not with every
query. When all are dead the order is as configured.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.dns.config import Resolver

DNS_PORT = 53
MAX_RESOLVERS = 8


def host_resolvers(path: str | Path = "/etc/resolv.conf") -> list[Resolver]:
    """The IPv4 resolvers of this host as (address, port), in order, each once; at most eight.

    IPv6 resolvers are left out, because the gateway's host sockets are IPv4. A stub on host loopback (127.0.0.53) is as good as
    any: the forwarder asks from the host. A file that is missing or cannot be read has none; as resolv.conf(5) says, that means a
    server on this host: 127.0.0.1.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = [
        words[1] for line in text.splitlines() if len(words := line.split()) > 1 and words[0] == "nameserver"
    ]
    if not named:
        return [(int(ipaddress.IPv4Address("127.0.0.1")), DNS_PORT)]
    return list(dict.fromkeys((address, DNS_PORT) for word in named if (address := _ipv4(word)) is not None))[
        :MAX_RESOLVERS
    ]


def _ipv4(word: str) -> int | None:
    try:
        return int(ipaddress.IPv4Address(word))
    except ValueError:
        return None


class ResolverList:
    """The resolvers with what is remembered of them. Times in µs."""

    def __init__(self, resolvers: Sequence[Resolver], dead_us: int) -> None:
        self._resolvers = tuple(resolvers[:MAX_RESOLVERS])
        self._dead_us = dead_us
        self._dead_until: dict[Resolver, int] = {}

    def order(self, now: int) -> list[Resolver]:
        """All of them, those that failed lately at the end."""
        if not self._dead_until:
            return list(self._resolvers)
        return sorted(self._resolvers, key=lambda resolver: self._dead_until.get(resolver, 0) > now)

    def failed(self, resolver: Resolver, now: int) -> None:
        """It refused, or did not answer in time."""
        self._dead_until[resolver] = now + self._dead_us

    def worked(self, resolver: Resolver) -> None:
        """It answered."""
        self._dead_until.pop(resolver, None)
