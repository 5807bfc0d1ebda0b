"""What the RFCs ask for, as data: `registry/rfcNNNN.tsv`, one file an RFC, one row a requirement.

    id           the RFC's own label where it has one (MUST-58, REQ-5a), else the section and a letter (3.2.1.3-d), or a word and a letter
                 where the RFC has no numbered sections (rx-b)
    level        MUST, SHOULD or MAY. Older RFCs than 2119 have no such words; there it is what their text means
    section      where it stands
    applies      the part of the project that has to obey: stack, nat, dhcp, dns; or not-applicable(why)
    requirement  in our words

Beside it stand `open.tsv`, the MUSTs that still lack a citation or a test, and `departures.tsv`, the SHOULDs that are not followed on purpose.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

HERE = Path(__file__).parent
REGISTRY = HERE / "registry"
OPEN = HERE / "open.tsv"
DEPARTURES = HERE / "departures.tsv"

LEVELS = ("MUST", "SHOULD", "MAY")
COMPONENTS = ("stack", "nat", "dhcp", "dns")

Key: TypeAlias = tuple[int, str]  # the number of an RFC and the id of a requirement of it


@dataclass(slots=True, frozen=True)
class Requirement:
    rfc: int
    id: str
    level: str
    section: str
    applies: str
    text: str

    @property
    def key(self) -> Key:
        return self.rfc, self.id

    @property
    def why_not(self) -> str:
        """Why it does not apply to us; empty where it does."""
        return self.applies.removeprefix("not-applicable(").removesuffix(")") if "(" in self.applies else ""

    @property
    def applicable(self) -> bool:
        return self.applies in COMPONENTS


def rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a table; ValueError for one that has other columns, or a row that lacks one."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if tuple(reader.fieldnames or ()) != columns:
            raise ValueError(f"{path.name}: columns are {reader.fieldnames}, not {columns}")
        table = list(reader)
    for number, row in enumerate(table, start=2):
        if None in row or not all(row.values()):
            raise ValueError(f"{path.name}:{number}: each column holds something, and there are no others")
    return table


def titles() -> dict[int, str]:
    """The RFCs of the registry, by number."""
    return {int(row["rfc"]): row["title"] for row in rows(REGISTRY / "titles.tsv", "rfc", "title")}


def load() -> dict[Key, Requirement]:
    """Every requirement. ValueError for a table that is not in order."""
    found: dict[Key, Requirement] = {}
    named = titles()
    if {path.name for path in REGISTRY.glob("rfc*.tsv")} != {f"rfc{rfc}.tsv" for rfc in named}:
        raise ValueError("titles.tsv names each RFC that has a table, and no other")
    for rfc in named:
        path = REGISTRY / f"rfc{rfc}.tsv"
        for row in rows(path, "id", "level", "section", "applies", "requirement"):
            one = Requirement(
                rfc, row["id"], row["level"], row["section"], row["applies"], row["requirement"]
            )
            if one.key in found:
                raise ValueError(f"{path.name}: {one.id} stands there twice")
            if one.level not in LEVELS or not (one.applicable or one.why_not):
                raise ValueError(f"{path.name}: {one.id} has an unknown level, or applies to nothing known")
            found[one.key] = one
    return found


def reasons(path: Path) -> dict[Key, str]:
    """A table of requirements with a reason each. ValueError where one stands there twice."""
    table = rows(path, "rfc", "id", "reason")
    found = {(int(row["rfc"]), row["id"]): row["reason"] for row in table}
    if len(found) != len(table):
        raise ValueError(f"{path.name}: a requirement stands there twice")
    return found


def keep_reasons(path: Path, kept: dict[Key, str]) -> None:
    """Write the table anew, in the order given."""
    lines = ["rfc\tid\treason", *(f"{rfc}\t{name}\t{reason}" for (rfc, name), reason in kept.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
