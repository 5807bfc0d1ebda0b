"""What a rule speaks of: immutable trees of tests, which say nothing about how they are judged.

A leaf names addresses, ports, a protocol or a domain; `AllOf` and `AnyOf` join them. The same tree is read in several ways: against a
flow, against a query whose address nobody knows yet, to file it in an index, to write it as TOML. So the only thing that a tree
can do is to be folded by a `Visitor`, which has one method a kind of leaf and two that join what the parts gave.
"""

# Methods that override say nothing new: what they do stands in the interfaces at the top.
# ruff: noqa: D102

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, TypeVar
from typing import Protocol as Interface

from usernat.policy.decision import DNS, ICMP, TCP, UDP
from usernat.policy.errors import PolicyError
from usernat.policy.names import WILDCARD, parse_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "dns": DNS}
MAX_PORT = 65535
MAX_ADDRESS = 2**32 - 1
MAX_WORDS = 5  # parts of an AnyOf that are said in words: a list of a thousand names is no line of an audit
MAX_DEPTH = 32  # of nested matchers: deeper ones would meet Python's own limit while a flow is judged

T = TypeVar("T")


class Addresses(Interface):
    """A leaf of addresses, or several in one."""

    @property
    def ranges(self) -> Iterable[tuple[int, int]]:
        """First and last of those that it has, as integers, both included."""

    def holds(self, address: int) -> bool:
        """Whether the address is among them."""


class Ports(Interface):
    """A leaf of ports, or several in one."""

    @property
    def ranges(self) -> Iterable[tuple[int, int]]:
        """First and last of those that it has, both included."""

    def holds(self, port: int) -> bool:
        """Whether the port is among them."""


class Names(Interface):
    """A leaf of host names, or several in one. inspect: whether the guest's first bytes must agree, where they can be read."""

    @property
    def inspect(self) -> bool: ...

    @property
    def patterns(self) -> Iterable[str]:
        """Those that it has."""

    def holds(self, name: str) -> bool:
        """Whether a normal name (`names.normalise`) is among them."""


class Visitor(Interface[T]):
    """One way to read a matcher."""

    def anything(self) -> T: ...
    def addresses(self, leaf: Addresses) -> T: ...
    def group(self, name: str) -> T: ...
    def ports(self, leaf: Ports) -> T: ...
    def protocol(self, number: int) -> T: ...
    def domain(self, leaf: Names) -> T: ...
    def all_of(self, parts: list[T]) -> T: ...
    def any_of(self, parts: list[T]) -> T: ...


class Matcher(ABC):
    """A test of a request. `str()` says it in words."""

    __slots__ = ()
    depth = 1

    @abstractmethod
    def fold(self, visitor: Visitor[T]) -> T:
        """What the visitor makes of it."""


@dataclass(frozen=True, slots=True)
class Any(Matcher):
    """Everything."""

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.anything()

    def __str__(self) -> str:
        return "anything"


@dataclass(frozen=True, slots=True, init=False)
class Address(Matcher):
    """One IPv4 address. Raises PolicyError for what is none: names, IPv6 (mapped IPv4 as well) and short forms such as 127.1."""

    address: int

    def __init__(self, address: str | int | IPv4Address) -> None:
        try:
            object.__setattr__(self, "address", int(IPv4Address(address)))
        except ValueError as error:
            raise PolicyError(f"no IPv4 address: {error}") from None

    @property
    def ranges(self) -> tuple[tuple[int, int]]:
        return ((self.address, self.address),)

    def holds(self, address: int) -> bool:
        return address == self.address

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.addresses(self)

    def __str__(self) -> str:
        return str(IPv4Address(self.address))


@dataclass(frozen=True, slots=True, init=False)
class Network(Matcher):
    """The addresses of `192.0.2.0/24`. Raises PolicyError for what is no IPv4 network; host bits that are set are a mistake too."""

    first: int
    length: int
    last: int = field(compare=False)

    def __init__(self, network: str | IPv4Network) -> None:
        try:
            parsed = IPv4Network(network)
        except ValueError as error:
            raise PolicyError(f"no IPv4 network: {error}") from None
        object.__setattr__(self, "first", int(parsed.network_address))
        object.__setattr__(self, "last", int(parsed.broadcast_address))
        object.__setattr__(self, "length", parsed.prefixlen)

    @property
    def ranges(self) -> tuple[tuple[int, int]]:
        return ((self.first, self.last),)

    def holds(self, address: int) -> bool:
        return self.first <= address <= self.last

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.addresses(self)

    def __str__(self) -> str:
        return f"{IPv4Address(self.first)}/{self.length}"


@dataclass(frozen=True, slots=True)
class Group(Matcher):
    """The addresses of a named group (`groups.AddressGroups`); whether there is such a group, the policy checks."""

    name: str

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.group(self.name)

    def __str__(self) -> str:
        return f"group {self.name}"


