"""UDP: who gets a datagram, what is dropped, who hears of errors."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import (
    GATEWAY,
    GUEST,
    GUEST_MAC,
    ICMP,
    REMOTE,
    icmp,
    internet_checksum,
    ipv4,
    udp,
)
from tests.stack.rig import SECOND, Rig
from usernat.stack.addr import LIMITED_BROADCAST, parse_ip
from usernat.stack.l4.datagrams import MAX_ERRORS, QUEUE_BYTES, QUEUE_ITEMS
from usernat.stack.l4.udp import MAX_SOCKETS, UDP_DECLARATION, UdpSocket
from usernat.stack.l4.udp import UDP as UDP_CODEC


def received(socket: UdpSocket) -> list[bytes]:
    return [bytes(datagram.data) for datagram in iter(socket.recv, None)]


@given(st.binary(min_size=8, max_size=12))
def test_the_codec_reads_what_construct_reads(data: bytes) -> None:
    record, parsed = UDP_CODEC.read(data), UDP_DECLARATION.parse(data)
    assert record is not None
    assert record._asdict() == {name: parsed[name] for name in record._fields}
    assert UDP_CODEC.write(record) == data[:8]
    assert str(record).startswith("UDP ")


# Receiving


@pytest.mark.rfc("768", "ui-a", "ip-a")
@pytest.mark.rfc("1122", "4.1.3.5-a", "4.1.4-a")
def test_a_datagram_and_all_that_is_known_of_it() -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(GATEWAY, 2000)
    rig.receive(ipv4(udp(b"data"), ttl=9, tos=0x20, options=b"\x01" * 4), padding=b"stale")
    assert rig.interface.ready() == [socket]
    assert rig.interface.ready() == []
    datagram = socket.recv()
    assert datagram is not None
    assert (datagram.src, datagram.src_port, datagram.dst, datagram.dst_port) == (GUEST, 1000, GATEWAY, 2000)
    assert (bytes(datagram.data), datagram.ttl, datagram.tos, datagram.df) == (b"data", 9, 0x20, True)
    assert datagram.packet.options == b"\x01" * 4
    assert datagram.packet.link_source == GUEST_MAC
    assert socket.recv() is None


@pytest.mark.rfc("1122", "4.1.3.5-b")
def test_the_closest_socket_gets_it() -> None:
    """By address, by port alone, and the gateway's for the rest."""
    other = parse_ip("10.0.2.3")
    rig = Rig(any_ip=True, addresses=((GATEWAY, 24), (other, 24)))
    layer = rig.interface.udp
    exact, wild, rest = layer.bind(GATEWAY, 53), layer.bind(None, 53), layer.bind(None, None)
    elsewhere = layer.bind(REMOTE, 99)
    for dst, port in (
        (GATEWAY, 53),
        (other, 53),
        (LIMITED_BROADCAST, 53),
        (REMOTE, 53),  # 10.0.2.2's wildcard does not mean addresses of others
        (GATEWAY, 54),
        (LIMITED_BROADCAST, 54),
        (REMOTE, 99),
    ):
        rig.receive(ipv4(udp(b"%d" % port, dst_port=port, dst=dst), dst=dst))
    assert received(exact) == [b"53"]
    assert received(wild) == [b"53", b"53"]
    assert received(rest) == [b"53", b"54", b"54"]
    assert received(elsewhere) == [b"99"]
    assert rig.silent()


@pytest.mark.rfc("1122", "4.1.3.1-a", "3.2.2-g")
def test_nobody_listens() -> None:
    """C45: no word in the name of others."""
    rig = Rig(any_ip=True)
    datagram = ipv4(udp(b"x"))
    rig.receive(datagram)
    rig.receive(ipv4(udp(b"x", dst=REMOTE), dst=REMOTE))
    rig.receive(ipv4(udp(b"x", dst=LIMITED_BROADCAST), dst=LIMITED_BROADCAST))
    (error,) = rig.sent()
    assert (error.proto, error.payload[:2], error.payload[8:]) == (ICMP, b"\x03\x03", datagram)
    assert rig.count("udp.no_listener") == 3


@pytest.mark.parametrize(("src_port", "dst_port"), [(0, 2000), (1000, 0), (0, 0)])
def test_c16_udp_port_zero(src_port: int, dst_port: int) -> None:
    rig = Rig(any_ip=True)
    everything = rig.interface.udp.bind(None, None)
    rig.receive(ipv4(udp(b"x", src_port, dst_port)))
    assert rig.count("udp.port_zero") == 1
    assert everything.recv() is None
    assert rig.silent()


