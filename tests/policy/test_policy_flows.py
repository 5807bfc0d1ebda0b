"""Flows: names that share an address, names that are read first, what hides them, and floors."""

from __future__ import annotations

import pytest

from tests.policy.kit import PUBLIC, answer, flow, ping
from usernat.policy import NetworkPolicy
from usernat.policy.decision import ALLOW, ASK, DENY, READ, UNREADABLE, FlowRequest
from usernat.policy.groups import GUARDED
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


# ---- ports where no name is read


def test_c32_names_that_share_an_address_neither_grant_nor_revoke() -> None:
    allowing = CLOSED.allow_domain(A)
    for names in ((A,), (A, B), (B, A)):
        assert allowing.decide(flow(PUBLIC, 22, *names)).action == ALLOW
    assert allowing.decide(flow(PUBLIC, 22, B)).action == DENY
    assert allowing.decide(flow(PUBLIC, 22)).action == DENY
    denying = OPEN.deny_domain(A)
    assert denying.decide(flow(PUBLIC, 22, A)).action == DENY
    for others in ((), (B,), (A, B), (B, A)):
        assert denying.decide(flow(PUBLIC, 22, *others)).action == ALLOW


def test_the_rule_of_the_name_that_decides_is_told() -> None:
    policy = CLOSED.deny_domain(A).allow_domain(B)
    assert policy.decide(flow(PUBLIC, 22, A, B)).reason == "rule 2: allow b.test"
    assert policy.decide(flow(PUBLIC, 22, A, "c.test")).reason == "rule 1: deny a.test"
    assert policy.decide(flow(PUBLIC, 22, "c.test", A)).reason == "default: deny"


def test_what_one_name_logs_is_not_said_of_another() -> None:
    policy = CLOSED.log_domain(A).allow_domain(B)
    assert policy.decide(flow(PUBLIC, 22, A, B)).logged == ()
    assert policy.decide(flow(PUBLIC, 22, A)).logged == ("rule 1: log a.test",)


def test_asking_is_better_than_denying_and_worse_than_allowing() -> None:
    policy = CLOSED.ask_domain(A).allow_domain(B)
    assert policy.decide(flow(PUBLIC, 22, A, "c.test")).action == ASK
    assert policy.decide(flow(PUBLIC, 22, A, B)).action == ALLOW
    assert policy.decide(flow(PUBLIC, 22, A)).reason == "rule 1: ask a.test"


def test_logs_are_collected_up_to_the_rule_that_decides() -> None:
    policy = CLOSED.rule("log", Port(22)).rule("log", Any()).allow_port(22).rule("log", Any())
    verdict = policy.decide(flow(PUBLIC))
    assert (verdict.action, verdict.logged) == (ALLOW, ("rule 1: log port 22", "rule 2: log anything"))
    assert policy.decide(flow(PUBLIC, 23)).logged == ("rule 2: log anything", "rule 4: log anything")


def test_ping_has_names_and_no_ports() -> None:
    assert CLOSED.allow_domain(A).decide(ping(PUBLIC, A)).action == ALLOW
    assert CLOSED.allow_domain(A, port=22).decide(ping(PUBLIC, A)).action == DENY
    assert CLOSED.rule("allow", Protocol("icmp")).decide(ping(PUBLIC)).action == ALLOW
    assert OPEN.deny_port_range(1, 65535).decide(ping(PUBLIC)).action == ALLOW


def test_allow_dns_is_the_gateways_resolver_and_no_other() -> None:
    for protocol in ("tcp", "udp"):
        assert CLOSED.allow_dns().decide(flow("8.8.8.8", 53, protocol=protocol)).action == DENY


# ---- names that are read first


@pytest.mark.parametrize("port", [80, 443])
def test_a_name_is_read_where_it_decides(port: int) -> None:
    policy = CLOSED.allow_domain(A)
    unread = flow(PUBLIC, port, A)
    assert policy.decide(unread).action == READ
    assert policy.decide(unread._replace(claimed=A)).reason == "rule 1: allow a.test"
    assert policy.decide(unread._replace(claimed=B)).action == DENY
    assert policy.decide(unread._replace(claimed=UNREADABLE)).action == DENY
    assert policy.decide(unread._replace(protocol=17)).action == (DENY if port == 443 else ALLOW)


