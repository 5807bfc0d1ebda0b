"""C37 on the gateway: a guest speaks from the addresses that it was given, whoever else is on its link and whatever that one says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nat.dhcp.kit import OURS, S, ip
from tests.nat.kit import (
    FREE,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    MS,
    NAMESERVER,
    SECOND_GUEST,
    SERVER,
    Lab,
)
from tests.nat.tcp_kit import connect, listening
from tests.stack.packets import ICMP, MF, TCP, echo, icmp, internet_checksum, ipv4, udp
from usernat.fuzz.strategies import Scene, hostile_frames, valid_frames
from usernat.nat.dhcp.message import (
    BOOTREQUEST,
    DISCOVER,
    RELEASE,
    REQUEST,
    Message,
    build_message,
)
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, MAC_ZERO, parse_ip
from usernat.stack.l2 import arp
from usernat.stack.l2.arp import ARP_CODEC, ArpPacket
from usernat.stack.l2.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4

OTHER_MAC = b"\x02\0\0\0\0\x66"  # a second machine on the link of the first
LSRR = b"\x83\x07\x04\x0a\x00\x00\x01\x00"


def syn(src: int, dst: int = SERVER) -> bytes:
    """Of a connection to port 80."""
    bare = bytes.fromhex("9c40 0050 00000001 00000000 5002 ffff 0000 0000")
    checksum = internet_checksum(ip(src) + ip(dst) + bytes((0, TCP, 0, len(bare))) + bare)
    return bare[:16] + checksum.to_bytes(2, "big") + bare[18:]


def guarded(*static: int, **config: Any) -> Lab:
    """A gateway whose first guest has its two addresses by hand."""
    lab = Lab(anti_spoof=True, static=static or (GUEST, SECOND_GUEST), **config)
    lab.run(10 * MS)  # the guest announces itself
    assert lab.interface.counters()["arp.spoofed_source"] == 0
    return lab


def put(
    lab: Lab,
    payload: bytes,
    ethertype: int = ETHERTYPE_IPV4,
    *,
    src: bytes = OTHER_MAC,
    dst: bytes = GATEWAY_MAC,
) -> None:
    """A frame as it is, by the second machine where nothing else is said."""
    lab.wire.b.receive(dst + src + ethertype.to_bytes(2, "big") + payload, lab.clock.now)
    lab.run(10 * MS)


def says(lab: Lab, op: int, spa: int, tpa: int, *, src: bytes = OTHER_MAC) -> None:
    packet = ArpPacket(1, ETHERTYPE_IPV4, 6, 4, op, src, spa, MAC_ZERO, tpa)
    put(lab, ARP_CODEC.write(packet), ETHERTYPE_ARP, src=src, dst=MAC_BROADCAST)


def count(lab: Lab, *names: str) -> list[int]:
    counters = lab.interface.counters()
    return [counters[name] for name in names]


def to_guests(lab: Lab) -> int:
    return len(lab.wire.frames(to_b=False))


def known(lab: Lab, address: int) -> bytes | None:
    """Where the gateway sends what is for the address."""
    header = lab.interface.ethernet.neighbours.headers.get(address)
    return None if header is None else bytes(header[:6])


# -- IP -------------------------------------------------------------------------------------------------------------------

SPOOFED = {
    "another guest": (GUEST, OTHER_MAC, "ipv4.spoofed_source"),
    "an address that is free": (FREE, OTHER_MAC, "ipv4.spoofed_source"),
    "a free one, by the first guest": (FREE, GUEST_MAC, "ipv4.spoofed_source"),
    "an external address": (parse_ip("203.0.113.9"), OTHER_MAC, "ipv4.spoofed_source"),
    "an external one, by the first guest": (parse_ip("203.0.113.9"), GUEST_MAC, "ipv4.spoofed_source"),
    "a private one": (parse_ip("192.168.1.1"), GUEST_MAC, "ipv4.spoofed_source"),
    "the gateway": (GATEWAY, OTHER_MAC, "ipv4.own_source"),
    "the name server": (NAMESERVER, GUEST_MAC, "ipv4.own_source"),
    "loopback": (parse_ip("127.0.0.1"), GUEST_MAC, "ipv4.martian_source"),
    "the gateway's MAC address": (GUEST, GATEWAY_MAC, "ethernet.own_source"),
    "a group's MAC address": (GUEST, b"\x01\0\x5e\0\0\1", "ethernet.bad_source"),
}
SENT = {
    "UDP": lambda src: ipv4(udp(b"x", 4000, 53, src=src, dst=SERVER), src=src, dst=SERVER),
    "UDP to the name server": lambda src: ipv4(udp(b"x", 4000, 53, src=src, dst=NAMESERVER), src=src, dst=NAMESERVER),
    "SYN": lambda src: ipv4(syn(src), src=src, dst=SERVER, proto=TCP),
    "ping": lambda src: ipv4(echo(), src=src, dst=SERVER, proto=ICMP),
    "ping of the gateway": lambda src: ipv4(echo(), src=src, dst=GATEWAY, proto=ICMP),
    "TTL 1": lambda src: ipv4(echo(), src=src, dst=SERVER, proto=ICMP, ttl=1),
    "source route": lambda src: ipv4(echo(), src=src, dst=SERVER, proto=ICMP, options=LSRR),
    "bad options": lambda src: ipv4(echo(), src=src, dst=SERVER, proto=ICMP, options=b"\x9f\x40\0\0"),
    "unreachable": lambda src: ipv4(icmp(3, 1, bytes(4), ipv4(bytes(20), src=SERVER, dst=src)), src=src, dst=SERVER, proto=ICMP),
    "release": lambda src: ipv4(
        udp(build_message(Message(BOOTREQUEST, RELEASE, 1, GUEST_MAC, ciaddr=GUEST), []), 68, 67, src=src), src=src
    ),
}  # fmt: skip


@pytest.mark.rfc("1812", "5.3.8-a")
@pytest.mark.parametrize("kind", SENT)
@pytest.mark.parametrize("who", SPOOFED)
def test_c37_spoofed_source_is_dropped_and_counted(who: str, kind: str) -> None:
    lab = guarded()
    src, sender, counter = SPOOFED[who]
    answers, before = to_guests(lab), count(lab, counter)[0]
    put(lab, SENT[kind](src), src=sender)
    assert count(lab, counter)[0] == before + 1
    assert to_guests(lab) == answers
    assert lab.gateway.flows() == []
    assert lab.host.record.opened == 0
    assert known(lab, src) in (None, GUEST_MAC)
    assert lab.gateway.counters()["dhcp.releases"] == 0


@pytest.mark.parametrize("kind", ["UDP", "SYN", "ping", "ping of the gateway", "TTL 1", "bad options"])
def test_the_same_from_its_own_address_is_heard(kind: str) -> None:
    """So the test above could fail."""
    lab = guarded()
    answers = to_guests(lab)
    put(lab, SENT[kind](GUEST), src=GUEST_MAC)
    assert to_guests(lab) > answers or lab.gateway.flows()


def test_c37_fragments_with_a_spoofed_source_are_not_put_together() -> None:
    lab = guarded()
    request = icmp(8, 0, b"\0\7\0\1", b"e" * 1600)
    first = ipv4(request[:800], src=GUEST, dst=GATEWAY, proto=ICMP, flags=MF)
    second = ipv4(request[800:], src=GUEST, dst=GATEWAY, proto=ICMP, flags=0, offset=800)
    put(lab, first)
    assert len(lab.interface.ipv4.reassembly) == 0
    put(lab, first, src=GUEST_MAC)
    put(lab, second)
    assert (len(lab.interface.ipv4.reassembly), count(lab, "icmp.echo_replies_sent")) == (1, [0])
    put(lab, second, src=GUEST_MAC)
    assert (len(lab.interface.ipv4.reassembly), count(lab, "icmp.echo_replies_sent")) == (0, [1])


@pytest.mark.parametrize("what", ["data", "reset"])
def test_c37_nobody_on_the_same_link_gets_into_a_flow(what: str) -> None:
    """The very segment that the guest would have sent, with the sequence number that is next, from another MAC address."""
    taken: list[bytes] = []
    armed = False

    def lose(frame: bytes, to_b: bool) -> bool:
        if armed and to_b:
            taken.append(frame)
        return armed and to_b

    lab = guarded(lose=lose)
    made = listening(lab)
    connection = connect(lab)
    (peer,) = made
    armed = True
    if what == "data":
        connection.send(b"injected")
    else:
        connection.abort()
    lab.run(20 * MS)
    armed = False
    segment = next(frame for frame in taken if frame[23] == TCP)
    put(lab, segment[14:], src=OTHER_MAC)
    assert (bytes(peer.received), peer.was_reset, len(lab.gateway.flows())) == (b"", False, 1)
    put(lab, segment[14:], src=GUEST_MAC)
    assert peer.was_reset if what == "reset" else bytes(peer.received) == b"injected"


# -- ARP ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [arp.REQUEST, arp.REPLY])
@pytest.mark.parametrize(
    ("spa", "tpa"), [(GUEST, GATEWAY), (GUEST, GUEST), (GUEST, SECOND_GUEST), (FREE, GATEWAY)]
)
def test_c37_spoofed_arp_teaches_nothing_and_is_not_answered(op: int, spa: int, tpa: int) -> None:
    lab = guarded()
    says(lab, arp.REQUEST, GUEST, GATEWAY, src=GUEST_MAC)
    answers = to_guests(lab)
    says(lab, op, spa, tpa)
    assert count(lab, "arp.spoofed_source") == [1]
    assert to_guests(lab) == answers
    assert known(lab, spa) == (GUEST_MAC if spa == GUEST else None)


@pytest.mark.parametrize("own", [GATEWAY, NAMESERVER])
def test_c37_who_claims_an_address_of_the_gateway_is_contradicted(own: int) -> None:
    lab = guarded()
    answers = to_guests(lab)
    says(lab, arp.REPLY, own, GUEST)
    assert count(lab, "arp.conflicts", "arp.defended") == [1, 1]
    assert to_guests(lab) == answers + 1
    assert known(lab, own) is None


def test_a_probe_for_a_free_address_is_no_spoof() -> None:
    lab = guarded()
    answers = to_guests(lab)
    says(lab, arp.REQUEST, 0, FREE)
    assert (count(lab, "arp.spoofed_source"), to_guests(lab)) == ([0], answers)


# -- addresses that are used without a lease ------------------------------------------------------------------------------


def test_a_static_address_is_the_first_one_s_who_uses_it() -> None:
    lab = guarded(GUEST, SECOND_GUEST, FREE)
    says(lab, arp.REQUEST, FREE, FREE)
    put(lab, SENT["ping of the gateway"](FREE), src=GUEST_MAC)
    assert count(lab, "ipv4.spoofed_source", "icmp.echo_replies_sent") == [1, 0]
    put(lab, SENT["ping of the gateway"](FREE))
    assert count(lab, "ipv4.spoofed_source", "icmp.echo_replies_sent") == [1, 1]


def broadcast(lab: Lab, kind: int, chaddr: bytes, options: dict[int, bytes]) -> None:
    message = build_message(Message(BOOTREQUEST, kind, 7, chaddr), list(options.items()))
    datagram = ipv4(udp(message, 68, 67, src=0, dst=LIMITED_BROADCAST), src=0, dst=LIMITED_BROADCAST)
    put(lab, datagram, src=chaddr, dst=MAC_BROADCAST)


def test_a_lease_opens_the_door_and_its_end_shuts_it() -> None:
    lab = guarded(lease_s=100)
    new = GUEST + 2  # two are in use by hand
    ping = ipv4(echo(), src=new, dst=GATEWAY, proto=ICMP)
    broadcast(lab, DISCOVER, OTHER_MAC, {})
    put(lab, ping)
    assert count(lab, "ipv4.spoofed_source") == [1]  # an offer is no lease
    broadcast(lab, REQUEST, OTHER_MAC, {**OURS, 50: ip(new)})
    assert lab.gateway.dhcp.leases.owner(new) == OTHER_MAC
    put(lab, ping)
    assert count(lab, "ipv4.spoofed_source") == [1]
    put(lab, ping, src=GUEST_MAC)
    assert count(lab, "ipv4.spoofed_source") == [2]
    lab.run(99 * S)
    put(lab, ping)
    assert count(lab, "ipv4.spoofed_source") == [2]
    lab.run(1 * S)
    put(lab, ping)
    assert count(lab, "ipv4.spoofed_source") == [3]
    assert count(lab, "icmp.echo_replies_sent") == [2]


def test_names_that_were_found_stay_while_the_lease_is_renewed_and_go_with_it() -> None:
    lab = guarded(lease_s=100)
    new, names = GUEST + 2, lab.gateway.names
    for kind, options in ((DISCOVER, {}), (REQUEST, {**OURS, 50: ip(new)})):
        broadcast(lab, kind, OTHER_MAC, options)
    names.bind(new, SERVER, "a.test", 1000, lab.clock.now)
    lab.run(50 * S)
    broadcast(lab, REQUEST, OTHER_MAC, {**OURS, 50: ip(new)})
    assert names.names(new, SERVER, lab.clock.now) == ("a.test",)
    lab.run(101 * S)
    assert names.names(new, SERVER, lab.clock.now) == ()


def test_an_identifier_that_is_repeated_opens_no_door() -> None:
    lab = guarded()
    leased, thief, identifier = GUEST + 2, b"\x02\0\0\0\0\x67", {61: b"\0the second guest"}
    for sender in (OTHER_MAC, thief):
        broadcast(lab, DISCOVER, sender, identifier)
        broadcast(lab, REQUEST, sender, {**OURS, **identifier, 50: ip(leased)})
    assert lab.gateway.dhcp.leases.owner(leased) == OTHER_MAC
    ping = ipv4(echo(), src=leased, dst=GATEWAY, proto=ICMP)
    put(lab, ping, src=thief)
    assert count(lab, "ipv4.spoofed_source") == [1]
    put(lab, ping)
    assert count(lab, "ipv4.spoofed_source") == [1]


# -- whatever is sent -----------------------------------------------------------------------------------------------------

SCENES = [
    Scene(
        guest_mac=sender,
        gateway_mac=GATEWAY_MAC,
        guest=address,
        gateway=GATEWAY,
        services=(NAMESERVER,),
        outside=(SERVER,),
    )
    for sender, address in ((GUEST_MAC, GUEST), (OTHER_MAC, GUEST), (OTHER_MAC, GUEST + 2))
]
FRAMES = st.one_of([strategy(scene) for scene in SCENES for strategy in (valid_frames, hostile_frames)])


@settings(max_examples=60)
@given(st.lists(FRAMES, max_size=30))
def test_c37_no_frame_gets_a_flow_or_a_neighbour_s_place_for_an_address_that_is_not_its_sender_s(
    frames: list[bytes],
) -> None:
    lab = guarded()
    leases = lab.gateway.dhcp.leases
    bound = {(GUEST, GUEST_MAC), (SECOND_GUEST, GUEST_MAC)}
    told = leases.watch
    assert told is not None

    def watch(address: int, mac: bytes | None) -> None:
        told(address, mac)
        bound.update(() if mac is None else [(address, mac)])

    leases.watch = watch
    for data in frames:
        lab.wire.b.receive(data, lab.clock.now)
        lab.run(MS)
    assert {flow.guest for flow in lab.gateway.flows()} <= {address for address, _ in bound}
    on_link = {
        (address, bytes(header[:6])) for address, header in lab.interface.ethernet.neighbours.headers.items()
    }
    assert on_link <= bound
