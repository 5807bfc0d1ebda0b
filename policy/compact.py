"""Matchers rewritten to be judged fast: an AnyOf of many names, addresses or ports becomes one look-up.

Lists in rules are long (an allow-list of a thousand names is one rule with one AnyOf); a test of each would cost as much as a rule each.
"""

# Methods that override say nothing new: what they do stands in the interfaces of `matchers`.
# ruff: noqa: D102

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.policy.matchers import (
    Address,
    AllOf,
    AnyOf,
    Domain,
    Matcher,
    Network,
    Port,
    PortRange,
    T,
    Visitor,
    all_of,
    any_of,
)
from usernat.policy.names import WILDCARD, parents
from usernat.policy.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable


class AddressSet(Matcher):
    """Many addresses and networks."""

    __slots__ = ("_search", "ranges")

    def __init__(self, leaves: Iterable[Address | Network]) -> None:
        self._search = Ranges(span for leaf in leaves for span in leaf.ranges)
        self.ranges = tuple(self._search)

    def holds(self, address: int) -> bool:
        return address in self._search

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.addresses(self)


class PortSet(Matcher):
    """Many ports."""

    __slots__ = ("_search", "ranges")

    def __init__(self, leaves: Iterable[Port | PortRange]) -> None:
        self._search = Ranges(span for leaf in leaves for span in leaf.ranges)
        self.ranges = tuple(self._search)

    def holds(self, port: int) -> bool:
        return port in self._search

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.ports(self)


class NameSet(Matcher):
    """Many names and patterns, all inspected or all not."""

    __slots__ = ("inspect", "patterns")

    def __init__(self, leaves: Iterable[Domain], *, inspect: bool) -> None:
        self.patterns = frozenset(leaf.pattern for leaf in leaves)
        self.inspect = inspect

    def holds(self, name: str) -> bool:
        return name in self.patterns or any(WILDCARD + above in self.patterns for above in parents(name))

    def fold(self, visitor: Visitor[T]) -> T:
        return visitor.domain(self)


def compact(matcher: Matcher) -> Matcher:
    """One that matches the same."""
    if isinstance(matcher, AllOf):
        return all_of(*map(compact, matcher.matchers))
    if isinstance(matcher, AnyOf):
        return any_of(*_gathered([compact(part) for part in matcher.matchers]))
    return matcher


def _gathered(parts: list[Matcher]) -> list[Matcher]:
    """The parts of an AnyOf, with those of a kind in one."""
    addresses = [part for part in parts if isinstance(part, Address | Network)]
    ports = [part for part in parts if isinstance(part, Port | PortRange)]
    names = {
        inspect: [part for part in parts if isinstance(part, Domain) and part.inspect == inspect]
        for inspect in (True, False)
    }
    made: list[Matcher] = [
        part for part in parts if not isinstance(part, Address | Network | Port | PortRange | Domain)
    ]
    if addresses:
        made.append(AddressSet(addresses))
    if ports:
        made.append(PortSet(ports))
    made += [NameSet(leaves, inspect=inspect) for inspect, leaves in names.items() if leaves]
    return made
