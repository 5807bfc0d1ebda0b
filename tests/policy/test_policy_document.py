"""Policies as TOML: what a file says is what the builder says, and no mistake opens anything."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from usernat.policy import FlowRequest, GuestLimits, NetworkPolicy
from usernat.policy.decision import DENY, DNS, ICMP, TCP, UDP
from usernat.policy.errors import PolicyError
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
    PortRange,
    Protocol,
)
from usernat.policy.mistakes import FileError
from usernat.policy.presets import PRESETS

if TYPE_CHECKING:
    from pathlib import Path


def mistakes(text: str) -> list[str]:
    """Each mistake that is told, without the file's name, which stands in front of all."""
    with pytest.raises(PolicyError) as told:
        NetworkPolicy.loads(text, "tools.toml")
    lines = getattr(told.value, "mistakes", (str(told.value),))
    assert str(told.value) == lines[0]
    assert all(line.startswith("tools.toml: ") and line.isprintable() for line in lines)
    return [line.removeprefix("tools.toml: ") for line in lines]


def rule(*lines: str) -> str:
    return "\n".join(("[[rules]]", 'action = "allow"', *lines))


def matcher(*lines: str) -> Matcher:
    (only,) = NetworkPolicy.loads(rule(*lines)).rules
    return only.matcher


# ---- what a file says


def test_a_file_of_everything_says_what_the_builder_says() -> None:
    text = """
        default = "allow"
        on_deny = "drop"
        [groups]
        office = ["192.0.2.0/24", "198.51.100.0/25"]
        [limits]
        flows = 200
        total_bytes = 1_000_000
        [[rules]]
        action = "log"
        domain = "*.example.com"
        [[rules]]
        action = "allow"
        domain = "PyPI.org."
        port = 443
        [[rules]]
        action = "ask"
        domain = "bücher.example"
        inspect = false
        protocol = "tcp"
        port = 22
        [[rules]]
        action = "deny"
        group = "office"
        protocol = "udp"
        [[rules]]
        action = "allow"
        address = "192.0.2.7"
        [[rules]]
        action = "deny"
        network = "192.0.2.0/24"
        [[rules]]
        action = "deny"
        port = "8000-8100"
        [[rules]]
        action = "allow"
        protocol = "dns"
        [[rules]]
        action = "deny"
        any = true
    """
    built = (
        NetworkPolicy.allow_all()
        .denying("drop")
        .define_group("office", "192.0.2.0/24", "198.51.100.0/25")
        .limit(flows=200, total_bytes=1_000_000)
        .log_domain("*.example.com")
        .allow_domain("pypi.org", port=443)
        .rule("ask", AllOf((Domain("xn--bcher-kva.example", inspect=False), Protocol("tcp"), Port(22))))
        .deny_group("office", protocol="udp")
        .allow_ip("192.0.2.7")
        .deny_ip_range("192.0.2.0/24")
        .deny_port_range(8000, 8100)
        .allow_dns()
        .rule("deny", Any())
    )
    assert NetworkPolicy.loads(text) == built
    assert NetworkPolicy.loads(built.to_toml()) == built


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['domain = ["a.test"]'], Domain("a.test")),
        (["port = [53, 80]"], AnyOf((Port(53), Port(80)))),
        (['port = ["8000-8100", 80]'], AnyOf((PortRange(8000, 8100), Port(80)))),
        (['domain = ["a.test", "*.b.test"]', "port = 443"], AllOf((AnyOf((Domain("a.test"), Domain("*.b.test"))), Port(443)))),
        (["port = 443", 'protocol = "tcp"', 'address = "192.0.2.1"'], AllOf((Address("192.0.2.1"), Protocol("tcp"), Port(443)))),
        (['domain = ["a.test", "b.test"]', "inspect = false"], AnyOf((Domain("a.test", inspect=False), Domain("b.test", inspect=False)))),
        (['domain = "a.test"', "inspect = true"], Domain("a.test")),
        (["any_of = [{port = 1}]"], AnyOf((Port(1),))),
        (["all_of = [{port = 1}]"], AllOf((Port(1),))),
        (["port = 1", 'any_of = [{address = "192.0.2.1"}, {group = "private"}]'], AllOf((Port(1), AnyOf((Address("192.0.2.1"), Group("private")))))),
        (['network = "0.0.0.0/0"'], Network("0.0.0.0/0")),
        (["[[rules.any_of]]", "any = true"], AnyOf((Any(),))),
    ],
)  # fmt: skip
def test_keys_combine_with_and_and_lists_with_or(lines: list[str], says: Matcher) -> None:
    assert matcher(*lines) == says


def test_a_preset_comes_after_the_rules_of_the_file() -> None:
    policy = NetworkPolicy.loads('preset = "internet"\n' + rule('group = "private"', "port = 22"))
    assert policy.rules[1:] == NetworkPolicy.preset("internet").rules
    assert policy.default == "allow"
    assert policy == NetworkPolicy.preset("internet").in_front("allow", AllOf((Group("private"), Port(22))))


