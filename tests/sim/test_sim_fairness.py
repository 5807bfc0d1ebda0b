"""Flows of one kind share a bottleneck: Jain's index of at least 0.95 for 2 to 64 of them; four of them are run here."""

from __future__ import annotations

import pytest

from tests.sim import fairness
from tests.sim.loop import SECOND
from tests.sim.report import DOCS, read_table
from tests.sim.theory import jain, link_goodput

JAIN = 0.95
BUSY = 0.95  # of what the link could carry: a fair share of little would be no merit

TABLE = read_table(DOCS / "fairness.tsv")


def test_the_table_has_all_numbers_of_both_kinds() -> None:
    expected = [(kind, flows) for kind in fairness.CONGESTION for flows in fairness.FLOWS]
    assert [(row["congestion"], row["flows"]) for row in TABLE] == expected


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row['flows']}-{row['congestion']}")
def test_committed_line(row: dict[str, float]) -> None:
    assert row["jain"] >= JAIN
    assert row["used"] >= BUSY


@pytest.mark.parametrize("congestion", fairness.CONGESTION)
def test_measured_again(congestion: str) -> None:
    row = fairness.measure(congestion, 4)
    assert row.jain >= JAIN
    assert row.used >= BUSY
    assert row.dropped > 0  # they did compete


def test_who_begins_late_gets_a_share() -> None:
    """One flow has the link to itself for five seconds before the other comes."""
    network = fairness.make("cubic", 2, starts=[0, 5 * SECOND])
    alone, late = network.goodputs(0, 5 * SECOND)
    assert late == 0
    assert alone > 0.9 * link_goodput(2 * fairness.RATE_EACH)
    assert jain(network.goodputs(15 * SECOND, 75 * SECOND)) >= JAIN
