"""How a matcher is judged: a view is what is known of a request, as a visitor whose answer is a truth value.

There are four of them, since not all is known whenever the policy is asked:

    FALSE     it does not match
    UNKNOWN   it depends on what nobody knows yet: on a name that was not read (flows), on an address (queries)
    TRUE      it matches
    NAMED     it matches by the name asked for (queries)

What is unknown of a flow is only ever a name, and UNKNOWN is the third value of Kleene's logic: AllOf is the least of its parts, AnyOf the
greatest. A query has neither address nor port. A rule that allows lets the query out if some flow that it allows needs the name: a port does
not say whither, so it does; an address does not need a name, so it does not, unless a domain stands beside it in the same AllOf.
A rule that denies refuses the query only if it denies all that the name is good for.
"""

# Methods that override say nothing new: what they do stands in `matchers.Visitor`.
# ruff: noqa: D102

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from usernat.policy.decision import DNS, ICMP
from usernat.policy.groups import PUBLIC
from usernat.policy.matchers import MAX_ADDRESS

if TYPE_CHECKING:
    from usernat.policy.groups import AddressGroups
    from usernat.policy.matchers import Addresses, Names, Ports

FALSE = 0
UNKNOWN = 1
TRUE = 2
NAMED = 3


class Reading(NamedTuple):
    """What a leaf of names is worth: `hit` if it holds one of the names, `miss` if none."""

    names: tuple[str, ...]
    hit: int = TRUE
    miss: int = FALSE


class FlowView:
    """A flow: address, port and protocol are known. inspected, plain: how leaves are read that look into the guest's first bytes, and others."""

    __slots__ = ("_address", "_groups", "_host", "_inspected", "_plain", "_port", "_protocol")

    def __init__(
        self,
        groups: AddressGroups,
        address: int,
        port: int,
        protocol: int,
        inspected: Reading,
        plain: Reading,
        *,
        host: bool,
    ) -> None:
        self._groups = groups
        self._address = address
        self._host = host
        self._port = port
        self._protocol = protocol
        self._inspected = inspected
        self._plain = plain

    def anything(self) -> int:
        return TRUE

    def addresses(self, leaf: Addresses) -> int:
        return TRUE if leaf.holds(self._address) else FALSE

    def group(self, name: str) -> int:
        return TRUE if self._groups.contains(name, self._address, host=self._host) else FALSE

    def ports(self, leaf: Ports) -> int:
        return TRUE if self._protocol != ICMP and leaf.holds(self._port) else FALSE

    def protocol(self, number: int) -> int:
        return TRUE if number == self._protocol else FALSE

    def domain(self, leaf: Names) -> int:
        names, hit, miss = self._inspected if leaf.inspect else self._plain
        for name in names:
            if leaf.holds(name):
                return hit
        return miss

    def all_of(self, parts: list[int]) -> int:
        return min(parts)

    def any_of(self, parts: list[int]) -> int:
        return max(parts, default=FALSE)


class AnswerView(FlowView):
    """An address for a name: is there a flow to it? closes: for rules that deny, which must then deny every flow."""

    __slots__ = ("_free",)

    def __init__(
        self, groups: AddressGroups, address: int, names: Reading, *, host: bool, closes: bool
    ) -> None:
        super().__init__(groups, address, 0, DNS, names, names, host=host)
        self._free = FALSE if closes else TRUE

    def ports(self, leaf: Ports) -> int:  # noqa: ARG002  # any port is as good as another
        return self._free

    def protocol(self, number: int) -> int:
        # To refuse a name to the resolver is to refuse its addresses; to allow the resolver is to allow no flow
        return TRUE - self._free if number == DNS else self._free


class QueryOpens:
    """A query, as rules see it that allow, ask or log."""

    __slots__ = ("_names",)

    def __init__(self, names: Reading) -> None:
        self._names = names

    def anything(self) -> int:
        return TRUE

    def addresses(self, leaf: Addresses) -> int:
        return TRUE if (0, MAX_ADDRESS) in leaf.ranges else UNKNOWN

    def group(self, name: str) -> int:
        return TRUE if name == PUBLIC else UNKNOWN

    def ports(self, leaf: Ports) -> int:  # noqa: ARG002  # any port is as good as another
        return TRUE

    def protocol(self, number: int) -> int:  # noqa: ARG002  # so is any protocol
        return TRUE

    def domain(self, leaf: Names) -> int:
        names, hit, miss = self._names
        return hit if any(map(leaf.holds, names)) else miss

    def all_of(self, parts: list[int]) -> int:
        least = min(parts)
        return max(parts) if least and NAMED in parts else least

    def any_of(self, parts: list[int]) -> int:
        return max(parts, default=FALSE)


class QueryCloses(QueryOpens):
    """A query, as rules see it that deny."""

    __slots__ = ()

    def addresses(self, leaf: Addresses) -> int:  # noqa: ARG002  # other addresses stay
        return FALSE

    def group(self, name: str) -> int:  # noqa: ARG002  # other addresses stay
        return FALSE

    def ports(self, leaf: Ports) -> int:  # noqa: ARG002  # other ports stay
        return FALSE

    def protocol(self, number: int) -> int:
        return TRUE if number == DNS else FALSE
