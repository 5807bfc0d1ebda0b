"""The judge of emitted frames passes what is right and names what is wrong; the device of the machines completes frames."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.fuzz.machines.frame_check import FrameChecker, FrameError, internet_sum
from usernat.fuzz.machines.offload import on_the_wire
from usernat.fuzz.strategies import SCENE, arp, icmp, tcp, udp, valid_fragments
from usernat.fuzz.strategies.ethernet import frame
from usernat.fuzz.strategies.ipv4 import datagram, seal
from usernat.stack.device import Frame
from usernat.stack.l2.arp import ARP_CODEC
from usernat.stack.l3.ipv4_header import IPV4
from usernat.stack.l4.tcp.header import ACK, CWR, ECE, FIN, PSH, RST, SYN

GUEST, SERVER = SCENE.guest, SCENE.outside[0]
SYN_OPTIONS = b"\x02\x04\x05\xb4\x04\x02\x08\x0a\0\0\0\1\0\0\0\0\x01\x03\x03\x07"
DATA = b"some payload of an odd length"
QUOTE = datagram(DATA, 17, GUEST, SERVER)


def judge() -> FrameChecker:
    return FrameChecker(
        mac=SCENE.gateway_mac,
        mtu=SCENE.mtu,
        from_ok=lambda a: a != GUEST,
        to_ok=lambda a: a in (GUEST, 0xFFFFFFFF),
    )


def sent(packet: bytes, **fields: Any) -> bytes:
    whose: dict[str, Any] = {"src": SCENE.gateway_mac, "dst": SCENE.guest_mac, **fields}
    return frame(packet, **whose)


def ip(payload: bytes, proto: int, **fields: Any) -> bytes:
    return sent(datagram(seal(payload, proto, SERVER, GUEST), proto, SERVER, GUEST, **fields))


def segment(flags: int = ACK, data: bytes = DATA, **fields: Any) -> bytes:
    return tcp.segment(flags, 80, 40000, data, **fields)


def error(quote: bytes = QUOTE, kind: int = 3) -> bytes:
    return icmp.error(kind, 1, quote)


GOOD = {
    "arp": sent(ARP_CODEC.write(arp.packet(2, SCENE.gateway, GUEST, sha=SCENE.gateway_mac)))[:12]
    + b"\x08\x06"
    + ARP_CODEC.write(arp.packet(2, SCENE.gateway, GUEST, sha=SCENE.gateway_mac)),
    "data": ip(segment(options=b"\x01\x01\x08\x0a\0\0\0\1\0\0\0\2"), 6),
    "syn": ip(segment(SYN | ACK, b"", options=SYN_OPTIONS), 6),
    "asking": ip(segment(SYN | ECE | CWR, b"", options=SYN_OPTIONS), 6),
    "lowered": ip(segment(ACK | ECE | CWR), 6, tos=2),
    "echo of a mark": ip(segment(ACK | ECE, b""), 6),
    "reset": ip(segment(RST, b"", window=0), 6),
    "udp": ip(udp.segment(DATA, 53, 40000), 17),
    "echo": ip(icmp.echo(0, 1, 2, DATA), 1),
    "error": ip(error(), 1),
}


@pytest.mark.parametrize("name", GOOD)
def test_sound_frames_pass(name: str) -> None:
    judge().check(GOOD[name])


@pytest.mark.parametrize("name", [name for name in GOOD if name != "arp"])
@given(data=st.data())
def test_no_bit_may_turn_over(name: str, data: st.DataObject) -> None:
    """Every checksum is looked at: a single bit behind the Ethernet header never goes unseen."""
    whole = GOOD[name]
    bit = data.draw(st.integers(8 * 14, 8 * len(whole) - 1))
    spoiled = bytearray(whole)
    spoiled[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises(FrameError):
        judge().check(bytes(spoiled))


WRONG: dict[str, tuple[str, bytes]] = {
    "mac": ("not from the sender's MAC", sent(b"", src=b"\2\0\0\0\0\1")),
    "to itself": ("to itself or to nobody", sent(b"", dst=SCENE.gateway_mac)),
    "mtu": ("more than the MTU", ip(bytes(1500), 17)),
    "ethertype": ("ethertype", GOOD["udp"][:12] + b"\x86\xdd" + GOOD["udp"][14:]),
    "short": ("requires a buffer", sent(b"\x45")),
    "arp name": ("in another's name", GOOD["arp"][:22] + b"\2\0\0\0\0\1" + GOOD["arp"][28:]),
    "arp group": ("goes to one", b"\xff" * 6 + GOOD["arp"][6:]),
    "arp long": ("28 bytes", GOOD["arp"] + b"\0"),
    "trailing": ("total length", GOOD["udp"] + b"\0"),
    "ttl": ("TTL 0", ip(udp.segment(DATA, 53, 40000), 17, ttl=0)),
    "source": ("from address", sent(udp.packet(DATA, GUEST, 1, SERVER, 2))),
    "destination": ("to address", sent(udp.packet(DATA, SERVER, 1, SCENE.outside[1], 2))),
    "group mac": ("unicast to a group", b"\xff" * 6 + GOOD["udp"][6:]),
    "fragment df": ("a fragment with DF", ip(bytes(8), 17, df=True, mf=True)),
    "fragment odd": ("odd length", ip(bytes(9), 17, mf=True)),
    "protocol": ("protocol 47", ip(bytes(8), 47)),
    "port": ("port 0", ip(tcp.segment(ACK, 0, 1), 6)),
    "flags": ("flags", ip(segment(SYN | FIN, b"", options=SYN_OPTIONS), 6)),
    "no flags": ("neither SYN", ip(segment(PSH), 6)),
    "reset text": ("text on RST", ip(segment(RST, window=0), 6)),
    "reset window": ("RST with a window", ip(segment(RST, b""), 6)),
    "urgent": ("urgent pointer", ip(segment(urgent_pointer=1), 6)),
    "ack": ("without ACK", ip(segment(RST, b"", window=0, acknowledgment=1), 6)),
    "reserved": ("reserved bits", ip(segment(reserved=1), 6)),
    "ect ack": ("ECT without text", ip(segment(data=b""), 6, tos=2)),
    "ect syn": ("ECT without text", ip(segment(SYN, b"", options=SYN_OPTIONS), 6, tos=1)),
    "ect reset": ("ECT without text", ip(segment(RST, b"", window=0), 6, tos=2)),
    "marked": ("set by the sender itself", ip(segment(), 6, tos=3)),
    "reset ece": ("a RST with ECE", ip(segment(RST | ECE, b"", window=0), 6)),
    "cwr": ("CWR on what is not ECT", ip(segment(ACK | CWR), 6)),
    "late mss": ("SYN's options elsewhere", ip(segment(options=b"\x02\x04\x05\xb4"), 6)),
    "no mss": ("without MSS", ip(segment(SYN, b""), 6)),
    "option length": ("option 8 of 9", ip(segment(options=b"\x08\x09" + bytes(10)), 6)),
    "option twice": ("twice", ip(segment(options=b"\x08\x0a" * 1 + bytes(8) + b"\x08\x0a" + bytes(8)), 6)),
    "option past": ("past the header", ip(segment(options=b"\x01\x01\x08\x0a"), 6)),
    "udp length": ("UDP length", ip(udp.segment(DATA, 53, 1, length=20), 17)),
    "udp no checksum": ("without a checksum", sent(datagram(udp.segment(DATA, 53, 1), 17, SERVER, GUEST))),
    "icmp type": ("ICMP type 5", ip(error(kind=5), 1)),
    "error to": ("somebody else than its source", ip(error(datagram(DATA, 17, SERVER, GUEST)), 1)),
    "error short": ("fewer than 8 bytes", ip(error(QUOTE[:24]), 1)),
    "error long": ("more than 576", ip(error(datagram(bytes(700), 17, GUEST, SERVER)), 1)),
    "error of error": ("about an error", ip(error(datagram(error(), 1, GUEST, SERVER)), 1)),
    "error of fragment": (
        "later fragment",
        ip(error(datagram(DATA, 17, GUEST, SERVER, fragment_offset=2)), 1),
    ),
    "error of group": ("broadcast or multicast", ip(error(datagram(DATA, 17, GUEST, 0xE0000001)), 1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    reason, wrong = WRONG[name]
    with pytest.raises(FrameError, match=re.escape(reason)):
        judge().check(wrong)


@given(valid_fragments())
def test_fragments_are_judged_as_the_datagram_that_they_make(frames: list[bytes]) -> None:
    sender = FrameChecker(mac=SCENE.guest_mac, mtu=SCENE.mtu, from_ok=lambda _: True, to_ok=lambda _: True)
    for piece in frames:
        sender.check(piece)


def test_fragments_must_not_overlap_nor_hide_a_wrong_checksum() -> None:
    def pieces(payload: bytes, second: int) -> list[bytes]:
        first = datagram(payload[:16], 17, SERVER, GUEST, mf=True, identification=7)
        last = datagram(payload[16:], 17, SERVER, GUEST, fragment_offset=second, identification=7)
        return [sent(first), sent(last)]

    whole = seal(udp.segment(DATA, 53, 40000), 17, SERVER, GUEST)
    for wrong in (pieces(whole, 1), pieces(whole[:-1] + b"?", 2)):
        checker = judge()
        checker.check(wrong[0])
        with pytest.raises(FrameError, match=r"overlap|checksum"):
            checker.check(wrong[1])


def offloaded(text: bytes, flags: int, gso_size: int) -> Frame:
    """As the stack hands it out: the field holds the pseudo-header's sum."""
    payload = segment(flags, text, sequence=0xFFFFFFF0)
    header = IPV4.read(datagram(payload, 6, SERVER, GUEST))
    assert header is not None
    pseudo = internet_sum(struct.pack(">IIBBH", SERVER, GUEST, 0, 6, len(payload)))
    payload = payload[:16] + pseudo.to_bytes(2, "big") + payload[18:]
    whole = sent(datagram(payload, 6, SERVER, GUEST))
    return Frame([whole[:60], whole[60:]], gso_size=gso_size, csum_start=34, csum_offset=16, header_length=54)


