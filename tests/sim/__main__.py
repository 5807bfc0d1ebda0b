"""python -m tests.sim    measures all, some three minutes (`make goodput`)

Writes `docs/goodput.tsv` and `docs/fairness.tsv`, and renews the tables of `docs/simulator.md`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tests.sim import fairness, goodput
from tests.sim.cases import CASES
from tests.sim.report import DOCS, PAGE, markdown, renew, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.sim.fairness import Fairness
    from tests.sim.goodput import Row

SECTIONS = ("window", "buffer", "loss", "order")


@click.command(help=__doc__)
def main() -> None:
    # a line of progress a run, on the standard error output
    rows = []
    for case in CASES:
        rows.append(goodput.measure(case))
        sys.stderr.write(f"{case.key}: {rows[-1].ratio}\n")
    flows = []
    for congestion in fairness.CONGESTION:
        for number in fairness.FLOWS:
            flows.append(fairness.measure(congestion, number))
            sys.stderr.write(f"{number} flows of {congestion}: {flows[-1].jain}\n")
    write_table(DOCS / "goodput.tsv", goodput.Row._fields, rows)
    write_table(DOCS / "fairness.tsv", fairness.Fairness._fields, flows)
    for section in SECTIONS:
        renew(PAGE, section, goodput_table(row for row in rows if row.section == section))
    renew(PAGE, "fairness", fairness_table(flows))


def goodput_table(rows: Iterable[Row]) -> str:
    """A ratio that has to be within 10 % of 1 is set in bold."""
    fields = (
        "control",
        "RTT, ms",
        "condition",
        "model",
        "theory, kbit/s",
        "measured",
        "ratio",
        "lost",
        "resent",
        "time-outs",
    )
    return markdown(
        fields,
        (
            [
                row.congestion,
                str(row.rtt_ms),
                row.condition,
                row.model,
                f"{row.theory:,}",
                f"{row.measured:,}",
                f"**{row.ratio:.2f}**" if row.exact else f"{row.ratio:.2f}",
                str(row.gone),
                str(row.resent),
                str(row.timeouts),
            ]
            for row in rows
        ),
    )


def fairness_table(flows: Iterable[Fairness]) -> str:
    """All of it."""
    fields = (
        "control",
        "flows",
        "Jain",
        "slowest, kbit/s",
        "fastest",
        "link used",
        "dropped",
        "resent",
        "time-outs",
    )
    return markdown(
        fields,
        (
            [
                row.congestion,
                str(row.flows),
                f"**{row.jain:.3f}**",
                str(row.slowest),
                str(row.fastest),
                f"{row.used:.1%}",
                str(row.dropped),
                str(row.resent),
                str(row.timeouts),
            ]
            for row in flows
        ),
    )


if __name__ == "__main__":
    main()
