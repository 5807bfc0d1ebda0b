"""Queries and answers: which names may be asked for, and which addresses may be told."""

from __future__ import annotations

import pytest

from tests.policy.kit import PUBLIC, answer, flow, query
from usernat.policy import NetworkPolicy
from usernat.policy.decision import ALLOW, ASK, DENY, MALFORMED
from usernat.policy.matchers import (
    Address,
    AllOf,
    Any,
    AnyOf,
    Domain,
    Group,
    Matcher,
    Network,
    Port,
    Protocol,
)

CLOSED = NetworkPolicy.deny_all()
OPEN = NetworkPolicy.allow_all()
A, B = "a.test", "b.test"


@pytest.mark.parametrize(
    ("matcher", "resolved"),
    [
        (Any(), True),
        (Port(443), True),
        (Protocol("tcp"), True),
        (Protocol("udp"), True),
        (Protocol("icmp"), True),
        (Protocol("dns"), True),
        (AllOf([Port(443), Protocol("tcp")]), True),
        (Network("0.0.0.0/0"), True),
        (Group("public"), True),
        (AllOf([Group("public"), Port(443)]), True),
        (Address(PUBLIC), False),
        (Network("0.0.0.0/1"), False),
        (Group("private"), False),
        (AllOf([Address(PUBLIC), Port(443)]), False),
        (AnyOf([Address(PUBLIC), Network("10.0.0.0/8")]), False),
        (AnyOf([Address(PUBLIC), Port(443)]), True),
        (AnyOf(()), False),
        (Domain(A), True),
        (Domain(B), False),
        (Domain("*.test"), True),
        (AllOf([Domain(A), Port(443)]), True),
        (AllOf([Domain(B), Port(443)]), False),
        (AnyOf([Domain(A), Address(PUBLIC)]), True),
        (AnyOf([Domain(B), Address(PUBLIC)]), False),
        (AllOf([Domain(A), Network("10.0.0.0/8")]), True),  # the flow that it allows needs the name
        (AllOf([Domain(B), Network("10.0.0.0/8")]), False),
        (AllOf([AnyOf([Address(PUBLIC), Domain(B)]), Domain(A)]), True),
        (AllOf([AnyOf([Address(PUBLIC), Domain(A)]), Domain(B)]), False),
        (AllOf([AnyOf([Address(PUBLIC), Domain(A)]), Port(443)]), True),
        (AllOf([AnyOf([Address(PUBLIC), Domain(B)]), Port(443)]), False),
    ],
)
def test_what_lets_a_query_out(matcher: Matcher, resolved: bool) -> None:
    for action, yes in (("allow", ALLOW), ("ask", ASK)):
        assert CLOSED.rule(action, matcher).decide(query(A)).action == (yes if resolved else DENY)  # type: ignore[arg-type]  # one of the four
    assert bool(CLOSED.rule("log", matcher).decide(query(A)).logged) == resolved


@pytest.mark.parametrize(
    ("matcher", "refused"),
    [
        (Any(), True),
        (Protocol("dns"), True),
        (Domain(A), True),
        (Domain(A, inspect=False), True),
        (Domain("*.test"), True),
        (AnyOf([Port(25), Domain(A)]), True),
        (AllOf([Domain(A), Protocol("dns")]), True),
        (AllOf([Domain(A), Any()]), True),
        (Domain(B), False),
        (Port(443), False),
        (Protocol("tcp"), False),
        (Protocol("udp"), False),
        (Address(PUBLIC), False),
        (Network("0.0.0.0/0"), False),
        (Group("public"), False),
        (Group("private"), False),
        (AllOf([Domain(A), Port(25)]), False),
        (AllOf([Domain(A), Address(PUBLIC)]), False),
        (AnyOf(()), False),
    ],
)
def test_what_refuses_a_query(matcher: Matcher, refused: bool) -> None:
    assert OPEN.rule("deny", matcher).decide(query(A)).action == (DENY if refused else ALLOW)


def test_c35_deny_all_resolves_nothing() -> None:
    for name in (A, "c2VjcmV0.evil.test", "localhost", "_dmarc.evil.test"):
        assert CLOSED.decide(query(name)).reason == "default: deny"
    for protocol in ("tcp", "udp"):
        assert CLOSED.decide(flow("8.8.8.8", 53, protocol=protocol)).action == DENY
    listed = CLOSED.allow_domain(A)
    assert listed.decide(query("c2VjcmV0.evil.test")).action == DENY
    assert listed.decide(query(f"c2VjcmV0.{A}")).action == DENY
    assert CLOSED.allow_ip(PUBLIC).decide(query(A)).action == DENY


def test_allow_dns_lets_every_name_out() -> None:
    assert CLOSED.allow_dns().decide(query("anything.test")).reason == "rule 1: allow dns"
    assert CLOSED.allow_dns().decide(query(MALFORMED)).action == ALLOW  # as it would any name


