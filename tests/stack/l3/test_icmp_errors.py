"""ICMP errors that we send: about what, in which shape, how often; and those that must not be."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.stack.packets import (
    DF,
    GATEWAY,
    GUEST,
    ICMP,
    REMOTE,
    echo,
    icmp,
    internet_checksum,
    ipv4,
    udp,
)
from tests.stack.rig import SECOND, Rig
from usernat.stack.addr import LIMITED_BROADCAST, parse_ip
from usernat.stack.l3.icmp_errors import BURST, MAX_PENDING, RATE

if TYPE_CHECKING:
    from usernat.stack.l3.packet import Packet

ZERO = bytes(4)


def packet_of(rig: Rig, datagram: bytes, *, group: bool = False) -> Packet:
    packet = rig.interface.ipv4.receive(memoryview(datagram), group, rig.now, True, bytes(6))
    assert packet is not None
    return packet


OFFENDER = ipv4(udp(b"x" * 20), tos=0xFF, options=b"\x01\x01\x01\x00")


@pytest.mark.rfc("792", "du-a", "general-c", "general-e")
@pytest.mark.rfc("1122", "3.2.2-b", "3.2.2-c")
@pytest.mark.rfc("1812", "4.3.2.2-a", "4.3.2.3-b", "4.3.2.5-a")
@pytest.mark.rfc("1191", "4-a")
@pytest.mark.parametrize("code", range(16))
def test_c44_the_shape_of_unreachable(code: int) -> None:
    rig = Rig()
    packet = packet_of(rig, OFFENDER)
    assert rig.interface.icmp.unreachable(packet, code, mtu=1280)
    (error,) = rig.sent()
    assert (error.src, error.dst, error.proto, error.ttl, error.tos) == (GATEWAY, GUEST, ICMP, 64, 0xFC)
    assert internet_checksum(error.payload) == 0
    assert struct.unpack(">BBHI", error.payload[:8])[::3] == (3, 1280 if code == 4 else 0)
    assert error.payload[1] == code
    assert error.payload[8:] == OFFENDER


@pytest.mark.rfc("1812", "4.3.2.3-a")
@pytest.mark.parametrize(("size", "quoted"), [(0, 28), (1, 29), (520, 548), (1400, 548)])
def test_c44_as_much_is_quoted_as_fits(size: int, quoted: int) -> None:
    """576 octets in all."""
    rig = Rig()
    datagram = ipv4(udp(bytes(size)))
    rig.receive(datagram, padding=bytes(30))
    (error,) = rig.sent()
    assert error.payload[:2] == b"\x03\x03"
    assert error.payload[8:] == datagram[:quoted]
    assert len(error.datagram) <= 576


@pytest.mark.rfc("1812", "5.2.7.1-c")
@pytest.mark.rfc("792", "du-b")
def test_c44_fragmentation_needed_in_answer_to_what_is_too_large_for_the_world() -> None:
    """As the gateway would say it, in another's name."""
    rig = Rig(any_ip=True)
    datagram = ipv4(udp(bytes(1400), dst=REMOTE), dst=REMOTE, flags=DF)
    assert rig.interface.icmp.error(3, 4, datagram[:28], source=parse_ip("198.51.100.1"), mtu=1000)
    (error,) = rig.sent()
    assert (error.src, error.payload[:2], error.payload[6:8]) == (
        parse_ip("198.51.100.1"),
        b"\x03\x04",
        b"\x03\xe8",
    )
    assert error.payload[8:] == datagram[:28]


@pytest.mark.rfc("1812", "4.3.2.4-a")
def test_errors_about_what_was_for_others_come_from_us() -> None:
    """And there are none without an address to speak from."""
    rig = Rig(any_ip=True)
    datagram = ipv4(udp(b"x", dst=REMOTE), dst=REMOTE)
    assert rig.interface.icmp.unreachable(packet_of(rig, datagram), 13)
    assert [error.src for error in rig.sent()] == [GATEWAY]
    rig.interface.remove_address(GATEWAY)
    assert not rig.interface.icmp.error(3, 13, datagram)
    assert rig.count("icmp_errors.no_source") == 1