@given(st.binary(min_size=1, max_size=900), st.integers(40, 300))
def test_the_device_cuts_segments_that_are_sound(text: bytes, size: int) -> None:
    frames = on_the_wire(offloaded(text, ACK | PSH | FIN, size))
    checker = judge()
    for wire in frames:
        checker.check(wire)
    assert b"".join(wire[54:] for wire in frames) == text
    assert [wire[47] & FIN for wire in frames] == [0] * (len(frames) - 1) + [FIN]
    assert [int.from_bytes(wire[38:42], "big") for wire in frames] == [
        (0xFFFFFFF0 + at) % 2**32 for at in range(0, len(text), size)
    ]


def run_of(text: bytes, size: int, **wrong: int) -> Frame:
    """As the stack hands it out: lengths of the whole, and the sum of its pseudo-header in the field."""
    length = 8 + len(text)
    pseudo = internet_sum(struct.pack(">IIBBH", SERVER, GUEST, 0, 17, length))
    payload = udp.segment(text, 53, 40000)[:6] + pseudo.to_bytes(2, "big") + text
    whole = sent(datagram(payload, 17, SERVER, GUEST, identification=0xFFFF))
    marks = {"gso_size": size, "csum_start": 34, "csum_offset": 6, "header_length": 42, **wrong}
    return Frame([whole[:42], whole[42:]], **marks)


