"""The strategies' own promise: what they call valid parses as such, by our codecs and by construct's own word."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usernat.fuzz.strategies import (
    SCENE,
    Scene,
    arp,
    ethernet,
    icmp,
    ipv4,
    mutate,
    tcp,
    udp,
    valid_arp,
    valid_dhcp,
    valid_dns,
    valid_ethernet,
    valid_fragments,
    valid_frames,
    valid_icmp,
    valid_ipv4,
    valid_tcp,
    valid_udp,
)
from usernat.fuzz.strategies.dns import dns_answers
from usernat.nat.dhcp.message import Message, parse_message
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, parse_ip, parse_mac
from usernat.stack.checksum import checksum, pseudo_header
from usernat.stack.device import Capabilities
from usernat.stack.l2.arp import ArpLayer
from usernat.stack.l2.ethernet import (
    ETHERNET_CODEC,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    EthernetFrame,
    EthernetLayer,
)
from usernat.stack.l3.addresses import Addresses
from usernat.stack.l3.icmp_message import ECHO, ECHO_REPLY, ECHO_REQUEST, read_quote
from usernat.stack.l3.ipv4 import Ipv4Layer
from usernat.stack.l3.ipv4_header import PROTO_ICMP, PROTO_TCP, PROTO_UDP
from usernat.stack.l4.tcp.header import TCP
from usernat.stack.l4.tcp.options import read_options
from usernat.stack.l4.udp import UDP

if TYPE_CHECKING:
    from usernat.stack.l3.packet import Packet

ELSEWHERE = Scene(
    guest_mac=parse_mac("02:00:00:00:00:01"),
    gateway_mac=parse_mac("02:00:00:00:00:02"),
    guest=parse_ip("192.0.2.130"),
    gateway=parse_ip("192.0.2.129"),
    services=(),
    prefix=25,
)
SCENES = [SCENE, ELSEWHERE]


class Receiver:
    """The gateway's lower layers, to see how far a frame comes."""

    def __init__(self, scene: Scene) -> None:
        capabilities = Capabilities(mtu=scene.mtu)
        self.addresses = Addresses([(address, scene.prefix) for address in (scene.gateway, *scene.services)])
        self.ethernet = EthernetLayer(scene.gateway_mac, capabilities)
        self.arp = ArpLayer(self.ethernet, self.addresses.own, Random(1))
        self.ipv4 = Ipv4Layer(self.ethernet, self.addresses, capabilities, Random(1), 0, any_ip=True)

    def frame(self, frame: bytes) -> EthernetFrame:
        received = self.ethernet.receive(frame)
        assert received is not None, self.ethernet.counters
        return received

    def packet(self, frame: bytes) -> Packet | None:
        received = self.frame(frame)
        assert received.ethertype == ETHERTYPE_IPV4
        return self.ipv4.receive(received.payload, received.group, 0, False, received.src)

    def whole(self, frame: bytes) -> Packet:
        packet = self.packet(frame)
        assert packet is not None, self.ipv4.counters
        return packet


def transport_checksum(packet: Packet) -> int:
    pseudo = pseudo_header(packet.src, packet.dst, packet.proto, len(packet.payload))
    return checksum(packet.payload, initial=0 if packet.proto == PROTO_ICMP else pseudo)


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_ethernet_is_let_in(scene: Scene, data: st.DataObject) -> None:
    Receiver(scene).frame(data.draw(valid_ethernet(scene)))


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_refused_ethernet_is_dropped_for_one_reason(scene: Scene, data: st.DataObject) -> None:
    receiver = Receiver(scene)
    assert receiver.ethernet.receive(data.draw(ethernet.refused_ethernet(scene))) is None
    assert sum(receiver.ethernet.counters.as_dict().values()) == 1


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_arp_is_no_cause_for_complaint(scene: Scene, data: st.DataObject) -> None:
    receiver = Receiver(scene)
    received = receiver.frame(data.draw(valid_arp(scene)))
    assert received.ethertype == ETHERTYPE_ARP
    receiver.arp.receive(received, 0)
    complaints = receiver.arp.counters.as_dict()
    complaints.pop("replies_sent")
    assert not any(complaints.values())


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_ipv4_arrives(scene: Scene, data: st.DataObject) -> None:
    packet = Receiver(scene).whole(data.draw(valid_ipv4(scene)))
    assert packet.src == scene.guest


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_fragments_make_one_datagram(scene: Scene, data: st.DataObject) -> None:
    receiver = Receiver(scene)
    frames = data.draw(valid_fragments(scene))
    packets = [receiver.packet(frame) for frame in frames]
    assert packets[:-1] == [None] * (len(frames) - 1)
    assert packets[-1] is not None
    assert transport_checksum(packets[-1]) == 0
    header = UDP.read(packets[-1].payload)
    assert header is not None
    assert header.length == len(packets[-1].payload)


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_icmp_is_an_echo_or_a_quote(scene: Scene, data: st.DataObject) -> None:
    packet = Receiver(scene).whole(data.draw(valid_icmp(scene)))
    assert packet.proto == PROTO_ICMP
    assert transport_checksum(packet) == 0
    header = ECHO.read(packet.payload)
    assert header is not None
    if header.type in (ECHO_REQUEST, ECHO_REPLY):
        return
    quote = read_quote(packet.payload[ECHO.size :])
    assert quote is not None
    assert quote.checksum_right
    assert quote.dst == scene.guest
    assert len(quote.payload) >= 8


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_udp_has_its_length_and_checksum(scene: Scene, data: st.DataObject) -> None:
    packet = Receiver(scene).whole(data.draw(valid_udp(scene)))
    header = UDP.read(packet.payload)
    assert packet.proto == PROTO_UDP
    assert header is not None
    assert header.length == len(packet.payload)
    assert header.src_port
    assert header.dst_port
    assert header.checksum == 0 or transport_checksum(packet) == 0


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_tcp_has_a_sound_header_and_options(scene: Scene, data: st.DataObject) -> None:
    packet = Receiver(scene).whole(data.draw(valid_tcp(scene)))
    header = TCP.read(packet.payload)
    assert packet.proto == PROTO_TCP
    assert header is not None
    assert TCP.size <= 4 * header.data_offset <= len(packet.payload)
    assert transport_checksum(packet) == 0
    assert not read_options(packet.payload[TCP.size : 4 * header.data_offset]).malformed


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_dhcp_is_a_client_s_message(scene: Scene, data: st.DataObject) -> None:
    packet = Receiver(scene).whole(data.draw(valid_dhcp(scene)))
    assert (packet.src, packet.dst, packet.broadcast) == (0, LIMITED_BROADCAST, True)
    assert transport_checksum(packet) == 0
    message = parse_message(bytes(packet.payload[UDP.size :]))
    assert isinstance(message, Message), message
    assert message.chaddr == scene.guest_mac


