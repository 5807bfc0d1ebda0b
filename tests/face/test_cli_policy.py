"""`usernat policy check` and `explain`, and what `--policy` makes of a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usernat.cli import question
from usernat.policy.decision import ALLOW, ASK, DENY, READ
from usernat.policy.network_policy import NetworkPolicy

if TYPE_CHECKING:
    from tests.face.conftest import CommandLine

TOOLS = """
[groups]
office = ["198.51.100.0/24"]
[[rules]]
action = "log"
domain = "*.pypi.org"
[[rules]]
action = "allow"
domain = ["pypi.org", "*.pypi.org"]
port = 443
[[rules]]
action = "deny"
domain = "pypi.org"
protocol = "udp"
[[rules]]
action = "allow"
group = "office"
[[rules]]
action = "allow"
address = "127.0.0.1"
port = 5432
[[rules]]
action = "ask"
address = "192.0.2.7"
"""


@pytest.fixture
def tools(tmp_path: Path) -> str:
    path = tmp_path / "tools.toml"
    path.write_text(TOOLS, encoding="utf-8")
    return str(path)


# ---- check


def test_a_good_file(usernat: CommandLine, tools: str) -> None:
    assert usernat("policy", "check", tools) == (0, f"{tools}: 6 rules, default deny\n", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("open", "no rules, default allow"),
        ("internet", "1 rule, default allow"),
        ("offline", "no rules, default deny"),
    ],
)
def test_a_preset_passes_for_a_file(usernat: CommandLine, name: str, words: str) -> None:
    assert usernat("policy", "check", name) == (0, f"{name}: {words}\n", "")


def test_every_mistake_has_a_line(usernat: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        '[[rules]]\naction = "allow"\nport = 70000\n[[rules]]\naction = "deny"\n', encoding="utf-8"
    )
    status, out, err = usernat("policy", "check", str(path))
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        f"usernat: {path}: rules[0].port: a port is a whole number from 1 to 65535, not 70000",
        f"usernat: {path}: rules[1]: nothing says what is matched (any = true matches everything)",
    ]


def test_what_is_no_toml_and_what_is_not_there(usernat: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("port 443", encoding="utf-8")
    assert usernat("policy", "check", str(path)) == (
        2,
        "",
        f"usernat: {path}: line 1, column 6: Expected '=' after a key in a key/value pair\n",
    )
    path.unlink()
    assert usernat("policy", "check", str(path))[::2] == (
        2,
        f"usernat: {path}: cannot be read: No such file or directory\n",
    )


# ---- explain

RULE_2 = "rule 2: allow any of (pypi.org; *.pypi.org), port 443"


@pytest.mark.parametrize(
    ("arguments", "status", "lines"),
    [
        (["pypi.org"], 0, [f"query for pypi.org: allowed ({RULE_2})", f"tcp to pypi.org:443: allowed ({RULE_2})"]),
        (["PyPI.org.:443"], 0, [f"tcp to pypi.org:443: allowed ({RULE_2})"]),
        (["pypi.org:80"], 1, [f"query for pypi.org: allowed ({RULE_2})", "tcp to pypi.org:80: denied (default: deny)"]),
        (["pypi.org", "--proto", "udp"], 1, ["udp to pypi.org:443: denied (rule 3: deny pypi.org, udp)"]),
        (["evil.test"], 1, ["query for evil.test: denied (default: deny)", "tcp to evil.test:443: denied (default: deny)"]),
        (["a.pypi.org", "--proto", "dns"], 0, [f"query for a.pypi.org: allowed ({RULE_2})", "    rule 1: log *.pypi.org: matches"]),
        (["evil.test", "--proto", "dns"], 1, ["query for evil.test: denied (default: deny)"]),
        (["8.8.8.8"], 1, ["tcp to 8.8.8.8:443: denied (default: deny)", "    taken: no name is known for it, and the guest says none (--name NAME to say one)"]),
        (["8.8.8.8", "--name", "pypi.org"], 0, [f"tcp to 8.8.8.8:443, found as pypi.org: allowed ({RULE_2})"]),
        (["8.8.8.8:80", "--name", "pypi.org"], 1, ["tcp to 8.8.8.8:80, found as pypi.org: denied (default: deny)"]),
        (["8.8.8.8", "--proto", "dns", "--name", "pypi.org"], 0, [f"answer that pypi.org is 8.8.8.8: allowed ({RULE_2})"]),
        (["10.0.0.1", "--proto", "dns", "--name", "pypi.org"], 1, ["answer that pypi.org is 10.0.0.1: denied"]),
        (["198.51.100.9:22"], 0, ["tcp to 198.51.100.9:22: allowed (rule 4: allow group office)"]),
        (["198.51.100.9", "--proto", "icmp"], 0, ["icmp to 198.51.100.9: allowed (rule 4: allow group office)"]),
        (["10.0.2.2:5432"], 0, ["tcp to 10.0.2.2:5432: allowed (rule 5: allow 127.0.0.1, port 5432)", "    10.0.2.2 is this host's 127.0.0.1"]),
        (["10.0.2.2:22"], 1, ["tcp to 10.0.2.2:22: denied (default: deny)"]),
        (["127.0.0.1:5432"], 0, ["    guests reach this host's 127.0.0.1 by 10.0.2.2 only"]),
        (["10.0.2.77"], 1, ["    10.0.2.0/24 is the guests' own network"]),
        (["192.0.2.7:25"], 1, ["tcp to 192.0.2.7:25: asked, which is no yet (rule 6: ask 192.0.2.7)"]),
    ],
)  # fmt: skip
def test_the_deciding_rule_and_the_trail(
    usernat: CommandLine, tools: str, arguments: list[str], status: int, lines: list[str]
) -> None:
    ended, out, err = usernat("policy", "explain", tools, *arguments)
    assert (ended, err) == (status, "")
    assert [line for line in lines if not any(each.startswith(line) for each in out.splitlines())] == []


def test_the_trail_ends_at_the_deciding_rule(usernat: CommandLine, tools: str) -> None:
    _, out, _ = usernat("policy", "explain", tools, "198.51.100.9:25")
    trail = [line.strip() for line in out.splitlines() if line.startswith("    rule ")]
    assert trail[0] == "rule 1: log *.pypi.org: does not match"
    assert trail[-1] == "rule 4: allow group office: matches"
    assert len(trail) == 4


@pytest.mark.parametrize("destination", ["127.0.0.1", "10.0.2.2", "169.254.169.254:80"])
def test_loopback_and_link_local_are_closed_in_the_open_preset(
    usernat: CommandLine, destination: str
) -> None:
    status, out, _ = usernat("policy", "explain", "open", destination)
    assert status == 1
    assert "is reached only where a rule or switch names it" in out
    assert "no name is known" not in out  # no rule asks for one


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["10.0.0.256"], "not a destination: '10.0.0.256' (a host name or an IPv4 address)"),
        (["127.1"], "not a destination: '127.1'"),
        (["::1"], "not a destination: '::1'"),
        (["pypi.org:0"], "not a destination: 'pypi.org:0' (the port must be 1 to 65535)"),
        (["pypi.org:65536"], "the port must be 1 to 65535"),
        (["pypi.org:"], "the port must be 1 to 65535"),
        (["p\x00.org"], "not a destination"),
        (["bad_name\N{KELVIN SIGN}.test"], "not a destination"),
        ([""], "not a destination: ''"),
        (["pypi.org", "--name", "a.test"], "--name goes with an address"),
        (["8.8.8.8", "--name", "a b"], "not a host name: 'a b'"),
        (["8.8.8.8", "--proto", "dns"], "--proto dns takes a name, or an address and --name"),
        (["8.8.8.8:1", "--proto", "icmp"], "--proto icmp has no port"),
        (["pypi.org:53", "--proto", "dns"], "--proto dns has no port"),
        (["pypi.org", "--proto", "sctp"], "'sctp' is not one of"),
    ],
)
def test_mistakes_in_the_question(usernat: CommandLine, tools: str, arguments: list[str], words: str) -> None:
    status, out, err = usernat("policy", "explain", tools, *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_a_name_is_taken_to_lead_where_no_rule_speaks_of() -> None:
    """Whatever networks are denied, a name that no rule denies is not judged by one of them."""
    policy = NetworkPolicy.allow_all().define_group("low", "0.0.0.0/1").deny_group("low")
    for first in range(128, 256, 2):
        policy = policy.deny_ip_range(f"{first}.0.0.0/8")
    policy = policy.deny_ip_range("0.0.0.0/0", port=25)  # which speaks of nowhere in particular
    (_, flow) = question.questions(policy, question.Destination.parse("a.test"), "tcp", None)
    assert policy.decide(flow.request).action == ALLOW
    full = policy.deny_ip_range("128.0.0.0/1")
    (_, flow) = question.questions(full, question.Destination.parse("a.test"), "tcp", None)
    assert full.decide(flow.request).action == DENY


def test_what_is_read_is_shown_as_it_ends(usernat: CommandLine, tools: str) -> None:
    """The gateway would read the guest's first bytes; what they are taken to say is judged at once."""
    policy = NetworkPolicy.load(tools)
    (flow,) = question.questions(policy, question.Destination.parse("8.8.8.8"), "tcp", "pypi.org")
    assert policy.decide(flow.request).action == READ
    assert flow.claims == "pypi.org"
    (asked,) = question.questions(policy, question.Destination.parse("192.0.2.7"), "icmp", None)
    assert policy.decide(asked.request).action == ASK


