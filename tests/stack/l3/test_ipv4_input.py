"""What IPv4 lets in, and under which name it drops the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import DF, GATEWAY, GUEST, ICMP, MF, REMOTE, echo, ipv4, udp
from tests.stack.rig import Rig
from usernat.stack.addr import LIMITED_BROADCAST, parse_ip
from usernat.stack.l3.options import OPTIONS_OK, OPTIONS_SOURCE_ROUTE, check_options

if TYPE_CHECKING:
    from usernat.stack.l3.packet import Packet
from usernat.stack.l3.reassembly import Reassembly

NOP, END = b"\x01", b"\x00"
LSRR = b"\x83\x07\x04\x0a\x00\x00\x01" + END
SSRR = b"\x89\x07\x04\x0a\x00\x00\x01" + END
STREAM_ID = b"\x88\x04\x00\x01"
UNKNOWN = b"\x9f\x04\x12\x34"


def take(rig: Rig, datagram: bytes, *, group: bool = False, padding: bytes = b"") -> Packet | None:
    payload = memoryview(datagram + padding)
    return rig.interface.ipv4.receive(payload, group, rig.now, False, bytes(6))


@pytest.mark.rfc("1122", "3.2.1.6-b", "3.2.1.8-b", "3.4-a")
def test_a_datagram_is_handed_up_with_all_that_is_known_of_it() -> None:
    datagram = ipv4(b"payload!", tos=0x28, ttl=9, options=UNKNOWN)
    packet = Rig().interface.ipv4.receive(memoryview(datagram), False, 0, True, b"\x02mac01")
    assert packet is not None
    assert (packet.src, packet.dst, packet.proto, packet.ttl, packet.tos) == (GUEST, GATEWAY, 17, 9, 0x28)
    assert (packet.df, packet.forwarded, packet.broadcast, packet.checksum_ok) == (True, False, False, True)
    assert (bytes(packet.payload), bytes(packet.datagram), bytes(packet.options)) == (
        b"payload!",
        datagram,
        UNKNOWN,
    )
    assert packet.link_source == b"\x02mac01"
    assert str(packet) == "IPv4 10.0.2.15 > 10.0.2.2 proto 17 ttl 9 tos 0x28 DF 8 bytes"


BAD_HEADERS = {
    "version 0": (ipv4(b"", version=0), "bad_version"),  # RFC 1122 3.2.1.1-a
    "version 6": (ipv4(b"", version=6), "bad_version"),
    "version 15": (ipv4(b"", version=15), "bad_version"),
    "IHL 0": (ipv4(b"", ihl=0), "bad_header_length"),  # RFC 791 3.1-a
    "IHL 4": (ipv4(b"", ihl=4), "bad_header_length"),
    "IHL past the end": (ipv4(b"", ihl=6), "bad_header_length"),
    "total length below IHL": (ipv4(b"12345678", total_length=19), "bad_total_length"),
    "total length 0": (ipv4(b"12345678", total_length=0), "bad_total_length"),
    "total length past the frame": (
        ipv4(b"12345678", total_length=29),
        "bad_total_length",
    ),  # RFC 1812 5.2.2-b
    "checksum": (ipv4(b"12345678", spoil=1), "bad_checksum"),  # RFC 1122 3.2.1.2-a
    "19 octets": (ipv4(b"")[:19], "truncated"),
    "nothing": (b"", "truncated"),
}


@pytest.mark.rfc("1812", "5.2.2-a", "4.3.2.7-b", "5.2.2-b")
@pytest.mark.rfc("791", "3.1-a")
@pytest.mark.rfc("1122", "3.1-c", "3.2.1.1-a", "3.2.1.2-a")
@pytest.mark.parametrize(("datagram", "counter"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_c49_length_fields_are_held_against_what_is_there(datagram: bytes, counter: str) -> None:
    """Silence."""
    rig = Rig()
    rig.receive(datagram)
    assert rig.count(f"ipv4.{counter}") == 1
    assert rig.silent()


@pytest.mark.rfc("791", "3.1-b")
def test_c49_padding_is_no_data() -> None:
    rig = Rig()
    packet = take(rig, ipv4(b"x"), padding=b"stale octets of the frame before")
    assert packet is not None
    assert bytes(packet.payload) == b"x"
    assert len(packet.datagram) == 21


@pytest.mark.rfc("1122", "3.2.1.2-a")
@given(st.integers(0, 159))
def test_c13_each_bit_of_the_header_counts(bit: int) -> None:
    """Any single bit that flips is noticed."""
    rig = Rig()
    datagram = bytearray(ipv4(b"12345678"))
    datagram[bit // 8] ^= 1 << bit % 8
    assert take(rig, bytes(datagram)) is None


MARTIAN_SOURCES = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "224.0.0.1", "239.9.9.9", "240.0.0.1"]
MARTIAN_SOURCES += ["255.255.255.255", "10.0.2.255", "10.0.2.0"]


@pytest.mark.rfc("1122", "3.2.1.3-d", "3.2.1.3-e", "3.2.1.3-f", "4.1.3.6-a")
@pytest.mark.rfc("1812", "5.3.7-a")
@pytest.mark.parametrize("source", MARTIAN_SOURCES)
@pytest.mark.parametrize("any_ip", [False, True])
def test_sources_that_cannot_be(source: str, any_ip: bool) -> None:
    """Dropped, no ICMP."""
    rig = Rig(any_ip=any_ip)
    rig.receive(ipv4(udp(b"x", src=parse_ip(source)), src=parse_ip(source)))
    assert rig.count("ipv4.martian_source") == 1
    assert rig.silent()


def test_our_own_address_as_the_source() -> None:
    rig = Rig()
    rig.receive(ipv4(udp(b"x"), src=GATEWAY))
    assert rig.count("ipv4.own_source") == 1
    assert rig.silent()


@pytest.mark.rfc("1122", "3.2.1.3-e")
def test_zero_as_the_source_asks_for_an_address() -> None:
    """A DHCP client's datagram."""
    rig = Rig()
    packet = take(rig, ipv4(udp(b"x"), src=0, dst=LIMITED_BROADCAST), group=True)
    assert packet is not None
    assert packet.broadcast
    assert take(rig, ipv4(echo(), src=0, dst=LIMITED_BROADCAST, proto=ICMP), group=True) is None


