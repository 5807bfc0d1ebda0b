"""Policies as TOML: read, and written so that reading gives the same policy again.

    default = "deny"
    [[rules]]
    action = "allow"
    domain = ["pypi.org", "files.pythonhosted.org"]
    port = 443

Which keys there are stands in `schema.py`. A file never opens more than it says: an empty one denies everything, and one with a mistake
is no policy at all. Writing goes the way back: what a table can say with its keys, it says so; else `any_of` and `all_of` say it.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict
from typing import TYPE_CHECKING
from typing import Any as Anything

import tomli_w
from cattrs.errors import BaseValidationError

from usernat.policy.errors import PolicyError
from usernat.policy.groups import AddressGroups
from usernat.policy.matchers import MAX_DEPTH, PROTOCOLS, Address, Domain, Port, PortRange
from usernat.policy.mistakes import FileError, find_mistakes
from usernat.policy.network_policy import NetworkPolicy
from usernat.policy.presets import preset
from usernat.policy.schema import KEYS, PolicyTable, reader

if TYPE_CHECKING:
    from usernat.policy.matchers import Addresses, Names, Ports
    from usernat.policy.rules import Rule

    Table = dict[str, Anything]

_MAX_NESTING = 2 * MAX_DEPTH + 4  # a matcher inside another is a table inside a list
_PLACE = re.compile(r"\s*\(at (.+)\)$")
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


# ---- reading


def parse(text: str, source: str) -> NetworkPolicy:
    """The policy of a text. Raises PolicyError; `FileError`, which has all mistakes, where it is TOML at all."""
    content = _toml(text, source)
    try:
        return _policy(content)
    except (BaseValidationError, PolicyError) as error:
        raise FileError([mistake.at(where=source) for mistake in find_mistakes(error)]) from None


def _toml(text: str, source: str) -> Table:
    """What the text holds. Raises PolicyError with the place where it is no TOML."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        raise PolicyError(_PLACE.sub("", str(error)), key=place[1] if place else "", where=source) from None
    except ValueError:  # Python's own limit, against hostile input
        raise PolicyError("a number has thousands of digits", where=source) from None
    except RecursionError:
        content = None
    if content is None or _nesting(content) > _MAX_NESTING:
        raise PolicyError("tables and lists are nested too deep", where=source)
    return content


def _nesting(content: Table) -> int:
    """How many tables and lists are in one another. Without recursion, which the content could exhaust."""
    deepest = 0
    waiting: list[tuple[int, Anything]] = [(1, content)]
    while waiting:
        depth, value = waiting.pop()
        deepest = max(deepest, depth)
        inner = value.values() if isinstance(value, dict) else value
        waiting.extend((depth + 1, each) for each in inner if isinstance(each, dict | list))
    return deepest


def _policy(content: Table) -> NetworkPolicy:
    """What the content says. Raises PolicyError and cattrs' errors."""
    defined = content.get("groups")
    names = AddressGroups().names + (tuple(defined) if isinstance(defined, dict) else ())
    table = reader(names).structure(content, PolicyTable)
    rules, default = table.rules, table.default or "deny"
    if table.preset is not None:
        if table.default is not None:
            raise PolicyError("is not possible beside preset, which has its own", key="default")
        try:
            more, default = preset(table.preset)
        except PolicyError as error:
            raise error.at(key="preset") from None
        rules += more
    groups = {name: tuple(map(str, networks)) for name, networks in table.groups.items()}
    try:
        return NetworkPolicy(
            rules, default=default, on_deny=table.on_deny, limits=table.limits, groups=groups
        )
    except PolicyError as error:  # all else is checked
        raise error.at(key="groups") from None


# ---- writing


def write(policy: NetworkPolicy) -> str:
    """The text of which `parse` makes an equal policy. A preset is written as the rules that it stands for."""
    limits = {name: cap for name, cap in asdict(policy.limits).items() if cap is not None}
    table: Table = {
        "default": policy.default,
        "on_deny": policy.on_deny,
        "groups": {name: list(map(str, networks)) for name, networks in policy.groups.items()},
        "limits": limits,
        "rules": [_rule(rule) for rule in policy.rules],
    }
    return tomli_w.dumps({key: value for key, value in table.items() if value})


def _rule(rule: Rule) -> Table:
    table: Table = rule.matcher.fold(_Writer())
    return {"action": rule.action, **table}


class _Writer:
    """A matcher as its table: a `Visitor`."""

    def anything(self) -> Table:
        return {"any": True}

    def addresses(self, leaf: Addresses) -> Table:
        return {"address" if isinstance(leaf, Address) else "network": str(leaf)}

    def group(self, name: str) -> Table:
        return {"group": name}

    def ports(self, leaf: Ports) -> Table:
        if isinstance(leaf, Port):
            return {"port": leaf.port}
        assert isinstance(leaf, PortRange)
        return {"port": f"{leaf.first}-{leaf.last}"}

    def protocol(self, number: int) -> Table:
        return {"protocol": _PROTOCOL_NAMES[number]}

    def domain(self, leaf: Names) -> Table:
        assert isinstance(leaf, Domain)
        return {"domain": leaf.pattern} if leaf.inspect else {"domain": leaf.pattern, "inspect": False}

    def all_of(self, parts: list[Table]) -> Table:
        """The keys beside each other, where reading would combine them in the same order."""
        keys = [key for part in parts for key in part if key != "inspect"]
        places = [KEYS.index(key) for key in keys]
        if len(keys) == len(parts) > 1 and "any" not in keys and places == sorted(set(places)):
            return {key: value for part in parts for key, value in part.items()}
        return {"all_of": parts}

    def any_of(self, parts: list[Table]) -> Table:
        """A list of values, where all are of one key."""
        first = parts[0] if parts else {}
        key = next(iter(first), "any")
        values = [part[key] for part in parts if part == {**first, key: part.get(key)}]
        plain = set(first) <= {key, "inspect"} and key != "any"
        if len(values) == len(parts) > 1 and plain and not any(isinstance(value, list) for value in values):
            return {**first, key: values}
        return {"any_of": parts}
