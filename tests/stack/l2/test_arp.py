"""ARP: each rule of RFC 826 and the table hygiene around it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.l2.link import (
    DNS,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    OTHER,
    OTHER_MAC,
    OUR_MAC,
    Link,
    S,
    arp,
    ethernet,
)
from usernat.stack.addr import MAC_BROADCAST, MAC_ZERO, parse_ip
from usernat.stack.l2.arp import ARP_CODEC, REPLY, REQUEST, ArpPacket

FREE = parse_ip("10.0.2.99")


def counted(link: Link) -> dict[str, int]:
    return {name: value for name, value in link.arp.counters.as_dict().items() if value}


@pytest.mark.rfc("826", "rx-e")
@pytest.mark.rfc("5227", "2.6-a")
def test_a_request_for_our_address_is_answered_to_the_byte() -> None:
    """Opcode 2, fields swapped, unicast to the requester."""
    link = Link()
    link.hears_arp(REQUEST, GUEST, GATEWAY)
    assert link.says() == [
        bytes.fromhex(
            "525400123456 52550a000202 0806"  # Ethernet
            "0001 0800 06 04 0002"
            "52550a000202 0a000202"  # sender: us
            "525400123456 0a00020f"  # target: the requester
        )
    ]


def test_every_address_of_ours_is_answered_for() -> None:
    link = Link()
    link.hears_arp(REQUEST, GUEST, DNS)
    ((dst, packet),) = link.says_arp()
    assert (dst, packet.op, packet.spa) == (GUEST_MAC, REPLY, DNS)


def test_addresses_that_come_and_go_are_followed() -> None:
    link = Link()
    del link.addresses[DNS]
    link.addresses[FREE] = 24
    link.hears_arp(REQUEST, GUEST, DNS)
    assert link.says() == []
    link.hears_arp(REQUEST, GUEST, FREE)
    assert [packet.spa for _, packet in link.says_arp()] == [FREE]


@pytest.mark.rfc("5227", "2.1.1-g")
@pytest.mark.parametrize("target", [FREE, GUEST, OTHER, 0, 0xFFFFFFFF, parse_ip("192.0.2.1")])
@pytest.mark.parametrize("sender", [GUEST, 0])
def test_c51_no_answers_for_addresses_that_are_not_ours(target: int, sender: int) -> None:
    """A guest that probes for a free address, or for its own, hears nothing."""
    link = Link()
    link.hears_arp(REQUEST, sender, target)
    assert link.says() == []


@pytest.mark.rfc("826", "rx-f", "rx-c")
@pytest.mark.parametrize("op", [REPLY, 0, 3, 8, 9, 0xFFFF])
def test_other_opcodes_draw_no_answer_but_teach(op: int) -> None:
    """What is learnt is learnt before the opcode is looked at."""
    link = Link()
    link.hears_arp(op, GUEST, GATEWAY)
    assert link.says() == []
    assert link.neighbours.mac_of(GUEST) == GUEST_MAC


@pytest.mark.rfc("826", "rx-a")
@pytest.mark.parametrize(
    "change",
    [
        {"hrd": 6},
        {"hrd": 0},
        {"pro": 0x86DD},
        {"pro": 0x0806},
        {"hln": 8},
        {"hln": 0},
        {"pln": 16},
        {"pln": 0},
    ],
    ids=str,
)
def test_other_hardware_and_protocols_are_dropped(change: Any) -> None:
    link = Link()
    link.hears(ethernet(arp(REQUEST, GUEST, GATEWAY, **change)))
    assert link.says() == []
    assert len(link.neighbours) == 0
    assert counted(link) == {"bad_type": 1}


@pytest.mark.rfc("826", "rx-b")
@pytest.mark.rfc("5227", "2.3-b")
@pytest.mark.parametrize("op", [REQUEST, REPLY])
def test_a_known_neighbour_s_news_is_believed_whatever_the_opcode_and_target(op: int) -> None:
    """The guest has changed its network card."""
    link = Link()
    link.hears_arp(REQUEST, GUEST, GATEWAY)
    link.hears_arp(op, GUEST, FREE, mac=OTHER_MAC)
    assert link.neighbours.mac_of(GUEST) == OTHER_MAC
    link.says()
    link.send(GUEST)
    assert link.says()[0][:6] == OTHER_MAC


@pytest.mark.rfc("826", "rx-c")
def test_a_request_to_us_adds_the_sender() -> None:
    link = Link()
    assert link.neighbours.mac_of(GUEST) is None
    link.hears_arp(REQUEST, GUEST, GATEWAY)
    assert link.neighbours.mac_of(GUEST) == GUEST_MAC


@pytest.mark.rfc("826", "rx-d")
@pytest.mark.parametrize("op", [REQUEST, REPLY])
def test_gossip_between_others_teaches_nothing(op: int) -> None:
    link = Link()
    link.hears_arp(op, GUEST, OTHER)
    assert len(link.neighbours) == 0


@pytest.mark.rfc("826", "rx-b", "rx-d")
@pytest.mark.rfc("5227", "2.3-b")
def test_c51_a_gratuitous_arp_updates_the_known_and_adds_nobody() -> None:
    link = Link()
    link.hears_arp(REQUEST, GUEST, GUEST)
    assert len(link.neighbours) == 0
    link.hears_arp(REQUEST, GUEST, GATEWAY)
    link.says()
    link.hears_arp(REQUEST, GUEST, GUEST, mac=OTHER_MAC)
    assert link.neighbours.mac_of(GUEST) == OTHER_MAC
    assert link.says() == []


@pytest.mark.rfc("5227", "2.1.1-f", "2.1.1-g")
def test_c51_a_probe_for_our_address_is_answered_and_teaches_nothing() -> None:
    link = Link()
    link.hears_arp(REQUEST, 0, GATEWAY)
    ((dst, packet),) = link.says_arp()
    assert (dst, packet.op, packet.spa, packet.tpa, packet.tha) == (GUEST_MAC, REPLY, GATEWAY, 0, GUEST_MAC)
    assert len(link.neighbours) == 0


@pytest.mark.rfc("826", "tx-b")
def test_c51_a_short_packet_is_dropped_and_padding_is_ignored() -> None:
    whole = arp(REQUEST, GUEST, GATEWAY)
    for length in range(len(whole)):
        link = Link()
        link.hears(ethernet(whole[:length]))
        assert link.says() == []
        assert counted(link) == {"short": 1}
    link = Link()
    link.hears(ethernet(whole + b"\xa5" * 18))
    link.hears(ethernet(whole))
    assert len(link.says_arp()) == 2


@pytest.mark.rfc("826", "sec-a")
@pytest.mark.parametrize("sender", ["255.255.255.255", "224.0.0.1", "127.0.0.1", "240.0.0.1", "0.0.0.1"])
def test_impossible_senders_are_dropped(sender: str) -> None:
    link = Link()
    link.hears_arp(REQUEST, parse_ip(sender), GATEWAY)
    assert link.says() == []
    assert len(link.neighbours) == 0
    assert counted(link) == {"bad_sender": 1}


@pytest.mark.rfc("826", "sec-b")
def test_a_sender_that_is_not_the_frame_s_source_is_dropped() -> None:
    link = Link()
    link.hears(ethernet(arp(REQUEST, GUEST, GATEWAY, sha=OTHER_MAC), src=GUEST_MAC))
    assert link.says() == []
    assert len(link.neighbours) == 0
    assert counted(link) == {"spoofed_mac": 1}


@pytest.mark.rfc("826", "sec-a")
@pytest.mark.rfc("5227", "2.4-a", "2.4-b")
@pytest.mark.parametrize("op", [REQUEST, REPLY])
@pytest.mark.parametrize("target", [GATEWAY, DNS, GUEST])
def test_c51_a_spoofed_gateway_is_answered_by_a_defence(op: int, target: int) -> None:
    """Our own entry cannot be taken."""
    link = Link()
    link.hears_arp(op, GATEWAY, target)
    ((dst, packet),) = link.says_arp()
    assert dst == MAC_BROADCAST
    assert packet == ArpPacket(1, 0x0800, 6, 4, REQUEST, OUR_MAC, GATEWAY, MAC_ZERO, GATEWAY)
    assert len(link.neighbours) == 0
    assert counted(link) == {"conflicts": 1, "defended": 1}


@pytest.mark.rfc("5227", "2.4-b")
def test_c51_the_gateway_defends_itself_at_most_once_in_ten_seconds() -> None:
    """Way (c); each address has its own ten seconds."""
    link = Link()
    times = []
    for now in range(0, 25 * S, S // 2):
        link.hears_arp(REPLY, GATEWAY, GUEST, now)
        times += [now] * len(link.says())
    assert times == [0, 10 * S, 20 * S]
    link.hears_arp(REPLY, DNS, GUEST, 20 * S)
    assert [packet.spa for _, packet in link.says_arp()] == [DNS]
    assert counted(link) == {"conflicts": 51, "defended": 4}


@pytest.mark.rfc("826", "tx-a")
@pytest.mark.rfc("1122", "2.3.3-e")
def test_a_request_goes_to_all_and_names_us() -> None:
    """Byte for byte."""
    link = Link()
    link.send(GUEST)
    assert link.says() == [
        bytes.fromhex(
            "ffffffffffff 52550a000202 08060001 0800 06 04 000152550a000202 0a000202000000000000 0a00020f"
        )
    ]


def test_a_request_speaks_from_the_address_nearest_to_the_target() -> None:
    link = Link()
    link.addresses[parse_ip("192.0.2.1")] = 24
    link.send(parse_ip("192.0.2.77"))
    assert [packet.spa for _, packet in link.says_arp()] == [parse_ip("192.0.2.1")]


def test_nobody_is_asked_while_we_have_no_address() -> None:
    link = Link()
    link.addresses.clear()
    link.send(GUEST)
    assert link.says() == []
    assert counted(link) == {"no_address": 1}


@pytest.mark.rfc("826", "sec-a")
def test_c60_ten_thousand_senders_leave_the_table_bounded() -> None:
    link = Link()
    for number in range(12_000):
        link.hears_arp(REQUEST, parse_ip("10.1.0.1") + number, GATEWAY, now=number)
        assert len(link.says()) == 1
    assert len(link.neighbours) == len(link.neighbours.headers) == link.neighbours.config.capacity
    assert link.neighbours.counters.evicted == 12_000 - link.neighbours.config.capacity
    assert len(link.neighbours._deadlines) == link.neighbours.config.capacity


packets = st.builds(
    ArpPacket,
    st.sampled_from([1, 6]),
    st.sampled_from([0x0800, 0x86DD]),
    st.sampled_from([6, 8]),
    st.sampled_from([4, 16]),
    st.integers(0, 4),
    st.sampled_from([GUEST_MAC, OTHER_MAC, MAC_BROADCAST]),
    st.sampled_from([GUEST, OTHER, GATEWAY, DNS, 0, 0xFFFFFFFF]),
    st.sampled_from([MAC_ZERO, OUR_MAC]),
    st.sampled_from([GUEST, OTHER, GATEWAY, DNS, 0, 0xFFFFFFFF]),
)


@given(st.lists(st.tuples(packets, st.integers(0, 30), st.integers(0, 3)), max_size=30))
def test_c51_whatever_comes_our_addresses_stay_ours(story: list[tuple[ArpPacket, int, int]]) -> None:
    link = Link()
    now = 0
    for packet, cut, wait in story:
        now += wait * S
        link.hears(ethernet(ARP_CODEC.write(packet)[: len(packet) * 4 - cut]), now)
        assert GATEWAY not in link.neighbours
        assert 0 not in link.neighbours
        for dst, said in link.says_arp():
            assert said.spa in link.addresses
            assert said.op == REPLY or (dst == MAC_BROADCAST and said.spa == said.tpa)


def test_the_packet_reads_well() -> None:
    assert str(ARP_CODEC.read(arp(REQUEST, GUEST, GATEWAY))) == (
        "ARP who has 10.0.2.2 from 10.0.2.15 at 52:54:00:12:34:56"
    )
    assert str(ARP_CODEC.read(arp(9, GUEST, GATEWAY))).startswith("ARP op 9 10.0.2.2")