@pytest.mark.rfc("768", "fields-a")
@pytest.mark.parametrize("length", [0, 1, 7, 13, 65535])
def test_lengths_that_cannot_be(length: int) -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, 2000)
    rig.receive(ipv4(udp(b"data", length=length)))
    assert rig.count("udp.bad_length") == 1
    assert socket.recv() is None
    assert rig.silent()


@pytest.mark.rfc("768", "fields-a")
def test_a_length_below_ip_trims() -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, 2000)
    rig.receive(ipv4(udp(b"datamore", length=12)))
    rig.receive(ipv4(udp(b"", length=8) + b"more"))
    assert received(socket) == [b"data", b""]


def test_a_truncated_header() -> None:
    rig = Rig()
    rig.receive(ipv4(udp(b"")[:7]))
    assert rig.count("udp.truncated") == 1


@pytest.mark.rfc("1122", "4.1.3.4-a", "4.1.3.4-b")
@pytest.mark.rfc("6864", "5.2-b")
@given(st.binary(max_size=9), st.data())
def test_c13_a_bad_udp_checksum(payload: bytes, data: st.DataObject) -> None:
    """Any bit that flips, in the pseudo-header too, is noticed; silence."""
    rig = Rig()
    socket = rig.interface.udp.bind(None, 2000)
    whole = bytearray(udp(payload))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1).filter(lambda bit: not 16 <= bit < 48))
    whole[bit // 8] ^= 1 << bit % 8
    if whole[6:8] == b"\0\0" or whole[:2] == b"\0\0":
        return
    rig.receive(ipv4(bytes(whole)))
    assert rig.count("udp.bad_checksum") == 1
    rig.receive(ipv4(udp(payload, src=GUEST + 1)))
    assert rig.count("udp.bad_checksum") == 2
    assert socket.recv() is None
    assert rig.silent()


@pytest.mark.rfc("768", "fields-c")
@pytest.mark.rfc("1122", "4.1.3.4-c")
def test_no_checksum_and_a_device_that_vouches() -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, 2000)
    rig.receive(ipv4(udp(b"none", checksum=0)))
    rig.receive(ipv4(udp(b"partial", checksum=0x1234)), checksum_ok=True)
    rig.receive(ipv4(udp(b"partial", checksum=0x1234)))
    assert received(socket) == [b"none", b"partial"]


def test_c60_the_receive_queue_is_bounded() -> None:
    """C01: only what a full queue drops, and that is counted."""
    rig = Rig(mtu=65535)
    socket = rig.interface.udp.bind(None, 2000)
    for _ in range(QUEUE_ITEMS + 5):
        rig.receive(ipv4(udp(b"")))
    assert rig.count("udp.queue_full") == 5
    assert len(received(socket)) == QUEUE_ITEMS
    for _ in range(40):
        rig.receive(ipv4(udp(bytes(60_000), checksum=0)))
    assert sum(map(len, received(socket))) <= QUEUE_BYTES
    assert rig.count("udp.queue_full") > 5


# Errors


@pytest.mark.rfc("1122", "3.2.2-d", "4.1.3.3-a")
def test_errors_reach_the_socket_that_they_concern() -> None:
    rig = Rig()
    one, other = rig.interface.udp.bind(None, 7), rig.interface.udp.bind(GATEWAY, 8)
    quote = ipv4(udp(b"x", 8, 9, src=GATEWAY, dst=GUEST), src=GATEWAY, dst=GUEST)
    rig.receive(ipv4(icmp(3, 3, bytes(4), quote), proto=ICMP))
    assert rig.interface.ready() == [other]
    assert [(error.type, error.code) for error in other.errors] == [(3, 3)]
    assert not one.errors
    stranger = ipv4(udp(b"x", 99, 9, src=GATEWAY, dst=GUEST), src=GATEWAY, dst=GUEST)
    rig.receive(ipv4(icmp(3, 4, b"\0\0\x02\0", stranger), proto=ICMP))
    assert rig.count("udp.errors_unmatched") == 1
    assert rig.interface.ipv4.path_mtu(GUEST) == 1500
    rig.receive(ipv4(icmp(3, 4, b"\0\0\x02\0", quote), proto=ICMP))
    assert rig.interface.ipv4.path_mtu(GUEST) == 512
    for _ in range(2 * MAX_ERRORS):
        rig.receive(ipv4(icmp(3, 3, bytes(4), quote), proto=ICMP))
    assert len(other.errors) == MAX_ERRORS
    assert rig.count("udp.errors_lost") == MAX_ERRORS + 2


