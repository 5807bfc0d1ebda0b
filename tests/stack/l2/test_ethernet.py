"""Ethernet: what is let in, what is dropped under which name, and how frames go out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.l2.link import GATEWAY, GUEST, GUEST_MAC, OTHER_MAC, OUR_MAC, Link, ethernet
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, MAC_ZERO, parse_ip
from usernat.stack.device import Capabilities, Frame
from usernat.stack.l2.ethernet import (
    ETHERNET_CODEC,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    EthernetHeader,
    EthernetLayer,
    group_mac,
)
from usernat.stack.l2.neighbour import DROPPED, QUEUED, SENT


def layer(**capabilities: Any) -> EthernetLayer:
    return EthernetLayer(OUR_MAC, Capabilities(**capabilities))


def drops(ethernet_layer: EthernetLayer) -> dict[str, int]:
    return {name: value for name, value in ethernet_layer.counters.as_dict().items() if value}


@pytest.mark.rfc("1122", "2.3.3-a")
def test_a_frame_for_us_is_taken_apart() -> None:
    """Ethernet II."""
    frame = layer().receive(ethernet(b"payload", ETHERTYPE_IPV4))
    assert frame is not None
    assert tuple(frame) == (OUR_MAC, GUEST_MAC, ETHERTYPE_IPV4, b"payload", False)
    assert str(frame) == "Ethernet 52:54:00:12:34:56 > 52:55:0a:00:02:02 0x0800 7 bytes"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_payload_is_a_view_of_the_buffer(kind: Any) -> None:
    buffer = kind(ethernet(b"payload", ETHERTYPE_IPV4))
    frame = layer().receive(buffer)
    assert frame is not None
    assert frame.payload.obj is (buffer.obj if kind is memoryview else buffer)


@pytest.mark.rfc("1122", "2.4-a")
@pytest.mark.parametrize("dst", [MAC_BROADCAST, bytes.fromhex("01005e000001")])
def test_a_group_frame_is_marked(dst: bytes) -> None:
    frame = layer().receive(ethernet(b"", ETHERTYPE_IPV4, dst=dst))
    assert frame is not None
    assert frame.group


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (b"", "short"),
        (b"\xff", "short"),
        (bytes(13), "short"),
        (ethernet(b"x", ETHERTYPE_IPV4)[:13], "short"),
        (ethernet(bytes(1501), ETHERTYPE_IPV4), "jumbo"),
        (ethernet(bytes(9000), ETHERTYPE_IPV4), "jumbo"),
        (ethernet(bytes(50), 0x8100), "vlan"),
        (ethernet(bytes(50), 0x88A8), "vlan"),
        (ethernet(bytes(50), 0x9100), "vlan"),
        (ethernet(bytes(50), 46), "length_frame"),
        (ethernet(bytes(50), 0x05FF), "length_frame"),
        (ethernet(bytes(50), 0), "length_frame"),
        (ethernet(bytes(50), 0x0600), "unknown_ethertype"),
        (ethernet(bytes(50), 0x86DD), "unknown_ethertype"),
        (ethernet(bytes(50), 0x1000), "unknown_ethertype"),  # RFC 1122 2.3.1-a: trailers
        (ethernet(bytes(50), 0xFFFF), "unknown_ethertype"),
        (ethernet(bytes(50), ETHERTYPE_IPV4, src=MAC_BROADCAST), "bad_source"),
        (ethernet(bytes(50), ETHERTYPE_IPV4, src=bytes.fromhex("01005e000001")), "bad_source"),
        (ethernet(bytes(50), ETHERTYPE_IPV4, src=MAC_ZERO), "bad_source"),
        (ethernet(bytes(50), ETHERTYPE_IPV4, src=OUR_MAC), "own_source"),
        (ethernet(bytes(50), ETHERTYPE_IPV4, dst=OTHER_MAC), "not_for_us"),
    ],
)
def test_c50_bad_frames_are_dropped_and_counted(frame: bytes, name: str) -> None:
    ethernet_layer = layer(mtu=1500)
    assert ethernet_layer.receive(frame) is None
    assert drops(ethernet_layer) == {name: 1}
    assert not ethernet_layer.outgoing


@given(st.binary(max_size=80))
def test_c50_no_bytes_raise_and_every_drop_has_one_name(data: bytes) -> None:
    ethernet_layer = layer()
    frame = ethernet_layer.receive(data)
    assert sum(drops(ethernet_layer).values()) == (frame is None)


@given(st.binary(max_size=80), st.sampled_from([ETHERTYPE_IPV4, ETHERTYPE_ARP]))
def test_what_is_let_in_is_what_was_sent(payload: bytes, ethertype: int) -> None:
    frame = layer().receive(ethernet(payload, ethertype))
    assert frame is not None
    assert frame.payload == payload


def test_the_longest_frame_is_the_mtu_s() -> None:
    assert layer(mtu=1500).receive(ethernet(bytes(1500), ETHERTYPE_IPV4)) is not None
    assert layer(mtu=576).receive(ethernet(bytes(577), ETHERTYPE_IPV4)) is None


def test_a_device_that_segments_hands_in_whole_datagrams() -> None:
    offload = {"mtu": 1500, "tx_checksum": True, "tx_segmentation": 65535}
    assert layer(**offload).receive(ethernet(bytes(65535), ETHERTYPE_IPV4)) is not None
    assert layer(**offload).receive(ethernet(bytes(65536), ETHERTYPE_IPV4)) is None


def test_a_mac_address_of_ours_must_be_a_host_s() -> None:
    for mac in (MAC_BROADCAST, MAC_ZERO, b"short", bytes(7)):
        with pytest.raises(ValueError, match="MAC"):
            EthernetLayer(mac, Capabilities())


@pytest.mark.rfc("1122", "3.3.6-c")
@pytest.mark.parametrize(
    ("address", "mac"),
    [
        ("255.255.255.255", "ffffffffffff"),
        ("224.0.0.1", "01005e000001"),
        ("239.255.255.255", "01005e7fffff"),
        ("224.129.2.3", "01005e010203"),
        ("10.0.2.255", None),
        ("223.255.255.255", None),
        ("240.0.0.1", None),
    ],
)
def test_ip_groups_map_to_mac_groups(address: str, mac: str | None) -> None:
    """RFC 1112 §6.4."""
    assert group_mac(parse_ip(address)) == (None if mac is None else bytes.fromhex(mac))


def test_a_datagram_to_a_group_is_not_asked_about() -> None:
    link = Link()
    assert link.send(LIMITED_BROADCAST) == SENT
    assert link.send(parse_ip("224.0.0.251")) == SENT
    assert link.says() == [
        ethernet(b"datagram", ETHERTYPE_IPV4, src=OUR_MAC, dst=MAC_BROADCAST),
        ethernet(b"datagram", ETHERTYPE_IPV4, src=OUR_MAC, dst=bytes.fromhex("01005e0000fb")),
    ]


def test_a_mac_address_given_is_used_as_it_is() -> None:
    link = Link()
    assert link.send(GUEST, mac=OTHER_MAC) == SENT
    assert link.says() == [ethernet(b"datagram", ETHERTYPE_IPV4, src=OUR_MAC, dst=OTHER_MAC)]
    assert len(link.neighbours) == 0


def test_payload_goes_out_by_reference_with_its_marks() -> None:
    link = Link()
    link.guest_answers()
    payload = memoryview(bytes(4000))
    parts: list[Any] = [b"headers", payload]
    marks: Any = {"gso_size": 1448, "csum_start": 34, "csum_offset": 16, "header_length": 66}
    assert link.ethernet.send(GUEST, ETHERTYPE_IPV4, parts, 0, **marks) == SENT
    frame = link.ethernet.outgoing.pop()
    assert isinstance(frame, Frame)
    header = ETHERNET_CODEC.write(EthernetHeader(GUEST_MAC, OUR_MAC, ETHERTYPE_IPV4))
    assert frame.parts[0] == header + b"headers"
    assert frame.parts[1] is payload
    assert {name: getattr(frame, name) for name in marks} == marks


def test_a_queued_frame_keeps_its_marks() -> None:
    link = Link()
    assert link.ethernet.send(GUEST, ETHERTYPE_IPV4, [b"x"], 0, csum_start=34, csum_offset=6) == QUEUED
    link.says()
    link.guest_answers()
    frame = link.ethernet.outgoing.pop()
    assert (frame.csum_start, frame.csum_offset) == (34, 6)
    assert bytes(frame) == ethernet(b"x", ETHERTYPE_IPV4, src=OUR_MAC, dst=GUEST_MAC)


def test_the_outgoing_queue_is_bounded() -> None:
    ethernet_layer = EthernetLayer(OUR_MAC, Capabilities(), queue_limit=3)
    results = [ethernet_layer.send(LIMITED_BROADCAST, ETHERTYPE_IPV4, [b"x"], 0) for _ in range(5)]
    results.append(ethernet_layer.send_to(GUEST_MAC, ETHERTYPE_ARP, [b"x"]))
    assert results == [SENT, SENT, SENT, DROPPED, DROPPED, DROPPED]
    assert len(ethernet_layer.outgoing) == 3
    assert drops(ethernet_layer) == {"queue_full": 3}


@pytest.mark.rfc("1122", "2.3.3-a")
def test_the_gateway_s_own_frame_reads_back() -> None:
    link = Link()
    link.send(GATEWAY, mac=MAC_BROADCAST)
    (frame,) = link.says()
    header = ETHERNET_CODEC.read(frame)
    assert header == EthernetHeader(MAC_BROADCAST, OUR_MAC, ETHERTYPE_IPV4)
