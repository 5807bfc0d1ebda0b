"""Policies by name.

open      whatever the host reaches
internet  public addresses: none of the special groups, none of the host's own
offline   nothing but the gateway's own services
"""

from __future__ import annotations

from usernat.policy.errors import PolicyError
from usernat.policy.groups import BUILT_IN, HOST
from usernat.policy.matchers import AnyOf, Group
from usernat.policy.rules import Default, Rule

# Loopback is missing: what is reached only by its name needs no rule against it, and so a switch can open it
_NOT_PUBLIC = AnyOf(Group(name) for name in (*BUILT_IN, HOST) if name != "loopback")

PRESETS: dict[str, tuple[tuple[Rule, ...], Default]] = {
    "open": ((), "allow"),
    "internet": ((Rule("deny", _NOT_PUBLIC),), "allow"),
    "offline": ((), "deny"),
}


def preset(name: str) -> tuple[tuple[Rule, ...], Default]:
    """The rules and the default of a preset. Raises PolicyError for a name that there is not."""
    if name not in PRESETS:
        raise PolicyError(f"no preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