def test_c42_malformed_names_are_refused_where_names_matter() -> None:
    for name in (MALFORMED, "a.test\0", "a%2etest", "a.test\r\n", "a..test", "A.test\\", "x" * 64 + ".test"):
        assert CLOSED.allow_dns().allow_domain(A).decide(query(name)).action == DENY
        assert OPEN.deny_domain(A).decide(query(name)).reason == "a malformed name, where rules go by names"
        assert OPEN.deny_domain(A).decide(answer(PUBLIC, "b.test", name)).action == DENY
        assert OPEN.decide(query(name)).action == ALLOW
    assert OPEN.deny_domain(A).decide(query("A.TEST.")).action == DENY
    assert OPEN.decide(query()).reason == "a question without a name"


# ---- answers


def test_c31_a_chain_of_an_allowed_name_is_allowed() -> None:
    policy = CLOSED.allow_domain("www.c.test")
    assert policy.decide(query("www.c.test")).action == ALLOW
    assert policy.decide(query("www.c.test", "cdn.example")).action == ALLOW
    assert policy.decide(answer(PUBLIC, "www.c.test", "cdn.example")).action == ALLOW
    assert policy.decide(answer(PUBLIC, "cdn.example", "www.c.test")).action == DENY


def test_a_name_does_not_hide_behind_a_chain() -> None:
    policy = OPEN.deny_domain("*.tracker.test")
    assert policy.decide(answer(PUBLIC, A)).action == ALLOW
    for asked in (
        answer(PUBLIC, A, "x.tracker.test"),
        answer("10.0.0.1", A, "x.tracker.test"),
        query(A, B, "x.tracker.test"),
    ):
        assert policy.decide(asked).reason == "rule 1: deny *.tracker.test"
    first = CLOSED.allow_domain(A).deny_domain("*.tracker.test")
    assert first.decide(answer(PUBLIC, A, "x.tracker.test")).action == ALLOW  # order counts


def test_asked_about_once() -> None:
    policy = CLOSED.ask_domain(A)
    assert policy.decide(query(A)).action == ASK
    assert policy.decide(answer(PUBLIC, A)).action == ALLOW
    policy = CLOSED.rule("ask", AllOf([Domain(A), Network("10.0.0.0/8")]))
    assert policy.decide(query(A)).action == ASK
    assert policy.decide(answer("10.0.0.1", A)).action == ALLOW


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.1", "100.64.0.1"],
)
def test_c29_addresses_of_this_side_are_not_told(address: str) -> None:
    for policy in (
        CLOSED.allow_domain(A),
        CLOSED.allow_dns(),
        CLOSED.allow_dns().allow_domain(A, port=443),
        NetworkPolicy.preset("internet"),
    ):
        assert policy.decide(query(A)).action == ALLOW
        assert policy.decide(answer(PUBLIC, A)).action == ALLOW
        assert policy.decide(answer(address, A)).action == DENY
    assert CLOSED.allow_domain(A).allow_ip(address).decide(answer(address, A)).action == ALLOW
    named = CLOSED.rule("allow", AllOf([Domain(A), Address(address), Port(443), Protocol("tcp")]))
    assert named.decide(answer(address, A)).action == ALLOW
    assert named.decide(answer(address, B)).action == DENY


def test_c29_what_flows_could_reach_may_be_told() -> None:
    assert OPEN.decide(answer("192.168.1.1", A)).action == ALLOW
    assert (
        OPEN.decide(answer("127.0.0.1", A)).reason
        == "loopback is reached only where a rule or switch names it"
    )
    assert OPEN.decide(answer("127.0.0.1", A, opened=True)).action == ALLOW
    assert OPEN.decide(answer("224.0.0.1", A)).action == DENY
    assert OPEN.deny_port(22).decide(answer("192.168.1.1", A)).action == ALLOW
    assert OPEN.rule("deny", Protocol("tcp")).decide(answer("192.168.1.1", A)).action == ALLOW
    assert OPEN.rule("deny", Protocol("dns")).decide(answer("192.168.1.1", A)).action == DENY
    assert OPEN.deny_ip_range("192.168.0.0/16").decide(answer("192.168.1.1", A)).action == DENY
    assert OPEN.deny_ip_range("192.168.0.0/16", port=22).decide(answer("192.168.1.1", A)).action == ALLOW


def test_c28_addresses_of_the_host_are_inside_too() -> None:
    assert CLOSED.allow_domain(A).decide(answer(PUBLIC, A, host=True)).action == DENY
    assert NetworkPolicy.preset("internet").decide(answer(PUBLIC, A, host=True)).action == DENY
    assert CLOSED.allow_domain(A).allow_group("host").decide(answer(PUBLIC, A, host=True)).action == ALLOW


def test_an_explanation_of_a_query() -> None:
    policy = CLOSED.allow_ip(PUBLIC).allow_domain(A)
    assert [step.outcome for step in policy.explain(query(A)).trail] == ["needs no name", "matches"]


def test_a_rule_that_only_some_names_match_hides_none_behind_it() -> None:
    policy = CLOSED.rule("allow", AllOf([AnyOf([Address(PUBLIC), Domain(B)]), Port(443)])).allow_domain(A)
    assert policy.decide(query(A)).reason == "rule 2: allow a.test"
    assert policy.decide(query("c.test")).action == DENY