@pytest.mark.parametrize("name", PRESETS)
def test_a_file_may_be_no_more_than_a_preset(name: str) -> None:
    assert NetworkPolicy.loads(f'preset = "{name}"') == NetworkPolicy.preset(name)


def test_what_is_not_said_denies_and_is_told() -> None:
    policy = NetworkPolicy.loads("")
    assert policy == NetworkPolicy.deny_all()
    assert (policy.default, policy.on_deny, policy.limits) == ("deny", "reject", GuestLimits())


# ---- C41: nothing starts open

QUESTIONS = [
    FlowRequest(0x0A00020F, b"", protocol, destination, port, 0, names, host, opened=opened, claimed=claimed)
    for protocol, port in ((TCP, 443), (TCP, 80), (TCP, 22), (UDP, 443), (UDP, 53), (ICMP, 0), (DNS, 53))
    for destination in (0, 0x7F000001, 0x08080808, 0xC0000207, 0xA9FEA9FE, 0x0A000001)
    for names in ((), ("pypi.org",), ("a.test", "b.a.test"))
    for host, opened in ((False, False), (True, False), (False, True))
    for claimed in (None, "", "a.test")
]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but a comment\n",
        "rules = []",
        "groups = {}\nlimits = {}\nrules = []",
        rule("domain = []"),
        rule("any_of = []"),
        rule("address = []"),
        rule("network = []", "port = 443"),
        rule('all_of = [{protocol = "tcp"}, {domain = []}]'),
        rule("port = []"),
    ],
)
def test_c41_an_empty_list_allows_nothing(text: str) -> None:
    """CVE-2025-66479: an empty allow-list meant that everything was allowed."""
    policy = NetworkPolicy.loads(text)
    assert {policy.decide(question).action for question in QUESTIONS} == {DENY}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('defualt = "deny"', ["defualt: unknown key (did you mean default?)"]),
        ('Default = "deny"', ["Default: unknown key (did you mean default?)"]),
        ('default = "alow"', ["default: 'alow' is not possible (did you mean allow?)"]),
        ("default = true", ["default: true is not possible (possible: allow, deny)"]),
        ('on_deny = "hang"', ["on_deny: 'hang' is not possible (possible: reject, drop)"]),
        ('preset = "internt"', ["preset: no preset 'internt': there are open, internet, offline"]),
        ('preset = "open"\ndefault = "deny"', ["default: is not possible beside preset, which has its own"]),
        ("preset = 1", ["preset: must be text, not 1"]),
        (rule("prot = 443"), ["rules[0].prot: unknown key (did you mean port or protocol?)"]),
        (rule("port = 70000"), ["rules[0].port: a port is a whole number from 1 to 65535, not 70000"]),
        (rule("port = 0"), ["rules[0].port: a port is a whole number from 1 to 65535, not 0"]),
        (rule("port = 4.5"), ["rules[0].port: a port is a whole number from 1 to 65535, not 4.5"]),
        (rule("port = true"), ["rules[0].port: a port is a whole number from 1 to 65535, not True"]),
        (rule('port = "443"'), ["rules[0].port: '443' is neither a port, as 443, nor a range of them, as \"8000-8100\""]),
        (rule('port = [1, "9-8"]'), ["rules[0].port[1]: ports 9-8 end before they begin"]),
        (rule('port = "1-70000"'), ["rules[0].port: a port is a whole number from 1 to 65535, not 70000"]),
        (rule(), ["rules[0]: nothing says what is matched (any = true matches everything)"]),
        (rule("any = false"), ["rules[0].any: must be true"]),
        (rule("any = 1"), ["rules[0].any: must be true or false, not 1"]),
        (rule("any = true", "port = 1"), ["rules[0].any: stands alone, since it matches everything"]),
        (rule("any = true", "all_of = []"), ["rules[0].any: stands alone, since it matches everything"]),
        (rule("inspect = false", "port = 443"), ["rules[0].inspect: is possible beside domain only"]),
        (rule("inspect = 0", 'domain = "a.test"'), ["rules[0].inspect: must be true or false, not 0"]),
        (rule("domain = 7"), ["rules[0].domain: must be text, not 7"]),
        (rule('domain = "a.*.test"'), ["rules[0].domain: 'a.*.test': a star stands for whole labels in front, as in '*.pypi.org'"]),
        (rule('address = "10.0.0.0/8"'), ["rules[0].address: no IPv4 address: Unexpected '/' in '10.0.0.0/8'"]),
        (rule('network = "10.0.0.1/8"'), ["rules[0].network: no IPv4 network: 10.0.0.1/8 has host bits set"]),
        (rule("address = 1"), ["rules[0].address: must be text, not 1"]),
        (rule('protocol = "TCP"'), ["rules[0].protocol: no protocol 'TCP': there are tcp, udp, icmp, dns"]),
        (rule("all_of = []"), ["rules[0]: all_of needs at least one matcher: none would match everything"]),
        (rule("any_of = {port = 1}"), ["rules[0].any_of: must be a list of tables, not {'port': 1}"]),
        (rule("any_of = [1]"), ["rules[0].any_of[0]: must be a table, not 1"]),
        (rule('any_of = [{port = 1, action = "deny"}]'), ["rules[0].any_of[0].action: unknown key (possible: any, address, network, group, domain, inspect, protocol, port, any_of, all_of)"]),
        ('[[rules]]\nany = true', ["rules[0].action: is missing"]),
        ('[[rules]]\naction = "alow"\nany = true', ["rules[0].action: 'alow' is not possible (did you mean allow?)"]),
        ('[rules]\naction = "allow"', ["rules: must be a list of tables, not {'action': 'allow'}"]),
        ("rules = 1", ["rules: must be a list of tables, not 1"]),
        ("[limits]\nflow = 1", ["limits.flow: unknown key (did you mean flows?)"]),
        ("[limits]\nflows = 0", ["limits: flows must be a whole number above 0, not 0"]),
        ('[limits]\nflows = "all"', ["limits.flows: must be a whole number, not 'all'"]),
        ("[limits]\nflows = true", ["limits.flows: must be a whole number, not true"]),
        ("limits = 1", ["limits: must be a table, not 1"]),
        ("groups = []", ["groups: must be a table, not []"]),
        ('[groups]\noffice = ["192.0.2.1/24"]', ["groups.office[0]: no IPv4 network: 192.0.2.1/24 has host bits set"]),
        ('[groups]\nhost = []', ["groups: group 'host' is built in, and means the same in every policy"]),
        ('[groups]\noffice = []\n' + rule('group = "ofice"'), ["rules[0].group: no group 'ofice' (did you mean office?)"]),
        ('"a\\nb" = 1', ['"a\\nb": unknown key (possible: preset, default, on_deny, groups, limits, rules)']),
        (f"[limits]\nflows = {'9' * 5000}", ["a number has thousands of digits"]),
        (f"[limits]\nflows = -{'9' * 5000}", ["a number has thousands of digits"]),
        ("rules = " + "[" * 5000, ["tables and lists are nested too deep"]),
        ("rules = " + "[" * 200 + "]" * 200, ["tables and lists are nested too deep"]),
    ],
)  # fmt: skip
def test_c41_each_mistake_is_told_with_its_key_and_a_reason(text: str, told: list[str]) -> None:
    assert mistakes(text) == told


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('default = "allow', "end of document"),
        ("[limits", "end of document"),
        ("port 443", "line 1, column 6"),
        ("\n\nflows = = 1", "line 3, column 9"),
        ("a = 1\nb = nothing\n", "line 2, column 5"),
    ],
)
def test_c41_what_is_no_toml_is_told_with_its_place(text: str, place: str) -> None:
    (told,) = mistakes(text)
    assert re.fullmatch(rf"{place}: [A-Z][^()]+", told)


