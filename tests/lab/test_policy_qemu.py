"""Policies in front of the QEMU guest. Each test sets one by its file and SIGHUP, and sees what still works and what is refused.

What works is seen in what the guest got and in what the servers noted; what is refused in the command's status, in the servers' silence, and in the
time that it took: nobody waits two seconds for a "no".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import GATEWAY, RESOLVER
from tests.lab.servers import peers
from tests.lab.servers.http import FRONT_PAGE
from tests.lab.servers.places import ALTERNATIVE_PORT, LITERAL, OTHER, SHARED, VICTIM, WILD
from tests.lab.world import NAMES, PEERS, WWW
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from tests.lab.served import ServedGuest
    from tests.lab.world import World

DENY, ALLOW = NetworkPolicy.deny_all(), NetworkPolicy.allow_all()
HTTPS = "wget -q --no-check-certificate -O - https://"
HTTP = "wget -q -O - http://"
# busybox has no UDP client. The kernel tells a connected socket of an ICMP error.
UDP_ECHO = (
    'perl -e \'socket(S,2,2,17);connect(S,pack("SnC4x8",2,{port},split(/\\./,"{address}")));send(S,"echo",0);'
    '$SIG{{ALRM}}=sub{{die "silence\\n"}};alarm 5;defined recv(S,$b,99,0) or die "$!\\n";print $b\''
)


@pytest.fixture(autouse=True)
def _fresh(world: World) -> None:
    """Nothing noted before counts."""
    world.seen("web")
    world.seen("dns")


def udp_echo(address: str = PEERS, port: int = peers.ECHO) -> str:
    return UDP_ECHO.format(address=address, port=port)


def visits(world: World) -> list[tuple[str, int]]:
    """Which web servers were asked for something, in order: addresses and ports."""
    return [(note["to"], note["port"]) for note in world.seen("web")]


def asked(world: World) -> set[str]:
    return {note["question"] for note in world.seen("dns")}


def test_policy_allow_all(qemu: ServedGuest, world: World) -> None:
    """All of it works; the host's loopback and the addresses of the link are no part of it, since nothing names them."""
    qemu.gateway.obey(ALLOW)
    assert qemu.run(f"{HTTP}www.lab.test/") == FRONT_PAGE
    assert qemu.run(f"{HTTPS}{OTHER}/") == FRONT_PAGE
    assert qemu.run(f"{HTTP}{WWW}:{ALTERNATIVE_PORT}/") == FRONT_PAGE
    assert qemu.run(udp_echo()) == "echo"
    qemu.run(f"ping -c 1 {PEERS}")
    assert visits(world) == [(WWW, 80), (OTHER, 443), (WWW, ALTERNATIVE_PORT)]
    for host in ("169.254.169.254", GATEWAY):
        qemu.refused(f"{HTTP}{host}/")
    denied = [record for record in qemu.gateway.decisions() if record["verdict"] == "deny"]
    assert [record["destination"] for record in denied] == ["169.254.169.254", "127.0.0.1"]


def test_policy_console_only(qemu: ServedGuest, world: World) -> None:
    """Under a policy that denies all the console works, and so do lease and ping of the gateway, which are its own. Nothing else does."""
    qemu.gateway.obey(DENY)
    assert qemu.run("echo $((6 * 7))") == "42\n"
    qemu.run("udhcpc -i eth0 -n -q -r 10.0.2.15")
    qemu.run(f"ping -c 1 {GATEWAY}")
    assert "NXDOMAIN" in qemu.refused("nslookup -type=a www.lab.test")
    for url in (f"{WWW}/", f"{WWW}:{ALTERNATIVE_PORT}/", "www.lab.test/", f"{GATEWAY}/"):
        qemu.refused(HTTP + url)
    qemu.refused(f"{HTTPS}{WWW}/")
    qemu.refused(f"ping -c 1 -W 1 {WWW}")
    assert "No route to host" in qemu.refused(udp_echo())
    assert visits(world) == []
    assert asked(world) == set()


def test_policy_deny_all_allow_dns(qemu: ServedGuest, world: World) -> None:
    qemu.gateway.obey(DENY.allow_dns())
    assert WWW in qemu.run("nslookup -type=a www.lab.test")
    assert asked(world) == {"www.lab.test."}
    for command in (f"{HTTP}www.lab.test/", f"{HTTPS}www.lab.test/", f"ping -c 1 -W 1 {WWW}", udp_echo()):
        qemu.refused(command)
    assert "No route to host" in qemu.refused(udp_echo(NAMES, 53))  # another resolver than the gateway's
    assert visits(world) == []


