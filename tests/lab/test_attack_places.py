"""The host itself and what only it reaches: its loopback, its own addresses, its link, the metadata service of its cloud.

And how a "no" feels: at once, whatever was tried, and without harm to what the guest does besides.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.lab.departures import Departure
from tests.lab.guest import GATEWAY, pings
from tests.lab.needs import need_commands
from tests.lab.netns import end
from tests.lab.policed import suspect, wait_for
from tests.lab.servers import pattern, peers
from tests.lab.world import PEERS, WWW
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.departures import Departures
    from tests.lab.policed import Suspect
    from tests.lab.world import World

ALLOW, DENY = NetworkPolicy.allow_all(), NetworkPolicy.deny_all()
CURL = "curl -sS --max-time 5"
HOST = "192.0.2.2"
LOOPBACK = "127.0.0.1"
METADATA = "169.254.169.254"
PORT = 7777
PAGE = "of the host's own\n"
SOON = 1.0  # seconds: a refusal at once, on a busy machine


@pytest.fixture(scope="module", autouse=True)
def _host_services(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A web server on the host's loopback, and one on its address on the wire."""
    need_commands("busybox")
    folder = tmp_path_factory.mktemp("www")
    (folder / "index.html").write_text(PAGE)
    servers = [
        world.host.start("busybox", "httpd", "-f", "-p", f"{address}:{PORT}", "-h", str(folder))
        for address in (LOOPBACK, HOST)
    ]
    for address in (LOOPBACK, HOST):
        wait_for(partial(_serves, world, address))
    yield
    for server in servers:
        end(server)


def _serves(world: World, address: str) -> bool | None:
    return world.host.run("curl", "-sS", f"http://{address}:{PORT}/", check=False).stdout == PAGE or None


@pytest.fixture
def switched(world: World, tmp_path: Path) -> Iterator[Suspect]:
    """A guest of `usernat run --host-loopback`."""
    with suspect(world.host, tmp_path, "--host-loopback") as made:
        yield made


@pytest.mark.parametrize(
    "policy",
    [ALLOW, NetworkPolicy.preset("internet"), DENY.allow_ip_range("0.0.0.0/0"), DENY.allow_port(PORT), DENY],
    ids=["all", "internet", "every-network", "the-port", "none"],
)
def test_c28_host_loopback_that_nothing_names(
    policed: Suspect, departures: Departures, policy: NetworkPolicy
) -> None:
    policed.gateway.obey(policy)
    departures.taken()
    policed.refused(f"{CURL} http://{GATEWAY}:{PORT}/")
    assert departures.to(LOOPBACK) == set()
    (record,) = policed.gateway.decisions()
    assert (record["destination"], record["port"], record["verdict"]) == (LOOPBACK, PORT, "deny")


def test_c28_host_loopback_by_a_rule(policed: Suspect, departures: Departures) -> None:
    """One port of it; the others stay closed, and so does it as soon as the rule is gone."""
    policed.gateway.obey('[[rules]]\naction = "allow"\ngroup = "loopback"\nport = 7777\n')
    assert policed.run(f"{CURL} http://{GATEWAY}:{PORT}/") == PAGE
    departures.taken()
    policed.refused(f"{CURL} http://{GATEWAY}:{PORT + 1}/")
    policed.refused(f"{CURL} http://{HOST}:{PORT}/")
    policed.gateway.obey(ALLOW)
    policed.refused(f"{CURL} http://{GATEWAY}:{PORT}/")
    assert departures.to(LOOPBACK, HOST) == set()


def test_c28_host_loopback_by_the_switch(switched: Suspect, departures: Departures) -> None:
    """The switch names it, and the policy still decides."""
    switched.gateway.obey(ALLOW)
    assert switched.run(f"{CURL} http://{GATEWAY}:{PORT}/") == PAGE
    switched.gateway.obey(DENY.allow_port(PORT + 1))
    departures.taken()
    switched.refused(f"{CURL} http://{GATEWAY}:{PORT}/")
    switched.gateway.obey(ALLOW.deny_group("loopback"))
    switched.refused(f"{CURL} http://{GATEWAY}:{PORT}/")
    assert departures.to(LOOPBACK) == set()


