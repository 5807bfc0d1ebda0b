"""Host names and patterns."""

from __future__ import annotations

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.policy.errors import PolicyError
from usernat.policy.matchers import Domain
from usernat.policy.names import normalise, parents, parse_pattern

LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("pypi.org", "pypi.org"),
        ("PyPI.ORG", "pypi.org"),
        ("pypi.org.", "pypi.org"),
        ("localhost", "localhost"),
        ("_dmarc.x.test", "_dmarc.x.test"),
        ("r3---sn-4g5.x.test", "r3---sn-4g5.x.test"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        (LONGEST, LONGEST),
        (LONGEST + ".", LONGEST),
    ],
)
def test_c42_one_form(name: str, normal: str) -> None:
    assert normalise(name) == normal


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "pypi.org..", ".pypi.org", "pypi..org", "*.pypi.org", "pypi.org\n", "pypi.org\r\n", "\npypi.org", "pypi.org\0",
        "pypi.org\0.evil.test", "pypi%2eorg", "pypi.org%00", "pypi.org:443", "pypi org", "pypi.org/", "user@pypi.org", "py\\.pi.org", "pypi\\046org",
        "a" * 64 + ".org", LONGEST + "d", LONGEST + "d.", "[::1]", "bücher.example", "pypi.org\u200b", "pypi。org", "\N{FULLWIDTH LATIN SMALL LETTER P}ypi.org", "\u212a.org", "\N{CYRILLIC SMALL LETTER ER}\N{CYRILLIC SMALL LETTER A}ypal.com",
        "pypi.org?", "?",
    ],
)  # fmt: skip
def test_c42_what_is_no_host_name(name: str) -> None:
    assert normalise(name) is None


@given(st.text() | st.text(alphabet="aB.-_*0\0ü", max_size=260))
def test_normal_names_are_normal_and_only_names(name: str) -> None:
    normal = normalise(name)
    if normal is not None:
        assert normalise(normal) == normal
        assert normal.isascii()
        assert normal == normal.lower()
        assert normal == name.removesuffix(".").lower()
        assert len(normal) <= 253
        assert all(0 < len(label) <= 63 for label in normal.split("."))


def test_parents() -> None:
    assert parents("a.b.c") == ["b.c", "c"]
    assert parents("c") == []


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("PyPI.org.", "pypi.org"),
        ("*.PyPI.org", "*.pypi.org"),
        ("*.org", "*.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.Bücher.example", "*.xn--bcher-kva.example"),
        (
            "\N{FULLWIDTH LATIN SMALL LETTER P}\N{FULLWIDTH LATIN SMALL LETTER Y}\N{FULLWIDTH LATIN SMALL LETTER P}\N{FULLWIDTH LATIN SMALL LETTER I}。org",
            "pypi.org",
        ),
        ("faß.de", "xn--fa-hia.de"),  # not transitional: fass.de is another's
    ],
)
def test_patterns(text: str, pattern: str) -> None:
    assert parse_pattern(text) == pattern
    assert parse_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no host name"),
        ("*", "star"),
        ("*.", "no host name"),
        ("*.*.org", "star"),
        ("a.*.org", "star"),
        ("*pypi.org", "star"),
        ("**.pypi.org", "star"),
        (".pypi.org", "no host name"),
        ("pypi..org", "no host name"),
        ("pypi.org..", "no host name"),
        ("https://pypi.org", "no host name"),
        ("pypi.org:443", "no host name"),
        ("pypi.org ", "no host name"),
        ("pypi%2eorg", "no host name"),
        ("127.0.0.1", "address"),
        ("1.2.3", "address"),
        ("0x7f.1", "address"),
        ("*.0x", "address"),
        ("::1", "no host name"),
        ("☃.net", "no host name"),
        ("a" * 64 + ".org", "no host name"),
        ("ü" * 300, "no host name"),
        ("ü" * 100_000, "too long"),
        ("\ud800.org", "no host name"),
    ],
)
def test_c42_bad_patterns(text: str, why: str) -> None:
    with pytest.raises(PolicyError, match=why) as caught:
        parse_pattern(text)
    assert len(str(caught.value)) < 5000
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_a_pattern_is_one_or_an_error(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except PolicyError:
        return
    assert normalise(pattern.removeprefix("*.")) == pattern.removeprefix("*.")


def test_c42_look_alikes_are_other_names() -> None:
    """The second of each pair is not the first, and what DNS carries for it does not match a rule for the first."""
    for genuine, alike in (
        ("paypal.com", "\N{CYRILLIC SMALL LETTER ER}\N{CYRILLIC SMALL LETTER A}ypal.com"),
        ("google.com", "g\N{GREEK SMALL LETTER OMICRON}\N{GREEK SMALL LETTER OMICRON}gle.com"),
        (
            "apple.com",
            "\N{CYRILLIC SMALL LETTER A}\N{CYRILLIC SMALL LETTER ER}\N{CYRILLIC SMALL LETTER ER}le.com",
        ),
    ):
        wire = idna.encode(alike, uts46=True).decode()
        assert wire != genuine
        assert not Domain(genuine).holds(wire)
        assert Domain(alike).holds(wire)


@pytest.mark.parametrize(
    ("pattern", "name", "held"),
    [
        ("pypi.org", "pypi.org", True),
        ("pypi.org", "www.pypi.org", False),
        ("*.pypi.org", "pypi.org", False),
        ("*.pypi.org", "www.pypi.org", True),
        ("*.pypi.org", "a.b.c.pypi.org", True),
        ("*.pypi.org", "evilpypi.org", False),
        ("*.pypi.org", "www.evilpypi.org", False),
        ("*.pypi.org", "pypi.org.evil.test", False),
        ("*.pypi.org", "www.pypi.org.evil.test", False),
        ("pypi.org", "pypi.org.evil.test", False),
        ("pypi.org", "evilpypi.org", False),
        ("pypi.org", "pypi.orgs", False),
        ("*.org", "pypi.org", True),
        ("*.org", "org", False),
    ],
)
def test_c42_label_by_label(pattern: str, name: str, held: bool) -> None:
    assert Domain(pattern).holds(name) == held
