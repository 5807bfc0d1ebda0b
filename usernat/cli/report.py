"""What happened, in numbers: the counters of a gateway that are not zero, and its decisions, as tables."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from usernat.audit import AuditSummary

_LINES = 40  # of decisions; the rest is in the audit file


def show_counters(counters: dict[str, int], title: str) -> None:
    """Print to standard error, a line for each layer, so that the command's own output stays untouched."""
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(title, style="bold", soft_wrap=True)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    happened = sorted((name, value) for name, value in counters.items() if value)
    for layer, items in groupby(happened, key=lambda item: item[0].partition(".")[0]):
        table.add_row(
            layer, ", ".join(f"{name.partition('.')[2]}\N{NO-BREAK SPACE}{value:,}" for name, value in items)
        )
    console.print(table)


def show_summary(summary: AuditSummary | None) -> None:
    """Print what was decided, the most frequent first; nothing where nothing was."""
    lines = summary.lines() if summary is not None else []
    if not lines:
        return
    table = Table(box=None, pad_edge=False, title_justify="left", header_style="bold")
    for heading in ("verdict", "what", "where", "rule"):
        table.add_column(heading, overflow="fold")
    for heading in ("times", "bytes up", "bytes down"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines[:_LINES]:
        count, up, down = (f"{number:,}" for number in (line.flows, line.up, line.down))
        table.add_row(line.verdict, line.protocol, line.where, line.rule, count, up, down)
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(table)
    if len(lines) > _LINES:
        console.print(f"and {len(lines) - _LINES:,} lines more (--audit FILE has them all)")