@dataclass(frozen=True, slots=True)
class Port(Matcher):
    """A port of TCP and UDP alike. Raises PolicyError outside 1 to 65535."""

    port: int

    def __post_init__(self) -> None:
        check_port(self.port)

    @property
    def ranges(self) -> tuple[tuple[int, int]]:
        return ((self.port, self.port),)

    def holds(self, port: int) -> bool:
        return port == self.port

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.ports(self)

    def __str__(self) -> str:
        return f"port {self.port}"


@dataclass(frozen=True, slots=True)
class PortRange(Matcher):
    """Ports of TCP and UDP alike, both ends included. Raises PolicyError outside 1 to 65535, and for a range of none."""

    first: int
    last: int

    def __post_init__(self) -> None:
        check_port(self.first)
        check_port(self.last)
        if self.first > self.last:
            raise PolicyError(f"ports {self.first}-{self.last} end before they begin")

    @property
    def ranges(self) -> tuple[tuple[int, int]]:
        return ((self.first, self.last),)

    def holds(self, port: int) -> bool:
        return self.first <= port <= self.last

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.ports(self)

    def __str__(self) -> str:
        return f"ports {self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Protocol(Matcher):
    """tcp, udp, icmp (echo), or dns: the questions to the gateway's own resolver. Raises PolicyError for others."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in PROTOCOLS:
            raise PolicyError(f"no protocol {self.name!r}: there are {', '.join(PROTOCOLS)}")

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.protocol(PROTOCOLS[self.name])

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Domain(Matcher):
    """A host name, or with `*.` in front all names below it. Raises PolicyError (`names.parse_pattern`).

    inspect: where the guest's first bytes name a host (TCP to 443 and 80), they must name this one. Without it the address alone counts.
    """

    pattern: str
    inspect: bool = True
    _tail: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", parse_pattern(self.pattern))
        if self.pattern.startswith(WILDCARD):
            object.__setattr__(self, "_tail", self.pattern[1:])

    @property
    def patterns(self) -> tuple[str]:
        return (self.pattern,)

    def holds(self, name: str) -> bool:
        return name.endswith(self._tail) if self._tail else name == self.pattern

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.domain(self)

    def __str__(self) -> str:
        return self.pattern if self.inspect else f"{self.pattern} (not inspected)"


@dataclass(frozen=True, slots=True, init=False)
class AllOf(Matcher):
    """What all of these match. Raises PolicyError for none of them, which would match everything."""

    matchers: tuple[Matcher, ...]
    depth: int = field(compare=False, repr=False)

    def __init__(self, matchers: Iterable[Matcher]) -> None:
        _fill(self, tuple(matchers))
        if not self.matchers:
            raise PolicyError("all_of needs at least one matcher: none would match everything")

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.all_of([matcher.fold(visitor) for matcher in self.matchers])

    def __str__(self) -> str:
        return ", ".join(map(str, self.matchers))


@dataclass(frozen=True, slots=True, init=False)
class AnyOf(Matcher):
    """What one of these matches; with none, nothing."""

    matchers: tuple[Matcher, ...]
    depth: int = field(compare=False, repr=False)

    def __init__(self, matchers: Iterable[Matcher]) -> None:
        _fill(self, tuple(matchers))

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.any_of([matcher.fold(visitor) for matcher in self.matchers])

    def __str__(self) -> str:
        words = [f"({each})" if isinstance(each, AllOf) else str(each) for each in self.matchers[:MAX_WORDS]]
        if len(self.matchers) > MAX_WORDS:
            words.append(f"{len(self.matchers) - MAX_WORDS} more")
        return f"any of ({'; '.join(words)})" if words else "nothing"


def all_of(*matchers: Matcher) -> Matcher:
    """What all of these match: the matcher itself where there is only one."""
    return matchers[0] if len(matchers) == 1 else AllOf(matchers)


def any_of(*matchers: Matcher) -> Matcher:
    """What one of these matches: the matcher itself where there is only one."""
    return matchers[0] if len(matchers) == 1 else AnyOf(matchers)


def groups_in(matcher: Matcher) -> Iterator[str]:
    """The names of the groups that the matcher speaks of."""
    if isinstance(matcher, Group):
        yield matcher.name
    elif isinstance(matcher, AllOf | AnyOf):
        for part in matcher.matchers:
            yield from groups_in(part)


def check_port(port: int) -> None:
    """Raises PolicyError for what is no port that a flow can have."""
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port <= MAX_PORT:
        raise PolicyError(f"a port is a whole number from 1 to {MAX_PORT}, not {port!r}")


def _fill(made: AllOf | AnyOf, matchers: tuple[Matcher, ...]) -> None:
    depth = 1 + max((matcher.depth for matcher in matchers), default=0)
    if depth > MAX_DEPTH:
        raise PolicyError(f"matchers are nested more than {MAX_DEPTH} deep")
    object.__setattr__(made, "matchers", matchers)
    object.__setattr__(made, "depth", depth)