# ---- run and serve


@pytest.mark.parametrize(
    "command",
    [["run", "--policy", "{}", "--", "true"], ["serve", "--qemu", "unix:{}.sock", "--policy", "{}"]],
)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[rules]]\naction = "allow"\nprot = "tcp"\n', "rules[0].prot: unknown key"),
        ("port 443", "line 1, column 6: "),
        ('default = "open"', "default: 'open' is not possible"),
    ],
)
def test_c41_a_bad_policy_is_one_line_and_starts_nothing(
    usernat: CommandLine, tmp_path: Path, command: list[str], text: str, words: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    status, out, err = usernat(*(argument.format(path) for argument in command))
    assert (status, out) == (2, "")
    assert err.startswith(f"usernat: {path}: {words}")
    assert err.count("\n") == 1
    assert not Path(f"{path}.sock").exists()


@pytest.mark.parametrize("command", [["run", "--policy", "x", "--", "true"], ["serve", "--qemu", "tcp:127.0.0.1:0", "--policy", "x"]])  # fmt: skip
def test_c41_a_policy_that_is_not_there_starts_nothing(
    usernat: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert usernat(*command) == (2, "", "usernat: x: cannot be read: No such file or directory\n")


@pytest.mark.parametrize("command", ["run", "serve"])
def test_the_help_says_what_sighup_does(usernat: CommandLine, command: str) -> None:
    _, out, _ = usernat(command, "--help")
    assert "SIGHUP" in out
    assert "the policy stays as it was" in " ".join(out.split())