@pytest.mark.parametrize("scene", SCENES)
@given(st.data())
def test_valid_dns_is_a_query(scene: Scene, data: st.DataObject) -> None:
    packet = Receiver(scene).whole(data.draw(valid_dns(scene)))
    query = dns.message.from_wire(bytes(packet.payload[UDP.size :]))
    assert len(query.question) == 1


@given(dns_answers())
def test_answers_are_answers(wire: bytes) -> None:
    answer = dns.message.from_wire(wire)
    assert answer.flags & dns.flags.QR


@given(valid_frames())
def test_valid_frames_fit_the_link(frame: bytes) -> None:
    assert len(frame) <= ETHERNET_CODEC.size + SCENE.mtu


@given(st.binary(min_size=1, max_size=40), st.data())
def test_each_mutation_does_what_it_says(good: bytes, data: st.DataObject) -> None:
    shorter = data.draw(mutate.cut(good))
    assert good.startswith(shorter)
    assert len(shorter) < len(good)
    longer = data.draw(mutate.grown(good))
    assert longer.startswith(good)
    assert len(longer) > len(good)
    flipped = data.draw(mutate.flipped(good))
    assert len(flipped) == len(good)
    assert flipped != good
    assert len(data.draw(mutate.repeated(good))) >= len(good)
    field = mutate.Field(0, 2)
    lie = data.draw(mutate.lying(good, [field]))
    assert len(lie) == len(good)
    assert lie[2:] == good[2:]


@settings(max_examples=50)
@given(st.sampled_from([PROTO_ICMP, PROTO_TCP, PROTO_UDP]), st.binary(max_size=60))
def test_any_payload_can_be_sealed(proto: int, payload: bytes) -> None:
    sealed = ipv4.seal(payload, proto, SCENE.guest, SCENE.gateway)
    assert len(sealed) == len(payload)
    if len(payload) >= 20:
        whole = Receiver(SCENE).whole(
            ethernet.frame(ipv4.datagram(sealed, proto, SCENE.guest, SCENE.gateway))
        )
        assert transport_checksum(whole) == 0


def test_the_builders_build_what_they_are_told() -> None:
    receiver = Receiver(SCENE)
    packet = receiver.whole(ethernet.frame(udp.packet(b"data", SCENE.guest, 1000, SCENE.gateway, 53)))
    assert bytes(packet.payload) == bytes.fromhex("03e8 0035 000c 0ae6 64617461")
    packet = receiver.whole(ethernet.frame(tcp.packet(SCENE.guest, SCENE.gateway, 2, 1000, 80, sequence=7)))
    header = TCP.read(packet.payload)
    assert header is not None
    assert (header.flags, header.sequence, header.data_offset) == (2, 7, 5)
    packet = receiver.whole(
        ethernet.frame(ipv4.datagram(icmp.echo(8, 1, 2, b"x"), PROTO_ICMP, SCENE.guest, SCENE.gateway))
    )
    assert bytes(packet.payload[4:]) == b"\0\1\0\2x"
    said = arp.packet(1, SCENE.guest, SCENE.gateway)
    assert (said.sha, said.spa, said.tpa) == (SCENE.guest_mac, SCENE.guest, SCENE.gateway)
    assert ethernet.frame(b"", dst=MAC_BROADCAST)[:6] == MAC_BROADCAST
