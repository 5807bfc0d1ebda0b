"""Floors: addresses that no order of rules opens by accident.

1. Loopback, link-local and their like (`groups.GUARDED`) are reached only where a rule or a switch names them: a rule that allows does not
   count there otherwise, and neither does a default.
2. A rule with a domain in it does not count for addresses of this side (`groups.INSIDE`, the host's own) unless it names the address too.
   So a name that is made to lead to 192.168.1.1 opens nothing (DNS rebinding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from usernat.policy.groups import guarded, is_inside, is_near

if TYPE_CHECKING:
    from usernat.policy.book import Entry
    from usernat.policy.decision import FlowRequest
    from usernat.policy.groups import AddressGroups


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

    def bars(self, entry: Entry, groups: AddressGroups) -> str:
        """Why the rule does not count here; "" where it does."""
        by_name = self.inside and (entry.looks or entry.trusts)
        if not (self.guarded or by_name) or entry.names(self.address, groups, host=self.host):
            return ""
        return self.words or f"{entry}: a name opens no address of this side that the rule does not name too"

    @property
    def words(self) -> str:
        """The first floor; "" where it bars nothing."""
        return f"{self.guarded} is reached only where a rule or switch names it" if self.guarded else ""


NOWHERE = Ground(0, host=False, guarded="", inside=False)  # the internet, or no address: bars nothing
