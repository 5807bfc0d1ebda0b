"""`python -m bench`: measure, and print a table of Gbit/s with usernat's ratio to each peer."""

from __future__ import annotations

import shutil
import sys

import click
from rich.console import Console
from rich.table import Table

from bench import iperf, throughput
from bench.host import make_host
from bench.peers import PEERS
from tests.lab.netns import ENVIRONMENT, missing

OURS = "usernat"
MARK = "slirp4netns"  # the first mark: faster than this one both ways at an MTU of 1500
MARK_MTU = 1500


@click.command()
@click.option(
    "--rounds",
    default=3,
    show_default=True,
    type=click.IntRange(min=3),
    help="Runs of each, of which the median counts.",
)
@click.option(
    "--seconds", default=3, show_default=True, type=click.IntRange(min=1), help="Length of one run."
)
@click.option(
    "--mtu",
    "mtus",
    multiple=True,
    type=int,
    default=(1500, 65520),
    show_default=True,
    help="May be repeated.",
)
@click.option(
    "--peer",
    "names",
    multiple=True,
    type=click.Choice([peer.name for peer in PEERS]),
    help="Only these; may be repeated.",
)
def main(rounds: int, seconds: int, mtus: tuple[int, ...], names: tuple[str, ...]) -> None:
    """Throughput of one TCP stream through usernat and through others, on this machine, in this run."""
    lacking = missing() or ("" if shutil.which("iperf3", path=ENVIRONMENT["PATH"]) else "iperf3")
    if lacking:
        raise click.ClickException(f"cannot measure here without {lacking}")
    chosen = [peer for peer in PEERS if not names or peer.name in names]
    absent = {peer.name: reason for peer in chosen if (reason := peer.why_not())}
    peers = [peer for peer in chosen if peer.name not in absent]
    rows: list[throughput.Row] = []
    with make_host() as host, iperf.server(host):
        for pair in throughput.run(host, peers, mtus, rounds=rounds, seconds=seconds):
            rows += pair
    console = Console(width=max(100, Console().width))
    console.print(
        table(rows, [peer.name for peer in peers], f"Gbit/s, median of {rounds} runs of {seconds} s")
    )
    for name, reason in absent.items():
        console.print(f"{name} did not run: {reason}")
    for row in rows:
        for name, reason in row.failures.items():
            console.print(f"{name}, {row}: {reason}", markup=False)
    for row in rows:
        if row.mtu == MARK_MTU:
            console.print(f"faster than {MARK}, {row}: {verdict(row)}", markup=False)


def table(rows: list[throughput.Row], names: list[str], title: str) -> Table:
    """A row a measurement; behind each peer's figure how many times as fast usernat is."""
    made = Table("", *(f"{name} (usernat/it)" if name != OURS else name for name in names), title=title)
    for row in rows:
        ours = row.result(OURS)
        made.add_row(str(row), *(cell(row.result(name), None if name == OURS else ours) for name in names))
    return made


def cell(value: float | None, ours: float | None) -> str:
    """One figure, with the ratio where both are there."""
    if value is None:
        return "-"
    return f"{value:.2f}" if ours is None else f"{value:.2f} ({ours / value:.2f})"


def verdict(row: throughput.Row) -> str:
    """Whether the mark is passed, in words."""
    ours, theirs = row.result(OURS), row.result(MARK)
    if ours is None or theirs is None:
        return "unknown"
    return "yes" if ours > theirs else "NO"


if __name__ == "__main__":
    sys.exit(main())
