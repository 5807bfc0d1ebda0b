"""The checker itself: which citations it reads, which markers count, and what it calls a mistake."""

from __future__ import annotations

import pytest

from tests.conformance import citations, markers
from tests.conformance.registry import Requirement

ROWS = [
    (9293, "MUST-58", "3.10.7.4"),
    (9293, "MUST-59", "3.10.7.4"),
    (9293, "3.10.7.4-b", "3.10.7.4"),
    (5961, "3.2-b", "3.2"),
    (5961, "3.2-c", "3.2"),
    (791, "3.2-reas-f", "3.2"),
    (826, "rx-b", "Packet Reception"),
    (826, "rx-c", "Packet Reception"),
    (6582, "3.2-1a", "3.2"),
]
REGISTRY = {
    (rfc, name): Requirement(rfc, name, "MUST", section, "stack", "what it asks for")
    for rfc, name, section in ROWS
}


def cited(source: str) -> list[str]:
    found, mistakes = citations.read_source(REGISTRY, "x.py", source)
    assert not mistakes
    return [f"{rfc} {name}" for (rfc, name) in (one.key for one in found)]


def mistaken(source: str) -> list[str]:
    return [str(mistake) for mistake in citations.read_source(REGISTRY, "x.py", source)[1]]


@pytest.mark.parametrize(
    ("comment", "ids"),
    [
        ("RFC 9293 §3.10.7.4 MUST-58, MUST-59", ["9293 MUST-58", "9293 MUST-59"]),
        ("RFC 9293 §3.10.7.4 MUST-58 and MUST-59: both", ["9293 MUST-58", "9293 MUST-59"]),
        ("RFC 9293 MUST-58, for this reason", ["9293 MUST-58"]),
        ("RFC 5961 §3.2-b, -c", ["5961 3.2-b", "5961 3.2-c"]),
        ("RFC 791 §3.2-reas-f: dropped", ["791 3.2-reas-f"]),
        ("RFC 826 rx-b, rx-c", ["826 rx-b", "826 rx-c"]),
        ("RFC 6582 §3.2-1a", ["6582 3.2-1a"]),
        ("RFC 5961 §3.2-c; RFC 9293 §3.10.7.4 MUST-58", ["5961 3.2-c", "9293 MUST-58"]),
        ("RFC 9293 §3.4 and RFC 1071 point somewhere, the well-b and a -c say nothing", []),
        ("RFC 826 is of a time when re-b was no word", []),
    ],
)
def test_what_a_comment_cites(comment: str, ids: list[str]) -> None:
    assert cited(f"x = 1  # {comment}\n") == ids


def test_an_rfc_holds_on_through_lines_of_comment_right_below_each_other() -> None:
    assert cited("# RFC 5961 says\n# §3.2-b\n") == ["5961 3.2-b"]
    assert mistaken("# RFC 5961 says\n\n# §3.2-b\n") == ["x.py:3: 3.2-b: of which RFC?"]
    assert mistaken("x = 1  # RFC 5961\ny = 2  # §3.2-b\n") == ["x.py:2: 3.2-b: of which RFC?"]


def test_an_rfc_holds_on_from_the_docstrings_around_the_innermost_first() -> None:
    source = '''"""A file about RFC 9293, and RFC 826."""

# §3.10.7.4-b


def f():
    """The checks of RFC 5961 §3.2."""
    return 1  # §3.2-b


class C:
    """Nothing said here."""

    def g(self):
        return 2  # MUST-58
'''
    assert cited(source) == ["9293 3.10.7.4-b", "5961 3.2-b", "9293 MUST-58"]


def test_docstrings_cite_and_other_strings_do_not() -> None:
    assert cited('def f():\n    """RFC 826 rx-b"""\n    return "RFC 826 rx-c"\n') == ["826 rx-b"]


def test_a_citation_knows_its_line() -> None:
    found, _ = citations.read_source(REGISTRY, "x.py", '"""One.\n\nRFC 826 rx-b\n"""\n# a\n# RFC 826 rx-c\n')
    assert [one.place for one in found] == ["x.py:3", "x.py:6"]


