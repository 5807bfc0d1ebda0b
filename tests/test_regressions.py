"""Each flaw of `regressions.tsv` has a test that bears its id, so that none comes back unnoticed."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

TESTS = Path(__file__).parent


def regression_ids() -> list[str]:
    with (TESTS / "regressions.tsv").open(encoding="utf-8", newline="") as table:
        return [row["id"] for row in csv.DictReader(table, delimiter="\t")]


def names_of_tests() -> set[str]:
    names = set()
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return names


def test_every_regression_has_a_test_of_its_name() -> None:
    names = names_of_tests()
    missing = [
        row for row in regression_ids() if not any(f"test_{row.lower()}_" in name + "_" for name in names)
    ]
    assert not missing


def test_no_test_names_a_regression_that_is_not_listed() -> None:
    listed = {row.lower() for row in regression_ids()}
    named = {
        name.split("_")[1] for name in names_of_tests() if name.startswith("test_c") and name[6:8].isdigit()
    }
    assert named <= listed
