"""Policies as TOML, there and back: what is written is read again as the same policy. And what users are shown is one."""

from __future__ import annotations

import re
from dataclasses import fields
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.strategies import policies, requests
from usernat.policy import AddressGroups, FlowRequest, GuestLimits, NetworkPolicy
from usernat.policy.decision import ALLOW, DENY, DNS, TCP
from usernat.policy.errors import PolicyError
from usernat.policy.matchers import (
    MAX_DEPTH,
    Address,
    AllOf,
    Any,
    AnyOf,
    Domain,
    Group,
    Matcher,
    Network,
    Port,
    PortRange,
    Protocol,
)
from usernat.policy.presets import PRESETS
from usernat.policy.rules import ACTIONS
from usernat.policy.schema import KEYS
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from collections.abc import Callable

    Builder = Callable[[NetworkPolicy], NetworkPolicy]

EXAMPLES = Path(__file__).parents[2] / "examples"
GROUPS = ("private", "loopback", "host", "public", "office", "a group")

labels = st.text("abcxyz019-_", min_size=1, max_size=8)
names = st.lists(labels, min_size=1, max_size=3).map(lambda some: ".".join([*some, "test"]))
patterns = names | names.map("*.{}".format)
ports = st.integers(1, 65535)
port_or_none = st.none() | ports
addresses = st.integers(0, 2**32 - 1)
networks = st.tuples(addresses, st.integers(0, 32)).map(lambda pair: IPv4Network(pair, strict=False))
caps = st.none() | st.integers(1, 2**40)
leaves = st.one_of(
    st.just(Any()),
    addresses.map(Address),
    networks.map(Network),
    st.sampled_from(GROUPS).map(Group),
    ports.map(Port),
    st.tuples(ports, ports).map(lambda pair: PortRange(min(pair), max(pair))),
    st.sampled_from(["tcp", "udp", "icmp", "dns"]).map(Protocol),
    st.builds(Domain, patterns, st.booleans()),
)
matchers: st.SearchStrategy[Matcher] = st.recursive(
    leaves,
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(AllOf) | st.lists(inner, max_size=4).map(AnyOf),
    max_leaves=12,
)


@st.composite
def built(draw: st.DrawFn) -> NetworkPolicy:
    """A policy by calls of the builder."""
    protocol = draw(st.sampled_from([None, "tcp", "udp", "icmp", "dns"]))
    port = draw(port_or_none)
    calls: list[Builder] = [
        lambda p: p.allow_ip(draw(addresses), port=port, protocol=protocol),
        lambda p: p.deny_ip(draw(addresses), port=port, protocol=protocol),
        lambda p: p.allow_ip_range(draw(networks), port=port, protocol=protocol),
        lambda p: p.deny_ip_range(draw(networks), port=port, protocol=protocol),
        lambda p: p.allow_port(draw(ports), protocol=protocol).deny_port(draw(ports)),
        lambda p: p.allow_port_range(1, draw(ports)).deny_port_range(1, draw(ports), protocol=protocol),
        lambda p: p.allow_group(draw(st.sampled_from(GROUPS)), port=port, protocol=protocol),
        lambda p: p.deny_group(draw(st.sampled_from(GROUPS)), port=port, protocol=protocol),
        lambda p: p.allow_dns().allow_https(),
        lambda p: p.allow_domain(draw(patterns), inspect=draw(st.booleans()), port=port, protocol=protocol),
        lambda p: p.deny_domain(draw(patterns), port=port).log_domain(draw(patterns)),
        lambda p: p.ask_domain(draw(patterns), port=port, protocol=protocol),
        lambda p: p.rule(draw(st.sampled_from(ACTIONS)), draw(matchers)),
        lambda p: p.in_front("deny", draw(matchers)),
        lambda p: p.limit(flows=draw(caps), total_bytes=draw(caps)),
        lambda p: p.denying("drop"),
    ]
    policy = NetworkPolicy.preset(draw(st.sampled_from([*PRESETS])))
    for name in ("office", "a group"):
        policy = policy.define_group(name, *draw(st.lists(networks, max_size=2)))
    for call in draw(st.lists(st.sampled_from(calls), max_size=8)):
        policy = call(policy)
    return policy


@given(built())
def test_what_is_written_is_read_back(policy: NetworkPolicy) -> None:
    text = policy.to_toml()
    again = NetworkPolicy.loads(text)
    assert again == policy
    assert again.to_toml() == text


@given(policies, st.lists(requests, min_size=5, max_size=20))
def test_what_is_read_back_decides_the_same(policy: NetworkPolicy, asked: list[FlowRequest]) -> None:
    again = NetworkPolicy.loads(policy.to_toml())
    assert again == policy
    assert [again.decide(request) for request in asked] == [policy.decide(request) for request in asked]


@given(matchers, matchers)
def test_different_rules_are_written_differently(one: Matcher, other: Matcher) -> None:
    policy = NetworkPolicy.deny_all().define_group("office").define_group("a group")
    texts = {policy.rule("allow", matcher).to_toml() for matcher in (one, other)}
    assert (len(texts) == 1) == (one == other)


