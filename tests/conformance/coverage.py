"""The registry, the citations in code and the markers on tests, laid side by side.

A requirement that applies is *covered* once the code cites it where it obeys and a test exercises it. A MUST that is not covered is *open* and stands in
`open.tsv` with a reason; a SHOULD that is not followed on purpose stands in `departures.tsv` with one. Both tables hold nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from tests.conformance import citations, markers, registry
from tests.conformance.registry import Key, Requirement

if TYPE_CHECKING:
    from tests.conformance.citations import Citation, Mistake

Places: TypeAlias = dict[Key, list[str]]


def by_key(found: list[Citation]) -> Places:
    places: Places = defaultdict(list)
    for citation in found:
        if citation.place not in places[citation.key]:
            places[citation.key].append(citation.place)
    return dict(places)


@dataclass(slots=True)
class Coverage:
    """code, tests: the places where a requirement is cited. excused: reasons of `open.tsv`. departures: those of `departures.tsv`."""

    requirements: dict[Key, Requirement]
    code: Places
    tests: Places
    excused: dict[Key, str]
    departures: dict[Key, str]
    mistakes: list[Mistake] = field(default_factory=list)

    def covered(self, key: Key) -> bool:
        return key in self.code and key in self.tests

    def open_musts(self) -> list[Key]:
        """The MUSTs that apply and are not covered, in the order of the registry."""
        return [
            key
            for key, row in self.requirements.items()
            if row.level == "MUST" and row.applicable and not self.covered(key)
        ]

    def unexcused(self) -> list[Key]:
        """Open, but without a line in `open.tsv`."""
        return [key for key in self.open_musts() if key not in self.excused]

    def stale(self) -> list[Key]:
        """In `open.tsv`, but covered by now, not applicable, or no MUST."""
        still = set(self.open_musts())
        return [key for key in self.excused if key not in still]

    def misplaced_departures(self) -> list[Key]:
        """In `departures.tsv`, but not a SHOULD or MAY that applies, or one that a test exercises: a rule that is not followed has no test."""
        rows = self.requirements
        return [
            key
            for key in self.departures
            if key not in rows or rows[key].level == "MUST" or not rows[key].applicable or key in self.tests
        ]

    def lacks(self, key: Key) -> str:
        """What an uncovered requirement waits for."""
        missing = [
            *(["no citation in the code"] if key not in self.code else []),
            *(["no test"] if key not in self.tests else []),
        ]
        return " and ".join(missing) or "nothing"


def survey() -> Coverage:
    """Read all there is. ValueError for tables that are not in order."""
    rows = registry.load()
    code, in_code = citations.read_code(rows)
    tests, in_tests = markers.read_tests(rows)
    return Coverage(
        rows,
        by_key(code),
        by_key(tests),
        registry.reasons(registry.OPEN),
        registry.reasons(registry.DEPARTURES),
        in_code + in_tests,
    )
