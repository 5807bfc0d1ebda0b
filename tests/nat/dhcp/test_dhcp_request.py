"""The four kinds of DHCPREQUEST: RFC 2131 §4.3.2."""

from __future__ import annotations

import pytest

from tests.nat.dhcp.kit import (
    FIRST,
    OTHER_SERVER,
    OURS,
    Net,
    S,
    addressed,
    ip,
    kind,
    mac,
    tags,
    u32,
)
from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import (
    ACK,
    NAK,
    OFFER,
    REQUEST,
)
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST

# -- REQUEST ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2131", "4.3.2-a")
def test_selecting() -> None:
    """RFC 2131 4.3.2-a."""
    net = Net()
    offer = net.discover(1)
    assert offer is not None
    assert net.server.leases.owner(FIRST) is None
    ack = net.select(1, FIRST)
    assert ack is not None
    assert (ack.message.type, ack.message.yiaddr, ack.message.ciaddr) == (ACK, FIRST, 0)
    assert net.server.leases.owner(FIRST) == mac(1)


@pytest.mark.rfc("2131", "4.3.2-a", "3.1-c")
@pytest.mark.parametrize("case", ["other address", "never offered", "ciaddr", "no address"])
def test_selecting_what_was_not_offered_is_refused(case: str) -> None:
    """RFC 2131 4.3.2-a, 3.1-c."""
    net = Net()
    net.discover(1)
    sent = {
        "other address": lambda: net.select(1, FIRST + 1),
        "never offered": lambda: net.select(2, FIRST),
        "ciaddr": lambda: net.select(1, FIRST, ciaddr=FIRST),
        "no address": lambda: net.say(REQUEST, 1, OURS),
    }[case]()
    assert kind(sent) == NAK
    assert net.server.leases.owner(FIRST) is None


@pytest.mark.rfc("2131", "3.1-c")
def test_offer_taken_meanwhile_is_refused() -> None:
    """RFC 2131 3.1-c."""
    net = Net(first=FIRST, last=FIRST)
    net.discover(1)
    net.now = 31 * S
    net.lease(2)
    assert kind(net.select(1, FIRST)) == NAK
    assert net.server.leases.owner(FIRST) == mac(2)


def test_offer_that_ran_out_is_still_good_while_nobody_took_it() -> None:
    net = Net()
    net.discover(1)
    net.now = 31 * S
    assert kind(net.select(1, FIRST)) == ACK


@pytest.mark.rfc("2131", "3.1-e")
def test_request_to_another_server_frees_our_offer() -> None:
    """RFC 2131 3.1-e: silence, and the address is free."""
    net = Net(first=FIRST, last=FIRST)
    net.discover(1)
    assert net.say(REQUEST, 1, {**OTHER_SERVER, opt.REQUESTED_ADDRESS: ip(FIRST)}) is None
    assert net.counters.other_server == 1
    assert kind(net.discover(2)) == OFFER


def test_request_to_another_server_keeps_a_running_lease() -> None:
    net = Net()
    net.lease(1)
    net.say(REQUEST, 1, {**OTHER_SERVER, opt.REQUESTED_ADDRESS: ip(FIRST)})
    assert net.server.leases.owner(FIRST) == mac(1)


@pytest.mark.rfc("2131", "3.2-a", "3.2-b")
def test_init_reboot() -> None:
    """RFC 2131 3.2-a, 3.2-b; decided: an unknown client is refused at once (3.2-c leaves it to an authoritative server)."""
    net = Net()
    net.lease(1)
    assert kind(net.say(REQUEST, 1, {50: ip(FIRST)})) == ACK
    assert kind(net.say(REQUEST, 1, {50: ip(FIRST + 1)})) == NAK
    assert kind(net.say(REQUEST, 1, {50: bytes((192, 0, 2, 1))})) == NAK
    assert kind(net.say(REQUEST, 2, {50: ip(FIRST + 1)})) == NAK
    assert kind(net.say(REQUEST, 2, {50: ip(FIRST)})) == NAK
    assert net.server.leases.owner(FIRST) == mac(1)


def test_init_reboot_after_expiry() -> None:
    net = Net(first=FIRST, last=FIRST)
    net.lease(1)
    net.now = 86_400 * S
    assert kind(net.say(REQUEST, 1, {50: ip(FIRST)})) == ACK
    net.now *= 3
    net.lease(2)
    assert kind(net.say(REQUEST, 1, {50: ip(FIRST)})) == NAK


