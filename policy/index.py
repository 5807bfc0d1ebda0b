"""Which rules can matter, found without asking each.

A rule is filed under leaves that must hold for it to match: of an AllOf under one part, of an AnyOf under every part. What it is filed under is a
key: a name, a pattern, or a block of addresses or ports. A request has few keys, so few rules are found, and these are judged in order as ever.
An index may find too much and must never miss a rule that is not false (`evaluation.Source`); the tests hold its decisions equal to the scan's.

What holds a rule to its leaves differs from question to question, so there is a table for each, made when the first such question comes:

    named    flows: address, port and names are known
    blind    flows whose first bytes are not read or hide the name: leaves that deny by name hold for every name. Rules that differ in
             nothing else are one rule then, the first of them, and so a thousand denied names cost no more than one
    query    names are known; what matches every query ends the table
    answer   address and names are known
"""

# Methods that override say nothing new: what they do stands in `evaluation.Source`.
# ruff: noqa: D102

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from usernat.policy.book import LOG
from usernat.policy.decision import DENY, DNS
from usernat.policy.matchers import AnyOf
from usernat.policy.names import WILDCARD, parents
from usernat.policy.ranges import blocks
from usernat.policy.views import NAMED, UNKNOWN, QueryOpens, Reading

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from usernat.policy.book import Book, Entry
    from usernat.policy.groups import AddressGroups
    from usernat.policy.matchers import Addresses, Matcher, Names, Ports

# A key is a name, a pattern, or a block of numbers as one integer: the kind, how far the number is shifted, what is left of it
Key = int | str
Cover = (
    tuple[Key, ...] | None
)  # a request that has none of these keys is not matched; None: there is no telling

_SHIFT = 32
_PORTS = 1 << 40
_NEVER: Cover = ()
_ALWAYS: Cover = None


class _Known:
    """Files by every leaf: the visitor for flows whose name is known."""

    def __init__(self, table: _Table, groups: AddressGroups) -> None:
        self._table = table
        self._groups = groups

    def anything(self) -> Cover:
        return _ALWAYS

    def addresses(self, leaf: Addresses) -> Cover:
        return _keys(leaf.ranges)

    def group(self, name: str) -> Cover:
        ranges = self._groups.ranges(name)
        return _ALWAYS if ranges is None else _keys(ranges)

    def ports(self, leaf: Ports) -> Cover:
        return tuple(_PORTS | key for key in _keys(leaf.ranges))

    def protocol(self, number: int) -> Cover:  # noqa: ARG002  # there are too few to tell rules apart
        return _ALWAYS

    def domain(self, leaf: Names) -> Cover:
        return tuple(leaf.patterns)

    def all_of(self, parts: list[Cover]) -> Cover:
        """The part that is met least often, as far as rules before this one show."""
        telling = [part for part in parts if part is not None]
        return min(telling, key=self._table.crowd) if telling else _ALWAYS

    def any_of(self, parts: list[Cover]) -> Cover:
        telling = [part for part in parts if part is not None]
        return tuple(key for part in telling for key in part) if len(telling) == len(parts) else _ALWAYS


class _Unread(_Known):
    """Rules that deny, for flows whose name is not known: whatever is denied by an inspected name may be denied."""

    def domain(self, leaf: Names) -> Cover:
        return _ALWAYS if leaf.inspect else super().domain(leaf)


class _AnswerOpens(_Known):
    def ports(self, leaf: Ports) -> Cover:  # noqa: ARG002
        return _ALWAYS


class _AnswerCloses(_Known):
    def ports(self, leaf: Ports) -> Cover:  # noqa: ARG002
        return _NEVER

    def protocol(self, number: int) -> Cover:
        return _ALWAYS if number == DNS else _NEVER


class _QueryOpens(_AnswerOpens):
    def addresses(self, leaf: Addresses) -> Cover:  # noqa: ARG002
        return _ALWAYS

    def group(self, name: str) -> Cover:  # noqa: ARG002
        return _ALWAYS


class _QueryCloses(_AnswerCloses):
    def addresses(self, leaf: Addresses) -> Cover:  # noqa: ARG002
        return _NEVER

    def group(self, name: str) -> Cover:  # noqa: ARG002
        return _NEVER


class _BlindForm:
    """What is left of a rule that denies where names are unknown, as something that can be compared."""

    def anything(self) -> Hashable:
        return "anything"

    def addresses(self, leaf: Addresses) -> Hashable:
        return "addresses", tuple(leaf.ranges)

    def group(self, name: str) -> Hashable:
        return "group", name

    def ports(self, leaf: Ports) -> Hashable:
        return "ports", tuple(leaf.ranges)

    def protocol(self, number: int) -> Hashable:
        return "protocol", number

    def domain(self, leaf: Names) -> Hashable:
        return "a name" if leaf.inspect else ("domain", frozenset(leaf.patterns))

    def all_of(self, parts: list[Hashable]) -> Hashable:
        return parts[0] if len(set(parts)) == 1 else ("all", frozenset(parts))

    def any_of(self, parts: list[Hashable]) -> Hashable:
        return parts[0] if len(set(parts)) == 1 else ("any", frozenset(parts))