@pytest.mark.rfc("1122", "3.2.1.3-e", "3.2.1.3-f")
@pytest.mark.rfc("1812", "5.3.7-b")
@pytest.mark.parametrize("destination", ["0.0.0.0", "0.9.9.9", "127.0.0.1", "240.0.0.1", "254.1.1.1"])
@pytest.mark.parametrize("any_ip", [False, True])
def test_destinations_that_cannot_be(destination: str, any_ip: bool) -> None:
    rig = Rig(any_ip=any_ip)
    rig.receive(ipv4(udp(b"x"), dst=parse_ip(destination)))
    assert rig.count("ipv4.martian_destination") == 1
    assert rig.silent()


@pytest.mark.rfc("1122", "3.1-b", "3.2.1.3-c", "3.3.6-a", "3.3.6-e")
def test_whose_destination_it_is() -> None:
    """Broadcasts, the old form included."""
    host, gateway = Rig(), Rig(any_ip=True)
    assert take(host, ipv4(b"", dst=REMOTE)) is None
    assert host.count("ipv4.not_ours") == 1
    packet = take(gateway, ipv4(b"", dst=REMOTE))
    assert packet is not None
    assert packet.forwarded
    for broadcast in ("255.255.255.255", "10.0.2.255", "10.0.2.0", "224.0.0.1"):
        packet = take(host, ipv4(b"", dst=parse_ip(broadcast)))
        assert packet is not None
        assert packet.broadcast
        assert not packet.forwarded
    for rig in (host, gateway):
        assert take(rig, ipv4(b"", dst=parse_ip("224.0.0.251"))) is None
        assert rig.count("ipv4.group_not_joined") == 1


@pytest.mark.rfc("1122", "3.3.6-d")
def test_a_broadcast_frame_with_a_unicast_datagram() -> None:
    for rig, dst in ((Rig(), GATEWAY), (Rig(any_ip=True), REMOTE)):
        rig.receive(ipv4(udp(b"x", dst=dst), dst=dst), group=True)
        assert rig.count("ipv4.group_frame_unicast") == 1
        assert rig.silent()