def test_nothing_is_read_where_it_decides_nothing() -> None:
    assert CLOSED.allow_domain(A).decide(flow(PUBLIC, 443)).action == DENY
    assert CLOSED.allow_domain(A).decide(flow(PUBLIC, 443, B)).action == DENY
    assert CLOSED.allow_ip(PUBLIC).allow_domain(A).decide(flow(PUBLIC, 443, A)).action == ALLOW
    assert CLOSED.allow_domain(A).allow_ip(PUBLIC).decide(flow(PUBLIC, 443, A)).action == ALLOW
    assert CLOSED.deny_domain(A).allow_domain(A).decide(flow(PUBLIC, 443)).action == DENY
    assert OPEN.deny_domain(A).deny_ip(PUBLIC).decide(flow(PUBLIC, 443, A)).action == DENY
    assert OPEN.allow_domain(A).decide(flow(PUBLIC, 443, A)).action == ALLOW
    assert CLOSED.allow_domain(A, port=80).decide(flow(PUBLIC, 443, A)).action == DENY


def test_what_asks_and_what_allows_are_not_the_same() -> None:
    policy = CLOSED.ask_domain(A).allow_ip(PUBLIC)
    assert policy.decide(flow(PUBLIC, 443, A)).action == READ
    assert policy.decide(flow(PUBLIC, 443, A, claimed=A)).action == ASK
    assert policy.decide(flow(PUBLIC, 443, A, claimed=B)).action == ALLOW


def test_reading_may_spare_the_asking() -> None:
    policy = CLOSED.ask_domain(A, inspect=False).allow_domain(B)
    assert policy.decide(flow(PUBLIC, 443, A, B)).action == READ
    assert policy.decide(flow(PUBLIC, 443, A, B, claimed=B)).action == ALLOW
    assert policy.decide(flow(PUBLIC, 443, A, B, claimed=A)).action == ASK


def test_what_no_name_of_the_address_could_open_is_not_read() -> None:
    policy = CLOSED.allow_domain(A)
    for asked in (flow(PUBLIC, 443), flow(PUBLIC, 443, B)):
        assert policy.explain(asked).verdict == policy.decide(asked)
        assert [step.outcome for step in policy.explain(asked).trail] == ["does not match"]


def test_curl_resolve_gets_nowhere() -> None:
    """The claimed name must be one under which the guest found this address."""
    policy = CLOSED.allow_domain(A).allow_domain(B)
    assert policy.decide(flow(PUBLIC, 443, B, claimed=A)).action == DENY
    assert policy.decide(flow(PUBLIC, 443, claimed=A)).action == DENY
    assert policy.decide(flow(PUBLIC, 443, A, B, claimed=A)).action == ALLOW


def test_c33_a_denied_name_is_denied_wherever_it_is_claimed() -> None:
    policy = OPEN.deny_domain("*.evil.test")
    bare = flow(PUBLIC, 443)
    assert policy.decide(bare).action == READ
    assert policy.decide(bare._replace(claimed="www.evil.test")).reason == "rule 1: deny *.evil.test"
    assert policy.decide(bare._replace(claimed="WWW.evil.test.")).action == DENY
    assert policy.decide(bare._replace(claimed="good.test")).action == ALLOW
    # what hides its name may be it
    for hidden in (UNREADABLE, "?", "www.evil.test\0", "evil..test", "wwẃ.evil.test", "a" * 300):
        assert policy.decide(bare._replace(claimed=hidden)).action == DENY
    assert policy.decide(flow(PUBLIC, 443, protocol="udp")).action == DENY  # QUIC hides it
    # what cannot be seen: an address by itself, where no name is spoken
    assert policy.decide(flow(PUBLIC, 22)).action == ALLOW


