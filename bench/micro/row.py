"""A row that is measured in this process: no peers, but variants of doing one thing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from bench.rows.row import Row

if TYPE_CHECKING:
    from bench.results import Line


class MicroRow(Row, ABC):
    """variants: the names under which the figures stand."""

    def __init__(self, name: str, lines: dict[str, Line], variants: tuple[str, ...]) -> None:
        super().__init__(name, lines, ())
        self.names = variants

    @abstractmethod
    def measure(self, variant: str, seconds: float) -> dict[str, float]:
        """One sample of each line."""