@pytest.mark.rfc("1122", "3.2.1.7-b")
@pytest.mark.parametrize("ttl", [0, 1])
def test_time_to_live_of_what_is_for_us(ttl: int) -> None:
    """It matters only to those who forward."""
    assert take(Rig(any_ip=True), ipv4(b"", ttl=ttl)) is not None


@pytest.mark.rfc("1812", "5.3.1-b", "5.3.1-c")
@pytest.mark.rfc("791", "3.1-e")
@pytest.mark.rfc("792", "te-a")
@pytest.mark.parametrize("ttl", [0, 1])
def test_c44_time_to_live_of_what_is_forwarded(ttl: int) -> None:
    """One must be left after us, so two is enough."""
    rig = Rig(any_ip=True)
    datagram = ipv4(udp(b"x" * 40, dst=REMOTE), dst=REMOTE, ttl=ttl)
    rig.receive(datagram)
    (error,) = rig.sent()
    assert (error.src, error.dst, error.proto, error.payload[:2]) == (GATEWAY, GUEST, ICMP, b"\x0b\x00")
    assert error.payload[8:] == datagram
    assert rig.count("ipv4.ttl_exceeded") == 1
    assert take(rig, ipv4(b"", dst=REMOTE, ttl=2)) is not None


@pytest.mark.parametrize("options", [LSRR, SSRR, NOP + LSRR[:7]])
def test_source_routes_are_refused(options: bytes) -> None:
    """RFC 7126 4.3, 4.4."""
    rig = Rig(any_ip=True)
    rig.receive(ipv4(udp(b"x"), options=options))
    assert rig.count("ipv4.source_route") == 1
    assert rig.silent()


@pytest.mark.rfc("1122", "3.2.1.8-c", "3.2.1.8-e")
@pytest.mark.rfc("791", "3.1-g")
@pytest.mark.parametrize(
    "options", [UNKNOWN, STREAM_ID, NOP * 4, END + b"\x83\xff\x00", NOP + END + b"\x07\x00"]
)
def test_options_that_are_passed_over(options: bytes) -> None:
    """Also what stands after End of Options."""
    packet = take(Rig(), ipv4(b"x", options=options))
    assert packet is not None
    assert packet.options == options
    assert bytes(packet.payload) == b"x"


@pytest.mark.rfc("791", "3.1-g")
@pytest.mark.rfc("1122", "3.2.2.5-a")
@pytest.mark.rfc("792", "pp-a")
@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        (b"\x07\x00\x00\x00", 21),
        (b"\x07\x01\x00\x00", 21),
        (b"\x07\x05\x00\x00", 21),
        (NOP * 3 + b"\x07", 23),
    ],
)
def test_options_of_impossible_length(options: bytes, pointer: int) -> None:
    """Parameter Problem, with a pointer."""
    rig = Rig()
    datagram = ipv4(udp(b"x"), options=options)
    rig.receive(datagram)
    (error,) = rig.sent()
    assert error.payload[:2] == b"\x0c\x00"
    assert error.payload[4] == pointer
    assert error.payload[8:] == datagram
    assert rig.count("ipv4.bad_options") == 1


@pytest.mark.rfc("791", "3.1-g")
@given(st.binary(max_size=40))
def test_options_of_any_kind_are_walked_to_an_end(options: bytes) -> None:
    result = check_options(memoryview(options))
    assert result in {OPTIONS_OK, OPTIONS_SOURCE_ROUTE} or 0 <= result < len(options)


@pytest.mark.rfc("6864", "4.1-a", "4.1-c")
def test_atomic_datagrams_with_one_identification() -> None:
    """Both are delivered, and a reassembly under way is left alone."""
    rig = Rig()
    assert take(rig, ipv4(b"x" * 8, ident=5, flags=MF)) is None
    for _ in range(2):
        assert take(rig, ipv4(b"whole", ident=5, flags=DF)) is not None
    assert take(rig, ipv4(b"y", ident=5, flags=0, offset=8)) is not None


@pytest.mark.rfc("1122", "3.3.2-c")
def test_mms_r() -> None:
    assert Rig().interface.ipv4.max_receive() == 65515
    assert Rig(reassembly=Reassembly(max_datagram=2000)).interface.ipv4.max_receive() == 1980
