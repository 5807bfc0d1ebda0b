"""Address groups by name: the words in which rules speak of the special parts of the address space.

The built-in ones are the registry of RFC 6890 as far as it concerns IPv4, and two that depend on the question: `host`, the host's own
addresses, which only the host knows and which the request therefore says, and `public`, whatever is in none of the others.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from usernat.policy.errors import PolicyError
from usernat.policy.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
}
HOST = "host"
PUBLIC = "public"

# Reached only where a rule or a switch names them, whatever else is allowed
GUARDED = ("this-network", "loopback", "link-local", "multicast", "broadcast")
# What a name must not lead to by itself (DNS rebinding); the host's own addresses are such too
INSIDE = (
    *("this-network", "loopback", "link-local", "private", "shared"),
    *("ietf-protocol", "benchmarking"),  # where clouds have metadata services, and VPNs stand-ins for names
)


def _ranges(networks: Iterable[str | IPv4Network]) -> Ranges:
    parsed = map(IPv4Network, networks)
    return Ranges((int(network.network_address), int(network.broadcast_address)) for network in parsed)


_SPECIAL = {name: _ranges(networks) for name, networks in BUILT_IN.items()}
_ALL_SPECIAL = _ranges(network for networks in BUILT_IN.values() for network in networks)
_INSIDE = _ranges(network for name in INSIDE for network in BUILT_IN[name])
_NEAR = _ranges(network for name in {*INSIDE, *GUARDED} for network in BUILT_IN[name])


def is_near(address: int) -> bool:
    """Whether one of the next two says so: mostly not, and then they need not be asked."""
    return address in _NEAR


def guarded(address: int) -> str:
    """The group that is reached only by its name and holds the address, "" where none does."""
    return next((name for name in GUARDED if address in _SPECIAL[name]), "")


def is_inside(address: int) -> bool:
    """Whether it is no address of the internet but one of this side: of the host, its links or its networks."""
    return address in _INSIDE


def within_one(first: int, last: int) -> bool:
    """Whether all from first to last are in one of the special groups: then to name them is to mean them."""
    return any(ranges.cover(first, last) for ranges in _SPECIAL.values())


class AddressGroups:
    """Named sets of IPv4 networks: the built-in ones, and those that are defined beside them."""

    def __init__(self, more: Mapping[str, Iterable[str | IPv4Network]] | None = None) -> None:
        """Raises PolicyError for what is not an IPv4 network (host bits set included) and for names that are taken or empty."""
        self.defined = {name: _networks(name, networks) for name, networks in (more or {}).items()}
        self._groups = {**_SPECIAL, **{name: _ranges(networks) for name, networks in self.defined.items()}}

    @property
    def names(self) -> tuple[str, ...]:
        """Every group that there is."""
        return (*self._groups, HOST, PUBLIC)

    def contains(self, name: str, address: int, *, host: bool = False) -> bool:
        """Whether the group holds the address, which is one of the host's own where `host` says so. Raises KeyError for a group that does not exist."""
        if name == HOST:
            return host
        if name == PUBLIC:
            return not host and address not in _ALL_SPECIAL
        return address in self._groups[name]

    def ranges(self, name: str) -> list[tuple[int, int]] | None:
        """First and last addresses of all that the group holds; None where that depends on the request. Raises KeyError."""
        return None if name in {HOST, PUBLIC} else list(self._groups[name])

    def networks(self, name: str) -> Iterator[tuple[int, int]]:
        """First and last addresses of each network of a group that was defined; none of any other."""
        for network in self.defined.get(name, ()):
            yield int(network.network_address), int(network.broadcast_address)

    def of(self, address: int) -> tuple[str, ...]:
        """The groups that hold the address by what it is; empty for one that is public."""
        return tuple(name for name, ranges in self._groups.items() if address in ranges)


def _networks(name: str, networks: Iterable[str | IPv4Network]) -> tuple[IPv4Network, ...]:
    if name in _SPECIAL or name in {HOST, PUBLIC}:
        raise PolicyError(f"group {name!r} is built in, and means the same in every policy")
    if not name or not name.isprintable():
        raise PolicyError(f"{name!r} is no name for a group")
    try:
        return tuple(map(IPv4Network, networks))
    except ValueError as error:
        raise PolicyError(f"group {name!r}: no IPv4 network: {error}") from None