@pytest.mark.parametrize(
    "policy",
    [
        ALLOW.deny_group("host"),
        NetworkPolicy.preset("internet"),
        DENY.allow_domain("*.lab.test"),
        DENY.allow_dns(),
    ],
    ids=["denied", "internet", "names", "none"],
)
def test_c28_the_host_s_own_address(policed: Suspect, departures: Departures, policy: NetworkPolicy) -> None:
    """It is what the host says it is, and not what a rule has to know."""
    policed.gateway.obey(policy)
    departures.taken()
    policed.refused(f"{CURL} http://{HOST}:{PORT}/")
    policed.refused(f"ping -c 1 -W 1 {HOST}")
    assert departures.to(HOST, LOOPBACK) == set()


def test_the_host_s_own_address_by_a_rule(policed: Suspect) -> None:
    policed.gateway.obey(DENY.allow_group("host", port=PORT))
    assert policed.run(f"{CURL} http://{HOST}:{PORT}/") == PAGE
    policed.refused(f"{CURL} http://{HOST}:{PORT + 1}/")
    policed.refused(f"{CURL} http://{WWW}/")


@pytest.mark.parametrize(
    "policy",
    [ALLOW, DENY.allow_port(80), DENY.allow_ip_range("0.0.0.0/0"), DENY.allow_ip_range("169.0.0.0/8")],
    ids=["all", "the-port", "every-network", "a-wide-network"],
)
def test_metadata_that_nothing_names(policed: Suspect, departures: Departures, policy: NetworkPolicy) -> None:
    """Link-local addresses are the host's link's, where clouds keep secrets."""
    policed.gateway.obey(policy)
    departures.taken()
    policed.refused(f"{CURL} http://{METADATA}/latest/meta-data/")
    assert "Packet filtered" in policed.refused(f"ping -n -c 1 -W 1 {METADATA}")
    assert policed.guest.call("datagrams.error_after_sending", METADATA, 80) == "No route to host"
    assert departures.to(METADATA) == set()
    assert {record["verdict"] for record in policed.gateway.decisions()} == {"deny"}


def test_metadata_by_a_rule(policed: Suspect, departures: Departures) -> None:
    """So the silence above is the policy's, and not that of a network without such an address."""
    policed.gateway.obey(DENY.allow_ip(METADATA, port=80))
    departures.taken()
    policed.attempt(f"{CURL} --max-time 1 http://{METADATA}/")
    assert departures.to(METADATA) == {Departure(METADATA, 6, 80)}


def test_c40_a_denial_comes_at_once(policed: Suspect) -> None:
    policed.gateway.obey(DENY)
    name, seconds = policed.guest.call("streams.error_of_connect", PEERS, peers.ECHO)
    assert name == "ECONNREFUSED"
    assert seconds < SOON
    assert policed.guest.call("datagrams.error_after_sending", PEERS, peers.ECHO) == "No route to host"
    shown, status, seconds = policed.attempt(f"ping -n -c 1 -W 2 {PEERS}")
    assert f"From {GATEWAY} icmp_seq=1 Packet filtered" in shown
    assert status == 1
    assert seconds < SOON


def test_c40_denials_leave_the_rest_alone(policed: Suspect) -> None:
    """A hundred of them beside a download and pings, none of which is lost or late."""
    policed.gateway.obey(DENY.allow_ip(WWW))
    size = 20_000_000
    with ThreadPoolExecutor() as pool:
        download = pool.submit(policed.run, f"{CURL} --max-time 30 http://{WWW}/bytes/{size} | sha256sum")
        pinged = pool.submit(policed.run, f"ping -n -c 50 -i 0.02 -q {WWW}")
        for _ in range(4):
            policed.run(f"for n in $(seq 25); do {CURL} http://{PEERS}:$n/ & done; wait")
        assert download.result().split()[0] == pattern.digest(size)
        assert pings(pinged.result())[:2] == (50, 50)
    denied = [record for record in policed.gateway.decisions() if record["verdict"] == "deny"]
    assert len(denied) == 100


def test_c40_silence_is_an_option(policed: Suspect, departures: Departures) -> None:
    policed.gateway.obey(DENY.allow_ip(WWW).denying("drop"))
    departures.taken()
    assert policed.attempt(f"curl -sS --max-time 1 http://{PEERS}:{peers.ECHO}/").status == 28  # timed out
    shown = policed.attempt(f"ping -n -c 1 -W 1 {PEERS}").output
    assert pings(shown)[:2] == (1, 0)
    assert "filtered" not in shown
    assert policed.guest.call("datagrams.error_after_sending", PEERS, peers.ECHO) == "none"
    assert departures.to(PEERS) == set()
    policed.run(f"{CURL} http://{WWW}/")
