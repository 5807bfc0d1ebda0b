"""The figures on the terminal, and as a page: `docs/benchmarks.md`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.marks import verdicts
from bench.table import cells, failures, heads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.results import Line
    from bench.table import Section

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
PICTURE = "benchmarks.png"
WIDTH = 190

METHOD = """\
One run of `make bench`, on one machine, of everything below. Speeds of different machines say nothing of each other; ratios of one run do.
The figure in parentheses says how many times as good usernat is: `(8.0x)` behind a peer's figure means eight times as fast, or an eighth of
the time, memory or CPU.

* **The guest** is a network namespace with a TAP, entered by the same commands for each gateway; in the QEMU rows it is an emulated machine. *Raw
  loopback* is the host talking to itself, with no guest: what the machine can do.
* **The host** is a namespace too, with the servers on its loopback. Guests reach them by the address that the gateway maps to it.
* **Turns**: all guests of a row stand ready; every peer has a run, then every peer again. Each figure is {figure} of {seconds:g} s (some
  rows take a part of that; the row of idle connections is measured once).
* **CPU seconds per GB**: of the gateway's processes, and of the whole machine, kernel and both ends included. Counted in ticks of 10 ms.
* **Memory** is what the kernel says is resident: of a Python program this includes the interpreter, and of usernat its keeper and init processes too.
* **UDP without loss** is a closed loop. The sender never has more than 128 small or 64 large datagrams on their way, and for each quarter of that
  a receipt comes back. So nothing overflows, and the rate is that of the slowest part. A run that loses a datagram is void, and repeated with half of that number.
* **Connections a second**: each request has a connection of its own, which the server closes. usernat admits 2,000 new flows a second for each
  guest (a burst of twice that), as RFC 6888 asks for a limit; a rate near that is the limit's.
* **Start** is the time from the gateway's `exec` until a ping that its guest keeps sending to the host is answered.
* **Which Python**: one that was built with profile-guided optimisation, as distributions ship it, makes usernat a tenth faster in bulk and a fifth in requests
  and connections than one that was not, as pyenv builds it unless told otherwise.
* **Not the same**: slirp4netns copies through libslirp, and its TAP and pasta's have no offloads; usernat has the kernel of the guest hand over and take
  segments of 64 KiB. That is what makes the difference at an MTU of 1500, and why it is smaller at 65520.
"""


def show(made: list[Section], lines: dict[str, Line], facts: dict[str, str]) -> None:
    """On the terminal."""
    console = Console(width=max(WIDTH, Console().width))
    for section in made:
        table = Table(
            *heads(section), title=section.title, caption=section.note or None, title_justify="left"
        )
        for row in cells(section, lines):
            table.add_row(*row)
        console.print(table)
    for reason in failures(lines.values()):
        console.print(f"no figure: {reason}", markup=False)
    console.print(*summary(lines), sep="\n", markup=False)
    console.print("; ".join(f"{name} {fact}" for name, fact in facts.items()), markup=False)


def summary(lines: dict[str, Line]) -> list[str]:
    """How many marks are reached, then each that is not."""
    judged = [(line, verdict) for line in lines.values() for verdict in verdicts(line, lines)]
    tried = [(line, verdict) for line, verdict in judged if line.samples or line.failures]
    missed = [f"{line.key}: {verdict}" for line, verdict in tried if not verdict.passed]
    return [
        f"{len(tried) - len(missed)} of {len(tried)} marks are reached"
        + (". Not reached:" if missed else "."),
        *missed,
    ]


def page(
    made: list[Section],
    lines: dict[str, Line],
    facts: dict[str, str],
    *,
    rounds: int,
    seconds: float,
    picture: bool,
) -> str:
    """The whole of docs/benchmarks.md."""
    figure = f"the median of {rounds} runs" if rounds > 1 else "of one run"
    parts = ["# Benchmarks", "", METHOD.format(figure=figure, seconds=seconds)]
    parts += ["Measured with " + ", ".join(f"{name} {fact}" for name, fact in facts.items()) + ".", ""]
    if picture:
        parts += [f"![Speed beside slirp4netns]({PICTURE})", ""]
    parts += [*_summary(lines), ""]
    for section in made:
        parts += [
            f"## {section.title}",
            "",
            *([section.note, ""] if section.note else []),
            *_markdown(section, lines),
            "",
        ]
    if missing := failures(lines.values()):
        parts += ["## No figure", "", *(f"* {reason}" for reason in missing), ""]
    return "\n".join(parts)


def _summary(lines: dict[str, Line]) -> list[str]:
    first, *missed = summary(lines)
    return [first, *(["", *(f"* {each}" for each in missed)] if missed else [])]


def _markdown(section: Section, lines: dict[str, Line]) -> Iterable[str]:
    head = heads(section)
    yield _row(head)
    yield _row(["---", "---", *["---:"] * (len(head) - 3), "---"])
    yield from map(_row, cells(section, lines))


def _row(values: list[str]) -> str:
    return f"| {' | '.join(value.replace('|', '/') for value in values)} |"
