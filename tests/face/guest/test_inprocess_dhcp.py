"""The guest's DHCP client against our server, over the stack on both sides, in virtual time."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.face.guest.kit import DNS, FIRST, GATEWAY, Network, S, network
from tests.nat.dhcp.kit import ip, u32
from usernat.guest.dhcp_client import (
    BOUND,
    REBINDING,
    RENEWING,
    REQUESTING,
    DhcpClient,
    read_lease,
)
from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import (
    ACK,
    DISCOVER,
    OFFER,
    RELEASE,
    REQUEST,
    Message,
    build_message,
    parse_message,
)
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, parse_ip

DAY = 86_400
TAGS = {
    "server": opt.SERVER_IDENTIFIER,
    "lease": opt.LEASE_TIME,
    "mask": opt.SUBNET_MASK,
    "router": opt.ROUTER,
    "t1": opt.RENEWAL_TIME,
    "t2": opt.REBINDING_TIME,
}


def dhcp_in(frame: bytes) -> Message | None:
    """The DHCP message of a frame that the guest or the server sent."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 17 or frame[36:38] not in (b"\0\x43", b"\0\x44"):
        return None
    message = parse_message(frame[42:])
    assert isinstance(message, Message)
    return message


def said(net: Network, kind: int) -> list[tuple[int, bytes]]:
    """When the guest said it, and the frame."""
    return [
        (when, frame) for when, frame in net.tap.said if (m := dhcp_in(frame)) is not None and m.type == kind
    ]


def destination(frame: bytes) -> int:
    return int.from_bytes(frame[30:34], "big")


