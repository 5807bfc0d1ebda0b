"""ICMP: pings answered, errors received and looked through, everything else dropped under its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import (
    GATEWAY,
    GUEST,
    GUEST_MAC,
    ICMP,
    MF,
    REMOTE,
    TCP,
    UDP,
    echo,
    icmp,
    internet_checksum,
    ipv4,
    udp,
)
from tests.stack.rig import SECOND, Rig
from usernat.stack.addr import LIMITED_BROADCAST, parse_ip
from usernat.stack.l3.icmp import MAX_REPLIES, MAX_REPLY_BYTES
from usernat.stack.l3.icmp_message import (
    ECHO,
    ECHO_DECLARATION,
    ERROR,
    ERROR_DECLARATION,
    EchoMessage,
    IcmpError,
)

ZERO = bytes(4)


def receive(
    rig: Rig, message: bytes, *, src: int = GUEST, dst: int = GATEWAY, group: bool = False
) -> EchoMessage | IcmpError | None:
    packet = rig.interface.ipv4.receive(
        memoryview(ipv4(message, src=src, dst=dst, proto=ICMP)), group, rig.now, True, bytes(6)
    )
    assert packet is not None
    return rig.interface.icmp.receive(packet)


@given(st.binary(min_size=8, max_size=20))
def test_the_codecs_read_what_construct_reads(data: bytes) -> None:
    echo_header, error_header = ECHO.read(data), ERROR.read(data)
    assert echo_header is not None
    assert error_header is not None
    for record, declaration in ((echo_header, ECHO_DECLARATION), (error_header, ERROR_DECLARATION)):
        parsed = declaration.parse(data)
        assert record._asdict() == {name: parsed[name] for name in record._fields}
    assert ECHO.write(echo_header) == ERROR.write(error_header) == data[:8]
    assert str(error_header).startswith("ICMP error type")
    assert str(echo_header).startswith("ICMP echo")


# Echo


@pytest.mark.rfc("1122", "3.1-a", "3.2.2.6-a", "3.2.2.6-e")
@pytest.mark.rfc("792", "echo-a")
@pytest.mark.rfc("1812", "4.3.2.5-b", "4.3.3.6-a", "4.3.3.6-c")
@pytest.mark.parametrize("size", [0, 1, 56, 1472])
def test_a_ping_is_answered(size: int) -> None:
    rig = Rig()
    data = bytes(n & 0xFF for n in range(size))
    rig.receive(ipv4(echo(ident=0xBEEF, seq=0xFFFF, data=data), proto=ICMP, tos=0x10, ttl=1))
    (reply,) = rig.sent()
    assert (reply.src, reply.dst, reply.tos, reply.ttl) == (GATEWAY, GUEST, 0x10, 64)
    assert reply.payload == echo(ident=0xBEEF, seq=0xFFFF, data=data, type_=0)


@pytest.mark.rfc("792", "general-d")
@given(st.binary(max_size=40), st.integers(0, 65535), st.integers(0, 65535))
def test_the_updated_checksum_is_right(data: bytes, ident: int, seq: int) -> None:
    """For odd and even lengths and all corners of ones' complement."""
    rig = Rig()
    rig.receive(ipv4(echo(ident, seq, data), proto=ICMP))
    (reply,) = rig.sent()
    assert internet_checksum(reply.payload) == 0
    assert reply.payload[4:] == echo(ident, seq, data)[4:]


@pytest.mark.rfc("1122", "3.2.2.6-e")
def test_a_ping_of_8000_octets_through_a_narrow_link() -> None:
    rig = Rig(mtu=576)
    message = echo(data=bytes(8000))
    for at in range(0, len(message), 552):
        more = MF if at + 552 < len(message) else 0
        rig.receive(ipv4(message[at : at + 552], proto=ICMP, flags=more, offset=at))
    assert b"".join(part.payload for part in rig.sent()) == echo(data=bytes(8000), type_=0)


