"""Floors: addresses that no order of rules opens by accident.

1. Loopback, link-local and their like (`groups.GUARDED`) are reached only where a rule or a switch names them: a rule that allows does not
   count there otherwise, and neither does a default.
2. A rule with a domain in it does not count for addresses of this side (`groups.INSIDE`, the host's own) unless it names the address too.
   So a name that is made to lead to 192.168.1.1 opens nothing (DNS rebinding).

Of the alternatives in a rule, those count that name the address themselves: what stands in one part of an `any_of` is not said for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from usernat.policy.book import means
from usernat.policy.groups import guarded, is_inside, is_near
from usernat.policy.matchers import Address, Group, Network

if TYPE_CHECKING:
    from usernat.policy.book import Entry
    from usernat.policy.decision import FlowRequest
    from usernat.policy.groups import AddressGroups
    from usernat.policy.matchers import Addresses, Names, Ports, Visitor


class Ground(NamedTuple):
    """What bars rules that allow from an address. guarded: the group that must be named, "" for none. inside: names alone do not lead here."""

    address: int
    host: bool
    guarded: str
    inside: bool

    @classmethod
    def of(cls, request: FlowRequest) -> Ground:
        """That of the destination."""
        address = request.destination
        if not request.host and not is_near(address):
            return NOWHERE
        group = "" if request.opened else guarded(address)
        return cls(address, request.host, group, request.host or is_inside(address))

    def left(self, entry: Entry, groups: AddressGroups, view: Visitor[int], value: int) -> int:
        """What counts of the value that a rule which allows has in this view."""
        if not (self.guarded or (self.inside and (entry.looks or entry.trusts))):
            return value
        if not entry.names(self.address, groups, host=self.host):
            return 0
        return entry.rule.matcher.fold(_Naming(self, groups, view))[1]

    def why(self, entry: Entry) -> str:
        """Nothing is left of the rule, and this is why."""
        return self.words or f"{entry}: a name opens no address of this side that the rule does not name too"

    @property
    def words(self) -> str:
        """The first floor; "" where it bars nothing."""
        return f"{self.guarded} is reached only where a rule or switch names it" if self.guarded else ""


NOWHERE = Ground(0, host=False, guarded="", inside=False)  # the internet, or no address: bars nothing


class _Naming:
    """Two values in one: what the rule is worth in `view`, and what it is worth by those ways alone that name the address."""

    def __init__(self, ground: Ground, groups: AddressGroups, view: Visitor[int]) -> None:
        self._ground = ground
        self._groups = groups
        self._view = view

    def anything(self) -> tuple[int, int]:
        return self._view.anything(), 0

    def addresses(self, leaf: Addresses) -> tuple[int, int]:
        assert isinstance(leaf, Address | Network), "rules are folded as they were written"
        return self._place(leaf, self._view.addresses(leaf))

    def group(self, name: str) -> tuple[int, int]:
        return self._place(Group(name), self._view.group(name))

    def ports(self, leaf: Ports) -> tuple[int, int]:
        return self._view.ports(leaf), 0

    def protocol(self, number: int) -> tuple[int, int]:
        return self._view.protocol(number), 0

    def domain(self, leaf: Names) -> tuple[int, int]:
        return self._view.domain(leaf), 0

    def all_of(self, parts: list[tuple[int, int]]) -> tuple[int, int]:
        value = self._view.all_of([value for value, _ in parts])
        return value, min(value, max(named for _, named in parts))

    def any_of(self, parts: list[tuple[int, int]]) -> tuple[int, int]:
        value = self._view.any_of([value for value, _ in parts])
        return value, max((named for _, named in parts), default=0)

    def _place(self, leaf: Address | Network | Group, value: int) -> tuple[int, int]:
        ground = self._ground
        return value, value if means(leaf, ground.address, self._groups, ground.host) else 0
