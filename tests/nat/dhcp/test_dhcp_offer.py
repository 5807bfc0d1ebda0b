"""What the server offers, with which options, and where it sends that: RFC 2131 and RFC 2132."""

from __future__ import annotations

import pytest

from tests.nat.dhcp.kit import DNS, FIRST, OURS, SERVER, Net, S, addressed, ip, mac, tags, u32
from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import (
    BOOTREPLY,
    INFINITE,
    OFFER,
    RELEASE,
)
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, parse_ip

# -- DISCOVER and OFFER -----------------------------------------------------------------------------------------------


@pytest.mark.rfc("2131", "4.1-a", "4.1-h", "4.3.1-d", "4.1-b")
@pytest.mark.rfc("2132", "9.7-a")
def test_offer_fields() -> None:
    """RFC 2131 4.1-h, 4.3.1-d: table 3."""
    net = Net()
    sent = net.discover(
        1,
        {opt.PARAMETER_REQUEST_LIST: bytes((1, 3)), 50: ip(FIRST + 5), 57: b"\x05\xdc"},
        xid=0xABCD,
        secs=9,
        flags=0xFFFF,
    )
    assert sent is not None
    message = sent.message
    assert (message.op, message.type, message.xid, message.chaddr) == (BOOTREPLY, OFFER, 0xABCD, mac(1))
    assert (message.secs, message.ciaddr, message.siaddr, message.giaddr) == (0, 0, 0, 0)
    assert message.flags == 0xFFFF
    assert message.yiaddr == FIRST + 5
    assert tags(sent) == [53, 54, 51, 58, 59, 1, 3]
    assert message.number(opt.SERVER_IDENTIFIER) == SERVER
    assert message.number(opt.LEASE_TIME) == 86400
    assert sent.src == SERVER
    assert sent.port == 68  # RFC 2131 4.1-a


@pytest.mark.rfc("2131", "4.4.5-a")
def test_times_of_the_lease() -> None:
    """RFC 2131 4.4.5-a."""
    sent = Net().discover(1)
    assert sent is not None
    t1, t2, lease = (
        sent.message.number(tag) for tag in (opt.RENEWAL_TIME, opt.REBINDING_TIME, opt.LEASE_TIME)
    )
    assert (t1, t2, lease) == (43200, 75600, 86400)


@pytest.mark.rfc("2131", "3.1-d")
def test_two_clients_never_get_one_offer_and_the_hold_expires() -> None:
    """RFC 2131 3.1-d."""
    net = Net(first=FIRST, last=FIRST)
    first = net.discover(1)
    assert first is not None
    assert net.discover(2) is None
    assert net.counters.pool_exhausted == 1
    net.now = 30 * S
    second = net.discover(2)
    assert second is not None
    assert second.message.yiaddr == FIRST


@pytest.mark.rfc("2131", "4.3.1-a")
def test_choice_of_the_address() -> None:
    """RFC 2131 4.3.1-a: current binding, previous binding, requested address, free pool."""
    net = Net()
    wish = {opt.REQUESTED_ADDRESS: ip(FIRST + 7)}
    current = net.lease(1)
    assert current == FIRST
    again = net.discover(1, wish)
    assert again is not None
    assert again.message.yiaddr == current
    net.say(RELEASE, 1, OURS, ciaddr=current)
    previous = net.discover(1, wish)
    assert previous is not None
    assert previous.message.yiaddr == current
    wished = net.discover(2, wish)
    assert wished is not None
    assert wished.message.yiaddr == FIRST + 7
    taken = net.discover(3, wish)
    assert taken is not None
    assert taken.message.yiaddr == FIRST + 1
    outside = net.discover(4, {opt.REQUESTED_ADDRESS: ip(SERVER)})
    assert outside is not None
    assert outside.message.yiaddr == FIRST + 2


@pytest.mark.rfc("2131", "4.3.1-b", "3.1-a")
@pytest.mark.parametrize(
    ("asked", "granted"),
    [(None, 86400), (3600, 3600), (1, 60), (0, 60), (INFINITE, 7 * 86400), (7 * 86400 + 1, 7 * 86400)],
)
def test_lease_time_within_policy(asked: int | None, granted: int) -> None:
    """RFC 2131 4.3.1-b; 3.1-a: the ACK grants what was offered."""
    net = Net()
    wish = {} if asked is None else {opt.LEASE_TIME: u32(asked)}
    offer = net.discover(1, wish)
    assert offer is not None
    assert offer.message.number(opt.LEASE_TIME) == granted
    ack = net.select(1, offer.message.yiaddr)
    assert ack is not None
    assert {tag: data for tag, data in ack.message.options.items() if tag != 53} == {
        tag: data for tag, data in offer.message.options.items() if tag != 53
    }


