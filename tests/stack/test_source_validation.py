"""RFC 1812 §5.3.8: what the stack does with senders that it is told about. Who may speak from where is a dict here; `nat/source_guard.py` knows it of guests."""

from __future__ import annotations

import pytest

from tests.stack.l2.link import ethernet
from tests.stack.packets import (
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    ICMP,
    MF,
    REMOTE,
    echo,
    icmp,
    ipv4,
    udp,
)
from tests.stack.rig import Rig
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, MAC_ZERO, parse_ip
from usernat.stack.l2.arp import ARP_CODEC, REPLY, REQUEST, ArpPacket
from usernat.stack.l2.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4

OTHER = parse_ip("10.0.2.16")
OTHER_MAC = bytes.fromhex("525400654321")
STATIC = parse_ip("10.0.2.77")
LSRR = b"\x83\x07\x04\x0a\x00\x00\x01\x00"
UNKNOWN_TOO_LONG = b"\x9f\x40\x00\x00"


class Sources:
    """GUEST is GUEST_MAC's; STATIC is for whoever asks first."""

    def __init__(self) -> None:
        self.bindings = {GUEST: GUEST_MAC}
        self.asked: list[tuple[int, bytes]] = []

    def admit(self, address: int, mac: bytes) -> bool:
        self.asked.append((address, mac))
        return address == STATIC and self.bindings.setdefault(address, mac) == mac


class Guarded(Rig):
    def __init__(self) -> None:
        super().__init__(any_ip=True)
        self.sources = Sources()
        self.interface.validate_sources(self.sources)

    def hears(
        self, payload: bytes, ethertype: int = ETHERTYPE_IPV4, *, mac: bytes, dst: bytes = GATEWAY_MAC
    ) -> None:
        self.interface.receive(ethernet(payload, ethertype, src=mac, dst=dst), self.now)

    def answers(self) -> int:
        return len(self.frames())

    def count(self, name: str) -> int:
        return self.interface.counters()[name]


def arp(op: int, spa: int, tpa: int, mac: bytes) -> bytes:
    return ARP_CODEC.write(ArpPacket(1, ETHERTYPE_IPV4, 6, 4, op, mac, spa, MAC_ZERO, tpa))


# -- IP -------------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("1812", "5.3.8-a")
@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(ipv4(echo(), src=GUEST, dst=GATEWAY, proto=ICMP), id="ping"),
        pytest.param(ipv4(udp(b"x", 1, 2), src=GUEST, dst=REMOTE), id="UDP to elsewhere"),
        pytest.param(ipv4(udp(b"x", 1, 2), src=GUEST, dst=REMOTE, ttl=1), id="TTL 1: no time exceeded"),
        pytest.param(ipv4(b"x" * 8, src=GUEST, dst=REMOTE, flags=MF), id="fragment"),
        pytest.param(ipv4(udp(b"x", 1, 2), src=GUEST, dst=REMOTE, options=LSRR), id="source route"),
        pytest.param(ipv4(echo(), src=GUEST, proto=ICMP, options=UNKNOWN_TOO_LONG), id="bad option: no parameter problem"),
        pytest.param(ipv4(b"", src=GUEST, proto=99), id="unknown protocol: no unreachable"),
        pytest.param(ipv4(icmp(3, 4, b"\0\0\2\0", ipv4(udp(b"", 1, 2), src=GATEWAY, dst=GUEST)), src=GUEST, proto=ICMP), id="error"),
        pytest.param(ipv4(udp(b"x", 68, 67), src=GUEST, dst=LIMITED_BROADCAST), id="broadcast"),
    ],
)  # fmt: skip
def test_another_s_source_is_dropped_before_anything_is_done_with_it(datagram: bytes) -> None:
    rig = Guarded()
    before = rig.interface.counters()
    rig.hears(datagram, mac=OTHER_MAC)
    changed = {name for name, value in rig.interface.counters().items() if value != before[name]}
    assert changed == {"ipv4.received", "ipv4.spoofed_source"}
    assert (rig.answers(), rig.interface.ready(), len(rig.interface.ipv4.reassembly)) == (0, [], 0)
    rig.hears(datagram, mac=GUEST_MAC)
    assert rig.count("ipv4.spoofed_source") == 1


def test_what_is_bound_passes_without_a_question() -> None:
    rig = Guarded()
    rig.hears(ipv4(echo(), src=GUEST, proto=ICMP), mac=GUEST_MAC)
    assert rig.answers() == 1
    assert rig.sources.asked == []