def test_quic_needs_a_rule_that_does_not_inspect() -> None:
    quic = flow(PUBLIC, 443, A, protocol="udp")
    assert CLOSED.allow_domain(A).decide(quic).action == DENY
    assert CLOSED.allow_domain(A).decide(quic._replace(claimed=A)).action == DENY
    assert CLOSED.allow_domain(A, inspect=False).decide(quic).action == ALLOW
    assert CLOSED.allow_https().decide(quic).action == DENY


def test_rules_that_do_not_inspect_go_by_the_address_alone() -> None:
    policy = CLOSED.allow_domain(A, inspect=False)
    for claimed in (None, B, UNREADABLE):
        assert policy.decide(flow(PUBLIC, 443, B, A, claimed=claimed)).action == ALLOW
        assert policy.decide(flow(PUBLIC, 443, B, claimed=claimed)).action == DENY
    denying = OPEN.deny_domain(A, inspect=False)
    assert denying.decide(flow(PUBLIC, 443, A)).action == DENY
    assert denying.decide(flow(PUBLIC, 443, A, B)).action == ALLOW
    assert denying.decide(flow(PUBLIC, 443, claimed=A)).action == ALLOW


def test_both_kinds_of_rules_in_one_policy() -> None:
    policy = CLOSED.deny_domain(A, inspect=False).allow_domain(B)
    assert policy.decide(flow(PUBLIC, 443, A)).action == DENY
    assert policy.decide(flow(PUBLIC, 443, A, B)).action == READ
    assert policy.decide(flow(PUBLIC, 443, A, B, claimed=B)).action == ALLOW
    assert policy.decide(flow(PUBLIC, 443, A, B, claimed=A)).action == DENY


def test_logs_of_names_before_and_after_reading() -> None:
    policy = OPEN.log_domain(A)
    assert policy.decide(flow(PUBLIC, 443, A)).logged == (
        "rule 1: log a.test",
    )  # nothing is read for its sake
    assert policy.decide(flow(PUBLIC, 443, A, claimed=B)).logged == ()
    assert policy.decide(flow(PUBLIC, 443, B, claimed=A)).logged == ("rule 1: log a.test",)
    assert policy.decide(flow(PUBLIC, 443, A, claimed=UNREADABLE)).logged == ("rule 1: log a.test",)
    assert CLOSED.log_domain(A).allow_domain(A).decide(flow(PUBLIC, 443, A)).logged == ()


# ---- floors


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.255.255.254", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
)
def test_c28_what_is_reached_only_by_its_name(address: str) -> None:
    for broad in (
        OPEN,
        CLOSED.rule("allow", Any()),
        CLOSED.rule("ask", Any()),
        CLOSED.allow_port(22),
        CLOSED.allow_https().allow_port_range(1, 65535),
        CLOSED.allow_ip_range("0.0.0.0/0"),
        CLOSED.allow_ip_range("0.0.0.0/1").allow_ip_range("128.0.0.0/1"),
        CLOSED.define_group("all", "0.0.0.0/0").allow_group("all"),
        CLOSED.allow_domain(A),
        CLOSED.allow_domain(A, inspect=False),
        CLOSED.rule("allow", Protocol("tcp")),
        NetworkPolicy.preset("internet"),
    ):
        verdict = broad.decide(flow(address, 22, A))
        assert verdict.action == DENY
    for named in (
        CLOSED.allow_ip(address),
        CLOSED.allow_ip_range(f"{address}/32"),
        CLOSED.define_group("it", f"{address}/32").allow_group("it"),
        CLOSED.rule("allow", AllOf([Address(address), Port(22)])),
        CLOSED.rule("allow", AnyOf([Group(name) for name in GUARDED])),
    ):
        assert named.decide(flow(address)).action == ALLOW
    assert OPEN.decide(flow(address, opened=True)).action == ALLOW


PLACE = AllOf([Network("10.0.0.0/8"), Port(22)])