def test_request_may_ask_for_another_time_than_the_offer() -> None:
    net = Net()
    net.discover(1)
    ack = net.select(1, FIRST, {opt.LEASE_TIME: u32(600)})
    assert ack is not None
    assert ack.message.number(opt.LEASE_TIME) == 600


@pytest.mark.rfc("2131", "4.3.1-b")
def test_running_lease_is_offered_with_what_is_left() -> None:
    """RFC 2131 4.3.1-b: the expiry assigned before, where the client asks for none."""
    net = Net()
    net.lease(1)
    net.now = 86_000 * S
    sent = net.discover(1)
    assert sent is not None
    assert sent.message.number(opt.LEASE_TIME) == 400
    net.now = 86_399 * S
    sent = net.discover(1)
    assert sent is not None
    assert sent.message.number(opt.LEASE_TIME) == 60


@pytest.mark.rfc("2132", "9.2-a")
def test_infinite_lease() -> None:
    """RFC 2132 9.2-a: 0xFFFFFFFF."""
    net = Net(max_lease_s=INFINITE)
    address = net.lease(1, {opt.LEASE_TIME: u32(INFINITE)})
    sent = net.discover(1)
    assert sent is not None
    assert sent.message.number(opt.LEASE_TIME) == INFINITE
    assert sent.message.number(opt.RENEWAL_TIME) == sent.message.number(opt.REBINDING_TIME) == INFINITE
    net.now = 10**18
    net.server.on_time(net.now)
    assert net.server.poll_at() is None
    assert net.server.leases.owner(address) == mac(1)


# -- identity ---------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2131", "2-a", "4.2-a")
def test_clients_of_one_hardware_address() -> None:
    """RFC 2131 2-a, 4.2-a: the identifier names the client, the hardware address only where there is none."""
    net = Net()
    identified = [net.lease(1, {opt.CLIENT_IDENTIFIER: bytes((0, number))}) for number in (1, 2)]
    assert len({net.lease(1), *identified}) == 3
    assert net.lease(9, {opt.CLIENT_IDENTIFIER: b"\0\1"}) == identified[0]
    assert net.server.leases.owner(identified[0]) == mac(9)


@pytest.mark.rfc("2131", "4.3.1-f")
@pytest.mark.parametrize("identifier", [b"\1", b"\0\1\2\3", b"x" * 255, b"y" * 300])
def test_identifier_is_echoed(identifier: bytes) -> None:
    """RFC 6842 over RFC 2131 4.3.1-f: echoed exactly when received, in OFFER, ACK and NAK."""
    net = Net()
    wish = {opt.CLIENT_IDENTIFIER: identifier}
    offer = net.discover(1, wish)
    assert offer is not None
    assert offer.message.options[opt.CLIENT_IDENTIFIER] == identifier
    ack = net.select(1, offer.message.yiaddr, wish)
    nak = net.select(1, FIRST + 9, wish)
    for sent in (ack, nak):
        assert sent is not None
        assert sent.message.options[opt.CLIENT_IDENTIFIER] == identifier
    plain = net.discover(2)
    assert plain is not None
    assert opt.CLIENT_IDENTIFIER not in plain.message.options


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2131", "4.3.1-c")
@pytest.mark.rfc("2132", "3.3-a", "9.8-a")
@pytest.mark.rfc("5625", "5.2-a")
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, [1, 3, 6, 28]),
        ((28, 6, 3, 1), [28, 6, 1, 3]),
        ((3, 3, 1, 3), [1, 3]),
        ((6, 12, 252, 42, 0, 255, 15), [6]),
        ((54, 51, 58, 59, 53, 50, 55, 57, 61, 6), [6]),
        ((), []),
    ],
)
def test_requested_parameters(asked: tuple[int, ...] | None, given: list[int]) -> None:
    """RFC 2131 4.3.1-c, RFC 2132 3.3-a, 9.8-a, RFC 5625 5.2-a: in the order asked, each once, the mask before the router."""
    sent = Net().discover(1, None if asked is None else {opt.PARAMETER_REQUEST_LIST: bytes(asked)})
    assert sent is not None
    assert tags(sent)[5:] == given


