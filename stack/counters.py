"""Counters with names: every discard and every noteworthy event of a layer is one integer field.

A layer derives a slots dataclass of integers from `Counters` and counts with `self.counters.bad_checksum += 1`;
a misspelt name is an AttributeError, and a test can assert the very reason of a drop.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Counters:
    """The base of each layer's counters."""

    def as_dict(self, prefix: str = "") -> dict[str, int]:
        """Field name (with `prefix` in front) to value."""
        return {prefix + field.name: getattr(self, field.name) for field in fields(self)}

    def drop(self, reason: str) -> None:
        """Count what a parser refused, by the reason it gave: the name of a field."""
        setattr(self, reason, getattr(self, reason) + 1)
