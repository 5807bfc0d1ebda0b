"""DECLINE, RELEASE, INFORM, and the server as a whole."""

from __future__ import annotations

import pytest

from tests.nat.dhcp.kit import (
    DNS,
    FIRST,
    LAST,
    OTHER_SERVER,
    OURS,
    SERVER,
    Net,
    S,
    addressed,
    config,
    ip,
    mac,
    tags,
)
from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import (
    ACK,
    BOOTREPLY,
    BOOTREQUEST,
    DECLINE,
    DISCOVER,
    INFORM,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    Message,
    build_message,
)
from usernat.stack.addr import parse_ip

# -- DECLINE, RELEASE, INFORM -----------------------------------------------------------------------------------------


@pytest.mark.rfc("2131", "4.3.3-a")
def test_declined_address_is_quarantined() -> None:
    """RFC 2131 4.3.3-a."""
    net = Net(first=FIRST, last=FIRST + 7)
    net.lease(1)
    assert net.say(DECLINE, 1, {**OURS, 50: ip(FIRST)}) is None
    assert net.counters.declines == 1
    assert net.server.leases.owner(FIRST) is None
    assert [net.lease(client) for client in range(1, 8)] == [FIRST + number for number in range(1, 8)]
    assert net.discover(8) is None
    net.now = 600 * S
    assert net.lease(8) == FIRST


def test_declines_cannot_empty_the_pool() -> None:
    """At most a quarter of the pool is out of service."""
    net = Net(first=FIRST, last=FIRST + 7)
    for client in range(100):
        address = net.lease(client)
        net.say(DECLINE, client, {**OURS, 50: ip(address)})
    assert net.counters.declines == 100
    assert net.server.leases.pool == range(FIRST, FIRST + 8)
    assert len({net.lease(client) for client in range(200, 206)}) == 6
    assert net.discover(300) is None


@pytest.mark.rfc("2131", "4.3.4-a")
def test_only_the_owner_can_release_or_decline() -> None:
    """RFC 2131 4.3.4-a."""
    net = Net()
    net.lease(1)
    for options, client, ciaddr in ((OURS, 2, FIRST), (OURS, 1, FIRST + 1), (OTHER_SERVER, 1, FIRST)):
        net.say(RELEASE, client, options, ciaddr=ciaddr)
        net.say(DECLINE, client, {**options, 50: ip(ciaddr)})
    assert net.server.leases.owner(FIRST) == mac(1)
    assert (net.counters.not_owner, net.counters.other_server) == (4, 2)


@pytest.mark.rfc("2131", "4.3.4-a")
def test_released_address_is_kept_for_its_client() -> None:
    """RFC 2131 4.3.4-a."""
    net = Net()
    net.lease(1)
    assert net.say(RELEASE, 1, OURS, ciaddr=FIRST) is None
    assert net.server.leases.owner(FIRST) is None
    assert net.lease(2) == FIRST + 1
    assert net.lease(1) == FIRST


def test_what_was_released_can_be_neither_released_nor_declined() -> None:
    net = Net()
    net.lease(1)
    for _ in range(2):
        net.say(RELEASE, 1, OURS, ciaddr=FIRST)
    net.say(DECLINE, 1, {**OURS, 50: ip(FIRST)})
    assert (net.counters.releases, net.counters.declines, net.counters.not_owner) == (1, 0, 2)


def test_released_address_goes_to_others_when_no_other_is_left() -> None:
    net = Net(first=FIRST, last=FIRST + 1)
    for client in (1, 2):
        net.say(RELEASE, client, OURS, ciaddr=net.lease(client))
    assert net.lease(3) == FIRST
    assert net.lease(1) == FIRST + 1
    assert net.discover(2) is None


@pytest.mark.rfc("2131", "3.4-a", "3.4-b")
def test_inform() -> None:
    """RFC 2131 3.4-a, 3.4-b: parameters without lease, by unicast to ciaddr."""
    net = Net()
    own = parse_ip("10.0.2.9")
    sent = net.say(INFORM, 1, ciaddr=own, flags=0x8000)
    assert sent is not None
    assert tags(sent) == [53, 54, 1, 3, 6, 28]
    assert (sent.message.type, sent.message.yiaddr, sent.message.ciaddr) == (ACK, 0, own)
    assert addressed(sent) == (own, None)
    assert len(net.server.leases) == 0


@pytest.mark.parametrize(
    "ciaddr", ["0.0.0.0", "192.0.2.1", "10.0.2.255", "10.0.2.0", "10.0.2.2", "255.255.255.255", "127.0.0.1"]
)
def test_inform_from_nowhere(ciaddr: str) -> None:
    net = Net()
    assert net.say(INFORM, 1, ciaddr=parse_ip(ciaddr)) is None
    assert net.counters.incomplete == 1


