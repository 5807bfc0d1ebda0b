"""What a policy file may hold: its tables as attrs classes, filled and checked by cattrs.

Nothing is guessed and nothing is converted: a port is a whole number and no text, an unknown key is a mistake, and so is a rule that says
nothing. All mistakes of a file are found at once, each under the path of its key (`mistakes.py`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args, get_origin
from typing import Any as Anything

from attrs import Factory, fields, frozen
from cattrs import Converter

from usernat.policy.errors import PolicyError
from usernat.policy.limits import UNLIMITED, GuestLimits
from usernat.policy.matchers import (
    Address,
    AllOf,
    Any,
    AnyOf,
    Domain,
    Group,
    Matcher,
    Network,
    Port,
    PortRange,
    Protocol,
    all_of,
    any_of,
)
from usernat.policy.mistakes import shown, suggestion
from usernat.policy.rules import Action, Default, OnDeny, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Hook = Callable[[Anything, Anything], Anything]

Ports = Port | PortRange
_PORT_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")


@frozen(kw_only=True)
class MatcherTable:
    """The keys of an item of `any_of` or `all_of`. They combine with AND, in this order; the items of a list combine with OR."""

    any: bool | None = None
    address: tuple[Address, ...] | None = None
    network: tuple[Network, ...] | None = None
    group: tuple[Group, ...] | None = None
    domain: tuple[Domain, ...] | None = None
    inspect: bool | None = None
    protocol: tuple[Protocol, ...] | None = None
    port: tuple[Ports, ...] | None = None
    any_of: tuple[Matcher, ...] | None = None
    all_of: tuple[Matcher, ...] | None = None

    def matcher(self) -> Matcher:
        """What the table says. Raises PolicyError where it says nothing, or something that cannot be meant."""
        if self.any is not None:
            return self._any()
        leaves = (self.address, self.network, self.group, self._domains(), self.protocol, self.port)
        parts = [any_of(*items) for items in leaves if items is not None]
        if self.any_of is not None:
            parts.append(AnyOf(self.any_of))
        if self.all_of is not None:
            parts.append(AllOf(self.all_of))
        if not parts:
            raise PolicyError("nothing says what is matched (any = true matches everything)")
        return all_of(*parts)

    def _any(self) -> Matcher:
        if not self.any:
            raise PolicyError("must be true", key="any")
        if any(getattr(self, key) is not None for key in KEYS[1:]):
            raise PolicyError("stands alone, since it matches everything", key="any")
        return Any()

    def _domains(self) -> tuple[Domain, ...] | None:
        if self.inspect is not None and self.domain is None:
            raise PolicyError("is possible beside domain only", key="inspect")
        if self.domain is None or self.inspect is not False:
            return self.domain
        return tuple(Domain(domain.pattern, inspect=False) for domain in self.domain)


@frozen(kw_only=True)
class RuleTable(MatcherTable):
    """One of `[[rules]]`: a matcher's keys, and what is done."""

    action: Action

    def rule(self) -> Rule:
        """The rule. Raises PolicyError as `matcher` does."""
        return Rule(self.action, self.matcher())


@frozen(kw_only=True)
class PolicyTable:
    """The whole file."""

    preset: str | None = None
    default: Default | None = None
    on_deny: OnDeny = "reject"
    groups: dict[str, tuple[Network, ...]] = Factory(dict)
    limits: GuestLimits = UNLIMITED
    rules: tuple[Rule, ...] = ()


KEYS = tuple(key.name for key in fields(MatcherTable))
"""Of a matcher's table, in the order in which they combine."""

_TABLES = (MatcherTable, RuleTable, PolicyTable, GuestLimits)


def reader(groups: Collection[str]) -> Converter:
    """What makes a `PolicyTable` of what TOML holds; `groups` are the names that rules may use."""
    converter = Converter(forbid_extra_keys=True)

    def group(value: Anything, _: Anything) -> Group:
        if _text(value) not in groups:
            raise PolicyError(f"no group {shown(value)} ({suggestion(value, groups)})")
        return Group(value)

    leaves: dict[Anything, Hook] = {
        str: _plain(str, "text"),
        int: _plain(int, "a whole number"),
        bool: _plain(bool, "true or false"),
        Address: lambda value, _: Address(_text(value)),
        Network: lambda value, _: Network(_text(value)),
        Group: group,
        Domain: lambda value, _: Domain(_text(value)),
        Protocol: lambda value, _: Protocol(_text(value)),
        Ports: lambda value, _: _ports(value),
        Matcher: lambda value, _: converter.structure(value, MatcherTable).matcher(),
        Rule: lambda value, _: converter.structure(value, RuleTable).rule(),
    }
    for made, hook in leaves.items():
        converter.register_structure_hook(made, hook)
    converter.register_structure_hook_factory(lambda made: _origin(made) is Literal, _choice)
    converter.register_structure_hook_factory(
        lambda made: _origin(made) is tuple, lambda made: _items(converter, get_args(made)[0])
    )
    converter.register_structure_hook_factory(
        lambda made: _origin(made) is dict, lambda made: _table(converter.gen_structure_mapping(made))
    )
    converter.register_structure_hook_factory(
        lambda made: made in _TABLES, lambda made: _table(converter.gen_structure_attrs_fromdict(made))
    )
    return converter


def _origin(made: Anything) -> Anything:
    """The tuple of `tuple[str, ...]`."""
    return get_origin(made)


def _plain(kind: type, words: str) -> Hook:
    """Takes what TOML has as this kind, and nothing that could be made into it."""

    def structure(value: Anything, _: Anything) -> Anything:
        if type(value) is not kind:  # isinstance would take true for a number
            raise PolicyError(f"must be {words}, not {shown(value)}")
        return value

    return structure


def _text(value: Anything) -> str:
    """The value. Raises PolicyError where it is no text."""
    if not isinstance(value, str):
        raise PolicyError(f"must be text, not {shown(value)}")
    return value


def _ports(value: Anything) -> Ports:
    """A port, or a range of them from text such as 8000-8100. Raises PolicyError."""
    if not isinstance(value, str):
        return Port(value)
    found = _PORT_RANGE.fullmatch(value)
    if found is None:
        raise PolicyError(f'{shown(value)} is neither a port, as 443, nor a range of them, as "8000-8100"')
    return PortRange(int(found[1]), int(found[2]))


def _choice(literal: Anything) -> Hook:
    """Takes one of the words of a Literal."""
    words = get_args(literal)

    def structure(value: Anything, _: Anything) -> Anything:
        if value not in words:
            raise PolicyError(f"{shown(value)} is not possible ({suggestion(str(value), words)})")
        return value

    return structure


def _items(converter: Converter, item: Anything) -> Hook:
    """Takes a list; of what is no table, a single one as well."""
    lists_only = item in (Matcher, Rule)

    def structure(value: Anything, _: Anything) -> Anything:
        if isinstance(value, list):
            return tuple(converter.structure(value, list[item]))
        if lists_only:
            raise PolicyError(f"must be a list of tables, not {shown(value)}")
        return (converter.structure(value, item),)

    return structure


def _table(hook: Hook) -> Hook:
    """Takes tables only."""

    def structure(value: Anything, made: Anything) -> Anything:
        if not isinstance(value, dict):
            raise PolicyError(f"must be a table, not {shown(value)}")
        return hook(value, made)

    return structure
