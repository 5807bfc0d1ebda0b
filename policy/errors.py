"""What is wrong with a policy."""

from __future__ import annotations


class PolicyError(ValueError):
    """A rule, a name, an address or a file that cannot be meant. `str()` is one line: `where: key: reason`.

    where: the file, "" for a policy that is built in code. key: the path to the value in it (`rules[2].port`), "" where there is none.
    """

    def __init__(self, reason: str, *, key: str = "", where: str = "") -> None:
        super().__init__(": ".join(" ".join(part.split()) for part in (where, key, reason) if part))
        self.reason = reason
        self.key = key
        self.where = where

    def at(self, *, where: str = "", key: str = "") -> PolicyError:
        """The same, with its place in a file."""
        return PolicyError(self.reason, key=key or self.key, where=where or self.where)