# -- the whole --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", [OFFER, ACK, NAK])
def test_a_server_does_not_listen_to_servers(type_: int) -> None:
    net = Net()
    assert net.say(type_, 1) is None
    assert net.counters.unexpected_type == 1
    assert net.say(DISCOVER, 1, op=BOOTREPLY) is None
    assert net.counters.not_a_request == 1


def test_c52_ten_thousand_clients_and_no_lease_stolen() -> None:
    """The pool runs out silently and counted; whoever holds a lease keeps it."""
    net = Net()
    holders = {net.lease(client): client for client in range(240)}
    assert set(holders) == set(range(FIRST, LAST + 1))
    for client in range(1000, 11_000):
        net.discover(client, {50: ip(FIRST + client % 240)})
    assert net.counters.pool_exhausted == 10_000
    assert len(net.server.leases) == 240
    assert all(net.server.leases.owner(address) == mac(client) for address, client in holders.items())


def test_c52_nobody_speaks_for_another_s_mac_address() -> None:
    """A neighbour can neither give up nor spoil a lease that is not its own."""
    net = Net()
    address = net.lease(1)
    for kind, options in ((RELEASE, OURS), (DECLINE, {**OURS, 50: ip(address)})):
        forged = Message(BOOTREQUEST, kind, 1, mac(1), ciaddr=address)
        assert net.raw(build_message(forged, list(options.items())), link_source=mac(2)) is None
    assert net.counters.spoofed_mac == 2
    assert net.server.leases.owner(address) == mac(1)


def test_c60_lease_table_levels_off() -> None:
    net = Net()
    for client in range(2_000):
        net.discover(client)
        net.now += S
    assert len(net.server.leases) == 240
    assert len(net.server.leases._by_client) <= 240
    assert net.counters.expired > 1_900


@pytest.mark.rfc("2131", "rob-a")
def test_malformed_datagrams_are_counted_and_unanswered() -> None:
    net = Net()
    good = build_message(Message(BOOTREQUEST, DISCOVER, 1, mac(1)), [])
    assert net.raw(good[:200]) is None
    assert net.raw(good[:240] + b"\x35\x09") is None
    assert (net.counters.short, net.counters.bad_option) == (1, 1)


def test_full_send_queue_is_counted() -> None:
    net = Net()
    net.udp.full = True
    net.discover(1)
    assert net.counters.send_failed == 1


def test_c27_close_gives_the_port_up_and_forgets_the_leases() -> None:
    net = Net()
    assert net.udp.bound == (None, 67)
    assert net.udp.owner is net.server
    address = net.lease(1)
    net.server.close()
    assert net.udp.closed
    assert net.server.leases.owner(address) is None
    assert net.server.poll_at() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"first": SERVER},
        {"first": DNS},
        {"first": FIRST - 100},
        {"first": LAST, "last": FIRST},
        {"last": LAST + 1},
        {"lease_s": 0},
        {"lease_s": 30},
        {"max_lease_s": 60},
    ],
)
def test_impossible_configurations(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"pool|lease"):
        config(**changes)


def test_c60_pool_of_a_huge_network_is_bounded() -> None:
    net = config(
        prefix=8,
        server=parse_ip("10.0.0.2"),
        dns=(),
        first=parse_ip("10.0.0.15"),
        last=parse_ip("10.255.255.254"),
    )
    assert len(net.pool) == 65_536


@pytest.mark.rfc("2131", "4.3.3-a")
@pytest.mark.rfc("2132", "2-b")
@pytest.mark.parametrize("ending", [b"", b"\0", b"\0\0\0"])
def test_the_administrator_hears_of_the_first_declined_address_and_why(
    ending: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As text, whether there are nulls behind it or not; once, for a guest must not be able to fill a log."""
    net = Net()
    for client in range(3):
        options = {**OURS, 50: ip(net.lease(client)), opt.MESSAGE: b"ARP says \xff\n" + ending}
        net.say(DECLINE, client, options)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "10.0.2.15" in record.getMessage()
    assert repr("ARP says \N{REPLACEMENT CHARACTER}\n") in record.getMessage()
    assert net.counters.declines == 3


@pytest.mark.rfc("2132", "2-b")
def test_texts_of_ours_have_no_null_behind_them() -> None:
    net = Net(domain="lab.test")
    offer, nak = net.discover(1), net.say(REQUEST, 1, {50: ip(LAST + 1)})
    assert offer is not None
    assert nak is not None
    assert offer.message.text(opt.DOMAIN_NAME) == "lab.test"
    assert not offer.message.options[opt.DOMAIN_NAME].endswith(b"\0")
    assert not nak.message.options[opt.MESSAGE].endswith(b"\0")
    assert nak.message.text(opt.DOMAIN_NAME) == ""
