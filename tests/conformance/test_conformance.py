"""The registry holds: what is cited exists, every MUST is covered or stands in `open.tsv` with a reason, and that list only shrinks."""

from __future__ import annotations

import pytest

from tests.conformance import limits
from tests.conformance.coverage import Coverage, survey
from tests.conformance.page import PAGE, page


@pytest.fixture(scope="module")
def coverage() -> Coverage:
    return survey()


def test_every_citation_and_every_marker_names_a_requirement(coverage: Coverage) -> None:
    assert not [str(mistake) for mistake in coverage.mistakes]


def test_every_must_is_cited_and_tested_or_open_with_a_reason(coverage: Coverage) -> None:
    """If you added a requirement: cite it and test it. If you removed a citation or a test: put it back."""
    assert not [f"RFC {rfc} {name}: {coverage.lacks((rfc, name))}" for rfc, name in coverage.unexcused()]


def test_the_open_list_holds_only_what_is_open(coverage: Coverage) -> None:
    """`python -m tests.conformance --prune` takes the stale lines out."""
    assert not coverage.stale()


def test_the_open_list_only_shrinks(coverage: Coverage) -> None:
    """More lines than the limit: cover the requirement instead of raising it. Fewer: `--prune` lowers it, so that they cannot come back."""
    assert len(coverage.excused) == limits.OPEN_MUSTS


@pytest.mark.parametrize("rfc", limits.SHOULDS_REACHED)
def test_nine_in_ten_shoulds_stay_obeyed_and_tested(coverage: Coverage, rfc: int) -> None:
    shoulds = [
        key
        for key, row in coverage.requirements.items()
        if row.rfc == rfc and row.level == "SHOULD" and row.applicable
    ]
    missing = [key for key in shoulds if not coverage.covered(key)]
    assert 10 * len(missing) <= len(shoulds), missing


def test_departures_are_shoulds_that_apply_and_are_not_followed(coverage: Coverage) -> None:
    assert not coverage.misplaced_departures()


def test_the_page_is_up_to_date(coverage: Coverage) -> None:
    """`make conformance` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page(coverage)