@pytest.mark.parametrize(
    "matcher",
    [
        AllOf((AllOf((Domain("a.test"), Protocol("tcp"))), Port(1))),
        AllOf((Domain("a.test", inspect=False), Port(1))),
        AllOf((Any(), Port(1))),
        AllOf((Port(1), Port(2))),
        AllOf((AnyOf(()),)),
        AllOf((AnyOf((Port(1), Port(2))), AllOf((Port(3),)))),
        AnyOf((Any(), Any())),
        AnyOf((Domain("a.test"), Domain("b.test", inspect=False))),
        AnyOf((AnyOf((Port(1), Port(2))), Port(3))),
        AnyOf((AllOf((Address("192.0.2.1"), Port(1))), AllOf((Address("192.0.2.1"), Port(2))))),
        AnyOf((AllOf((Address("192.0.2.1"), Port(1))), AllOf((Address("192.0.2.2"), Port(1))))),
        AnyOf((AnyOf(()), AnyOf(()))),
        PortRange(1, 1),
        Network("192.0.2.1/32"),
    ],
    ids=str,
)
def test_trees_that_look_like_others(matcher: Matcher) -> None:
    policy = NetworkPolicy.deny_all().rule("allow", matcher)
    assert NetworkPolicy.loads(policy.to_toml()).rules == policy.rules


def test_the_deepest_tree_that_there_may_be() -> None:
    tree: Matcher = Port(1)
    for _ in range(MAX_DEPTH - 1):
        tree = AnyOf((tree,))
    policy = NetworkPolicy.deny_all().rule("allow", tree)
    assert NetworkPolicy.loads(policy.to_toml()) == policy
    deeper = f"{'any_of = [{' * MAX_DEPTH}port = 1{'}]' * MAX_DEPTH}"
    with pytest.raises(PolicyError, match=r"rules\[0\]\S*: matchers are nested more than 32 deep"):
        NetworkPolicy.loads(f"[[rules]]\naction = 'allow'\n{deeper}")


def test_what_is_written_is_what_people_write() -> None:
    policy = (
        NetworkPolicy.deny_all()
        .allow_domain("pypi.org", port=443)
        .rule("allow", AllOf((AnyOf((Domain("a.test"), Domain("*.a.test"))), AnyOf((Port(80), PortRange(8000, 8100))))))
        .rule("deny", AllOf((Port(25), Protocol("tcp"))))
    )  # fmt: skip
    assert policy.to_toml().split("[[rules]]")[1:] == [
        '\naction = "allow"\ndomain = "pypi.org"\nport = 443\n\n',
        '\naction = "allow"\ndomain = [\n    "a.test",\n    "*.a.test",\n]\nport = [\n    80,\n    "8000-8100",\n]\n\n',
        '\naction = "deny"\nall_of = [\n    { port = 25 },\n    { protocol = "tcp" },\n]\n',
    ]


# ---- examples


def test_there_are_examples() -> None:
    assert len([*EXAMPLES.glob("*.toml")]) >= 3


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_each_example_is_a_policy_that_denies_what_it_does_not_name(path: Path) -> None:
    policy = NetworkPolicy.load(path)
    assert policy.default == "deny"
    assert NetworkPolicy.loads(policy.to_toml()) == policy
    for destination in ("8.8.8.8", "127.0.0.1", "169.254.169.254", "10.0.0.1"):
        request = FlowRequest(0x0A00020F, b"", TCP, parse_ip(destination), 25, 40000)
        assert policy.decide(request).action == DENY
    assert policy.decide(query("data.evil.test")).action == DENY


@pytest.mark.parametrize(
    ("example", "name", "port"),
    [
        ("agent-tools", "api.anthropic.com", 443),
        ("agent-tools", "raw.githubusercontent.com", 443),
        ("agent-tools", "github.com", 22),
        ("agent-tools", "ssh.github.com", 443),
        ("package-build", "pypi.org", 443),
        ("package-build", "deb.debian.org", 80),
        ("locked-down", "update.example.com", 443),
    ],
)
def test_the_examples_allow_what_they_are_for(example: str, name: str, port: int) -> None:
    policy = NetworkPolicy.load(EXAMPLES / f"{example}.toml")
    assert policy.decide(query(name)).action == ALLOW
    flow = FlowRequest(0x0A00020F, b"", TCP, parse_ip("8.8.8.8"), port, 40000, names=(name,), claimed=name)
    assert policy.decide(flow).action == ALLOW
    assert policy.decide(flow._replace(names=(), claimed=name)).action == DENY  # curl --resolve


@pytest.mark.parametrize(("address", "port"), [("127.0.0.1", 3128), ("10.20.30.41", 8081)])
def test_the_build_reaches_what_it_names_inside(address: str, port: int) -> None:
    policy = NetworkPolicy.load(EXAMPLES / "package-build.toml")
    flow = FlowRequest(0x0A00020F, b"", TCP, parse_ip(address), port, 40000)
    assert policy.decide(flow).action == ALLOW
    assert policy.decide(flow._replace(port=22)).action == DENY


def query(name: str) -> FlowRequest:
    return FlowRequest(0x0A00020F, b"", DNS, 0, 53, 40000, names=(name,))


# ---- the user's page

PAGE = (EXAMPLES.parent / "docs" / "policy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_what_the_page_shows_is_a_policy(text: str) -> None:
    assert NetworkPolicy.loads(text).rules


@pytest.mark.parametrize("text", re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
def test_what_the_page_shows_runs(text: str) -> None:
    exec(compile(text, "policy.md", "exec"), {})


def test_the_page_names_each_key_and_each_group() -> None:
    assert [key for key in KEYS if f"`{key}" not in PAGE] == []
    assert [name for name in AddressGroups().names if f"`{name}`" not in PAGE] == []
    assert [cap.name for cap in fields(GuestLimits) if f"`{cap.name}`" not in PAGE] == []


def test_every_file_that_the_page_links_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert len(links) >= 3
    assert [link for link in links if not (EXAMPLES.parent / "docs" / link).exists()] == []