@pytest.mark.parametrize(
    ("matcher", "asked"),
    [
        (AnyOf([Domain(A), PLACE]), flow("10.1.2.3", 8080, A)),
        (AnyOf([Domain(A), PLACE]), flow("10.1.2.3", 443, A, claimed=A)),
        (AnyOf([Domain(A, inspect=False), PLACE]), flow("10.1.2.3", 443, A)),
        (AnyOf([Domain(A), PLACE]), answer("192.168.1.1", A)),
        (AllOf([AnyOf([Domain(A), PLACE]), Protocol("tcp")]), flow("10.1.2.3", 8080, A)),
        (AnyOf([AllOf([Address("127.0.0.1"), Port(5432)]), Port(443)]), flow("127.0.0.1", 443)),
        (AnyOf([AllOf([Group("loopback"), Port(5432)]), Protocol("tcp")]), flow("127.0.0.1", 22)),
        (AnyOf([AllOf([Address("127.0.0.1"), Port(5432)]), Any()]), flow("127.0.0.1", 22)),
        (AnyOf([AllOf([Group("host"), Port(22)]), Domain(A)]), flow(PUBLIC, 80, A, claimed=A, host=True)),
    ],
)
def test_what_one_alternative_names_the_others_do_not(matcher: Matcher, asked: FlowRequest) -> None:
    for action in ("allow", "ask"):
        assert CLOSED.rule(action, matcher).decide(asked).action == DENY


def test_the_alternative_that_names_the_place_opens_it() -> None:
    for matcher in (
        AnyOf([Domain(A), PLACE]),
        AllOf([AnyOf([Domain(A), Port(22)]), AnyOf([Network("10.0.0.0/8"), Port(80)])]),
    ):
        assert CLOSED.rule("allow", matcher).decide(flow("10.1.2.3", 22)).action == ALLOW
    policy = CLOSED.rule("allow", AnyOf([Port(443), AllOf([Domain(A), Address("127.0.0.1")])]))
    asked = flow("127.0.0.1", 443, A)
    assert policy.decide(asked).action == READ
    assert policy.decide(asked._replace(claimed=A)).action == ALLOW
    assert policy.decide(asked._replace(claimed="b.test")).action == DENY


def test_a_network_names_what_it_has_only_of_one_kind() -> None:
    local = flow("127.0.0.1")
    assert CLOSED.allow_ip_range("127.0.0.0/8").decide(local).action == ALLOW
    assert CLOSED.allow_ip_range("127.0.0.0/30").decide(local).action == ALLOW
    assert CLOSED.allow_ip_range("126.0.0.0/7").decide(local).action == DENY
    loopbacks = CLOSED.define_group("loopbacks", "10.0.0.0/8", "127.0.0.0/24").allow_group("loopbacks")
    assert loopbacks.decide(local).action == ALLOW
    assert loopbacks.decide(flow("127.0.1.1")).action == DENY
    assert (
        CLOSED.define_group("wide", "126.0.0.0/8", "127.0.0.0/8").allow_group("wide").decide(local).action
        == ALLOW
    )
    assert CLOSED.define_group("wide", "126.0.0.0/7").allow_group("wide").decide(local).action == DENY


def test_the_audit_says_what_barred_it() -> None:
    words = "loopback is reached only where a rule or switch names it"
    assert OPEN.decide(flow("127.0.0.1")).reason == words
    assert CLOSED.allow_port(22).decide(flow("127.0.0.1")).reason == words
    assert CLOSED.decide(flow("127.0.0.1")).reason == "default: deny"
    assert CLOSED.allow_domain(A).decide(flow("192.168.1.1", 22, A)).reason == (
        "rule 1: allow a.test: a name opens no address of this side that the rule does not name too"
    )


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.5", "172.31.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"],
)
def test_c29_a_name_alone_opens_nothing_inside(address: str) -> None:
    for policy in (
        CLOSED.allow_domain(A),
        CLOSED.allow_domain(A, inspect=False),
        CLOSED.ask_domain(A),
        CLOSED.rule("allow", AnyOf([Domain(A), Port(22)])),
        CLOSED.rule("allow", AllOf([Domain(A), Network("0.0.0.0/0")])),
        CLOSED.rule("allow", AllOf([Domain(A), Network("0.0.0.0/1")])),
    ):
        for asked in (flow(address, 22, A), flow(address, 443, A), flow(address, 443, A, claimed=A)):
            assert policy.decide(asked).action == DENY


