"""What has gone to each destination of a UDP mapping or an echo binding: to the policy each is a flow of its own, so each is accounted for by itself.

An account begins with the decision that admits the destination, and ends when the destination is forgotten, be it for room or with the mapping; what goes
there later is decided, and accounted for, anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.nat.admission import Decision
    from usernat.nat.audit import Audit


class _Account:
    """Payload bytes from the guest and to it."""

    __slots__ = ("decision", "down", "up")

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.up = 0
        self.down = 0


class Ledger:
    """The accounts of one flow. A key is address << 16 | port; the port is 0 where ports say nothing (echo)."""

    __slots__ = ("_accounts", "_audit")

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._accounts: dict[int, _Account] = {}

    def open(self, key: int, decision: Decision) -> None:
        """The destination has been admitted."""
        self.close(key)
        self._accounts[key] = _Account(decision)

    def went_up(self, key: int, count: int) -> None:
        """So many bytes have gone there."""
        account = self._accounts.get(key)
        if account is not None:
            account.up += count

    def went_down(self, key: int, count: int) -> None:
        """So many have come from there, or from another port of that address."""
        account = self._accounts.get(key)
        if account is None:
            address = key >> 16
            account = next((each for other, each in self._accounts.items() if other >> 16 == address), None)
        if account is not None:  # else from anyone, where the filter is endpoint-independent
            account.down += count

    def close(self, key: int) -> None:
        """The destination is forgotten."""
        account = self._accounts.pop(key, None)
        if account is not None:
            self._audit.ended(account.decision, account.up, account.down)

    def close_all(self) -> None:
        """The flow is over."""
        for key in list(self._accounts):
            self.close(key)