@pytest.mark.rfc("1122", "3.2.2.6-d", "3.3.4.2-a")
def test_the_address_that_was_asked_answers() -> None:
    other = parse_ip("10.0.2.3")
    rig = Rig(addresses=((GATEWAY, 24), (other, 24)))
    for address in (GATEWAY, other):
        rig.receive(ipv4(echo(), proto=ICMP, dst=address))
    assert [reply.src for reply in rig.sent()] == [GATEWAY, other]
    rig.receive(ipv4(udp(b"nobody", dst=other), dst=other))
    assert [error.src for error in rig.sent()] == [other]


@pytest.mark.rfc("1122", "3.2.2.6-c")
@pytest.mark.parametrize("dst", [LIMITED_BROADCAST, parse_ip("10.0.2.255"), parse_ip("224.0.0.1")])
def test_a_broadcast_ping_is_not(dst: int) -> None:
    rig = Rig()
    rig.receive(ipv4(echo(), proto=ICMP, dst=dst), group=True)
    assert rig.silent()
    assert rig.count("icmp.echo_broadcast") == 1


def test_c45_nobody_answers_for_another() -> None:
    """A ping to an address that is not ours goes up, or nowhere."""
    rig = Rig(any_ip=True)
    rig.receive(ipv4(echo(), proto=ICMP, dst=REMOTE))
    rig.receive(ipv4(echo(), proto=ICMP, dst=parse_ip("10.0.2.77")))
    assert rig.silent()
    assert rig.count("echo.no_listener") == 2
    rig.pass_time(100 * SECOND)
    assert rig.silent()
    message = receive(rig, echo(3, 4, b"data"), dst=REMOTE)
    assert isinstance(message, EchoMessage)
    assert (message.ident, message.seq, bytes(message.data), message.is_request) == (3, 4, b"data", True)


@pytest.mark.rfc("1812", "4.3.3.6-b")
def test_echo_can_be_switched_off() -> None:
    rig = Rig()
    rig.interface.icmp.answer_echo = False
    rig.receive(ipv4(echo(), proto=ICMP))
    assert rig.silent()
    assert rig.count("icmp.echo_not_answered") == 1


def test_an_answer_that_finds_no_way_is_counted() -> None:
    rig = Rig(any_ip=True)
    rig.receive(ipv4(echo(), proto=ICMP, src=REMOTE))
    assert rig.silent()
    assert rig.count("icmp.echo_not_answered") == 1


def test_c60_replies_that_wait_are_bounded() -> None:
    rig = Rig()
    for _ in range(MAX_REPLIES + 3):
        rig.receive(ipv4(echo(), proto=ICMP))
    assert rig.count("icmp.echo_queue_full") == 3
    assert len(rig.sent()) == MAX_REPLIES
    big = Rig(mtu=65535)
    fits = MAX_REPLY_BYTES // 65_000
    for _ in range(fits + 2):
        big.receive(ipv4(echo(data=bytes(65_000)), proto=ICMP))
    assert big.count("icmp.echo_queue_full") == 2
    assert len(big.sent()) == fits
    big.receive(ipv4(echo(data=bytes(65_000)), proto=ICMP))
    assert len(big.sent()) == 1, "what has gone takes no room"


# What is dropped


