"""What holds for every policy and every request."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.policy.strategies import (
    NAMES,
    claims,
    flows,
    matchers,
    near,
    policies,
    requests,
    rules,
    wild_requests,
)
from usernat.policy import FlowRequest, NetworkPolicy, Verdict
from usernat.policy.book import Book
from usernat.policy.decision import ALLOW, ASK, DENY, DNS, READ, TCP, UNREADABLE
from usernat.policy.evaluation import Scan, judge
from usernat.policy.groups import AddressGroups
from usernat.policy.index import Index
from usernat.policy.matchers import Address, AllOf, Any, AnyOf, Domain, Network, Port
from usernat.policy.rules import Rule

if TYPE_CHECKING:
    from usernat.policy.matchers import Matcher

HOW_MUCH = {DENY: 0, ASK: 1, ALLOW: 2}
EVERY_CLAIM = (UNREADABLE, *NAMES, "elsewhere.test")


@lru_cache(maxsize=1)
def book_of(policy: NetworkPolicy) -> Book:
    groups = AddressGroups(policy.groups)
    return Book.of(policy.rules, policy.default, groups, silent=policy.on_deny == "drop")


def by_scan(policy: NetworkPolicy, request: FlowRequest) -> Verdict:
    book = book_of(policy)
    return judge(request, book, Scan(book))


def ends(policy: NetworkPolicy, request: FlowRequest) -> list[Verdict]:
    """The verdicts that the request can come to, in the order of EVERY_CLAIM where bytes are read first."""
    verdict = policy.decide(request)
    if verdict.action != READ:
        return [verdict] * len(EVERY_CLAIM)
    return [policy.decide(request._replace(claimed=name)) for name in EVERY_CLAIM]


@given(policies, st.lists(requests, min_size=1, max_size=4))
@settings(max_examples=300)
def test_the_index_decides_as_the_scan_does(policy: NetworkPolicy, asked: list[FlowRequest]) -> None:
    for request in asked:
        for each in near(request):
            assert policy.decide(each) == by_scan(policy, each)


@given(requests)
def test_what_the_host_has_matters_only_where_the_policy_says_so(asked: FlowRequest) -> None:
    policy = NetworkPolicy.allow_all()
    assert not policy.heeds_host
    for each in near(asked):
        assert policy.decide(each._replace(host=True)) == policy.decide(each._replace(host=False))


@given(st.lists(rules, min_size=20, max_size=40), st.lists(requests, min_size=5, max_size=10))
@settings(max_examples=50)
def test_the_index_of_many_rules_decides_as_the_scan_does(many: list[Rule], asked: list[FlowRequest]) -> None:
    terms = NetworkPolicy(groups={"office": ["8.8.8.0/24"], "wide": ["0.0.0.0/0"], "nowhere": []})
    policy = terms
    for rule in many:
        # A rule for everything would hide those behind it
        policy = policy.rule(rule.action, AllOf([rule.matcher, Domain("*.org", inspect=False)]))
        policy = policy.rule(rule.action, AllOf([rule.matcher, Port(443), Domain("*.test")]))
    for request in asked:
        assert policy.decide(request) == by_scan(policy, request)


@given(policies, wild_requests)
@example(NetworkPolicy.allow_all().deny_domain("x.test"), FlowRequest(1, b"", TCP, 1 << 200, -5, 0, ("",)))
@settings(max_examples=300)
def test_it_never_raises_and_is_deterministic(policy: NetworkPolicy, request: FlowRequest) -> None:
    verdict = policy.decide(request)
    assert verdict == policy.decide(request) == by_scan(policy, request)
    again = NetworkPolicy(policy.rules, default=policy.default, on_deny=policy.on_deny, groups=policy.groups)
    assert again == policy
    assert hash(again) == hash(policy)
    assert again.decide(request) == verdict
    assert verdict.reason
    assert verdict.silent == (verdict.action == DENY and policy.on_deny == "drop")


@given(policies, requests)
def test_explanations_end_as_decisions_do(policy: NetworkPolicy, request: FlowRequest) -> None:
    explanation = policy.explain(request)
    assert explanation.verdict == policy.decide(request)
    numbers = [step.number for step in explanation.trail]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [step.rule for step in explanation.trail] == list(policy.rules[: len(numbers)])


@given(
    st.lists(rules.filter(lambda rule: rule.action in {"deny", "log"}), max_size=6), wild_requests | requests
)
def test_without_a_rule_that_allows_nothing_is_allowed(some: list[Rule], request: FlowRequest) -> None:
    groups = {"office": ["8.8.8.0/24"], "wide": ["0.0.0.0/0"], "nowhere": []}
    assert NetworkPolicy(some, groups=groups).decide(request).action == DENY


@given(policies, matchers, requests | wild_requests)
@settings(max_examples=200)
def test_a_deny_in_front_never_allows_more(policy: NetworkPolicy, matcher: Any, request: FlowRequest) -> None:
    """For every request, and where the first bytes decide, for every name that they may claim: at most what it was before."""
    stricter = policy.in_front("deny", matcher)
    for each in (request._replace(claimed=None), request):
        for before, after in zip(ends(policy, each), ends(stricter, each), strict=True):
            assert HOW_MUCH[after.action] <= HOW_MUCH[before.action]


@given(policies, matchers, flows)
def test_an_allow_in_front_never_allows_less(
    policy: NetworkPolicy, matcher: Any, request: FlowRequest
) -> None:
    wider = policy.in_front("allow", matcher)
    for before, after in zip(ends(policy, request), ends(wider, request), strict=True):
        assert HOW_MUCH[after.action] >= HOW_MUCH[before.action]


@given(policies, matchers, requests)
def test_a_log_rule_decides_nothing(policy: NetworkPolicy, matcher: Any, request: FlowRequest) -> None:
    # but a rule for names makes malformed names refused
    assume(not any("?" in name for name in request.names))
    logging = policy.in_front("log", matcher)
    for before, after in zip(ends(policy, request), ends(logging, request), strict=True):
        assert after.action == before.action


@given(policies, flows)
@settings(max_examples=200)
def test_what_is_decided_unread_is_decided_alike_whatever_would_be_read(
    policy: NetworkPolicy, request: FlowRequest
) -> None:
    for names in {request.names, (), NAMES[:1], NAMES[1:3]}:
        asked = request._replace(protocol=TCP, port=443, names=names)
        unread = policy.decide(asked._replace(claimed=None))
        found = {policy.decide(asked._replace(claimed=name)).action for name in EVERY_CLAIM}
        assert found == {unread.action} or unread.action == READ


@given(policies, flows, claims)
def test_only_tcp_to_two_ports_is_ever_read(
    policy: NetworkPolicy, request: FlowRequest, claimed: str | None
) -> None:
    verdict = policy.decide(request._replace(claimed=claimed))
    if verdict.action == READ:
        assert (request.protocol, claimed) == (TCP, None)
        assert request.port in {80, 443}


@given(policies, flows)
def test_floors_hold_in_any_policy(policy: NetworkPolicy, request: FlowRequest) -> None:
    """Nothing that is said of the internet, or of names, reaches loopback."""
    broad = [
        rule
        for rule in policy.rules
        if not Book.of((rule,), "deny", AddressGroups(policy.groups), silent=False)
        .entries[0]
        .names(0x7F000001, AddressGroups(policy.groups), host=False)
    ]
    request = request._replace(destination=0x7F000001, opened=False, host=False)
    assert NetworkPolicy(broad, default=policy.default, groups=policy.groups).decide(request).action == DENY


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 2**32 - 1))
def test_networks_of_every_length_are_found(address: int, length: int, near: int) -> None:
    first = address >> (32 - length) << (32 - length)
    network = Network(IPv4Network((first, length)))
    # one inside, and the nearest ones outside
    for place in {address, first - 1, first, network.last, network.last + 1, near}:
        if 0 <= place < 2**32:
            policy = NetworkPolicy.deny_all().rule("allow", AllOf([network, Port(9)]))
            request = FlowRequest(1, b"", TCP, place, 9, 1, opened=True)
            assert policy.decide(request) == by_scan(policy, request)
            assert policy.decide(request).allowed == (first <= place <= network.last)


@given(st.integers(1, 65535), st.integers(1, 65535), st.integers(1, 65535))
def test_port_ranges_are_found(one: int, two: int, port: int) -> None:
    first, last = sorted((one, two))
    policy = NetworkPolicy.deny_all().allow_port_range(first, last)
    for each in {port, first, last, max(first - 1, 1), min(last + 1, 65535)}:
        request = FlowRequest(1, b"", TCP, 0x08080808, each, 1)
        assert policy.decide(request).allowed == (first <= each <= last)


def test_the_index_is_asked_in_all_four_ways() -> None:
    """A guard of the tests above: that they compare what they mean to compare."""
    policy = NetworkPolicy.deny_all().allow_domain("x.test", port=443).allow_ip("10.0.0.1")
    book = Book.of(policy.rules, "deny", AddressGroups(), silent=False)
    index = Index(book)
    assert [entry.number for entry in index.named(0x0A000001, 22, ())] == [2]
    assert [entry.number for entry in index.named(1, 22, ("x.test",))] == [1]
    assert [entry.number for entry in index.blind(1, 22, ())] == []
    assert [entry.number for entry in index.query(("x.test",))] == [1]
    assert [entry.number for entry in index.query(("y.test",))] == []
    assert [entry.number for entry in index.answer(0x0A000001, ("y.test",))] == [2]


def test_a_thousand_denied_names_are_one_rule_where_names_are_not_read() -> None:
    policy = NetworkPolicy.allow_all()
    for number in range(1000):
        policy = policy.deny_domain(f"n{number}.test").deny_domain(f"n{number}.test", port=443)
    book = Book.of(policy.rules, "allow", AddressGroups(), silent=False)
    assert [entry.number for entry in Index(book).blind(1, 443, ("n7.test",))] == [1, 2]
    assert policy.decide(FlowRequest(1, b"", TCP, 0x08080808, 443, 1)).action == READ


def test_what_matches_every_query_ends_the_table() -> None:
    policy = NetworkPolicy.allow_all().rule("log", AnyOf([Any(), Address("10.0.0.1")])).allow_port(80)
    for number in range(100):
        policy = policy.deny_domain(f"n{number}.test")
    book = Book.of(policy.rules, "allow", AddressGroups(), silent=False)
    assert [entry.number for entry in Index(book).query(("n7.test",))] == [1, 2]
    verdict = policy.decide(FlowRequest(1, b"", DNS, 0, 53, 1, ("n7.test",)))
    assert (verdict.action, verdict.logged) == (ALLOW, ("rule 1: log any of (anything; 10.0.0.1)",))


def test_only_rules_that_differ_in_nothing_but_a_name_are_one() -> None:
    """What else they say keeps them apart: a name that is not inspected, and what holds for every name."""

    def blind(*denied: Matcher) -> list[int]:
        policy = NetworkPolicy([Rule("deny", matcher) for matcher in denied], default="allow")
        request = FlowRequest(1, b"", TCP, 0x08080808, 443, 1, ("b.test",))
        assert policy.decide(request) == by_scan(policy, request)
        return [entry.number for entry in Index(book_of(policy)).blind(0x08080808, 443, ("b.test",))]

    looks, trusts = Domain("x.test"), Domain("b.test", inspect=False)
    assert blind(AllOf([looks, Domain("a.test", inspect=False)]), AllOf([looks, trusts])) == [2]
    assert blind(looks, AnyOf([Any(), looks])) == [1, 2]
    assert blind(looks, AllOf([Any(), looks]), AnyOf([looks, trusts])) == [1, 2, 3]
    assert blind(looks, AnyOf([looks, looks]), Domain("*.y.test")) == [1]
