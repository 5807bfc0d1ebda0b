"""Tables on disk: tab-separated for machines, and the same rows between two marks of `docs/simulator.md` for people."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "simulator.md"


def write_table(path: Path, fields: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A header line, then a line a row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(fields)
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows by field; numbers are numbers."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: _number(value) for name, value in row.items()}
            for row in csv.DictReader(file, delimiter="\t")
        ]


def _number(text: str) -> str | int | float:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text


def markdown(fields: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; all columns but those of words are set to the right by the page's reader, not here."""
    lines = [fields, ["---"] * len(fields), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def renew(page: Path, block: str, text: str) -> None:
    """Put `text` between `<!-- block -->` and `<!-- /block -->` of the page. ValueError where these are missing."""
    old = page.read_text(encoding="utf-8")
    marks = f"<!-- {block} -->", f"<!-- /{block} -->"
    pattern = re.compile(f"({re.escape(marks[0])}\n).*?({re.escape(marks[1])})", re.DOTALL)
    new, count = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", old)
    if count != 1:
        raise ValueError(f"{page.name} has no place for {block}")
    page.write_text(new, encoding="utf-8")