def test_lease_is_taken_and_used() -> None:
    with network() as net:
        lease = net.guest.dhcp()
        assert (lease.address, lease.prefix, lease.routers, lease.dns) == (FIRST, 24, (GATEWAY,), (DNS,))
        assert (lease.lease_s, lease.t1_s, lease.t2_s, lease.server) == (DAY, DAY // 2, DAY * 7 // 8, GATEWAY)
        assert net.guest.dns == [DNS]
        assert net.services.dhcp.leases.owner(FIRST) == net.guest.mac
        assert net.guest.interface.ipv4.source_for(GATEWAY) == FIRST
        assert net.guest.interface.ipv4.routes.next_hop(0x08080808) == GATEWAY
        assert 0 < net.guest.ping("10.0.2.2") < 0.1 or net.guest.ping("10.0.2.2") == 0


def test_first_message_on_the_wire() -> None:
    """RFC 2131 4.1: from 0.0.0.0 to everybody, the broadcast flag set, as an answer by unicast could not be taken."""
    with network() as net:
        net.guest.dhcp()
        _, frame = said(net, DISCOVER)[0]
        assert frame[:6] == MAC_BROADCAST
        assert frame[26:34] == bytes(4) + b"\xff" * 4
        message = dhcp_in(frame)
        assert message is not None
        assert message.broadcast_flag
        answers = [frame for frame in net.tap.heard if dhcp_in(frame) is not None]
        assert [frame[:6] for frame in answers] == [MAC_BROADCAST] * 2
        assert all(destination(frame) == LIMITED_BROADCAST for frame in answers)


def test_lost_messages_are_repeated_with_back_off() -> None:
    """RFC 2131 4.1: 4, 8, 16, 32, 64 s, each give or take one."""
    with network() as net:
        net.tap.loses = lambda frame: dhcp_in(frame) is not None
        with pytest.raises(TimeoutError):
            net.guest.dhcp(timeout=200)
        times = [when for when, _ in said(net, DISCOVER)]
        gaps = [(later - earlier) / S for earlier, later in pairwise(times)]
        assert len(gaps) == 6
        for gap, expected in zip(gaps, (4, 8, 16, 32, 64, 64), strict=True):
            assert abs(gap - expected) <= 1


@pytest.mark.parametrize(
    ("fields", "taken"),
    [({}, True), ({"xid": 1}, False), ({"chaddr": b"\x02\0\0\0\0\x09"}, False), ({"op": 1}, False)],
)
def test_offers_to_others_are_not_ours(fields: dict[str, Any], taken: bool) -> None:
    """By broadcast everybody hears them: xid, hardware address and op tell."""
    with network() as net:
        client = DhcpClient(net.guest.interface, net.guest.mac, random.Random(3))
        client.start(0)
        offer = Message(
            **{
                "op": 2,
                "type": OFFER,
                "xid": client._xid,
                "chaddr": net.guest.mac,
                "yiaddr": FIRST + 9,
                **fields,
            }
        )
        rows = [(54, b"\x0a\0\2\2"), (51, b"\0\0\1\0"), (1, b"\xff\xff\xff\0")]
        sock = net.services.dhcp._socket
        sock.send(build_message(offer, rows), LIMITED_BROADCAST, 68, src=GATEWAY, mac=MAC_BROADCAST)
        net.services.step()
        net.tap.loses = lambda frame: (m := dhcp_in(frame)) is not None and m.type == DISCOVER
        assert net.guest.run_until(lambda: client.state == REQUESTING, 1) is taken


def test_unanswered_request_starts_over() -> None:
    with network() as net:
        net.tap.loses = lambda frame: (m := dhcp_in(frame)) is not None and m.type in (REQUEST, ACK)
        with pytest.raises(TimeoutError):
            net.guest.dhcp(timeout=100)
        assert len(said(net, REQUEST)) >= 4
        assert len(said(net, DISCOVER)) >= 2
        net.tap.loses = lambda frame: False
        assert net.guest.dhcp().address == FIRST


def test_renewed_by_unicast_at_half_time() -> None:
    """RFC 2131 4.3.2-b, 4.4.5-a."""
    with network() as net:
        net.guest.dhcp()
        net.guest.run_until(lambda: False, DAY / 2 + 10)
        (_, frame) = said(net, REQUEST)[-1]
        assert destination(frame) == GATEWAY
        lease = net.guest.lease
        assert lease is not None
        assert DAY * S // 2 <= lease.since < (DAY // 2 + 10) * S
        assert net.services.dhcp.counters.acks == 2
        net.guest.run_until(lambda: False, DAY * 3)
        assert net.services.dhcp.leases.owner(FIRST) == net.guest.mac
        assert net.services.dhcp.counters.naks == 0


def test_rebound_by_broadcast_when_the_server_does_not_hear() -> None:
    with network() as net:
        net.guest.dhcp()
        client = net.guest._dhcp
        assert client is not None
        net.tap.loses = lambda frame: dhcp_in(frame) is not None and destination(frame) != LIMITED_BROADCAST
        assert net.guest.run_until(lambda: client.state == RENEWING, DAY)
        assert net.guest.run_until(lambda: client.state == REBINDING, DAY)
        assert net.guest.run_until(lambda: net.services.dhcp.counters.acks == 2, DAY)
        tries = [when for when, frame in said(net, REQUEST) if destination(frame) == GATEWAY]
        assert len(tries) > 3
        assert all(later - earlier >= 60 * S for earlier, later in pairwise(tries))


def test_lease_that_cannot_be_kept_is_given_up() -> None:
    with network() as net:
        net.guest.dhcp()
        net.tap.loses = lambda frame: dhcp_in(frame) is not None
        net.guest.run_until(lambda: False, DAY + 10)
        assert net.guest.lease is None
        assert net.guest.interface.ipv4.source_for(GATEWAY) is None
        net.tap.loses = lambda frame: False
        assert net.guest.run_until(lambda: net.guest.lease is not None, 100)


def test_refused_renewal_starts_over() -> None:
    """The server lost its memory: NAK, and a new lease at once (decided for 3.2-c)."""
    with network() as net:
        net.guest.dhcp()
        net.services.forget_leases()
        assert net.guest.run_until(lambda: net.services.dhcp.counters.naks == 1, DAY)
        client = net.guest._dhcp
        assert client is not None
        assert net.guest.run_until(lambda: client.state == BOUND, 10)
        assert net.services.dhcp.leases.owner(FIRST) == net.guest.mac


def test_release() -> None:
    """RFC 2131 4.3.4-a."""
    with network() as net:
        net.guest.dhcp()
        net.guest.release()
        net.services.step()
        assert net.guest.lease is None
        assert len(said(net, RELEASE)) == 1
        assert net.services.dhcp.leases.owner(FIRST) is None
        assert net.services.dhcp.counters.releases == 1
        assert net.guest.dhcp().address == FIRST


def told(net: Network, address: int = FIRST, **options: bytes) -> DhcpClient:
    """A client that has asked, and to which a server says all of this in OFFER and ACK."""
    client = DhcpClient(net.guest.interface, net.guest.mac, random.Random(3))
    net.guest._timed.append(client)
    client.start(net.guest.clock.now())
    rows = {"server": ip(GATEWAY), "lease": u32(DAY), "mask": b"\xff\xff\xff\0", **options}
    for kind in (OFFER, ACK):
        message = Message(op=2, type=kind, xid=client._xid, chaddr=net.guest.mac, yiaddr=address)
        data = build_message(message, [(TAGS[name], row) for name, row in rows.items()])
        net.services.dhcp._socket.send(data, LIMITED_BROADCAST, 68, src=GATEWAY, mac=MAC_BROADCAST)
    net.tap.loses = lambda frame: frame[:6] == MAC_BROADCAST and frame[6:12] == net.guest.mac
    net.guest.run_until(lambda: client.state == BOUND, 1)
    return client


@pytest.mark.parametrize("address", ["10.0.2.255", "10.0.2.0", "127.0.0.1", "224.0.0.1", "0.0.0.0"])
def test_a_lease_of_what_is_no_host_s_address_is_none(address: str) -> None:
    with network() as net:
        assert told(net, parse_ip(address)).lease is None


@given(st.lists(st.integers(FIRST - 15, FIRST + 30), max_size=20))
@example(list(range(FIRST + 1, FIRST + 20)))  # more than a route has room for
@example([FIRST])  # ourselves
def test_whatever_routers_a_server_names_nothing_raises(routers: list[int]) -> None:
    with network() as net:
        client = told(net, router=b"".join(map(ip, routers)) or ip(GATEWAY))
        assert client.lease is not None
        assert client.state == BOUND
        client.drop()
        assert net.guest.interface.ipv4.routes.next_hop(0x08080808) is None


@pytest.mark.parametrize("t2", [20, 0xFFFFFFFF])
def test_an_infinite_lease_is_never_renewed(t2: int) -> None:
    """RFC 2131 3.3; a T1 beside it means nothing, and above all no deadline that stays in the past."""
    with network() as net:
        client = told(net, lease=u32(0xFFFFFFFF), t1=u32(10), t2=u32(t2))
        assert client.state == BOUND
        assert client.poll_at() is None


@pytest.mark.parametrize(
    "missing", [opt.SERVER_IDENTIFIER, opt.LEASE_TIME, opt.SUBNET_MASK, "yiaddr", "holey mask"], ids=str
)
def test_offers_without_the_necessary_are_none(missing: int | str) -> None:
    options = {
        opt.SERVER_IDENTIFIER: b"\x0a\0\2\2",
        opt.LEASE_TIME: b"\0\0\0\x64",
        opt.SUBNET_MASK: b"\xff\xff\xff\0",
    }
    message = Message(2, ACK, 1, bytes(6), yiaddr=FIRST, options=options)
    lease = read_lease(message, 0)
    assert lease is not None
    assert (lease.t1_s, lease.t2_s) == (50, 87)
    if missing == "yiaddr":
        message.yiaddr = LIMITED_BROADCAST
    elif missing == "holey mask":
        options[opt.SUBNET_MASK] = b"\xff\0\xff\0"
    else:
        assert isinstance(missing, int)
        del options[missing]
    assert read_lease(message, 0) is None