class _Table:
    """Rules by key, and those that no key tells."""

    def __init__(self, book: Book) -> None:
        self._entries = book.entries
        self._places: dict[Key, list[int]] = {}
        self._always: list[int] = []
        self._address_shifts: list[int] = []
        self._port_shifts: list[int] = []

    def crowd(self, cover: Cover) -> tuple[int, int]:
        """How many rules are filed under one of these keys at most; how many keys."""
        keys = cover or ()
        return max((len(self._places.get(key, ())) for key in keys), default=0), len(keys)

    def file(self, entry: Entry, cover: Cover) -> None:
        """Rules are filed in their order."""
        position = entry.number - 1
        if cover is None:
            self._always.append(position)
            return
        for key in cover:
            self._places.setdefault(key, []).append(position)
            if isinstance(key, int):
                shifts = self._port_shifts if key & _PORTS else self._address_shifts
                shift = key >> _SHIFT & 63
                if shift not in shifts:
                    shifts.append(shift)

    def find(self, address: int | None, port: int | None, names: tuple[str, ...]) -> Sequence[Entry]:
        """The rules that such a request may meet, in order."""
        found = set(self._always)
        places = self._places
        if address is not None:
            for shift in self._address_shifts:
                found.update(places.get(shift << _SHIFT | address >> shift, ()))
        if port is not None:
            for shift in self._port_shifts:
                found.update(places.get(_PORTS | shift << _SHIFT | port >> shift, ()))
        for name in names:
            found.update(places.get(name, ()))
            for above in parents(name):
                found.update(places.get(WILDCARD + above, ()))
        entries = self._entries
        return [entries[position] for position in sorted(found)]


class Index:
    """Finds the rules of a book (`evaluation.Source`)."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def named(self, address: int, port: int, names: tuple[str, ...]) -> Sequence[Entry]:
        return self._named.find(address, port, names)

    def blind(self, address: int, port: int, names: tuple[str, ...]) -> Sequence[Entry]:
        return self._blind.find(address, port, names)

    def query(self, names: tuple[str, ...]) -> Sequence[Entry]:
        return self._query.find(None, None, names)

    def answer(self, address: int, names: tuple[str, ...]) -> Sequence[Entry]:
        return self._answer.find(address, None, names)

    @cached_property
    def _named(self) -> _Table:
        table = _Table(self._book)
        filing = _Known(table, self._book.groups)
        for entry in self._book.entries:
            table.file(entry, entry.matcher.fold(filing))
        return table

    @cached_property
    def _blind(self) -> _Table:
        table = _Table(self._book)
        known, unread = _Known(table, self._book.groups), _Unread(table, self._book.groups)
        form, seen = _BlindForm(), set()
        for entry in self._book.entries:
            if entry.code != DENY or not entry.looks:
                table.file(entry, entry.matcher.fold(known))
                continue
            left = entry.matcher.fold(form)
            if left not in seen:
                seen.add(left)
                table.file(entry, entry.matcher.fold(unread))
        return table

    @cached_property
    def _query(self) -> _Table:
        table = _Table(self._book)
        opens, closes = _QueryOpens(table, self._book.groups), _QueryCloses(table, self._book.groups)
        for entry in self._book.entries:
            cover = entry.matcher.fold(closes) if entry.code == DENY else _query_cover(entry.matcher, opens)
            table.file(entry, cover)
            if cover is None and entry.code != LOG and not (entry.looks or entry.trusts):
                break  # it is true of every query
        return table

    @cached_property
    def _answer(self) -> _Table:
        table = _Table(self._book)
        opens, closes = _AnswerOpens(table, self._book.groups), _AnswerCloses(table, self._book.groups)
        for entry in self._book.entries:
            table.file(entry, entry.matcher.fold(closes if entry.code == DENY else opens))
        return table


_HOPEFUL = QueryOpens(Reading((), miss=NAMED))  # a query for every name at once


def _query_cover(matcher: Matcher, opens: _QueryOpens) -> Cover:
    """As the visitor says, but for what no name makes more than UNKNOWN: rules for addresses."""
    if isinstance(matcher, AnyOf):
        return opens.any_of([_query_cover(part, opens) for part in matcher.matchers])
    return matcher.fold(opens) if matcher.fold(_HOPEFUL) > UNKNOWN else _NEVER


def _keys(ranges: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(shift << _SHIFT | prefix for first, last in ranges for shift, prefix in blocks(first, last))
