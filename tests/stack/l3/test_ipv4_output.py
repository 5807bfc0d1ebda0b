"""The way down: routes, fragments, identifications, offload marks."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack.packets import (
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    ICMP,
    REMOTE,
    UDP,
    Ip,
    echo,
    ipv4,
    udp,
)
from tests.stack.rig import SECOND, Rig
from usernat.stack.addr import LIMITED_BROADCAST, parse_ip
from usernat.stack.device import MIN_MTU, Capabilities
from usernat.stack.l3.fragment import fragments
from usernat.stack.l3.ipv4_output import MAX_PATHS
from usernat.stack.l3.packet import DROPPED, NO_ROUTE, QUEUED, SENT, TOO_BIG

ROUTER = parse_ip("10.0.2.1")
SECOND_ROUTER = parse_ip("10.0.2.3")


def send(
    rig: Rig, size: int = 100, *, dst: int = GUEST, df: bool = False, src: int = GATEWAY, ttl: int | None = 64
) -> int:
    return rig.interface.ipv4.send(UDP, src, dst, [bytes(8), bytes(size - 8)], df=df, ttl=ttl, now=rig.now)


def macs(rig: Rig) -> list[bytes]:
    return [bytes(frame)[:6] for frame in rig.frames()]


def test_the_results_differ() -> None:
    assert len({SENT, QUEUED, DROPPED, TOO_BIG, NO_ROUTE}) == 5


@pytest.mark.rfc("1122", "3.2.1.7-c", "3.3.1.1-a", "3.3.1.1-b")
def test_a_datagram_goes_to_its_neighbour() -> None:
    """On link by the mask, so ARP names the MAC address."""
    rig = Rig()
    result = rig.interface.ipv4.send(UDP, GATEWAY, GUEST, [b"head", b"data"], ttl=7, tos=0x10, now=rig.now)
    assert result == SENT
    (frame,) = rig.frames()
    assert bytes(frame)[:14] == GUEST_MAC + GATEWAY_MAC + b"\x08\x00"
    assert (frame.gso_size, frame.csum_start) == (0, 0)
    assert send(rig) == SENT
    (datagram,) = rig.sent()
    assert (datagram.src, datagram.dst, datagram.ttl, datagram.df) == (GATEWAY, GUEST, 64, False)


@pytest.mark.rfc("1122", "3.2.1.7-a")
@pytest.mark.parametrize("ttl", [0, -1, 256])
def test_a_ttl_that_cannot_be(ttl: int) -> None:
    with pytest.raises(ValueError, match="TTL"):
        send(Rig(), ttl=ttl)


@pytest.mark.rfc("1122", "3.2.1.7-c")
def test_the_ttl_that_nobody_chose_is_a_setting() -> None:
    """Of ICMP, UDP and echo sockets alike; one that is given goes before it."""
    rig = Rig()
    assert rig.interface.ipv4.output.default_ttl == 64
    rig.interface.ipv4.output.default_ttl = 99
    socket, ping = rig.interface.udp.bind(None, 7), rig.interface.echo.bind(7)
    rig.receive(ipv4(echo(), proto=ICMP))
    rig.receive(ipv4(udp(b"nobody", dst_port=9)))
    socket.send(b"", GUEST, 9)
    ping.request(GUEST, 1, b"")
    assert send(rig, 2000, ttl=None) == SENT
    assert [datagram.ttl for datagram in rig.sent()] == [99] * 6
    socket.send(b"", GUEST, 9, ttl=5)
    ping.request(GUEST, 1, b"", ttl=6)
    assert [datagram.ttl for datagram in rig.sent()] == [5, 6]


@pytest.mark.rfc("1122", "3.2.1.3-b", "3.2.1.3-e")
def test_only_our_addresses_are_sources() -> None:
    """A gateway speaks for others, a host only asks for its address without one."""
    rig = Rig()
    assert send(rig, src=REMOTE) == NO_ROUTE
    assert send(rig, src=0) == NO_ROUTE
    assert rig.count("ipv4_output.foreign_source") == 2
    assert send(rig, src=0, dst=LIMITED_BROADCAST) == SENT
    assert send(Rig(any_ip=True), src=REMOTE) == SENT


@pytest.mark.rfc("1122", "3.2.1.3-e", "3.2.1.3-f", "3.3.1.1-b")
@pytest.mark.parametrize("dst", ["0.0.0.0", "127.0.0.1", "250.1.1.1", "10.0.2.2", "8.8.8.8"])
def test_where_nothing_goes(dst: str) -> None:
    """Without a gateway, off-link is no place."""
    rig = Rig()
    assert send(rig, dst=parse_ip(dst)) == NO_ROUTE
    assert rig.count("ipv4_output.no_route") == 1
    assert rig.interface.ipv4.source_for(parse_ip(dst)) is None


@pytest.mark.rfc("1122", "3.3.6-b", "3.3.6-c")
def test_broadcast_and_multicast_frames() -> None:
    rig = Rig()
    for dst in ("255.255.255.255", "10.0.2.255", "224.129.2.3"):
        assert send(rig, dst=parse_ip(dst)) == SENT
    assert [mac.hex() for mac in macs(rig)] == ["ffffffffffff", "ffffffffffff", "01005e010203"]


@pytest.mark.rfc("1122", "3.3.1.2-a", "3.3.1.2-b", "3.3.1.4-a", "3.3.1.6-a")
def test_default_gateways_and_the_next_when_one_is_dead() -> None:
    """ARP tells that the first is dead; no ping does."""
    rig = Rig(gateways=(ROUTER, SECOND_ROUTER))
    neighbours = rig.interface.ethernet.neighbours
    neighbours.learn(SECOND_ROUTER, b"\x02\0\0\0\0\x03", rig.now)
    assert send(rig, dst=REMOTE) == QUEUED
    rig.frames()
    rig.pass_time(4 * SECOND)
    rig.frames()
    assert send(rig, dst=REMOTE) == SENT
    assert macs(rig) == [b"\x02\0\0\0\0\x03"]
    rig.pass_time(60 * SECOND)
    assert send(rig, dst=REMOTE) == QUEUED  # the first gets another chance
    assert rig.interface.ipv4.source_for(REMOTE) == GATEWAY


def test_a_route_that_changes_is_noticed() -> None:
    rig = Rig()
    assert send(rig, dst=REMOTE) == NO_ROUTE
    rig.interface.ipv4.routes.add_default(GUEST)
    assert send(rig, dst=REMOTE) == SENT
    rig.interface.remove_address(GATEWAY)
    assert send(rig, dst=REMOTE) == NO_ROUTE
    rig.interface.add_address(GATEWAY, 24)
    assert send(rig, dst=REMOTE) == SENT


def test_c60_what_is_known_of_destinations_is_bounded() -> None:
    rig = Rig(addresses=((GATEWAY, 8),))
    for last in range(MAX_PATHS + 5):
        assert rig.interface.ipv4.source_for(parse_ip("10.9.0.1") + last) == GATEWAY
    assert rig.count("ipv4_output.paths_evicted") == 5


@pytest.mark.rfc("791", "3.2-frag-a")
@pytest.mark.rfc("6864", "4.3-b")
@pytest.mark.rfc("1122", "3.3.3-b", "3.3.3-a")
def test_c47_what_may_not_be_cut_is_not_sent() -> None:
    rig = Rig(mtu=600)
    assert send(rig, 1400, df=True) == TOO_BIG
    assert rig.silent()
    assert send(rig, 1400) == SENT
    assert len(rig.sent()) == 3
    assert send(rig, 65_516) == TOO_BIG
    assert rig.count("ipv4_output.too_big") == 2
    assert rig.interface.ipv4.max_send(GUEST) == 580  # RFC 1122 3.3.3-a


def test_a_segment_for_the_device_to_cut_passes_whole() -> None:
    rig = Rig(tx_checksum=True, tx_segmentation=65535)
    parts: list[bytes | bytearray | memoryview] = [bytes(32), memoryview(bytes(60_000))]
    result = rig.interface.ipv4.send(6, GATEWAY, GUEST, parts, gso_size=1448, csum_offset=16, now=rig.now)
    assert result == SENT
    (frame,) = rig.frames()
    assert (frame.gso_size, frame.csum_start, frame.csum_offset, frame.header_length) == (1448, 34, 16, 66)
    assert frame.parts[-1] is parts[1]


@pytest.mark.rfc("6864", "4.1-b")
def test_atomic_datagrams_carry_no_identification() -> None:
    rig = Rig()
    assert [send(rig, df=True), send(rig, df=True)] == [SENT, SENT]
    assert [datagram.ident for datagram in rig.sent()] == [0, 0]


@pytest.mark.rfc("6864", "4.2-a", "4.3-a")
@pytest.mark.rfc("791", "3.2-id-a")
def test_c59_all_others_have_one_of_their_own() -> None:
    rig = Rig()
    for _ in range(50):
        send(rig)
    assert len({datagram.ident for datagram in rig.sent()}) == 50


@pytest.mark.rfc("6864", "4.3-a", "5.2-a")
def test_c59_without_a_free_identification_nothing_is_sent_that_needs_one() -> None:
    """A datagram that fits goes atomic; one that must be cut does not go, until a minute has passed."""
    rig = Rig()
    for _ in range(65536):
        rig.interface.ipv4.output.ip_ids.next(GATEWAY, GUEST, UDP, rig.now)
    assert send(rig) == SENT
    (datagram,) = rig.sent()
    assert (datagram.df, datagram.ident) == (True, 0)
    assert send(rig, 3000) == DROPPED
    assert rig.silent()
    assert rig.count("ipv4_output.no_identification") == 1
    assert rig.count("ip_id.exhausted") == 2
    rig.pass_time(60 * SECOND)
    rig.interface.ethernet.neighbours.learn(GUEST, GUEST_MAC, rig.now)
    assert send(rig, 3000) == SENT
    assert len(rig.sent()) == 3


def rebuild(datagrams: list[Ip]) -> bytes:
    receiver = Rig(addresses=((GUEST, 24),)).interface.ipv4
    whole = None
    for datagram in datagrams:
        packet = receiver.receive(memoryview(datagram.datagram), False, 0, False, bytes(6))
        assert whole is None, "nothing comes after the last"
        whole = packet
    assert whole is not None
    return bytes(whole.payload)


@pytest.mark.rfc("791", "3.2-frag-b", "3.2-frag-c", "3.2-frag-e")
@pytest.mark.rfc("5722", "4-d")
@pytest.mark.rfc("1812", "4.2.2.7-b")
@settings(max_examples=60, deadline=None)
@given(
    mtu=st.integers(MIN_MTU, 65535) | st.integers(MIN_MTU, 600),
    size=st.integers(8, 65515),
    seed=st.integers(0, 9),
)
def test_c47_cut_and_put_together(mtu: int, size: int, seed: int) -> None:
    """Fewest, in order, disjoint; and whole again at the other end."""
    data = Random(seed).randbytes(size)
    rig = Rig(mtu=mtu)
    split = seed % 8
    assert rig.interface.ipv4.send(UDP, GATEWAY, GUEST, [data[:split], data[split:]], df=False, now=0) == SENT
    sent = rig.sent()
    assert all(len(datagram.datagram) <= mtu for datagram in sent)
    assert len({(datagram.ident, datagram.proto, datagram.src, datagram.dst) for datagram in sent}) == 1
    assert [datagram.mf for datagram in sent] == [True] * (len(sent) - 1) + [False]
    assert all(len(datagram.payload) % 8 == 0 for datagram in sent[:-1])
    ends = [0]
    for datagram in sent:
        assert datagram.offset == ends[-1]
        ends.append(datagram.offset + len(datagram.payload))
    room = mtu - 20
    least = 1 if size <= room else 1 + -(-(size - room) // (room & ~7))
    assert len(sent) == least
    assert rebuild(sent) == data


@pytest.mark.rfc("1812", "4.2.2.7-b")
@pytest.mark.rfc("791", "3.2-frag-b")
@pytest.mark.parametrize(("size", "sizes"), [(13, [13]), (21, [8, 13]), (22, [8, 8, 6]), (24, [8, 8, 8])])
def test_the_last_fragment_may_be_of_any_length(size: int, sizes: list[int]) -> None:
    assert [sum(map(len, parts)) for _, _, parts in fragments([bytes(size)], 13)] == sizes


def test_fragments_are_views() -> None:
    data = memoryview(bytes(3000))
    for _, _, parts in fragments([b"header..", data], 1480):
        assert all(isinstance(part, memoryview) for part in parts)


@pytest.mark.rfc("791", "3.2-frag-e")
@pytest.mark.rfc("1122", "3.3.3-d")
@pytest.mark.parametrize("mtu", [67, 0, 65536])
def test_an_mtu_that_cannot_be(mtu: int) -> None:
    with pytest.raises(ValueError, match="mtu"):
        Capabilities(mtu=mtu)
