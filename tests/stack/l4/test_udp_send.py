"""UDP: what leaves, from which address, with which checksum, in which pieces."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import (
    GATEWAY,
    GUEST,
    REMOTE,
    UDP,
    internet_checksum,
    ipv4,
    udp,
)
from tests.stack.rig import Rig
from usernat.stack.addr import LIMITED_BROADCAST, parse_ip
from usernat.stack.l4.datagrams import QUEUE_BYTES, QUEUE_ITEMS
from usernat.stack.l4.udp import MAX_DATA, UdpSocket


def checksum_is_right(datagram: bytes) -> bool:
    pseudo = datagram[12:20] + struct.pack(">BBH", 0, UDP, len(datagram) - 20)
    return internet_checksum(pseudo + datagram[20:]) == 0


def received(socket: UdpSocket) -> list[bytes]:
    return [bytes(datagram.data) for datagram in iter(socket.recv, None)]


@pytest.mark.rfc("768", "fields-b")
@pytest.mark.rfc("1122", "4.1.3.4-a", "4.1.3.4-c")
@given(st.binary(max_size=60), st.integers(1, 65535), st.integers(1, 65535))
def test_what_leaves_is_a_datagram(data: bytes, src_port: int, dst_port: int) -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, src_port)
    assert socket.send(data, GUEST, dst_port)
    (datagram,) = rig.sent()
    assert checksum_is_right(datagram.datagram)
    assert datagram.payload[6:8] != b"\0\0"
    assert datagram.payload[:6] == struct.pack(">HHH", src_port, dst_port, 8 + len(data))
    assert datagram.payload[8:] == data


@pytest.mark.rfc("768", "fields-b")
def test_a_computed_zero_is_sent_as_all_ones() -> None:
    """Data chosen so that the sum is 0xFFFF."""
    rig = Rig()
    socket = rig.interface.udp.bind(None, 2000)
    socket.send(b"\0\0", GUEST, 1000)
    (bare,) = rig.sent()
    socket.send(bare.payload[6:8], GUEST, 1000)
    (datagram,) = rig.sent()
    assert datagram.payload[6:8] == b"\xff\xff"
    assert checksum_is_right(datagram.datagram)


@pytest.mark.rfc("1122", "3.4-a", "3.2.1.6-a", "4.1.4-a", "3.3.4.2-b")
@pytest.mark.rfc("768", "ui-a")
def test_everything_can_be_chosen() -> None:
    """A gateway answers in others' names."""
    rig = Rig(any_ip=True)
    socket = rig.interface.udp.bind(None, None)
    assert socket.send(b"x", GUEST, 9, src=REMOTE, src_port=53, ttl=3, tos=0xB8, df=True, mac=b"\x02" * 6)
    (frame,) = rig.frames()
    assert bytes(frame)[:6] == b"\x02" * 6
    socket.send(b"x", GUEST, 9, src=REMOTE, src_port=53, ttl=3, tos=0xB8, df=True)
    (datagram,) = rig.sent()
    assert (datagram.src, datagram.ttl, datagram.tos, datagram.df) == (REMOTE, 3, 0xB8, True)
    assert datagram.payload[:4] == struct.pack(">HH", 53, 9)


@pytest.mark.rfc("1122", "3.2.1.3-b", "4.1.3.5-b", "4.1.3.6-a", "4.1.3.5-c")
def test_the_source_address() -> None:
    """The socket's, or the one near the destination; never one of somebody else."""
    other = parse_ip("192.0.2.1")
    rig = Rig(addresses=((GATEWAY, 24), (other, 24)))
    layer = rig.interface.udp
    layer.bind(other, 5).send(b"x", GUEST, 9)
    wild = layer.bind(None, 6)
    wild.send(b"x", GUEST, 9)
    wild.send(b"x", GUEST, 9, src=REMOTE)
    assert [datagram.src for datagram in rig.sent()] == [other, GATEWAY]
    assert rig.count("udp.not_sent") == 1
    assert rig.interface.ipv4.source_for(GUEST) == GATEWAY, "it can be learnt beforehand"
    wild.send(b"x", parse_ip("192.0.2.9"), 9, mac=b"\x02" * 6)
    assert [datagram.src for datagram in rig.sent()] == [other]