@pytest.mark.rfc("1122", "3.2.2.1-b")
@pytest.mark.parametrize("code", [0, 1, 3, 13])
def test_an_unreachable_is_a_hint_and_no_proof(code: int) -> None:
    """The socket is told, and goes on sending there."""
    rig = Rig()
    socket = rig.interface.udp.bind(None, 8)
    assert socket.send(b"one", GUEST, 9)
    (sent,) = rig.sent()
    rig.receive(ipv4(icmp(3, code, bytes(4), sent.datagram), proto=ICMP))
    assert [(error.type, error.code) for error in socket.errors] == [(3, code)]
    assert socket.send(b"two", GUEST, 9)
    assert [datagram.payload[8:] for datagram in rig.sent()] == [b"two"]


def test_errors_about_what_the_transparent_socket_sent() -> None:
    rig = Rig(any_ip=True)
    wild, everything = rig.interface.udp.bind(None, 53), rig.interface.udp.bind(None, None)
    quote = ipv4(udp(b"x", 53, 9, src=REMOTE, dst=GUEST), src=REMOTE, dst=GUEST)
    rig.receive(ipv4(icmp(3, 3, bytes(4), quote), proto=ICMP, dst=REMOTE))
    assert len(everything.errors) == 1
    assert not wild.errors


@pytest.mark.rfc("1122", "3.3.3-b", "3.3.8-a")
def test_what_cannot_be_sent_is_told() -> None:
    """Too big, no route, and no neighbour."""
    rig = Rig(mtu=600)
    socket = rig.interface.udp.bind(None, 7)
    socket.send(bytes(600), GUEST, 9, df=True)
    socket.send(b"x", REMOTE, 9)
    socket.send(bytes(1500), GUEST + 1, 9)
    rig.frames()
    rig.pass_time(10 * SECOND)
    told = [
        (error.type, error.code, error.mtu, error.dst, bytes(error.payload[:4])) for error in socket.errors
    ]
    ports = b"\x00\x07\x00\x09"
    assert told == [(3, 4, 600, GUEST, ports), (3, 0, 0, REMOTE, ports), (3, 1, 0, GUEST + 1, ports)]
    assert rig.count("udp.not_sent") == 2
    assert rig.count("udp.errors_unmatched") == 0


def test_a_quote_of_a_datagram_long_gone() -> None:
    """RFC 5508 REQ-4a: addresses, ports and lengths as they were; it is a quote that we would send."""
    rig = Rig(any_ip=True)
    quote = rig.interface.udp.quote(GUEST, 1000, REMOTE, 53, 40)
    assert quote[12:20] == struct.pack(">II", GUEST, REMOTE)
    assert quote[20:26] == struct.pack(">HHH", 1000, 53, 48)
    assert quote[2:4] == struct.pack(">H", 68)
    assert internet_checksum(quote[:20]) == 0
    assert rig.interface.icmp.error(3, 3, quote, source=REMOTE)
    (error,) = rig.sent()
    assert (error.src, error.payload[8:]) == (REMOTE, quote)


# Names


@pytest.mark.rfc("1122", "4.1.3.5-c")
def test_names_are_taken_once() -> None:
    """The port chosen can be learnt."""
    layer = Rig().interface.udp
    first = layer.bind(None, 53)
    layer.bind(GATEWAY, 53)
    layer.bind(None, None)
    for address, port in (
        (None, 53),
        (GATEWAY, 53),
        (None, None),
        (GATEWAY, None),
        (None, -1),
        (None, 65536),
    ):
        with pytest.raises(ValueError, match=r"taken|already|cannot|ports"):
            layer.bind(address, port)
    assert layer.bind(None, 0).port in range(1024, 65536)
    first.close()
    first.close()
    assert not first.send(b"x", GUEST, 9)
    layer.bind(None, 53)


def test_c60_sockets_are_bounded() -> None:
    layer = Rig().interface.udp
    for port in range(1, MAX_SOCKETS + 1):
        layer.bind(None, port)
    with pytest.raises(ValueError, match="too many"):
        layer.bind(None, 0)


def test_a_closed_socket_is_gone() -> None:
    rig = Rig(any_ip=True)
    socket, everything = rig.interface.udp.bind(None, 2000), rig.interface.udp.bind(None, None)
    rig.receive(ipv4(udp(b"x")))
    socket.send(b"x", GUEST, 9)
    socket.close()
    everything.close()
    assert rig.interface.ready() == []
    assert rig.silent()
    assert socket.recv() is None
    rig.receive(ipv4(udp(b"x")))
    assert len(rig.sent()) == 1
    rig.interface.udp.bind(None, None)


def test_sockets_take_turns() -> None:
    rig = Rig()
    busy, quick = rig.interface.udp.bind(None, 7), rig.interface.udp.bind(None, 8)
    for _ in range(100):
        busy.send(b"", GUEST, 9)
    for _ in range(3):
        quick.send(b"", GUEST, 9)
    ports = [datagram.payload[1] for datagram in rig.sent()]
    assert ports[:6] == [7, 8, 7, 8, 7, 8]
    assert len(ports) == 103