@pytest.mark.rfc("792", "general-d")
@given(st.integers(0, 8 * 16 - 1))
def test_c13_a_bad_icmp_checksum(bit: int) -> None:
    """RFC 5508 REQ-3, too."""
    message = bytearray(echo())
    message[bit // 8] ^= 1 << bit % 8
    rig = Rig()
    rig.receive(ipv4(bytes(message), proto=ICMP), checksum_ok=True)
    assert rig.count("icmp.bad_checksum") == 1
    assert rig.silent()


IGNORED = {
    4: "source_quench",
    5: "redirect",
    9: "router_discovery",
    10: "router_discovery",
    13: "timestamp",
    14: "timestamp",
}
IGNORED |= {15: "information", 16: "information", 17: "mask", 18: "mask"}


@pytest.mark.rfc("1122", "3.2.2-a", "3.2.2.7-a")
@pytest.mark.rfc("1812", "4.3.2.1-a")
@pytest.mark.parametrize("type_", [*IGNORED, 1, 2, 6, 7, 19, 30, 200, 255])
def test_types_that_draw_silence(type_: int) -> None:
    rig = Rig()
    rig.receive(ipv4(icmp(type_, 0, ZERO, ipv4(udp(b"x"), src=GATEWAY, dst=GUEST)), proto=ICMP))
    assert rig.silent()
    name = IGNORED.get(type_)
    assert rig.count(f"icmp.{name}_ignored" if name else "icmp.unknown_type") == 1


@pytest.mark.rfc("1122", "3.2.2.2-c")
@pytest.mark.parametrize("code", range(4))
@pytest.mark.parametrize("better", ["10.0.2.9", "192.0.2.1"])
def test_a_redirect_changes_no_route(code: int, better: str) -> None:
    router = parse_ip("10.0.2.1")
    rig = Rig(gateways=(router,))
    quote = ipv4(udp(b"data", src=GATEWAY, dst=REMOTE), src=GATEWAY, dst=REMOTE)
    for sender in (router, GUEST):
        rig.receive(ipv4(icmp(5, code, parse_ip(better).to_bytes(4, "big"), quote), src=sender, proto=ICMP))
    assert rig.interface.ipv4.routes.next_hop(REMOTE) == router
    assert rig.count("icmp.redirect_ignored") == 2
    assert rig.silent()


def test_a_truncated_message() -> None:
    rig = Rig()
    rig.receive(ipv4(echo()[:7], proto=ICMP))
    assert rig.count("icmp.truncated") == 1


# Errors that we receive

OURS = ipv4(udp(b"data", 5000, 53, src=GATEWAY, dst=GUEST), src=GATEWAY, dst=GUEST)


@pytest.mark.rfc("1122", "3.2.2.4-a", "3.2.2.5-b", "3.4-b")
@pytest.mark.parametrize(("type_", "code"), [(3, 0), (3, 1), (3, 3), (3, 13), (11, 0), (11, 1), (12, 0)])
def test_errors_go_up_with_their_quote(type_: int, code: int) -> None:
    error = receive(Rig(), icmp(type_, code, b"\x09\x00\x05\x00", OURS[:28]), src=REMOTE)
    assert isinstance(error, IcmpError)
    assert (error.type, error.code, error.source, error.mtu) == (type_, code, REMOTE, 0)
    assert (error.src, error.dst, error.proto) == (GATEWAY, GUEST, UDP)
    assert (bytes(error.payload), bytes(error.datagram), error.datagram_length) == (
        OURS[20:28],
        OURS[:28],
        32,
    )
    assert error.pointer == (9 if type_ == 12 else 0)
    assert str(error) == f"ICMP type {type_} code {code} from 203.0.113.7 about 10.0.2.2 > 10.0.2.15 proto 17"


def test_the_next_hop_mtu_goes_up() -> None:
    error = receive(Rig(), icmp(3, 4, b"\x77\x00\x03\xe8", OURS))
    assert isinstance(error, IcmpError)
    assert error.mtu == 1000


@pytest.mark.rfc("1191", "6.2-a", "3-a")
def test_only_the_transport_lowers_the_path_mtu() -> None:
    """What arrives changes nothing by itself; what a transport vouches for does, at once."""
    rig = Rig()
    ipv4_layer = rig.interface.ipv4
    rig.receive(
        ipv4(
            icmp(3, 4, b"\0\0\x03\xe8", ipv4(b"\x12\x34" * 4, src=GATEWAY, dst=GUEST, proto=TCP)), proto=ICMP
        )
    )
    assert ipv4_layer.path_mtu(GUEST) == 1500
    error = receive(rig, icmp(3, 4, b"\0\0\x03\xe8", OURS))
    assert isinstance(error, IcmpError)
    assert ipv4_layer.too_big(error, rig.now)
    assert not ipv4_layer.too_big(error, rig.now)
    assert ipv4_layer.path_mtu(GUEST) == 1000
    assert ipv4_layer.send(UDP, GATEWAY, GUEST, [bytes(1200)], df=False, now=rig.now) == 0
    assert [len(part.datagram) for part in rig.sent()] == [996, 244]
    rig.pass_time(600 * SECOND)
    assert ipv4_layer.path_mtu(GUEST) == 1500
    rig.interface.ethernet.neighbours.learn(GUEST, GUEST_MAC, rig.now)
    assert ipv4_layer.send(UDP, GATEWAY, GUEST, [bytes(1200)], df=False, now=rig.now) == 0
    assert [len(part.datagram) for part in rig.sent()] == [1220]


def test_no_router_stands_before_a_neighbour() -> None:
    """RFC 5927 7: one guest cannot make the way to another narrow, even if the transport knows the quote for its own."""
    rig = Rig()
    forged = receive(rig, icmp(3, 4, b"\0\0\0\x44", OURS), src=GUEST + 1)
    assert isinstance(forged, IcmpError)
    assert not rig.interface.ipv4.too_big(forged, rig.now)
    assert rig.interface.ipv4.path_mtu(GUEST) == 1500
    assert rig.count("ipv4.strange_path_mtu") == 1
    afar = ipv4(udp(b"data"), src=GATEWAY, dst=REMOTE)
    error = receive(rig, icmp(3, 4, b"\0\0\x03\xe8", afar), src=GUEST)
    assert isinstance(error, IcmpError)
    assert rig.interface.ipv4.too_big(error, rig.now)  # to others there may be any number


BAD_QUOTES = {
    "none": b"",
    "short": OURS[:27],
    "header checksum": ipv4(udp(b"data"), src=GATEWAY, dst=GUEST, spoil=1),  # RFC 5508 REQ-3a
    "version": ipv4(udp(b"data"), src=GATEWAY, dst=GUEST, version=6),
    "IHL below 5": ipv4(udp(b"data"), src=GATEWAY, dst=GUEST, ihl=4),
    "IHL past the end": ipv4(b"", src=GATEWAY, dst=GUEST, ihl=15),
    "seven octets, then padding": ipv4(b"1234567", src=GATEWAY, dst=GUEST) + bytes(20),  # RFC 5508 REQ-3d
    "a later fragment": ipv4(bytes(8), src=GATEWAY, dst=GUEST, offset=80),
}


@pytest.mark.rfc("1122", "3.4-b")
@pytest.mark.parametrize("quote", BAD_QUOTES.values(), ids=BAD_QUOTES)
def test_quotes_that_cannot_be(quote: bytes) -> None:
    rig = Rig()
    assert receive(rig, icmp(3, 1, ZERO, quote)) is None
    assert rig.count("icmp.error_bad_quote") == 1


def test_quotes_with_options_and_without_a_sound_transport_checksum() -> None:
    """RFC 5508 REQ-3b, REQ-3c."""
    quote = ipv4(udp(b"", 5000, 53, checksum=0xDEAD), src=GATEWAY, dst=GUEST, options=b"\x01" * 4)
    error = receive(Rig(), icmp(3, 1, ZERO, quote))
    assert isinstance(error, IcmpError)
    assert error.payload == quote[24:]


def test_extensions_are_no_part_of_the_quote() -> None:
    """RFC 5508 REQ-3d."""
    long = ipv4(udp(bytes(400), 5000, 53), src=GATEWAY, dst=GUEST)
    error = receive(Rig(), icmp(3, 1, b"\x00\x20\x00\x00", long[:128] + b"\x20\x00extension"))
    assert isinstance(error, IcmpError)
    assert error.datagram == long[:128]


def test_errors_that_were_not_for_us() -> None:
    """The quote's source is who sent it, so the error must have come there; and never by broadcast."""
    rig = Rig(any_ip=True)
    assert receive(rig, icmp(3, 1, ZERO, OURS), dst=REMOTE) is None
    assert rig.count("icmp.error_misdirected") == 1
    assert receive(rig, icmp(3, 1, ZERO, OURS), dst=LIMITED_BROADCAST) is None
    assert rig.count("icmp.error_broadcast") == 1


@pytest.mark.rfc("1122", "3.2.2.1-a", "3.3.8-a")
def test_unknown_protocols() -> None:
    """Code 2; and an error about one goes to nobody."""
    rig = Rig()
    rig.receive(ipv4(b"12345678", proto=253))
    (error,) = rig.sent()
    assert error.payload[:2] == b"\x03\x02"
    rig.receive(ipv4(icmp(3, 2, ZERO, ipv4(bytes(8), src=GATEWAY, dst=GUEST, proto=253)), proto=ICMP))
    assert rig.count("interface.errors_unclaimed") == 1
