"""Goodput beside theory: the committed table keeps its promise, and a part of it is run again here."""

from __future__ import annotations

import pytest

from tests.sim import goodput
from tests.sim.cases import CASES, Case, random_loss
from tests.sim.report import DOCS, read_table

TOLERANCE = 0.1  # where theory holds, it holds within this
DRIFT = 0.1  # what a run may differ from the table before that has to be made anew: `make goodput`

TABLE = {
    (row["section"], row["congestion"], row["rtt_ms"], row["condition"]): row
    for row in read_table(DOCS / "goodput.tsv")
}

# A few seconds' worth: each model, each algorithm.
AGAIN = (
    "window: cubic, 10 ms, window 65,535 bytes",
    "window: cubic, 100 ms, window 262,144 bytes",
    "buffer: newreno, 100 ms, 5 Mbit/s, buffer 10 packets = 0.25 BDP",
    "buffer: cubic, 100 ms, 5 Mbit/s, buffer 21 packets = 0.5 BDP",
    "loss: newreno, 100 ms, 1/1600 periodic",
    "loss: cubic, 20 ms, 1/1600 periodic",
    "loss: cubic, 100 ms, 1/100 random",
)


def line(case: Case) -> tuple[str, str, int, str]:
    return case.section, case.congestion, case.rtt_ms, case.condition


def test_the_table_has_all_cases_and_no_others() -> None:
    assert list(TABLE) == [line(case) for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_committed_line(case: Case) -> None:
    """It was measured against the theory of today, and where that has to hold it does."""
    row = TABLE[line(case)]
    assert row["theory"] == round(case.theory / 1000)
    assert row["exact"] == case.exact
    assert row["ratio"] == pytest.approx(row["measured"] / row["theory"], abs=0.005)
    if case.exact:
        assert row["ratio"] == pytest.approx(1, abs=TOLERANCE)
        assert row["timeouts"] == 0  # no model has them: each loss was found by what arrived behind it


@pytest.mark.parametrize("key", AGAIN)
def test_measured_again(key: str) -> None:
    (case,) = [case for case in CASES if case.key == key]
    row = goodput.measure(case)
    if case.exact:
        assert row.ratio == pytest.approx(1, abs=TOLERANCE)
        assert row.timeouts == 0
    assert row.ratio == pytest.approx(TABLE[line(case)]["ratio"], abs=DRIFT)


def test_every_model_has_to_hold_somewhere() -> None:
    exact = {(case.congestion, case.model) for case in CASES if case.exact}
    assert exact == {
        ("cubic", "window / RTT"),
        ("newreno", "AIMD over a buffer"),
        ("cubic", "AIMD over a buffer"),
        ("newreno", "Mathis"),
        ("cubic", "Reno-friendly"),
        ("cubic", "cubic"),
    }


def test_the_same_run_twice_is_the_same() -> None:
    case = random_loss("cubic", 50, 100, segments=1000)
    assert goodput.measure(case) == goodput.measure(case)
