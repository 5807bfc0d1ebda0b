"""`python -m tests.mutation`: the result of `make mutation`, by file, with what survived; fails below the score that is promised.

mutmut leaves one file of exit codes beside each file that it mutates. What no test reaches counts as survived; a mutant that never comes to an
end, or brings the interpreter down, counts as killed. Mutants of `__repr__` and the like count as any other.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path("mutants")
PROMISED = 90.0  # percent

SURVIVED, NO_TESTS, SKIPPED = 0, 33, 34  # mutmut's exit codes
ALIVE = {SURVIVED, NO_TESTS}

console = Console(highlight=False, markup=False, soft_wrap=True)


def main() -> int:
    """Print the table and the names of the survivors."""
    total: Counter[str] = Counter()
    survivors: list[str] = []
    console.print(f"{'file':22}{'mutants':>9}{'killed':>9}{'survived':>9}{'score':>8}")
    for path in sorted(ROOT.rglob("*.meta")):
        results: dict[str, int | None] = read(path)["exit_code_by_key"]
        checked = {name: code for name, code in results.items() if code not in {None, SKIPPED}}
        if not checked:
            continue
        alive = [name for name, code in checked.items() if code in ALIVE]
        survivors += alive
        counts = Counter(mutants=len(checked), killed=len(checked) - len(alive), survived=len(alive))
        total += counts
        show(path.name.removesuffix(".py.meta"), counts)
    show("all", total)
    for name in survivors:
        console.print(f"survived: {name}")  # `mutmut show NAME` tells what it is
    return int(100 * total["killed"] < PROMISED * total["mutants"])


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def show(name: str, counts: Counter[str]) -> None:
    score = 100 * counts["killed"] / max(1, counts["mutants"])
    console.print(f"{name:22}{counts['mutants']:9}{counts['killed']:9}{counts['survived']:9}{score:7.1f}%")


if __name__ == "__main__":
    sys.exit(main())
