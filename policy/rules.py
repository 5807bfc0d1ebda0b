"""A rule: what is done with what a matcher matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from usernat.policy.errors import PolicyError
from usernat.policy.matchers import Matcher

Action = Literal["allow", "deny", "log", "ask"]
Default = Literal["allow", "deny"]
OnDeny = Literal["reject", "drop"]

ACTIONS: tuple[str, ...] = get_args(Action)


@dataclass(frozen=True, slots=True)
class Rule:
    """action: allow, deny or ask end the search; log notes the match and goes on. Raises PolicyError for what is no action or matcher."""

    action: Action
    matcher: Matcher

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise PolicyError(f"no action {self.action!r}: there are {', '.join(ACTIONS)}")
        if not isinstance(self.matcher, Matcher):
            raise PolicyError(f"no matcher: {self.matcher!r}")

    def __str__(self) -> str:
        return f"{self.action} {self.matcher}"
