"""Cutting a run of UDP datagrams as Linux does, and believing nothing of what is to be cut."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import GUEST, GUEST_MAC, REMOTE, UDP, internet_checksum, ipv4, read_ipv4
from usernat.links.datagram_cut import MOST, cut

GATEWAY_MAC = bytes(6)
HEADER = GATEWAY_MAC + GUEST_MAC + b"\x08\x00"


def pseudo_sum(length: int) -> int:
    return internet_checksum(struct.pack(">IIBBH", GUEST, REMOTE, 0, UDP, length)) ^ 0xFFFF


def run(data: bytes, *, udp_length: int | None = None, **fields: Any) -> bytes:
    """A frame as a guest's kernel hands it over: whole lengths, the checksum still to be made."""
    length = 8 + len(data) if udp_length is None else udp_length
    udp = struct.pack(">HHHH", 4000, 443, length, pseudo_sum(8 + len(data))) + data
    return HEADER + ipv4(udp, **{"src": GUEST, "dst": REMOTE, "proto": UDP, **fields})


@given(
    st.integers(1, 1500),
    st.integers(1, MOST),
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 4, 40]),
    st.booleans(),
    st.data(),
)
def test_each_piece_is_a_datagram(
    size: int, number: int, ident: int, options: int, df: bool, data: st.DataObject
) -> None:
    number = min(number, 65507 // size - 1)
    last = data.draw(st.integers(1, size))
    text = bytes(range(256)) * 256
    text = text[: size * (number - 1) + last]
    flags = 0x4000 if df else 0
    frame = run(text, ident=ident, flags=flags, options=b"\x01" * options, ttl=7, tos=0x2E)
    pieces = cut(frame, size)
    assert pieces is not None
    assert len(pieces) == number
    for index, piece in enumerate(pieces):
        expected = text[index * size : (index + 1) * size]
        assert piece[:14] == HEADER
        assert piece[14:] == _datagram(expected, (ident + index) & 0xFFFF, flags, options)


def _datagram(text: bytes, ident: int, flags: int, options: int) -> bytes:
    """The same, made by itself."""
    udp = struct.pack(">HHHH", 4000, 443, 8 + len(text), pseudo_sum(8 + len(text))) + text
    made = ipv4(
        udp, src=GUEST, dst=REMOTE, ident=ident, flags=flags, options=b"\x01" * options, ttl=7, tos=0x2E
    )
    if not options:
        read_ipv4(made)
    return made


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (run(bytes(100)), 0),
        (run(b""), 10),
        (run(bytes(129)), 1),
        (run(bytes(100))[:-1], 10),
        (run(bytes(100))[:41], 10),
        (run(bytes(100))[:33], 10),
        (b"", 10),
        (run(bytes(100), udp_length=107), 10),
        (run(bytes(100), udp_length=109), 10),
        (run(bytes(100), spoil=1), 10),
        (HEADER + ipv4(b"half", src=GUEST, dst=REMOTE, proto=UDP), 10),
        (run(bytes(100), proto=6), 10),
        (run(bytes(100), version=6), 10),
        (run(bytes(100), ihl=4), 10),
        (run(bytes(100), ihl=15), 10),
        (run(bytes(100), flags=0x2000), 10),
        (run(bytes(100), offset=8), 10),
        (run(bytes(100)).replace(b"\x08\x00E", b"\x86\xddE", 1), 10),
    ],
)
def test_what_is_no_run_is_not_cut(frame: bytes, size: int) -> None:
    assert cut(frame, size) is None


@given(st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_c60_nothing_raises_and_there_is_an_end(noise: bytes, size: int) -> None:
    frame = bytearray(run(bytes(300)))
    for at, value in enumerate(noise[::2]):
        frame[value % len(frame)] = noise[at]
    for each in (noise, HEADER + noise, bytes(frame), b"\x45".join((HEADER, noise))):
        pieces = cut(each, size)
        assert pieces is None or 1 <= len(pieces) <= MOST


def test_a_kernel_puts_128_datagrams_into_one_frame() -> None:
    pieces = cut(run(bytes(128)), 1)
    assert pieces is not None
    assert len(pieces) == 128


def test_a_header_that_is_too_short_is_none_though_its_sum_is_right() -> None:
    """Its last words are taken for those of UDP, and could be made to say what they should."""
    total = 16 + 8 + 100
    header = struct.pack(">BBHHHBBHI", 0x44, 0, total, 0, 0, 64, UDP, 0, GUEST)
    header = header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:]
    assert cut(HEADER + header + struct.pack(">HHHH", 4000, 443, 108, 0) + bytes(100), 10) is None


def test_padding_behind_the_datagram_is_left_behind() -> None:
    pieces = cut(run(bytes(100)) + b"padding", 60)
    assert pieces is not None
    assert [len(piece) for piece in pieces] == [42 + 60, 42 + 40]