@pytest.mark.rfc("2132", "3.5-a", "3.8-a", "3.17-a", "5.1-a")
@pytest.mark.rfc("5625", "5.1-a")
def test_parameter_values() -> None:
    """RFC 2132 3.5-a, 3.8-a, 3.17-a, 5.1-a; RFC 5625 5.1-a."""
    sent = Net(mtu=9000, domain="lab.test", dns=(DNS, parse_ip("192.0.2.1"))).discover(1)
    assert sent is not None
    given = sent.message.options
    assert given[opt.SUBNET_MASK] == bytes((255, 255, 255, 0))
    assert sent.message.addresses(opt.ROUTER) == [SERVER]
    assert sent.message.addresses(opt.DOMAIN_NAME_SERVER) == [DNS, parse_ip("192.0.2.1")]
    assert given[opt.BROADCAST_ADDRESS] == bytes((10, 0, 2, 255))
    assert given[opt.INTERFACE_MTU] == (9000).to_bytes(2, "big")
    assert given[opt.DOMAIN_NAME] == b"lab.test"


def test_boot_file() -> None:
    """RFC 2132 §9.5, option 67: for those that ask, where there is one."""
    booting = {opt.PARAMETER_REQUEST_LIST: bytes((3, opt.BOOT_FILE))}
    url = "http://10.0.2.2/boot.ipxe"
    for boot_file, asked, told in (
        (url, booting, url.encode()),
        (url, {55: bytes((3,))}, None),
        ("", booting, None),
    ):
        sent = Net(boot_file=boot_file).discover(1, asked)
        assert sent is not None
        assert sent.message.options.get(opt.BOOT_FILE) == told


@pytest.mark.rfc("2132", "5.1-a")
def test_unusual_mtu_is_told_unasked() -> None:
    """RFC 2132 5.1-a."""
    sent = Net(mtu=1280).discover(1, {opt.PARAMETER_REQUEST_LIST: bytes((3,))})
    assert sent is not None
    assert tags(sent)[5:] == [3, 26]


@pytest.mark.rfc("2131", "2-c", "3.5-b")
@pytest.mark.rfc("2132", "9.10-a")
def test_size_of_replies() -> None:
    """RFC 2131 2-c, 3.5-b; RFC 2132 9.10-a: 576 bytes of datagram unless the client takes more; smaller values do not count."""
    many = tuple(parse_ip("192.0.2.1") + number for number in range(60))
    identifier = {opt.CLIENT_IDENTIFIER: b"i" * 100}
    net = Net(dns=many)
    for size, fits in ((None, False), (100, False), (576, False), (700, True), (65535, True)):
        sent = net.discover(
            1,
            identifier if size is None else {**identifier, opt.MAXIMUM_MESSAGE_SIZE: size.to_bytes(2, "big")},
        )
        assert sent is not None
        assert (opt.DOMAIN_NAME_SERVER in sent.message.options) is fits
        assert opt.ROUTER in sent.message.options
        assert len(sent.raw) + 28 <= max(576, size or 0)


@pytest.mark.rfc("2132", "9.13-a")
def test_vendor_class_changes_nothing() -> None:
    """RFC 2132 9.13-a."""
    plain, vendor = Net().discover(1), Net().discover(1, {60: b"MSFT 5.0", 43: b"x", 77: b"y"})
    assert plain == vendor


# -- where replies go -------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2131", "2-b", "4.1-d", "4.1-e", "4.1-f")
@pytest.mark.parametrize(
    ("flags", "ciaddr", "expected"),
    [
        (0x8000, 0, (LIMITED_BROADCAST, MAC_BROADCAST)),
        (0xFFFF, 0, (LIMITED_BROADCAST, MAC_BROADCAST)),
        (0, 0, (FIRST, mac(1))),
        (0x7FFF, 0, (FIRST, mac(1))),
        (0, FIRST + 3, (FIRST + 3, None)),
        (0x8000, FIRST + 3, (FIRST + 3, None)),
        (0, parse_ip("192.0.2.1"), (FIRST, mac(1))),
    ],
)
def test_addressing_of_offers(flags: int, ciaddr: int, expected: tuple[int, bytes | None]) -> None:
    """RFC 2131 2-b, 4.1-d, 4.1-e, 4.1-f: to ciaddr, broadcast, or unicast to yiaddr at chaddr without ARP."""
    sent = Net().discover(1, flags=flags, ciaddr=ciaddr)
    assert sent is not None
    assert addressed(sent) == expected


@pytest.mark.rfc("2131", "4.1-c", "4.2-b")
def test_relayed_messages_are_dropped() -> None:
    """RFC 2131 4.1-c: there are no relays on this network."""
    net = Net()
    assert net.discover(1, giaddr=FIRST) is None
    assert net.counters.relayed == 1