BANNED = {
    "an ICMP error": (
        ipv4(icmp(3, 1, ZERO, bytes(28)), proto=ICMP),
        "about_error",
    ),  # 3.2.2-f, RFC 792 general-a
    "time exceeded": (ipv4(icmp(11, 0, ZERO, bytes(28)), proto=ICMP), "about_error"),
    "source quench": (ipv4(icmp(4, 0, ZERO, bytes(28)), proto=ICMP), "about_error"),
    "redirect": (ipv4(icmp(5, 0, ZERO, bytes(28)), proto=ICMP), "about_error"),
    "parameter problem": (ipv4(icmp(12, 0, ZERO, bytes(28)), proto=ICMP), "about_error"),
    "an ICMP message of unknown type": (ipv4(icmp(99, 0, ZERO), proto=ICMP), "about_error"),
    "an ICMP message without a type": (ipv4(b"", proto=ICMP), "about_error"),
    "IP broadcast": (ipv4(udp(b"x"), dst=LIMITED_BROADCAST), "about_broadcast"),  # 3.2.2-g
    "subnet broadcast": (ipv4(udp(b"x"), dst=parse_ip("10.0.2.255")), "about_broadcast"),
    "IP multicast": (ipv4(udp(b"x"), dst=parse_ip("224.0.0.1")), "about_broadcast"),
    "another fragment than the first": (
        ipv4(bytes(16), offset=8),
        "about_fragment",
    ),  # 3.2.2-i, RFC 792 general-b
    "a later fragment of an ICMP error": (
        ipv4(icmp(3, 1, ZERO, bytes(28)), proto=ICMP, offset=8),
        "about_fragment",
    ),
    "source 0.0.0.0": (ipv4(udp(b"x"), src=0), "about_bad_source"),  # 3.2.2-j
    "source in network 0": (ipv4(udp(b"x"), src=5), "about_bad_source"),
    "source 127.0.0.1": (ipv4(udp(b"x"), src=parse_ip("127.0.0.1")), "about_bad_source"),
    "source broadcast": (ipv4(udp(b"x"), src=LIMITED_BROADCAST), "about_bad_source"),
    "source subnet broadcast": (ipv4(udp(b"x"), src=parse_ip("10.0.2.255")), "about_bad_source"),
    "source multicast": (ipv4(udp(b"x"), src=parse_ip("224.0.0.9")), "about_bad_source"),
    "source class E": (ipv4(udp(b"x"), src=parse_ip("241.1.1.1")), "about_bad_source"),
    "source ourselves": (ipv4(udp(b"x"), src=GATEWAY), "about_bad_source"),
    "no header": (b"\x45" + bytes(18), "about_malformed"),
    "another version": (ipv4(udp(b"x"), version=6), "about_malformed"),
    "an IHL past the end": (ipv4(b"", ihl=15), "about_malformed"),
}


@pytest.mark.rfc("1122", "3.2.2-f", "3.2.2-g", "3.2.2-i", "3.2.2-j")
@pytest.mark.rfc("1812", "4.3.2.7-a", "4.3.2.7-b", "4.3.2.7-c", "4.3.2.7-e", "4.3.2.7-f", "4.3.2.7-g")
@pytest.mark.rfc("792", "general-a", "general-b")
@pytest.mark.parametrize(("datagram", "counter"), BANNED.values(), ids=BANNED)
def test_c44_errors_that_are_banned(datagram: bytes, counter: str) -> None:
    """Whatever the error, whoever asks for it."""
    rig = Rig(any_ip=True)
    icmp_layer = rig.interface.icmp
    for type_, code in ((3, 0), (3, 4), (3, 13), (11, 0), (11, 1), (12, 0)):
        assert not icmp_layer.error(type_, code, datagram, source=REMOTE)
        assert rig.silent()
    assert rig.count(f"icmp_errors.{counter}") == 6


@pytest.mark.rfc("1122", "3.2.2-h")
@pytest.mark.rfc("1812", "4.3.2.7-d")
def test_c44_no_error_about_a_link_layer_broadcast() -> None:
    """The quote cannot tell, the packet can."""
    rig = Rig()
    packet = packet_of(rig, ipv4(udp(b"x")))
    packet.broadcast = True
    assert not rig.interface.icmp.unreachable(packet, 3)
    assert not rig.interface.icmp.time_exceeded(packet, 1)
    assert rig.count("icmp_errors.about_broadcast") == 2


@pytest.mark.rfc("1122", "3.2.2-f")
@pytest.mark.parametrize("type_", [0, 8, 13, 17])
def test_errors_about_queries_are_allowed(type_: int) -> None:
    rig = Rig()
    assert rig.interface.icmp.error(3, 1, ipv4(icmp(type_, 0, ZERO), proto=ICMP))


@pytest.mark.rfc("1122", "3.2.2.2-a")
@pytest.mark.rfc("1812", "4.3.3.3-a")
def test_no_redirects_and_no_source_quench() -> None:
    """Nor anything else that is no error, whoever asks for it."""
    rig = Rig(any_ip=True)
    for type_ in range(256):
        assert rig.interface.icmp.error(type_, 0, OFFENDER) == (type_ in {3, 11, 12})
    assert {datagram.payload[0] for datagram in rig.sent()} == {3, 11, 12}
    assert rig.count("icmp_errors.bad_type") == 253


@pytest.mark.rfc("1812", "4.3.2.8-a")
def test_c44_the_rate_limit() -> None:
    """Errors are limited, echo replies are not."""
    rig = Rig()
    errors = 0
    for _ in range(200):
        for _ in range(40):
            rig.receive(ipv4(udp(b"x")))
        rig.receive(ipv4(echo(), proto=ICMP))
        sent = rig.sent()
        assert [datagram.payload[0] for datagram in sent][:1] == [0]
        errors += len(sent) - 1
        rig.pass_time(SECOND // 200)
    assert RATE * 199 // 200 + BURST - 1 <= errors <= RATE + BURST
    assert rig.count("icmp_errors.rate_limited") == 200 * 40 - errors
    rig.interface.icmp.errors.limit(1, 1, rig.now)
    rig.receive(ipv4(udp(b"x")))
    rig.receive(ipv4(udp(b"x")))
    assert len(rig.sent()) == 1


def test_c60_errors_that_wait_are_bounded() -> None:
    rig = Rig()
    for _ in range(MAX_PENDING + 5):
        rig.receive(ipv4(udp(b"x")))
    assert rig.count("icmp_errors.queue_full") == 5


def test_an_error_to_nowhere_is_counted() -> None:
    rig = Rig(any_ip=True)
    assert rig.interface.icmp.error(3, 1, ipv4(udp(b"x"), src=REMOTE, dst=GATEWAY))
    assert rig.silent()
    assert rig.count("icmp_errors.not_sent") == 1
