"""python -m tests.conformance            the table by RFC; writes docs/conformance.md (`make conformance`)
python -m tests.conformance 9293 ...   each requirement of these RFCs, with the places where it is obeyed and tested
python -m tests.conformance --prune    also takes out of open.tsv what is covered by now; never adds a line
"""

from __future__ import annotations

import re
import sys

import click
from rich.console import Console
from rich.markup import escape

from tests.conformance import limits, registry
from tests.conformance.coverage import Coverage, survey
from tests.conformance.page import PAGE, page, terminal
from tests.conformance.registry import HERE, Requirement


def prune(coverage: Coverage) -> int:
    """Take out of `open.tsv` what is not open any more, and lower the limit; returns how many lines went."""
    stale = set(coverage.stale())
    coverage.excused = {key: why for key, why in coverage.excused.items() if key not in stale}
    registry.keep_reasons(registry.OPEN, coverage.excused)
    path = HERE / "limits.py"
    limit = min(limits.OPEN_MUSTS, len(coverage.excused))
    text = re.sub(r"OPEN_MUSTS = \d+", f"OPEN_MUSTS = {limit}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    return len(stale)


def state(coverage: Coverage, row: Requirement) -> str:
    if not row.applicable:
        return f"[dim]not applicable: {escape(row.why_not)}[/]"
    if coverage.covered(row.key):
        return "[green]covered[/]"
    if row.key in coverage.departures:
        return f"[yellow]not followed: {escape(coverage.departures[row.key])}[/]"
    return f"[{'red' if row.level == 'MUST' else 'yellow'}]{coverage.lacks(row.key)}[/]"


def list_rfc(console: Console, coverage: Coverage, rfc: int) -> None:
    for key, row in coverage.requirements.items():
        if row.rfc == rfc:
            console.print(
                f"[bold]{row.id}[/] {row.level} ({row.applies.split('(')[0]}) {escape(row.text)}: {state(coverage, row)}"
            )
            for place in (*coverage.code.get(key, ()), *coverage.tests.get(key, ())):
                console.print(f"    {escape(place)}", highlight=False)


@click.command(help=__doc__)
@click.argument("rfcs", nargs=-1, type=int)
@click.option("--prune", "pruning", is_flag=True, help="Take what is covered out of open.tsv.")
def main(rfcs: tuple[int, ...], pruning: bool) -> None:
    console = Console(soft_wrap=True)
    coverage = survey()
    for rfc in rfcs:
        list_rfc(console, coverage, rfc)
    if pruning:
        console.print(f"{prune(coverage)} lines less in open.tsv")
    if not rfcs:
        PAGE.write_text(page(coverage), encoding="utf-8")
        console.print(terminal(coverage))
        console.print(f"written: {PAGE.name}")
    for mistake in coverage.mistakes:
        console.print(f"[red]{escape(str(mistake))}[/]")
    for key in coverage.unexcused():
        console.print(f"[red]RFC {key[0]} {key[1]} has {coverage.lacks(key)}, and no line in open.tsv[/]")
    sys.exit(bool(coverage.mistakes or coverage.unexcused()))


main()