@pytest.mark.rfc("2131", "4.3.2-b", "4.1-d")
@pytest.mark.parametrize("flags", [0, 0x8000])
def test_renewing_and_rebinding(flags: int) -> None:
    """RFC 2131 4.3.2-b, 4.1-d: extended, and acknowledged by unicast."""
    net = Net()
    net.lease(1)
    net.now = 43_200 * S
    sent = net.say(REQUEST, 1, ciaddr=FIRST, flags=flags)
    assert sent is not None
    assert (sent.message.type, sent.message.yiaddr, sent.message.ciaddr) == (ACK, FIRST, FIRST)
    assert sent.message.number(opt.LEASE_TIME) == 86_400
    assert addressed(sent) == (FIRST, None)
    net.now = 86_401 * S
    net.server.on_time(net.now)
    assert net.server.leases.owner(FIRST) == mac(1)
    net.now = (43_200 + 86_400) * S
    assert net.server.poll_at() == net.now
    net.server.on_time(net.now)
    assert net.server.leases.owner(FIRST) is None
    assert net.counters.expired == 1


@pytest.mark.rfc("2131", "4.3.1-b")
def test_renewing_asks_for_its_own_time() -> None:
    """RFC 2131 4.3.1-b."""
    net = Net()
    net.lease(1)
    sent = net.say(REQUEST, 1, {opt.LEASE_TIME: u32(600)}, ciaddr=FIRST)
    assert sent is not None
    assert sent.message.number(opt.LEASE_TIME) == 600


@pytest.mark.rfc("2131", "4.3.2-c")
def test_renewing_an_address_of_another_is_refused() -> None:
    """RFC 2131 4.3.2-c."""
    net = Net()
    net.lease(1)
    net.lease(2)
    assert kind(net.say(REQUEST, 2, ciaddr=FIRST)) == NAK
    assert kind(net.say(REQUEST, 3, ciaddr=FIRST)) == NAK
    assert net.server.leases.owner(FIRST) == mac(1)


@pytest.mark.rfc("2131", "3.2-d", "4.1-h", "4.3.1-e")
@pytest.mark.rfc("2132", "9.9-a")
def test_refusal() -> None:
    """RFC 2131 3.2-d, 4.1-h, 4.3.1-e; RFC 2132 9.9-a: broadcast, no address, no parameters, a message."""
    net = Net()
    sent = net.say(REQUEST, 1, {50: ip(FIRST), opt.PARAMETER_REQUEST_LIST: bytes((1, 3, 6))}, ciaddr=0)
    renewing = net.say(REQUEST, 1, ciaddr=FIRST)
    for nak in (sent, renewing):
        assert nak is not None
        assert addressed(nak) == (LIMITED_BROADCAST, MAC_BROADCAST)
        assert (nak.message.yiaddr, nak.message.ciaddr, nak.message.siaddr) == (0, 0, 0)
        assert tags(nak) == [53, 54, 56]
    assert net.counters.naks == 2


@pytest.mark.rfc("2131", "4.3.6-a")
@pytest.mark.parametrize(
    ("server", "requested", "ciaddr", "result"),
    [
        (True, True, False, ACK),
        (True, True, True, NAK),
        (True, False, False, NAK),
        (False, True, False, ACK),
        (False, False, True, ACK),
        (False, False, False, None),
    ],
)
def test_kinds_of_request(server: bool, requested: bool, ciaddr: bool, result: int | None) -> None:
    """RFC 2131 4.3.6-a: table 4."""
    net = Net()
    net.lease(1)
    asked = {**(OURS if server else {}), **({50: ip(FIRST)} if requested else {})}
    assert kind(net.say(REQUEST, 1, asked, ciaddr=FIRST if ciaddr else 0)) == result
    assert net.counters.incomplete == (result is None)


@pytest.mark.rfc("2131", "3.2-c")
def test_beside_other_servers_a_client_that_is_not_ours_hears_nothing() -> None:
    """In INIT-REBOOT, and when it renews or rebinds; ours are refused as ever."""
    net = Net(authoritative=False)
    net.lease(1)
    assert net.say(REQUEST, 2, {50: ip(FIRST)}) is None
    assert net.say(REQUEST, 2, {50: ip(FIRST + 1)}) is None
    assert net.say(REQUEST, 2, ciaddr=FIRST) is None
    assert net.counters.strangers == 3
    assert kind(net.say(REQUEST, 1, {50: ip(FIRST + 1)})) == NAK
    assert kind(net.say(REQUEST, 1, ciaddr=FIRST + 1)) == NAK
    assert kind(net.say(REQUEST, 1, {50: ip(FIRST)})) == ACK
