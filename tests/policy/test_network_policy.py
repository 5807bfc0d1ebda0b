"""The builder, presets and files: what is written is what is meant."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from tests.policy.kit import PUBLIC, flow, ping, query
from usernat.policy import UNLIMITED, GuestLimits, NetworkPolicy
from usernat.policy.decision import ALLOW, DENY
from usernat.policy.errors import PolicyError
from usernat.policy.groups import BUILT_IN
from usernat.policy.matchers import (
    Address,
    AllOf,
    Any,
    Domain,
    Group,
    Matcher,
    Network,
    Port,
    PortRange,
    Protocol,
)
from usernat.policy.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLOSED = NetworkPolicy.deny_all()
TCP_443 = (Port(443), Protocol("tcp"))


@pytest.mark.parametrize(
    ("built", "action", "matcher"),
    [
        (CLOSED.allow_ip("192.0.2.7"), "allow", Address("192.0.2.7")),
        (CLOSED.allow_ip("192.0.2.7", port=443, protocol="tcp"), "allow", AllOf([Address("192.0.2.7"), *TCP_443])),
        (CLOSED.deny_ip("192.0.2.7", port=443, protocol="tcp"), "deny", AllOf([Address("192.0.2.7"), *TCP_443])),
        (CLOSED.allow_ip_range("10.0.0.0/8", protocol="udp"), "allow", AllOf([Network("10.0.0.0/8"), Protocol("udp")])),
        (CLOSED.deny_ip_range("10.0.0.0/8", port=443, protocol="tcp"), "deny", AllOf([Network("10.0.0.0/8"), *TCP_443])),
        (CLOSED.allow_group("private", port=443, protocol="tcp"), "allow", AllOf([Group("private"), *TCP_443])),
        (CLOSED.deny_group("host", port=443, protocol="tcp"), "deny", AllOf([Group("host"), *TCP_443])),
        (CLOSED.allow_port(443), "allow", Port(443)),
        (CLOSED.deny_port(443, protocol="tcp"), "deny", AllOf(TCP_443)),
        (CLOSED.allow_port_range(1, 9), "allow", PortRange(1, 9)),
        (CLOSED.deny_port_range(1, 9, protocol="tcp"), "deny", AllOf([PortRange(1, 9), Protocol("tcp")])),
        (CLOSED.allow_dns(), "allow", Protocol("dns")),
        (CLOSED.allow_https(), "allow", AllOf(TCP_443)),
        (CLOSED.allow_domain("a.test", port=443, protocol="tcp", inspect=False), "allow", AllOf([Domain("a.test", inspect=False), *TCP_443])),
        (CLOSED.deny_domain("a.test", port=443, protocol="tcp", inspect=False), "deny", AllOf([Domain("a.test", inspect=False), *TCP_443])),
        (CLOSED.log_domain("a.test", port=443, protocol="tcp", inspect=False), "log", AllOf([Domain("a.test", inspect=False), *TCP_443])),
        (CLOSED.ask_domain("a.test", port=443, protocol="tcp", inspect=False), "ask", AllOf([Domain("a.test", inspect=False), *TCP_443])),
        (CLOSED.allow_domain("*.a.test"), "allow", Domain("*.a.test")),
        (CLOSED.rule("ask", Any()), "ask", Any()),
    ],
)  # fmt: skip
def test_each_word_is_one_rule(built: NetworkPolicy, action: str, matcher: Matcher) -> None:
    assert built.rules == (Rule(action, matcher),)  # type: ignore[arg-type]  # one of the four
    assert built == NetworkPolicy(built.rules)


def test_a_policy_never_changes() -> None:
    one = CLOSED.allow_https()
    two = one.deny_ip("192.0.2.7")
    assert (len(CLOSED.rules), len(one.rules), len(two.rules)) == (0, 1, 2)
    assert one.in_front("deny", Any()).rules == (Rule("deny", Any()), *one.rules)
    assert one.limit(flows=5).limits.flows == 5
    assert one.limits is UNLIMITED
    assert one.denying("drop").on_deny == "drop"
    assert one.on_deny == "reject"
    assert dict(one.define_group("office", "192.0.2.0/24").groups) != dict(one.groups) == {}


def test_equal_policies_are_equal_in_all_that_they_say() -> None:
    policy = CLOSED.define_group("office", "192.0.2.0/24").allow_group("office").limit(flows=5)
    same = CLOSED.limit(flows=5).define_group("office", "192.0.2.0/24").allow_group("office")
    assert policy == same
    assert hash(policy) == hash(same)
    others = [
        policy.allow_https(),
        policy.denying("drop"),
        policy.limit(flows=6),
        policy.define_group("office", "192.0.2.0/25"),
        NetworkPolicy(policy.rules, default="allow", groups=policy.groups, limits=policy.limits),
    ]
    assert len({policy, same, *others}) == 6
    assert policy != "policy"
    assert repr(policy) == "<NetworkPolicy: 1 rules, then deny>"


def test_the_first_rule_that_matches_wins() -> None:
    policy = CLOSED.allow_ip(PUBLIC).deny_ip(PUBLIC)
    assert policy.decide(flow(PUBLIC)).reason == f"rule 1: allow {PUBLIC}"
    other = CLOSED.deny_ip(PUBLIC).allow_ip(PUBLIC)
    assert other.decide(flow(PUBLIC)).action == DENY
    assert other.decide(flow("45.9.9.9")).reason == "default: deny"


def test_a_group_stays_what_it_was_for_policies_made_before() -> None:
    one = CLOSED.define_group("office", "45.1.0.0/16").allow_group("office")
    two = one.define_group("office", "46.0.0.0/8")
    assert one.decide(flow(PUBLIC)).allowed
    assert not two.decide(flow(PUBLIC)).allowed
    assert two.decide(flow("46.1.2.3")).allowed


def test_limits_and_their_mistakes() -> None:
    assert CLOSED.limit(flows=5).limit(total_bytes=9).limits == GuestLimits(flows=5, total_bytes=9)
    assert CLOSED.limit(flows=5).limit(flows=None).limits == UNLIMITED


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: CLOSED.limit(flows=0), "flows must be a whole number"),
        (lambda: CLOSED.limit(flow=1), "flow"),
        (lambda: CLOSED.denying("silently"), "reject, drop"),  # type: ignore[arg-type]  # as Python lets one
        (lambda: NetworkPolicy(default="ask"), "allow, deny"),  # type: ignore[arg-type]  # as Python lets one
        (lambda: CLOSED.allow_group("privat"), "no group 'privat': there are this-network"),
        (lambda: CLOSED.in_front("deny", AllOf([Any(), Group("privat")])), "no group 'privat'"),
        (lambda: NetworkPolicy([Rule("deny", Group("privat"))]), "no group 'privat'"),
        (lambda: CLOSED.define_group("private", "10.0.0.0/8"), "built in"),
        (lambda: CLOSED.define_group("office", "10.0.0.1/8"), "host bits"),
        (lambda: NetworkPolicy.preset("offlien"), "no preset 'offlien': there are open, internet, offline"),
        (lambda: CLOSED.allow_ip("pypi.org"), "no IPv4 address"),
        (lambda: CLOSED.allow_ip(PUBLIC, port=0), "port"),
        (lambda: CLOSED.allow_https().allow_port(1, protocol="sctp"), "no protocol"),
    ],
)
def test_mistakes(make: Callable[[], object], why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        make()


def test_an_error_is_one_line_with_its_place() -> None:
    error = PolicyError("no\nport", key="rules[2].port", where="policy.toml")
    assert str(error) == "policy.toml: rules[2].port: no port"
    assert (
        str(PolicyError("no port").at(where="policy.toml", key="rules[2]"))
        == "policy.toml: rules[2]: no port"
    )
    assert str(error.at()) == str(error)
    assert isinstance(error, ValueError)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "no.toml"
    with pytest.raises(PolicyError) as caught:
        NetworkPolicy.load(missing)
    assert str(caught.value) == f"{missing}: cannot be read: No such file or directory"
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\0")
    with pytest.raises(PolicyError, match=r"binary.toml: cannot be read: .*utf-8"):
        NetworkPolicy.load(str(binary))


def test_a_file_and_the_builder_agree(tmp_path: Path) -> None:
    policy = (
        CLOSED.log_domain("*.example.com").allow_domain("pypi.org", port=443).limit(flows=9).denying("drop")
    )
    path = tmp_path / "policy.toml"
    path.write_text(policy.to_toml(), encoding="utf-8")
    assert NetworkPolicy.load(path) == policy == NetworkPolicy.loads(policy.to_toml())


def test_whether_names_matter_to_it() -> None:
    assert not CLOSED.allow_dns().allow_https().reads_names
    for policy in (CLOSED.log_domain("a.test"), CLOSED.deny_domain("a.test", inspect=False)):
        assert policy.reads_names


def test_whether_the_hosts_own_addresses_matter_to_it() -> None:
    assert not NetworkPolicy.allow_all().heeds_host
    for policy in (CLOSED, CLOSED.allow_dns(), NetworkPolicy.allow_all().deny_ip("8.8.8.8")):
        assert policy.heeds_host


# ---- presets


def test_open_and_offline() -> None:
    assert NetworkPolicy.preset("open") == NetworkPolicy.allow_all()
    assert NetworkPolicy.preset("offline") == NetworkPolicy.deny_all()
    assert NetworkPolicy.allow_all().decide(flow("192.168.1.1")).allowed
    for asked in (flow(PUBLIC), ping(PUBLIC), query("x.test")):
        assert NetworkPolicy.preset("offline").decide(asked).action == DENY


def test_internet_is_public_addresses_only() -> None:
    internet = NetworkPolicy.preset("internet")
    for asked in (
        flow(PUBLIC),
        flow(PUBLIC, 443, "x.test"),
        ping(PUBLIC),
        flow(PUBLIC, 53, protocol="udp"),
        query("x.test"),
    ):
        assert internet.decide(asked).action == ALLOW
    for networks in BUILT_IN.values():
        for network in networks:
            for address in (Network(network).first, Network(network).last):
                verdict = internet.decide(flow("0.0.0.0", 443)._replace(destination=address))
                assert verdict.action == DENY
    assert internet.decide(flow(PUBLIC, host=True)).action == DENY
    # the one that a switch of the gateway can open
    assert internet.decide(flow("127.0.0.1", opened=True)).action == ALLOW
    assert (
        internet.decide(flow("127.0.0.1")).reason
        == "loopback is reached only where a rule or switch names it"
    )


def test_rules_in_front_of_a_preset_count_first() -> None:
    policy = NetworkPolicy.preset("internet").in_front("allow", Address("192.168.1.5"))
    assert policy.decide(flow("192.168.1.5")).allowed
    assert not policy.decide(flow("192.168.1.6")).allowed


def test_rules_can_be_handed_on() -> None:
    policy = NetworkPolicy.preset("internet").allow_domain("*.pypi.org", port=443)
    assert pickle.loads(pickle.dumps(policy)) == policy