@pytest.mark.parametrize(
    ("comment", "mistake"),
    [
        ("RFC 9293 MUST-99", "RFC 9293 MUST-99: no such id in the registry"),
        ("RFC 5961 §3.2-x", "RFC 5961 3.2-x: no such id in the registry"),
        ("RFC 1071 §2-a", "RFC 1071 2-a: an RFC that has no rows in the registry"),
        ("RFC 5961 3.2-b", "write §3.2-b"),
        ("RFC 5961 says more than 3.2-b", "write §3.2-b"),
        ("RFC 9293 §3.4 MUST-58", "RFC 9293 MUST-58 stands in §3.10.7.4, not §3.4"),
        ("MUST-58", "MUST-58: of which RFC?"),
        ("§3.2-b of RFC 5961 is named too late", "3.2-b: of which RFC?"),
        ("RFC 826 rx-z", "RFC 826 rx-z: no such id in the registry"),
    ],
)
def test_what_is_a_mistake(comment: str, mistake: str) -> None:
    assert mistaken(f"x = 1  # {comment}\n") == [f"x.py:1: {mistake}"]


def exercised(source: str) -> tuple[list[str], list[str]]:
    found, mistakes = markers.read_source(REGISTRY, "t.py", "import pytest\n" + source)
    return [f"{one.key[1]} {one.place}" for one in found], [str(mistake) for mistake in mistakes]


MARK = '@pytest.mark.rfc("9293", "MUST-58")\n'
TEST = "def test_one():\n    assert 1\n"


@pytest.mark.parametrize(
    "source",
    [
        MARK + TEST,
        "@pytest.mark.timeout(3)\n" + MARK + TEST,
        'pytestmark = pytest.mark.rfc("9293", "MUST-58")\n' + TEST,
        'pytestmark = [pytest.mark.timeout(3), pytest.mark.rfc("9293", "MUST-58")]\n' + TEST,
        '@pytest.mark.rfc("9293", *(f"MUST-{row}" for row in (58,)))\n' + TEST,
        '@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.rfc("9293", "MUST-58"))])\n' + TEST,
    ],
)
def test_markers_that_count(source: str) -> None:
    assert exercised(source) == (["MUST-58 t.py:test_one"], [])


@pytest.mark.parametrize(
    "class_",
    [
        MARK + "class TestC:\n    def test_one(self):\n        assert 1\n",
        'class TestC:\n    pytestmark = pytest.mark.rfc("9293", "MUST-58")\n\n    def test_one(self):\n        assert 1\n',
    ],
)
def test_a_marker_on_a_class_speaks_for_its_tests(class_: str) -> None:
    assert exercised(class_) == (["MUST-58 t.py:TestC.test_one"], [])


def test_a_marker_around_a_state_machine_counts() -> None:
    source = 'TestC = pytest.mark.rfc("9293", "MUST-58")(Walk.TestCase)\n'
    assert exercised(source) == (["MUST-58 t.py:TestC"], [])
    other = 'helper = pytest.mark.rfc("9293", "MUST-58")(Walk.TestCase)\n'
    assert exercised(other) == ([], ["t.py:2: an rfc marker that is on no test"])


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.skip\n" + MARK + TEST,
        '@pytest.mark.skipif(True, reason="")\n' + MARK + TEST,
        "@pytest.mark.xfail(strict=True)\n" + MARK + TEST,
        "pytestmark = pytest.mark.skip\n" + MARK + TEST,
        MARK + 'def test_one():\n    if 1:\n        pytest.skip("not here")\n',
    ],
)
def test_a_test_that_may_be_skipped_exercises_nothing(source: str) -> None:
    assert exercised(source) == ([], [])


@pytest.mark.parametrize(
    ("source", "mistake"),
    [
        (MARK + "def helper():\n    pass\n", "an rfc marker that is on no test"),
        ('@pytest.mark.rfc("9293")\n' + TEST, 'write @pytest.mark.rfc("9293", "MUST-58")'),
        ("@pytest.mark.rfc(9293, 'MUST-58')\n" + TEST, 'write @pytest.mark.rfc("9293", "MUST-58")'),
        ('@pytest.mark.rfc("9293", ROWS)\n' + TEST, 'write @pytest.mark.rfc("9293", "MUST-58")'),
        ('@pytest.mark.rfc("9293", "MUST-99")\n' + TEST, "RFC 9293 MUST-99 is not in the registry"),
        ('@pytest.mark.rfc("4242", "MUST-1")\n' + TEST, "RFC 4242 MUST-1 is not in the registry"),
    ],
)
def test_markers_that_are_mistakes(source: str, mistake: str) -> None:
    assert exercised(source) == ([], [f"t.py:2: {mistake}"])