def test_what_is_not_bound_is_asked_about() -> None:
    rig = Guarded()
    rig.interface.ethernet.neighbours.learn(STATIC, OTHER_MAC, rig.now)
    for _ in range(2):
        rig.hears(ipv4(echo(), src=STATIC, proto=ICMP), mac=OTHER_MAC)
        assert rig.answers() == 1
    assert rig.sources.asked == [(STATIC, OTHER_MAC)]
    rig.hears(ipv4(echo(), src=STATIC, proto=ICMP), mac=GUEST_MAC)
    assert (rig.answers(), rig.count("ipv4.spoofed_source")) == (0, 1)


def test_who_has_no_address_yet_may_ask_for_one() -> None:
    rig = Guarded()
    server = rig.interface.udp.bind(None, 67)
    rig.hears(
        ipv4(udp(b"discover", 68, 67, src=0, dst=LIMITED_BROADCAST), src=0, dst=LIMITED_BROADCAST),
        mac=OTHER_MAC,
        dst=MAC_BROADCAST,
    )
    assert server.recv() is not None
    assert rig.sources.asked == []
    rig.hears(ipv4(udp(b"x", 68, 67, src=0), src=0), mac=OTHER_MAC)
    assert rig.count("ipv4.martian_source") == 1


def test_what_was_wrong_before_keeps_its_name() -> None:
    rig = Guarded()
    rig.hears(ipv4(echo(), src=GATEWAY, proto=ICMP), mac=OTHER_MAC)
    rig.hears(ipv4(echo(), src=parse_ip("127.0.0.1"), proto=ICMP), mac=OTHER_MAC)
    rig.hears(ipv4(echo(), src=GUEST, proto=ICMP), mac=GATEWAY_MAC)
    names = ("ipv4.own_source", "ipv4.martian_source", "ethernet.own_source", "ipv4.spoofed_source")
    assert [rig.count(name) for name in names] == [1, 1, 1, 0]


def test_without_sources_anybody_speaks_from_anywhere() -> None:
    rig = Guarded()
    rig.interface.validate_sources(None)
    rig.hears(ipv4(echo(), src=GUEST, proto=ICMP), mac=OTHER_MAC)
    assert rig.answers() == 1
    rig.hears(arp(REQUEST, OTHER, GATEWAY, GUEST_MAC), ETHERTYPE_ARP, mac=GUEST_MAC)
    assert rig.answers() == 1


# -- ARP ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [REQUEST, REPLY])
@pytest.mark.parametrize("target", [GATEWAY, GUEST, OTHER])
def test_arp_from_another_s_address_teaches_nothing_and_is_not_answered(op: int, target: int) -> None:
    rig = Guarded()
    rig.hears(arp(REQUEST, GUEST, GATEWAY, GUEST_MAC), ETHERTYPE_ARP, mac=GUEST_MAC)
    assert rig.answers() == 1
    rig.hears(arp(op, GUEST, target, OTHER_MAC), ETHERTYPE_ARP, mac=OTHER_MAC)
    assert (rig.answers(), rig.count("arp.spoofed_source")) == (0, 1)
    rig.hears(ipv4(echo(), src=GUEST, proto=ICMP), mac=GUEST_MAC)
    (frame,) = rig.interface.transmit(rig.now, 10)
    assert bytes(frame.parts[0][:6]) == GUEST_MAC  # the reply goes to the true one


def test_arp_claims_a_static_address_as_ip_does() -> None:
    rig = Guarded()
    rig.hears(arp(REQUEST, STATIC, STATIC, OTHER_MAC), ETHERTYPE_ARP, mac=OTHER_MAC, dst=MAC_BROADCAST)
    assert rig.sources.bindings[STATIC] == OTHER_MAC
    rig.hears(arp(REQUEST, STATIC, GATEWAY, GUEST_MAC), ETHERTYPE_ARP, mac=GUEST_MAC)
    assert (rig.answers(), rig.count("arp.spoofed_source")) == (0, 1)


@pytest.mark.rfc("5227", "2.1.1-g")
def test_a_probe_has_no_sender_and_is_answered() -> None:
    rig = Guarded()
    rig.hears(arp(REQUEST, 0, GATEWAY, OTHER_MAC), ETHERTYPE_ARP, mac=OTHER_MAC, dst=MAC_BROADCAST)
    assert (rig.answers(), rig.count("arp.spoofed_source")) == (1, 0)
    rig.hears(arp(REQUEST, 0, OTHER, OTHER_MAC), ETHERTYPE_ARP, mac=OTHER_MAC, dst=MAC_BROADCAST)
    assert (rig.answers(), rig.count("arp.spoofed_source")) == (0, 0)


def test_our_own_addresses_are_defended_as_ever() -> None:
    rig = Guarded()
    rig.hears(arp(REPLY, GATEWAY, OTHER, OTHER_MAC), ETHERTYPE_ARP, mac=OTHER_MAC, dst=MAC_BROADCAST)
    assert [rig.count(f"arp.{name}") for name in ("conflicts", "defended", "spoofed_source")] == [1, 1, 0]
    assert rig.answers() == 1
