"""The policy that `--policy` names, and what becomes of it when its file changes.

A preset is what it is. A file is read at the start, where a mistake in it ends everything before there is a guest, and again whenever
SIGHUP asks for it: a good one counts for new flows of the guest that is there and for later guests; a bad one leaves all as it was. Either
way one line on standard error says so.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import click

from usernat.policy import NetworkPolicy
from usernat.policy.errors import PolicyError
from usernat.policy.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.usernat import UserNat


def policy_named(named: str) -> NetworkPolicy:
    """The preset of this name, else the policy in this file. Raises PolicyError."""
    return NetworkPolicy.preset(named) if named in PRESETS else NetworkPolicy.load(named)


class PolicySource:
    """Where the policy of a gateway comes from; `named` is None where there is no policy. May be used from any thread.

    Raises PolicyError.
    """

    def __init__(self, named: str | None) -> None:
        self._named = named
        self._fence: Callable[[NetworkPolicy], NetworkPolicy] = lambda policy: policy
        self._nat: UserNat | None = None
        self._lock = (
            threading.RLock()
        )  # a signal handler may find it held by the very thread that it interrupts
        self.policy = NetworkPolicy.allow_all() if named is None else policy_named(named)

    @property
    def is_file(self) -> bool:
        """Whether there is something to read again."""
        return self._named is not None and self._named not in PRESETS

    def fence(self, addition: Callable[[NetworkPolicy], NetworkPolicy]) -> None:
        """Have `addition` applied to the policy, and to every later one."""
        self._fence = addition
        self.policy = addition(self.policy)

    def serve(self, nat: UserNat | None) -> None:
        """From now on `nat` has the policy; None: nobody does."""
        with self._lock:
            self._nat = nat
            if nat is not None:
                nat.policy = self.policy

    def reload(self) -> None:
        """Read the file again. What came of it is said; nothing is raised."""
        assert self._named is not None
        try:
            policy = policy_named(self._named)
        except PolicyError as error:
            click.echo(f"usernat: {error}; the policy stays as it was", err=True)
            return
        with self._lock:
            self.policy = self._fence(policy)
            if self._nat is not None:
                self._nat.policy = self.policy
        click.echo(f"usernat: {self._named}: read again, {described(policy)}", err=True)


def described(policy: NetworkPolicy) -> str:
    """How much there is in it, in a few words."""
    count = len(policy.rules)
    return f"{count or 'no'} rule{'' if count == 1 else 's'}, default {policy.default}"
