"""The coverage as a page for readers, `docs/conformance.md`, and as a table for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from tests.conformance.citations import ROOT
from tests.conformance.registry import HERE, LEVELS, Key, Requirement, titles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conformance.coverage import Coverage

PAGE = ROOT / "docs" / "conformance.md"
DECISIONS = HERE / "decisions.md"

INTRODUCTION = """\
# Conformance

What the RFCs ask of a stack and a gateway, and how much of it is obeyed and proven. This page is made by `make conformance` out of
`tests/conformance/`: the registry of requirements, the citations in the code, and the markers on the tests. A test sees to it that it is up to date.

*MUST*, *SHOULD*, *MAY*: how many of the requirements concern us. *cited*: the code cites the rule where it obeys it. *tested*: a test that is never skipped
exercises it. *both*: cited and tested, which is what counts; of the MAYs, that many are. *open*: MUSTs that lack one of the two. *departed*: SHOULDs that are
not followed on purpose; the reasons are below.
`python -m tests.conformance 1122` lists each requirement of an RFC with the places where it is obeyed and tested.
"""


@dataclass(slots=True)
class Tally:
    """How many requirements of one level of one RFC."""

    applies: int = 0
    cited: int = 0
    tested: int = 0
    both: int = 0
    departures: int = 0

    def add(self, other: Tally) -> None:
        self.applies += other.applies
        self.cited += other.cited
        self.tested += other.tested
        self.both += other.both
        self.departures += other.departures

    @property
    def open(self) -> int:
        return self.applies - self.both


def tally(coverage: Coverage, rows: Iterable[Requirement], level: str) -> Tally:
    keys = [row.key for row in rows if row.applicable and row.level == level]
    return Tally(
        len(keys),
        sum(key in coverage.code for key in keys),
        sum(key in coverage.tests for key in keys),
        sum(coverage.covered(key) for key in keys),
        sum(key in coverage.departures for key in keys),
    )


def cells(musts: Tally, shoulds: Tally, mays: Tally) -> list[str]:
    return [
        *(str(n) if musts.applies else "" for n in (musts.applies, musts.cited, musts.tested)),
        str(musts.open or ""),
        *(
            str(n) if shoulds.applies else ""
            for n in (shoulds.applies, shoulds.cited, shoulds.tested, shoulds.both)
        ),
        str(shoulds.departures or ""),
        f"{mays.both}/{mays.applies}" if mays.applies else "",
    ]


HEADINGS = ("MUST", "cited", "tested", "open", "SHOULD", "cited", "tested", "both", "departed", "MAY")


def counts(coverage: Coverage) -> list[tuple[str, str, list[str]]]:
    """Number, title and counts of each RFC, and of all of them."""
    found = []
    total = [Tally() for _ in LEVELS]
    for rfc, title in titles().items():
        rows = [row for row in coverage.requirements.values() if row.rfc == rfc]
        levels = [tally(coverage, rows, level) for level in LEVELS]
        for whole, part in zip(total, levels, strict=True):
            whole.add(part)
        found.append((str(rfc), title, cells(*levels)))
    return [*found, ("", "all", cells(*total))]


def terminal(coverage: Coverage) -> Table:
    table = Table(
        "RFC",
        box=box.SIMPLE,
        collapse_padding=True,
        pad_edge=False,
        title="Requirements that apply, and those cited in the code and tested",
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    *rfcs, whole = counts(coverage)
    for rfc, _, numbers in rfcs:
        table.add_row(rfc, *numbers)
    table.add_section()
    table.add_row("all", *whole[2])
    return table


def page(coverage: Coverage) -> str:
    """The whole page."""
    return "\n".join(
        [
            INTRODUCTION,
            *_overview(coverage),
            DECISIONS.read_text(encoding="utf-8"),
            *_section(
                coverage,
                "Open MUSTs",
                "Each is obeyed or not, but not yet proven, or cannot be obeyed. The list may only shrink.",
                coverage.excused,
                coverage.excused.__getitem__,
            ),
            *_section(
                coverage,
                "SHOULDs not followed",
                "On purpose, for these reasons.",
                coverage.departures,
                coverage.departures.__getitem__,
            ),
            *_section(
                coverage,
                "Not applicable",
                "",
                [key for key, row in coverage.requirements.items() if row.why_not],
                lambda key: coverage.requirements[key].why_not,
            ),
        ]
    )


def _overview(coverage: Coverage) -> list[str]:
    lines = [
        "| RFC | | " + " | ".join(HEADINGS) + " |",
        "|---|---|" + "--:|" * len(HEADINGS),
    ]
    for rfc, title, numbers in counts(coverage):
        link = f"[{rfc}](https://www.rfc-editor.org/rfc/rfc{rfc})" if rfc else ""
        lines.append(f"| {link} | {title} | " + " | ".join(numbers) + " |")
    return [*lines, ""]


def _section(
    coverage: Coverage, title: str, about: str, keys: Iterable[Key], reason: Callable[[Key], str]
) -> list[str]:
    """A table of requirements with a reason each, in the order of the registry."""
    wanted = set(keys)
    rows = [row for key, row in coverage.requirements.items() if key in wanted]
    if not rows:
        return [f"## {title}", "", "None.", ""]
    head = [
        f"## {title}",
        "",
        *([about, ""] if about else []),
        "| RFC | id | level | requirement | reason |",
        "|---|---|---|---|---|",
    ]
    escaped = ((row, row.text.replace("|", "\\|"), reason(row.key).replace("|", "\\|")) for row in rows)
    return [
        *head,
        *(f"| {row.rfc} | {row.id} | {row.level} | {text} | {why} |" for row, text, why in escaped),
        "",
    ]
