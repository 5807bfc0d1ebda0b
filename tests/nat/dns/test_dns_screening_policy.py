"""Screening by policies as people write them."""

from __future__ import annotations

import pytest

from tests.nat.dns.kit import only, query, rcode
from tests.nat.dns.screen_kit import Screened, a, texts
from usernat.nat.dns.message import NOERROR, NXDOMAIN
from usernat.policy import NetworkPolicy
from usernat.policy.matchers import Domain, Network, all_of

DENY = NetworkPolicy.deny_all()
ALLOW = NetworkPolicy.allow_all()


def passes(policy: NetworkPolicy, wire: bytes) -> bool:
    """Whether the query goes upstream; where not, the guest must have been told so."""
    world = Screened(policy)
    answers = world.ask(wire)
    assert len(answers) == (0 if world.host.opened else 1)
    assert all(rcode(answer.data) in (NXDOMAIN, NOERROR) for answer in answers)
    return bool(world.host.opened)


def told(policy: NetworkPolicy, name: str, *answer: str, own: tuple[str, ...] = ()) -> list[str]:
    return texts(only(Screened(policy, own=own).resolves(a(name), *answer)))


@pytest.mark.parametrize(
    ("policy", "resolves"),
    [
        (DENY, False),
        (NetworkPolicy.preset("offline"), False),
        (DENY.allow_ip("192.0.2.1"), False),
        (DENY.allow_domain("pypi.org"), False),
        (DENY.allow_dns(), True),
        (DENY.allow_https(), True),
        (DENY.deny_domain("pypi.org").allow_dns(), True),
        (ALLOW, True),
        (NetworkPolicy.preset("internet"), True),
        (ALLOW.deny_domain("*.test"), False),
    ],
)
def test_c35_which_policies_let_a_strange_name_resolve(policy: NetworkPolicy, resolves: bool) -> None:
    for qtype in ("A", "TXT"):
        assert passes(policy, query("c2VjcmV0.evil.test.", qtype)) is resolves


@pytest.mark.parametrize(
    ("pattern", "name", "resolves"),
    [
        ("github.com", "github.com", True),
        ("github.com", "GITHUB.com", True),
        ("github.com", "evilgithub.com", False),
        ("github.com", "github.com.evil", False),
        ("github.com", "www.github.com", False),
        ("*.github.com", "www.github.com", True),
        ("*.github.com", "a.b.github.com", True),
        ("*.github.com", "github.com", False),
        ("*.github.com", "wwwgithub.com", False),
        ("bücher.test", "xn--bcher-kva.test", True),
    ],
)
def test_c42_names_match_label_by_label(pattern: str, name: str, resolves: bool) -> None:
    assert passes(DENY.allow_domain(pattern, port=443), a(name)) is resolves


@pytest.mark.parametrize(
    ("policy", "address", "passes"),
    [
        (ALLOW, "127.0.0.1", False),
        (ALLOW, "169.254.169.254", False),
        (ALLOW, "0.0.0.0", False),
        (ALLOW, "10.1.2.3", True),
        (ALLOW, "192.0.2.1", True),
        (NetworkPolicy.preset("internet"), "10.1.2.3", False),
        (DENY.allow_dns(), "10.1.2.3", False),
        (DENY.allow_dns(), "192.0.2.1", True),
        (DENY.allow_domain("w.test"), "10.1.2.3", False),
        (DENY.allow_domain("w.test"), "127.0.0.1", False),
        (DENY.allow_domain("w.test"), "203.0.113.99", False),  # the host's
        (DENY.allow_domain("w.test"), "192.0.2.1", True),
        (DENY.rule("allow", all_of(Domain("w.test"), Network("10.0.0.0/8"))), "10.1.2.3", True),
        (DENY.rule("allow", all_of(Domain("w.test"), Network("10.0.0.0/8"))), "192.168.1.1", False),
    ],
)
def test_c29_which_policies_let_a_name_lead_inside(policy: NetworkPolicy, address: str, passes: bool) -> None:
    assert told(policy, "w.test", f"w.test 60 A {address}", own=("203.0.113.99",)) == [address] * passes


def test_c31_allowed_by_the_name_that_was_asked_for() -> None:
    chain = ["www.c.test 60 CNAME cdn.example", "cdn.example 60 A 192.0.2.1"]
    assert told(DENY.allow_domain("www.c.test"), "www.c.test", *chain) == ["cdn.example.", "192.0.2.1"]
    assert told(ALLOW.deny_domain("cdn.example"), "www.c.test", *chain) == []
    assert told(DENY.allow_domain("www.c.test").deny_domain("cdn.example"), "www.c.test", *chain) != []


def test_c33_types_that_hide_names_pass_only_where_no_rule_has_one() -> None:
    assert passes(ALLOW, query("w.test.", "HTTPS"))
    assert not passes(ALLOW.deny_domain("other.test"), query("w.test.", "HTTPS"))
    assert not passes(ALLOW.log_domain("other.test"), query("w.test.", "AXFR"))


def test_on_deny_drop_is_silence() -> None:
    world = Screened(DENY.denying("drop"))
    assert world.ask(a("w.test")) == []
    assert world.host.opened == []


def test_ask_domain_asks() -> None:
    world = Screened(DENY.ask_domain("w.test"))
    world.ask(a("w.test"))
    assert [request.names for request, _ in world.waiting] == [("w.test",)]
    world.waiting[0][1](True, 0)
    world.host.live[0].answers("192.0.2.9")
    assert texts(only(world.got)) == ["192.0.2.9"]


def test_rules_that_only_log_are_told_to_the_audit() -> None:
    world = Screened(ALLOW.log_domain("w.test"))
    world.ask(a("w.test"))
    assert len(world.audit[0][1].logged) == 1