def test_policy_allow_https_only(qemu: ServedGuest, world: World) -> None:
    qemu.gateway.obey(DENY.allow_https())
    assert qemu.run(f"{HTTPS}www.lab.test/") == FRONT_PAGE
    for command in (
        f"{HTTP}www.lab.test/",
        f"{HTTP}{WWW}:{ALTERNATIVE_PORT}/",
        f"ping -c 1 -W 1 {WWW}",
        udp_echo(WWW, 443),  # QUIC's port: HTTPS is TCP here
    ):
        qemu.refused(command)
    assert visits(world) == [(WWW, 443)]


def test_policy_allow_all_https(qemu: ServedGuest, world: World) -> None:
    """To any address, by name and by number alike; and over no other port."""
    qemu.gateway.obey(DENY.allow_dns().allow_port(443, protocol="tcp"))
    for host in ("www.lab.test", WWW, OTHER, LITERAL):
        assert qemu.run(f"{HTTPS}{host}/") == FRONT_PAGE
        qemu.refused(f"{HTTP}{host}/")
    assert visits(world) == [(WWW, 443), (WWW, 443), (OTHER, 443), (LITERAL, 443)]


def test_policy_allow_specific_ip(qemu: ServedGuest, world: World) -> None:
    """Everything to that address, nothing to its neighbours; and no names, which a rule about an address does not need."""
    qemu.gateway.obey(DENY.allow_ip(WWW))
    assert qemu.run(f"{HTTP}{WWW}/") == FRONT_PAGE
    assert qemu.run(f"{HTTPS}{WWW}/") == FRONT_PAGE
    qemu.run(f"ping -c 1 {WWW}")
    for command in (f"{HTTP}{OTHER}/", f"{HTTPS}{OTHER}/", f"ping -c 1 -W 1 {OTHER}", f"{HTTP}www.lab.test/"):
        qemu.refused(command)
    assert visits(world) == [(WWW, 80), (WWW, 443)]
    assert asked(world) == set()


def test_policy_deny_specific_port(qemu: ServedGuest, world: World) -> None:
    qemu.gateway.obey(ALLOW.deny_port(ALTERNATIVE_PORT).deny_port(peers.ECHO, protocol="udp"))
    for address in (WWW, OTHER):
        qemu.refused(f"{HTTP}{address}:{ALTERNATIVE_PORT}/")
        assert qemu.run(f"{HTTP}{address}/") == FRONT_PAGE
    assert visits(world) == [(WWW, 80), (OTHER, 80)]
    qemu.refused(udp_echo())
    assert qemu.run(f"echo words | nc {PEERS} {peers.ECHO}") == "words\n"  # the same port of TCP


def test_policy_allow_domain_exact(qemu: ServedGuest, world: World) -> None:
    """The name and where it leads; no name below it or beside it, and not the address under another name or none."""
    qemu.gateway.obey(DENY.allow_domain("wild.lab.test"))
    assert qemu.run(f"{HTTP}wild.lab.test/") == FRONT_PAGE
    assert qemu.run(f"{HTTPS}wild.lab.test/") == FRONT_PAGE
    qemu.run("ping -c 1 wild.lab.test")
    for name in (
        "a.wild.lab.test",
        "lab.test",
        "other.lab.test",
        "wild.lab.test.evil.test",
        "notwild.lab.test",
    ):
        assert "bad address" in qemu.refused(f"{HTTP}{name}/")
    qemu.refused(f"{HTTP}{WILD}/")
    qemu.refused(f"{HTTPS}{WILD}/")
    qemu.refused(f"{HTTP}{OTHER}/")
    assert visits(world) == [(WILD, 80), (WILD, 443)]
    assert asked(world) == {"wild.lab.test."}


def test_policy_allow_domain_wildcard(qemu: ServedGuest, world: World) -> None:
    """All names below at any depth, and not the name itself."""
    qemu.gateway.obey(DENY.allow_domain("*.wild.lab.test"))
    for name in ("a.wild.lab.test", "b.a.wild.lab.test"):
        assert qemu.run(f"{HTTP}{name}/") == FRONT_PAGE
        assert qemu.run(f"{HTTPS}{name}/") == FRONT_PAGE
    for name in ("wild.lab.test", "www.lab.test", "a.wild.lab.test.evil.test"):
        assert "bad address" in qemu.refused(f"{HTTP}{name}/")
    qemu.refused(f"{HTTP}{WILD}/")
    qemu.refused(f"ping -c 1 -W 1 {WWW}")
    assert visits(world) == [(WILD, 80), (WILD, 443)] * 2
    assert asked(world) == {"a.wild.lab.test.", "b.a.wild.lab.test."}


