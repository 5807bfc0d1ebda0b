"""A policy's rules made ready to be judged: each with its number, its words and what is asked of it often."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from usernat.policy.compact import compact
from usernat.policy.decision import ALLOW, ASK, DENY
from usernat.policy.groups import BUILT_IN, HOST, AddressGroups, within_one
from usernat.policy.matchers import Address, AllOf, AnyOf, Domain, Group, Matcher, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usernat.policy.rules import Default, Rule

LOG = 3  # an entry's code is a verdict's action, or this
CODES = {"deny": DENY, "allow": ALLOW, "ask": ASK, "log": LOG}


class Entry:
    """One rule. number: its place in the policy, the first is 1. looks: it has a domain that is inspected; trusts: one that is not."""

    __slots__ = ("_places", "_words", "code", "looks", "matcher", "number", "rule", "trusts")

    def __init__(self, number: int, rule: Rule) -> None:
        self.number = number
        self.rule = rule
        self.code = CODES[rule.action]
        self.matcher = compact(rule.matcher)
        found = list(leaves(rule.matcher))
        inspected = {leaf.inspect for leaf in found if isinstance(leaf, Domain)}
        self.looks = True in inspected
        self.trusts = False in inspected
        self._places = [leaf for leaf in found if isinstance(leaf, Address | Network | Group)]
        self._words = ""

    def __str__(self) -> str:
        if not self._words:
            self._words = f"rule {self.number}: {self.rule}"
        return self._words

    def names(self, address: int, groups: AddressGroups, *, host: bool) -> bool:
        """Whether the rule speaks of this address, and not of the internet that it may be a part of."""
        return any(means(leaf, address, groups, host) for leaf in self._places)


class Book(NamedTuple):
    """default: ALLOW or DENY. has_domains: whether a rule speaks of names."""

    entries: tuple[Entry, ...]
    default: int
    groups: AddressGroups
    silent: bool
    has_domains: bool

    @classmethod
    def of(cls, rules: tuple[Rule, ...], default: Default, groups: AddressGroups, *, silent: bool) -> Book:
        """The book of a policy."""
        entries = tuple(Entry(number, rule) for number, rule in enumerate(rules, 1))
        has_domains = any(entry.looks or entry.trusts for entry in entries)
        return cls(entries, CODES[default], groups, silent, has_domains)


def leaves(matcher: Matcher) -> Iterator[Matcher]:
    """The leaves of the tree, in order."""
    if isinstance(matcher, AllOf | AnyOf):
        for part in matcher.matchers:
            yield from leaves(part)
    else:
        yield matcher


def means(leaf: Address | Network | Group, address: int, groups: AddressGroups, host: bool) -> bool:
    """Whether the leaf speaks of this address, and not of the internet that it may be a part of."""
    if isinstance(leaf, Address):
        return leaf.holds(address)
    if isinstance(leaf, Network):
        return leaf.holds(address) and _is_one_place(leaf.first, leaf.last)
    if leaf.name == HOST or leaf.name in BUILT_IN:
        return groups.contains(leaf.name, address, host=host)
    return any(
        first <= address <= last and _is_one_place(first, last) for first, last in groups.networks(leaf.name)
    )


def _is_one_place(first: int, last: int) -> bool:
    return first == last or within_one(first, last)