def test_c29_a_rule_that_names_the_network_too_opens_it() -> None:
    policy = CLOSED.rule("allow", AllOf([Domain("git.corp.test"), Network("10.0.0.0/8")]))
    assert policy.decide(flow("10.1.2.3", 22, "git.corp.test")).action == ALLOW
    assert policy.decide(flow("10.1.2.3", 22)).action == DENY
    assert policy.decide(flow("192.168.1.1", 22, "git.corp.test")).action == DENY
    assert policy.decide(flow(PUBLIC, 22, "git.corp.test")).action == DENY


def test_c28_the_hosts_own_addresses() -> None:
    own = flow(PUBLIC, 22, A, host=True)
    assert OPEN.decide(own).action == ALLOW
    assert NetworkPolicy.preset("internet").decide(own).action == DENY
    assert CLOSED.allow_domain(A).decide(own).action == DENY
    assert CLOSED.allow_group("public").decide(own).action == DENY
    assert CLOSED.rule("allow", AllOf([Domain(A), Network("45.0.0.0/8")])).decide(own).action == DENY
    assert CLOSED.rule("allow", AllOf([Domain(A), Address(PUBLIC)])).decide(own).action == ALLOW
    assert CLOSED.rule("allow", AllOf([Domain(A), Network(f"{PUBLIC}/32")])).decide(own).action == ALLOW
    assert CLOSED.rule("allow", AllOf([Domain(A), Group("host")])).decide(own).action == ALLOW
    assert CLOSED.allow_group("host").decide(own._replace(host=False)).action == DENY


def test_a_switch_opens_loopback_to_rules_and_not_to_names() -> None:
    assert CLOSED.allow_port(22).decide(flow("127.0.0.1", opened=True)).action == ALLOW
    assert CLOSED.allow_domain(A).decide(flow("127.0.0.1", 22, A, opened=True)).action == DENY


def test_a_rule_that_is_barred_leaves_it_to_the_next() -> None:
    policy = CLOSED.rule("allow", Any()).allow_ip("127.0.0.1")
    assert policy.decide(flow("127.0.0.1")).reason == "rule 2: allow 127.0.0.1"
    barred = OPEN.allow_domain(A)
    assert barred.decide(flow("10.0.0.1", 22, A)).reason == "default: allow"


def test_denials_need_no_names() -> None:
    assert OPEN.rule("deny", Any()).decide(flow("127.0.0.1", opened=True)).reason == "rule 1: deny anything"


# ---- what is no flow


def test_c39_what_cannot_be_a_flow_is_denied_by_every_policy() -> None:
    for asked, why in (
        (flow(PUBLIC)._replace(destination=-1), "no IPv4 address"),
        (flow(PUBLIC)._replace(destination=2**32), "no IPv4 address"),
        (flow(PUBLIC)._replace(destination=0xFFFF7F000001), "no IPv4 address"),
        (flow(PUBLIC, 0), "no such port"),
        (flow(PUBLIC, 65536, protocol="udp"), "no such port"),
        (flow(PUBLIC)._replace(protocol=41), "no flows of this protocol"),
    ):
        explanation = OPEN.denying("drop").explain(asked)
        assert (explanation.verdict.action, explanation.trail) == (DENY, ())
        assert explanation.verdict.silent
        assert why in explanation.verdict.reason


def test_an_explanation_says_what_each_rule_said() -> None:
    policy = CLOSED.allow_ip("10.0.0.1").log_domain(A).allow_port(443).deny_domain(B)
    explained = policy.explain(flow("127.0.0.1", 443, A))
    assert [step.outcome for step in explained.trail] == [
        "does not match",
        "matches",
        "loopback is reached only where a rule or switch names it",
        "depends on the name in the guest's first bytes",
    ]
    assert explained.verdict.action == DENY
    assert [step.number for step in policy.explain(flow("10.0.0.1")).trail] == [1]
    two = CLOSED.deny_domain(A).allow_domain(B).explain(flow(PUBLIC, 22, A, B))
    assert [step.outcome for step in two.trail] == ["does not match", "matches"]
