"""`python -m bench`: measure all rows, or some, and show them. A full run writes docs/benchmarks.md and its picture."""

from __future__ import annotations

import resource
import shutil
import signal
import sys
import time
from contextlib import suppress
from fnmatch import fnmatch
from typing import TYPE_CHECKING, NoReturn

import click
from rich.console import Console

from bench import report
from bench.host import make_host
from bench.machine import facts
from bench.micro import micro_rows
from bench.micro.row import MicroRow
from bench.results import OURS
from bench.rows import guest_rows
from bench.run import Plan, run, run_micro
from bench.sections import sections
from bench.servers import servers
from tests.lab.netns import ENVIRONMENT, missing

if TYPE_CHECKING:
    from types import FrameType

    from bench.results import Line
    from bench.rows.row import Row

NEEDED = ("iperf3", "nginx", "wrk", "ping")
INTERRUPTED = 130  # as a shell has it
DESCRIPTORS = 65536  # for 10,000 connections at each end, with some to spare
console = Console(stderr=True)


@click.command()
@click.argument("names", nargs=-1, metavar="[ROW]...")
@click.option(
    "--rounds",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Runs of each, of which the median counts.",
)
@click.option(
    "--seconds", default=3.0, show_default=True, help="Length of a run; some rows take a part of it."
)
@click.option("--quick", is_flag=True, help="One run of a second each, to see whether it works.")
@click.option("--peer", "peers", multiple=True, help="Only these, and usernat; may be repeated.")
@click.option("--list", "listed", is_flag=True, help="Name the rows and end.")
@click.option(
    "--write/--no-write", default=None, help="Write docs/benchmarks.md; by default after a full run."
)
def main(
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    quick: bool,
    peers: tuple[str, ...],
    listed: bool,
    write: bool | None,
) -> None:
    """Speed and cost of usernat beside other gateways, on this machine, in this run.

    ROW is a row's name, the beginning of one, or a pattern: tcp-up-1500, udp, 'qemu-*-1500', micro. Without any, all are measured.
    """
    micro = micro_rows()
    rows = select([*guest_rows(), *micro], names, {"micro": {row.name for row in micro}})
    if listed:
        click.echo("\n".join(row.name for row in rows))
        return
    for row in rows:
        if peers and not isinstance(row, MicroRow):
            row.keep((*peers, OURS))
    if quick:
        rounds, seconds = 1, 1.0
    plan = Plan(rounds, seconds, _say)
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, _terminated)
    status = 0
    try:
        measure(rows, plan)
    except KeyboardInterrupt:
        console.print("interrupted: what was measured until now follows")
        write, status = False, INTERRUPTED
    console.print(f"{time.monotonic() - begin:.0f} s in all")
    finish(rows, plan, write=write if write is not None else not (names or peers or quick))
    sys.exit(status)


def select(rows: list[Row], names: tuple[str, ...], groups: dict[str, set[str]]) -> list[Row]:
    """Those that are named: by their own name, by a group's, by a beginning or a pattern. UsageError for a name that is none of it."""
    if not names:
        return rows
    every = [row.name for row in rows]
    meant: set[str] = set()
    for name in names:
        found = {name} & set(every) or groups.get(name) or {one for one in every if fnmatch(one, f"{name}*")}
        if not found:
            raise click.UsageError(f"no row is called {name}; --list names them")
        meant |= found
    return [row for row in rows if row.name in meant]


def measure(rows: list[Row], plan: Plan) -> None:
    """All of them; those without a guest in the end."""
    _raise_descriptor_limit()
    micro = [row for row in rows if isinstance(row, MicroRow)]
    with_guest = [row for row in rows if not isinstance(row, MicroRow)]
    if with_guest:
        absent = [name for name in NEEDED if not shutil.which(name, path=ENVIRONMENT["PATH"])]
        if lacking := missing() or ", ".join(absent):
            raise click.ClickException(f"cannot measure here without {lacking}")
        with make_host() as host, servers(host):
            run(host, with_guest, plan)
    run_micro(micro, plan)


def finish(rows: list[Row], plan: Plan, *, write: bool) -> None:
    """Show, and write."""
    lines = {line.key: line for row in rows for line in row.lines.values()}
    made, known = sections(rows), facts()
    report.show(made, lines, known)
    if write:
        picture = _draw(lines)
        text = report.page(made, lines, known, rounds=plan.rounds, seconds=plan.seconds, picture=picture)
        report.PAGE.write_text(text)
        console.print(f"written: {report.PAGE.name}")


def _draw(lines: dict[str, Line]) -> bool:
    """Whether there is a picture."""
    try:
        from bench.picture import draw  # noqa: PLC0415  # matplotlib is there for this alone
    except ImportError:
        console.print("no picture without matplotlib (the extra `plots`)")
        return False
    return draw(lines, report.PAGE.with_name(report.PICTURE))


def _raise_descriptor_limit() -> None:
    """As far as we may; children inherit it. Where it is too low, the rows of many connections say so."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in ((DESCRIPTORS, max(hard, DESCRIPTORS)), (hard, hard)):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, wanted)
            return


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    """Like Ctrl-C, so that everything is taken down."""
    raise KeyboardInterrupt


def _say(what: str) -> None:
    console.print(what, style="dim", markup=False, highlight=False)


if __name__ == "__main__":
    main()
