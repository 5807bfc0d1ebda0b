"""ICMP through the gateway: hops, errors, silence, and many identifiers at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import GATEWAY, namespace_guest, pings
from tests.lab.needs import need_commands
from tests.lab.world import BLACK_HOLE, PEERS, PROHIBITED, ROUTER, UNREACHABLE, WWW

if TYPE_CHECKING:
    from tests.lab.guest import Guest
    from tests.lab.world import World

BINDINGS = 64  # of ICMP echo, at most, a guest


@pytest.fixture(autouse=True)
def _tools() -> None:
    need_commands("ping", "busybox")


@pytest.mark.parametrize("kind", [[], ["-I"]], ids=["udp", "icmp"])
def test_c44_traceroute_names_every_hop(guest: Guest, kind: list[str]) -> None:
    shown = guest.run("busybox", "traceroute", "-n", "-q", "1", "-w", "1", "-m", "6", *kind, WWW).stdout
    hops = re.findall(r"^ *\d+  (\S+)", shown, re.MULTILINE)
    assert hops == [GATEWAY, ROUTER, WWW], shown


def test_c44_time_exceeded_from_the_gateway_at_hop_1(guest: Guest) -> None:
    done = guest.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-t", "1", WWW, check=False)
    assert f"From {GATEWAY} icmp_seq=1 Time to live exceeded" in done.stdout


def test_c44_time_exceeded_from_a_router_further_on(guest: Guest) -> None:
    done = guest.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-t", "2", WWW, check=False)
    assert f"From {ROUTER} icmp_seq=1 Time to live exceeded" in done.stdout


@pytest.mark.parametrize(
    ("address", "words"), [(UNREACHABLE, "Destination Host Unreachable"), (PROHIBITED, "Packet filtered")]
)
def test_c44_unreachable_is_passed_on(guest: Guest, address: str, words: str) -> None:
    done = guest.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", address, check=False)
    assert words in done.stdout


def test_c45_no_reply_is_invented(guest: Guest) -> None:
    done = guest.run("ping", "-c", "3", "-i", "0.2", "-W", "1", BLACK_HOLE, check=False)
    assert pings(done.stdout)[:2] == (3, 0)


def test_c44_fragmentation_needed(world: World) -> None:
    """What the path behind the gateway cannot carry whole draws the path's MTU, and the guest's kernel takes it from there."""
    with namespace_guest(world.host, "--mtu", "9000") as guest:
        done = guest.run(
            "ping", "-n", "-M", "do", "-s", "2000", "-c", "3", "-i", "0.2", "-W", "1", PEERS, check=False
        )
        assert f"From {GATEWAY} icmp_seq=1 Frag needed and DF set (mtu = 1500)" in done.stdout
        assert "message too long, mtu=1500" in done.stderr
        assert pings(guest.run("ping", "-n", "-s", "2000", "-c", "2", "-i", "0.2", PEERS).stdout)[1] == 2


def test_c46_many_identifiers_at_once(world: World) -> None:
    """Each reply carries its own identifier and data (checked inside); the cap holds, and those within it go on."""
    with namespace_guest(world.host) as guest:
        assert guest.call("datagrams.pings_of_many_identifiers", 50) == list(range(1, 51))
        assert len(guest.call("datagrams.pings_of_many_identifiers", 100)) == BINDINGS
        assert guest.call("datagrams.pings_of_many_identifiers", 50) == list(range(1, 51))
        assert pings(guest.run("ping", "-c", "1", GATEWAY).stdout)[1] == 1