@pytest.mark.rfc("1122", "3.2.1.3-e", "3.3.6-b")
def test_a_host_without_an_address_can_ask_for_one() -> None:
    """From 0.0.0.0 to 255.255.255.255 and to nobody else; broadcasts come in, unicast does not."""
    rig = Rig(addresses=())
    socket = rig.interface.udp.bind(None, 68)
    socket.send(b"discover", LIMITED_BROADCAST, 67)
    socket.send(b"hello", GUEST, 67)
    (frame,) = rig.frames()
    assert bytes(frame)[:6] == b"\xff" * 6
    assert bytes(frame)[26:34] == bytes(4) + b"\xff" * 4
    assert rig.count("udp.not_sent") == 1
    rig.receive(ipv4(udp(b"offer", 67, 68, dst=LIMITED_BROADCAST), dst=LIMITED_BROADCAST), group=True)
    rig.receive(ipv4(udp(b"offer", 67, 68)))
    assert received(socket) == [b"offer"]
    assert rig.count("ipv4.not_ours") == 1
    rig.interface.add_address(GATEWAY, 24)
    rig.receive(ipv4(udp(b"ack", 67, 68)))
    assert received(socket) == [b"ack"]


def test_the_device_completes_the_checksum() -> None:
    """The field holds the folded sum of the pseudo-header, and the frame says where it is."""
    rig = Rig(tx_checksum=True)
    socket = rig.interface.udp.bind(None, 7)
    socket.send(b"data", GUEST, 9)
    (frame,) = rig.frames()
    assert (frame.csum_start, frame.csum_offset, frame.gso_size) == (34, 6, 0)
    data = bytearray(bytes(frame))
    data[40:42] = struct.pack(">H", internet_checksum(bytes(data[34:])))
    assert checksum_is_right(bytes(data[14:]))
    socket.send(bytes(3000), GUEST, 9)
    frames = rig.frames()
    assert [part.csum_start for part in frames] == [0, 0, 0], "no fragment holds what would have to be summed"
    whole = b"".join(bytes(part)[34:] for part in frames)
    assert internet_checksum(struct.pack(">IIBBH", GATEWAY, GUEST, 0, UDP, len(whole)) + whole) == 0


@pytest.mark.rfc("1122", "4.1.3.4-a")
@pytest.mark.rfc("1812", "4.2.2.7-a")
def test_c47_the_largest_datagram() -> None:
    """65,507 octets in 45 fragments."""
    rig = Rig()
    socket = rig.interface.udp.bind(None, 7)
    data = bytes(n % 251 for n in range(MAX_DATA))
    assert MAX_DATA == 65507
    socket.send(data, GUEST, 9)
    parts = rig.sent()
    assert len(parts) == 45
    whole = b"".join(part.payload for part in parts)
    assert whole[8:] == data
    pseudo = struct.pack(">IIBBH", GATEWAY, GUEST, 0, UDP, len(whole))
    assert internet_checksum(pseudo + whole) == 0
    socket.send(data, GUEST, 9)
    narrow = Rig(mtu=68)
    narrow.interface.udp.bind(None, 7).send(data, GUEST, 9)
    assert len(narrow.sent()) == 1365
    with pytest.raises(ValueError, match="65507"):
        socket.send(bytes(MAX_DATA + 1), GUEST, 9)


@pytest.mark.rfc("1122", "3.2.1.7-a")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("src_port", 0),
        ("src_port", -1),
        ("dst_port", 0),
        ("dst_port", 65536),
        ("ttl", 0),
        ("ttl", 256),
        ("tos", 256),
    ],
)
def test_c16_what_can_never_be_sent(name: str, value: int) -> None:
    socket = Rig().interface.udp.bind(None, 7)
    values = {"dst_port": 9, "src_port": 7, "ttl": 64, "tos": 0} | {name: value}
    with pytest.raises(ValueError, match="not"):
        socket.send(
            b"x", GUEST, values["dst_port"], src_port=values["src_port"], ttl=values["ttl"], tos=values["tos"]
        )


def test_the_transparent_socket_has_no_port_of_its_own() -> None:
    with pytest.raises(ValueError, match="ports"):
        Rig().interface.udp.bind(None, None).send(b"x", GUEST, 9)


def test_a_queue_that_was_never_cramped_is_no_news() -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, 7)
    socket.send(b"data", GUEST, 9)
    assert len(rig.sent()) == 1
    assert rig.interface.ready() == []


def test_what_a_closed_socket_had_to_send_is_dropped() -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, 7)
    socket.send(b"data", GUEST, 9)
    socket.close()
    assert not rig.interface.udp.pending
    assert rig.silent()


def test_the_send_queue_is_bounded() -> None:
    rig = Rig(mtu=65535)
    socket = rig.interface.udp.bind(None, 7)
    sent = 0
    while socket.send(bytes(65_000), GUEST, 9):
        sent += 1
    assert sent == QUEUE_BYTES // 65_000
    assert socket.send_room == QUEUE_BYTES - sent * 65_000
    rig.interface.ready()
    assert len(rig.sent()) == sent
    assert rig.interface.ready() == [socket], "there is room again"
    for _ in range(QUEUE_ITEMS):
        assert socket.send(b"", GUEST, 9)
    assert socket.send_room == 0
    assert not socket.send(b"", GUEST, 9)