@given(st.binary(min_size=1, max_size=900), st.integers(20, 300))
def test_the_device_cuts_datagrams_that_are_sound(text: bytes, size: int) -> None:
    frames = on_the_wire(run_of(text, size))
    told: list[tuple[int, int, int, bytes]] = []
    checker = FrameChecker(
        mac=SCENE.gateway_mac,
        mtu=SCENE.mtu,
        from_ok=lambda a: a != GUEST,
        to_ok=lambda a: a == GUEST,
        told=lambda *datagram: told.append(datagram),
    )
    for wire in frames:
        checker.check(wire)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert [(src, dst, data[8:]) for src, dst, _, data in told] == [
        (SERVER, GUEST, piece) for piece in pieces
    ]
    assert [int.from_bytes(wire[18:20], "big") for wire in frames] == [
        (0xFFFF + number) & 0xFFFF for number in range(len(frames))
    ]


def test_the_device_takes_nothing_that_a_kernel_does_not() -> None:
    for wrong in (run_of(bytes(130), 2), run_of(bytes(130), 50, header_length=54)):
        with pytest.raises(FrameError, match="run"):
            on_the_wire(wrong)


def test_a_wrong_sum_of_the_whole_is_wrong_in_each_datagram() -> None:
    good = run_of(bytes(130), 50)
    whole = bytearray(bytes(good))
    whole[40] ^= 1
    for wire in on_the_wire(Frame([bytes(whole)], 50, 34, 6, 42)):
        with pytest.raises(FrameError, match="UDP checksum"):
            judge().check(wire)


def test_the_device_completes_a_checksum() -> None:
    (wire,) = on_the_wire(offloaded(DATA, ACK, 0))
    judge().check(wire)
    plain = Frame([GOOD["udp"]])
    assert on_the_wire(plain) == [GOOD["udp"]]
