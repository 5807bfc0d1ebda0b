"""Address groups by name: the words in which rules speak of the special parts of the address space.

The built-in ones are the registry of RFC 6890 as far as it concerns IPv4. `host` (the host's own addresses) is empty here: who
embeds the gateway defines it, since only the host knows them.
"""

from __future__ import annotations

from bisect import bisect_right
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "this-network": ("0.0.0.0/8",),  # RFC 1122 §3.2.1.3
    "loopback": ("127.0.0.0/8",),  # RFC 1122 §3.2.1.3
    "link-local": ("169.254.0.0/16",),  # RFC 3927; cloud metadata services live here
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
    "shared": ("100.64.0.0/10",),  # RFC 6598, carrier-grade NAT
    "ietf-protocol": ("192.0.0.0/24",),  # RFC 6890
    "documentation": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # RFC 5737
    "6to4-relay": ("192.88.99.0/24",),  # RFC 7526
    "benchmarking": ("198.18.0.0/15",),  # RFC 2544
    "multicast": ("224.0.0.0/4",),  # RFC 1112
    "reserved": ("240.0.0.0/4",),  # RFC 1112 §4, class E
    "broadcast": ("255.255.255.255/32",),  # RFC 919
    "host": (),
}


class _Ranges:
    """Disjoint address ranges in order, searched by bisection."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, networks: Iterable[IPv4Network]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for network in sorted(networks):
            first, last = int(network.network_address), int(network.broadcast_address)
            if self._ends and first <= self._ends[-1] + 1:
                self._ends[-1] = max(self._ends[-1], last)
            else:
                self._starts.append(first)
                self._ends.append(last)

    def __contains__(self, address: int) -> bool:
        index = bisect_right(self._starts, address) - 1
        return index >= 0 and address <= self._ends[index]


class AddressGroups:
    """Named sets of IPv4 networks: the built-in ones, and those that are defined on top of them or in their place."""

    def __init__(self, more: Mapping[str, Iterable[str]] | None = None) -> None:
        """Raises ValueError for what is not an IPv4 network (host bits set included)."""
        definitions = {**BUILT_IN, **(more or {})}
        self._groups = {name: _Ranges(map(IPv4Network, networks)) for name, networks in definitions.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Every group that there is."""
        return tuple(self._groups)

    def contains(self, name: str, address: int) -> bool:
        """Whether the group holds the address. Raises KeyError for a group that does not exist."""
        return address in self._groups[name]

    def of(self, address: int) -> tuple[str, ...]:
        """The groups that hold the address; empty for one that is public."""
        return tuple(name for name, ranges in self._groups.items() if address in ranges)
