"""Rows of `regressions.tsv` that a policy alone can hold, and look-alikes, each through the whole of `decide`."""

from __future__ import annotations

import idna
import pytest

from tests.policy.kit import PUBLIC, answer, flow, ping, query
from usernat.policy import NetworkPolicy
from usernat.policy.decision import ALLOW, DENY
from usernat.policy.errors import PolicyError
from usernat.policy.matchers import Address, AnyOf, Network

CLOSED = NetworkPolicy.deny_all()


def test_c41_an_empty_allow_list_denies() -> None:
    for policy in (NetworkPolicy(), CLOSED, NetworkPolicy([]), CLOSED.rule("allow", AnyOf(()))):
        for asked in (
            flow(PUBLIC),
            flow(PUBLIC, 443, "a.test"),
            ping(PUBLIC),
            query("a.test"),
            answer(PUBLIC, "a.test"),
            flow("127.0.0.1"),
        ):
            assert policy.decide(asked).action == DENY
    assert CLOSED.define_group("nobody").allow_group("nobody").decide(flow(PUBLIC)).action == DENY


TRICKS = (
    "evilpypi.org", "www.evilpypi.org", "pypi.org.evil.test", "pypi.orgs", "pypi.org.", "PYPI.org", "pypi..org", ".pypi.org", "pypi.org..",
    "www.pypi.org\0.evil.test", "www.pypi.org\r\n", "www.pypi%2eorg", "www\\.pypi.org", "www\\046pypi.org", "www.pypi.org:443", "evil.test/.pypi.org", "..pypi.org",
    "a" * 64 + ".pypi.org", ".".join(["a" * 63] * 4) + ".pypi.org", "www.pypi\N{IDEOGRAPHIC FULL STOP}org", "www.\N{CYRILLIC SMALL LETTER ER}ypi.org",
    "www.xn--ypi-lzc.org", "pypi.org@evil.test", "*.pypi.org", "-.evil.test", "",
)  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_c42_suffix_tricks(name: str) -> None:
    """Nothing but names below pypi.org is below it, whoever says so: the question, the address's names, the first bytes."""
    policy = CLOSED.allow_domain("*.pypi.org")
    for asked in (
        query(name),
        flow(PUBLIC, 22, name),
        flow(PUBLIC, 443, name),
        flow(PUBLIC, 443, name, "x.test", claimed=name),
        answer(PUBLIC, name),
    ):
        assert policy.decide(asked).action == DENY


def test_c42_case_and_the_final_dot_do_not_matter() -> None:
    policy = CLOSED.allow_domain("*.PyPI.org.")
    denying = NetworkPolicy.allow_all().deny_domain("*.PyPI.org.")
    for name in ("www.pypi.org", "WWW.PYPI.ORG", "www.pypi.org.", "A.b.pypi.ORG."):
        for asked in (
            query(name),
            flow(PUBLIC, 22, name),
            flow(PUBLIC, 443, name, claimed=name),
            answer(PUBLIC, name),
        ):
            assert policy.decide(asked).action == ALLOW
            assert denying.decide(asked).action == DENY


def test_c42_look_alikes() -> None:
    genuine, alike = "paypal.com", "p\N{CYRILLIC SMALL LETTER A}yp\N{CYRILLIC SMALL LETTER A}l.com"
    wire = idna.encode(alike).decode()
    assert CLOSED.allow_domain(genuine).decide(query(wire)).action == DENY
    assert CLOSED.allow_domain(alike).decide(query(wire)).action == ALLOW
    assert CLOSED.allow_domain(alike).decide(query(genuine)).action == DENY
    assert (
        CLOSED.allow_domain("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example")
        .decide(query("xn--bcher-kva.example"))
        .allowed
    )


@pytest.mark.parametrize(
    "mapped",
    [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "::1",
        "64:ff9b::7f00:1",
        "0x7f000001",
        "127.1",
        "017700000001",
        "2130706433",
    ],
)
def test_c43_no_other_form_of_an_address_is_one(mapped: str) -> None:
    for make in (Address, Network, CLOSED.allow_domain):
        with pytest.raises(PolicyError):
            make(mapped)


def test_c43_nothing_special_is_public() -> None:
    policy = CLOSED.allow_group("public")
    internet = NetworkPolicy.preset("internet")
    assert policy.decide(flow(PUBLIC)).action == internet.decide(flow(PUBLIC)).action == ALLOW
    for address in (
        "0.0.0.0",
        "0.0.0.1",
        "0.255.255.255",
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "192.0.0.192",
        "198.18.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ):
        assert policy.decide(flow(address)).action == DENY
        assert internet.decide(flow(address)).action == DENY
    # ::ffff:127.0.0.1 as a number: no IPv4 address at all
    for policy in (NetworkPolicy.allow_all(), CLOSED.allow_ip_range("0.0.0.0/0")):
        assert policy.decide(flow(PUBLIC)._replace(destination=0xFFFF7F000001, opened=True)).action == DENY


def test_c34_the_same_question_has_the_same_answer_for_ever() -> None:
    """A policy has no clock and no memory: nothing that was asked before matters."""
    policy = CLOSED.allow_domain("a.test")
    asked = flow(PUBLIC, 22, "a.test")
    before = policy.decide(asked)
    for other in (
        flow(PUBLIC),
        query("b.test"),
        answer(PUBLIC, "b.test"),
        flow(PUBLIC, 443, "b.test", claimed="a.test"),
    ):
        policy.decide(other)
    assert policy.decide(asked) == before
    assert policy.decide(flow(PUBLIC)).action == DENY