def test_all_mistakes_are_told_at_once() -> None:
    text = 'polcy = 1\n[limits]\nflows = "all"\n' + rule("port = [0, 1, 70000]", "prot = 1") + "\n" + rule()
    assert mistakes(text) == [
        "polcy: unknown key (possible: preset, default, on_deny, groups, limits, rules)",
        "limits.flows: must be a whole number, not 'all'",
        "rules[0].prot: unknown key (did you mean port or protocol?)",
        "rules[0].port[0]: a port is a whole number from 1 to 65535, not 0",
        "rules[0].port[2]: a port is a whole number from 1 to 65535, not 70000",
        "rules[1]: nothing says what is matched (any = true matches everything)",
    ]


@given(st.text())
def test_c41_no_text_does_anything_but_deny_all_or_be_refused(text: str) -> None:
    """A text at random is a comment, or nothing, or a mistake."""
    try:
        policy = NetworkPolicy.loads(text)
    except PolicyError as error:
        policy, told = None, str(error)
    assert policy == NetworkPolicy.deny_all() if policy else "\n" not in told


TOML_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["allow", "a.test", "tcp"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["any", "port", "all_of", "any_of"]), inner),
    max_leaves=6,
)  # fmt: skip
KEYS = ("preset", "default", "on_deny", "groups", "limits", "rules", "x")


@given(st.dictionaries(st.sampled_from(KEYS), TOML_VALUES | st.lists(st.dictionaries(st.sampled_from(["action", "port", "any", "domain", "x"]), TOML_VALUES))))  # fmt: skip
def test_c41_whatever_toml_holds_it_is_a_policy_or_a_mistake_in_lines(content: dict[str, object]) -> None:
    text = tomli_w.dumps(content)
    told: tuple[str, ...] = ()
    with contextlib.suppress(PolicyError):
        try:
            NetworkPolicy.loads(text, "tools.toml")
        except FileError as error:
            told = error.mistakes or ("\n",)
    assert all(line.isprintable() for line in told)


def test_a_file_that_cannot_be_read_is_a_mistake_too(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nothing\.toml: cannot be read: No such file or directory"):
        NetworkPolicy.load(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xfc")
    with pytest.raises(PolicyError, match=r"latin\.toml: cannot be read: 'utf-8' codec"):
        NetworkPolicy.load(tmp_path / "latin.toml")
