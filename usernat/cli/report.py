"""What happened, in numbers: the counters of a gateway that are not zero, as a table."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.table import Table


def show_counters(counters: dict[str, int], title: str) -> None:
    """Print to standard error, a line for each layer, so that the command's own output stays untouched."""
    console = Console(stderr=True, highlight=False)
    console.print(title, style="bold", markup=False, soft_wrap=True)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    happened = sorted((name, value) for name, value in counters.items() if value)
    for layer, items in groupby(happened, key=lambda item: item[0].partition(".")[0]):
        table.add_row(
            layer, ", ".join(f"{name.partition('.')[2]}\N{NO-BREAK SPACE}{value:,}" for name, value in items)
        )
    console.print(table)
