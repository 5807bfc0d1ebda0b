"""Who may use which address: the guard over the lease table of a DHCP server, without packets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.nat.dhcp.kit import FIRST, OURS, Net, S, ip, mac
from usernat.nat.dhcp.message import ACK, DECLINE, NAK, RELEASE, REQUEST
from usernat.nat.source_guard import SourceGuard


class Guarded(Net):
    """A DHCP server and its guard. `uses(client, address)`: whether the client may."""

    def __init__(self, *static: int, **changes: Any) -> None:
        super().__init__(**{"bound_to_mac": True, **changes})
        self.guard = SourceGuard(self.server.leases, static)

    def uses(self, client: int, address: int) -> bool:
        return self.guard.bindings.get(address) == mac(client) or self.guard.admit(address, mac(client))

    def lease(self, client: int, options: dict[int, bytes] | None = None) -> int:
        offer = self.discover(client, options)
        assert offer is not None
        address = offer.message.yiaddr
        ack = self.say(REQUEST, client, {**(options or {}), **OURS, 50: ip(address)})
        assert ack is not None
        assert ack.message.type == ACK
        return address


def test_who_holds_the_lease_may_and_nobody_else() -> None:
    net = Guarded()
    assert net.lease(1) == FIRST
    assert (net.uses(1, FIRST), net.uses(2, FIRST), net.uses(1, FIRST + 1)) == (True, False, False)
    net.say(REQUEST, 1, ciaddr=FIRST)  # renews
    assert net.uses(1, FIRST)


@pytest.mark.parametrize("end", ["release", "decline", "expiry"])
def test_the_end_of_a_lease_frees_the_address_at_once(end: str) -> None:
    net = Guarded(lease_s=100)
    net.lease(1)
    if end == "release":
        net.say(RELEASE, 1, OURS, ciaddr=FIRST)
    elif end == "decline":
        net.say(DECLINE, 1, {**OURS, 50: ip(FIRST)})
    else:
        net.now += 100 * S
        net.server.on_time(net.now)
    assert net.guard.bindings == {}
    assert not net.uses(1, FIRST)


def test_a_guard_that_comes_later_knows_the_leases_there_are() -> None:
    net = Guarded()
    net.lease(1)
    assert SourceGuard(net.server.leases).bindings == {FIRST: mac(1)}


IDENTIFIER = {61: b"\0the first client"}


def test_another_mac_address_takes_nothing_by_repeating_an_identifier() -> None:
    net = Guarded()
    assert net.lease(1, IDENTIFIER) == FIRST
    refused = net.say(REQUEST, 2, {**OURS, 50: ip(FIRST), **IDENTIFIER})  # SELECTING
    assert refused is not None
    assert refused.message.type == NAK
    for fields, options in (({}, {50: ip(FIRST)}), ({"ciaddr": FIRST}, {})):  # INIT-REBOOT, RENEWING
        refused = net.say(REQUEST, 2, {**IDENTIFIER, **options}, **fields)
        assert refused is not None
        assert refused.message.type == NAK
    net.say(RELEASE, 2, {**OURS, **IDENTIFIER}, ciaddr=FIRST)
    net.say(DECLINE, 2, {**OURS, **IDENTIFIER, 50: ip(FIRST)})
    assert (net.counters.releases, net.counters.declines, net.counters.not_owner) == (0, 0, 2)
    assert net.lease(2, {**IDENTIFIER, 50: ip(FIRST)}) == FIRST + 1
    assert net.guard.bindings == {FIRST: mac(1), FIRST + 1: mac(2)}
    assert net.lease(1, IDENTIFIER) == FIRST  # and the first keeps what it had


@pytest.mark.rfc("2131", "4.2-a")
def test_without_the_binding_to_the_mac_address_an_identifier_is_the_client() -> None:
    net = Guarded(bound_to_mac=False)
    assert net.lease(1, IDENTIFIER) == FIRST
    assert net.lease(2, IDENTIFIER) == FIRST
    assert net.guard.bindings == {FIRST: mac(2)}


def test_stolen_identifiers_do_not_fill_more_than_the_pool() -> None:
    net = Guarded(FIRST + 500, last=FIRST + 9)
    net.lease(1, IDENTIFIER)
    for thief in range(2, 2000):
        net.discover(thief, IDENTIFIER)
        net.say(REQUEST, thief, {**OURS, 50: ip(FIRST), **IDENTIFIER})
        assert not net.uses(thief, FIRST)
        net.uses(thief, FIRST + 500)
    assert len(net.server.leases) == 10 + 1
    assert net.guard.bindings == {FIRST: mac(1), FIRST + 500: mac(2)}


def test_dhcp_gives_a_claimed_address_to_its_user_or_to_nobody() -> None:
    net = Guarded(FIRST)
    assert net.uses(1, FIRST)
    assert not net.uses(2, FIRST)
    assert net.lease(2) == FIRST + 1
    assert net.lease(3, {50: ip(FIRST)}) == FIRST + 2
    offer = net.discover(1)
    assert offer is not None
    assert offer.message.yiaddr == FIRST
    assert net.uses(1, FIRST)  # it goes on speaking while it asks
    net.say(REQUEST, 1, {**OURS, 50: ip(FIRST)})
    assert net.guard.bindings == {FIRST: mac(1), FIRST + 1: mac(2), FIRST + 2: mac(3)}
    net.say(RELEASE, 1, OURS, ciaddr=FIRST)
    assert (net.uses(4, FIRST), net.uses(1, FIRST)) == (True, False)


def test_once_it_is_leased_a_claim_is_a_lease_like_any_other() -> None:
    net = Guarded(FIRST)
    assert net.uses(1, FIRST)
    assert net.lease(1, IDENTIFIER) == FIRST
    assert net.lease(1) == FIRST + 1  # by another identifier it is another client


def test_a_static_address_that_is_leased_can_not_be_claimed() -> None:
    net = Guarded(FIRST)
    assert net.lease(1) == FIRST
    assert not net.uses(2, FIRST)
    assert net.uses(1, FIRST)
    net.say(RELEASE, 1, OURS, ciaddr=FIRST)
    assert net.uses(2, FIRST)
    assert net.lease(1) == FIRST + 1  # what it had once is another's now


def test_an_offer_is_kept_for_its_client() -> None:
    net = Guarded(FIRST)
    net.discover(1)
    assert not net.uses(2, FIRST)


def test_a_static_address_outside_of_the_pool_is_never_leased() -> None:
    net = Guarded(FIRST - 1, last=FIRST)
    assert net.uses(1, FIRST - 1)
    assert net.lease(1) == FIRST
    assert net.discover(2, {50: ip(FIRST - 1)}) is None
    assert net.guard.bindings == {FIRST - 1: mac(1), FIRST: mac(1)}


def test_a_claim_alone_fills_a_pool_of_one_and_its_user_gets_the_lease() -> None:
    net = Guarded(FIRST, last=FIRST)
    assert net.uses(1, FIRST)
    assert net.discover(2) is None
    assert net.lease(1) == FIRST
