"""Lines as cells: the same for the terminal and for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.marks import verdicts
from bench.results import OURS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.results import Line

ABSENT = "-"
THOUSAND, HUNDRED, TEN = 1000, 100, 10


class Section(NamedTuple):
    """Some lines of the same peers, under one heading. note: what a reader has to know of them."""

    title: str
    names: tuple[str, ...]
    lines: list[Line]
    note: str = ""


def heads(section: Section) -> list[str]:
    return ["", "unit", *section.names, "mark"]


def cells(section: Section, lines: dict[str, Line]) -> Iterable[list[str]]:
    """A row for each line that has a figure or a failure. Behind another's figure stands how many times as good ours is."""
    for line in section.lines:
        if not line.samples and not line.failures:
            continue
        figures = [_cell(line, name) for name in section.names]
        judged = "; ".join(str(verdict) for verdict in verdicts(line, lines))
        yield [line.title, line.unit + (", less is better" if line.less else ""), *figures, judged]


def _cell(line: Line, name: str) -> str:
    value = line.result(name)
    if value is None:
        return ABSENT
    ratio = None if name == OURS else line.ratio(name)
    return number(value) + (f" ({number(ratio)}x)" if ratio is not None else "")


def number(value: float) -> str:
    """With as many digits as mean something."""
    size = abs(value)
    if size >= THOUSAND:
        return f"{value:,.0f}"
    if size >= HUNDRED:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= TEN else f"{value:.3g}" if size < 1 else f"{value:.2f}"


def failures(lines: Iterable[Line]) -> list[str]:
    """Why figures are missing, a line for each reason and peer: never silently."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        for name, reason in line.failures.items():
            if ".cpu" not in line.key and ".peak" not in line.key:
                taken = len(line.samples.get(name, ()))
                told = reason if not taken else f"{reason} (other runs went well)"
                reasons.setdefault((name, told), []).append(line.key)
    return [f"{name}: {reason}: {_joined(keys)}" for (name, reason), keys in reasons.items()]


def _joined(keys: list[str]) -> str:
    few = 6
    return ", ".join(keys) if len(keys) <= few else f"{', '.join(keys[:few])} and {len(keys) - few} more"
