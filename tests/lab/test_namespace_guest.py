"""The namespace guest as it finds itself: one interface, its address, its route, its resolver, and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.guest import ADDRESS, GATEWAY, RESOLVER, pings
from tests.lab.needs import need_commands
from tests.lab.world import PEERS, WWW

if TYPE_CHECKING:
    from tests.lab.guest import Guest


def test_one_interface_with_address_and_default_route(guest: Guest) -> None:
    links = guest.run("ip", "-o", "link").stdout.splitlines()
    assert len(links) == 2, links  # lo and the TAP
    assert f"inet {ADDRESS}/24" in guest.run("ip", "-4", "addr").stdout
    assert f"default via {GATEWAY}" in guest.run("ip", "route").stdout


def test_resolver_is_the_gateway_s(guest: Guest) -> None:
    assert f"nameserver {RESOLVER}" in guest.run("cat", "/etc/resolv.conf").stdout


def test_pings_the_gateway(guest: Guest) -> None:
    need_commands("ping")
    sent, received, _ = pings(guest.run("ping", "-c", "5", "-i", "0.1", GATEWAY).stdout)
    assert (sent, received) == (5, 5)


def test_pings_the_outside(guest: Guest) -> None:
    need_commands("ping")
    for size in ("0", "56", "1472", "4000"):
        sent, received, _ = pings(guest.run("ping", "-c", "3", "-i", "0.1", "-s", size, PEERS).stdout)
        assert (sent, received) == (3, 3), size


def test_fetches_by_name(guest: Guest) -> None:
    assert guest.curl("http://www.lab.test/") == "the pretend internet\n"


def test_refused_connection_is_seen_as_such(guest: Guest) -> None:
    code, seconds = guest.call("streams.error_of_connect", WWW, 81)
    assert code == "ECONNREFUSED"
    assert seconds < 1.0