def test_policy_domain_with_port(qemu: ServedGuest, world: World) -> None:
    """One name by HTTPS alone, another on a port whose first bytes nobody reads."""
    policy = DENY.allow_domain("one.shared.lab.test", port=443)
    qemu.gateway.obey(policy.allow_domain("victim.lab.test", port=ALTERNATIVE_PORT, protocol="tcp"))
    assert qemu.run(f"{HTTPS}one.shared.lab.test/") == FRONT_PAGE
    assert qemu.run(f"{HTTP}victim.lab.test:{ALTERNATIVE_PORT}/") == FRONT_PAGE
    for command in (
        f"{HTTP}one.shared.lab.test/",
        f"{HTTP}one.shared.lab.test:{ALTERNATIVE_PORT}/",
        "ping -c 1 -W 1 one.shared.lab.test",
        f"{HTTPS}victim.lab.test/",
        f"{HTTPS}two.shared.lab.test/",
    ):
        qemu.refused(command)
    assert visits(world) == [(SHARED, 443), (VICTIM, ALTERNATIVE_PORT)]


def test_policy_log_then_allow(qemu: ServedGuest, world: World) -> None:
    """A rule that logs decides nothing: the next does, and the audit has both."""
    policy = DENY.log_domain("*.lab.test").allow_domain("other.lab.test")
    qemu.gateway.obey(policy)
    assert qemu.run(f"{HTTP}other.lab.test/") == FRONT_PAGE
    qemu.refused(f"{HTTP}found.lab.test/")
    assert visits(world) == [(OTHER, 80)]
    records = qemu.gateway.decisions()
    flow = next(record for record in records if record["protocol"] == "tcp")
    assert flow["verdict"] == "allow"
    assert flow["name"] == "other.lab.test"
    assert "other.lab.test" in flow["rule"]
    assert len(flow["logged"]) == 1
    assert "*.lab.test" in flow["logged"][0]
    denied = next(record for record in records if record["name"] == "found.lab.test")
    assert (denied["protocol"], denied["verdict"], denied["rule"]) == ("dns", "deny", "default: deny")
    assert denied["logged"] == flow["logged"]


def test_policy_mixed_ip_and_domain(qemu: ServedGuest, world: World) -> None:
    """Rules of both kinds side by side; the first that matches wins."""
    policy = (
        DENY.deny_ip(LITERAL, port=443)
        .allow_ip_range("203.0.113.88/31")
        .allow_domain("www.lab.test", port=443)
    )
    qemu.gateway.obey(policy)
    assert qemu.run(f"{HTTPS}www.lab.test/") == FRONT_PAGE
    assert qemu.run(f"{HTTP}{LITERAL}/") == FRONT_PAGE
    assert qemu.run(f"{HTTPS}203.0.113.88/") == FRONT_PAGE
    for command in (
        f"{HTTPS}{LITERAL}/",
        f"{HTTP}www.lab.test/",
        f"{HTTPS}other.lab.test/",
        f"{HTTPS}{OTHER}/",
        f"ping -c 1 -W 1 {WWW}",
    ):
        qemu.refused(command)
    assert visits(world) == [(WWW, 443), (LITERAL, 80), ("203.0.113.88", 443)]


def test_bad_policy_file_leaves_the_old_one(qemu: ServedGuest) -> None:
    """C41: what cannot be meant opens nothing and closes nothing; the gateway says what is wrong with it."""
    qemu.gateway.obey(DENY.allow_ip(WWW))
    said = qemu.gateway.obey('default = "allow"\nalow = []\n')
    assert "alow" in said
    assert "the policy stays as it was" in said
    assert qemu.run(f"{HTTP}{WWW}/") == FRONT_PAGE
    qemu.refused(f"{HTTP}{OTHER}/")


def test_empty_policy_file_denies(qemu: ServedGuest) -> None:
    """C41, and so does one whose allow-list is empty."""
    for text in ("", '[[rules]]\naction = "allow"\ndomain = []\n'):
        qemu.gateway.obey(text)
        qemu.refused(f"{HTTP}{WWW}/")
        qemu.refused(f"nslookup -type=a www.lab.test {RESOLVER}")
