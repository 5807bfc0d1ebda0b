"""The checksum against the sum that RFC 1071 writes out, byte by byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from usernat.stack.checksum import checksum, fold, pseudo_header, sum_words, update


def oracle(data: bytes, carry: int = 0) -> int:
    """RFC 1071 §4.1, in words."""
    total = carry
    for index in range(0, len(data), 2):
        total += data[index] << 8 | (data[index + 1] if index + 1 < len(data) else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


parts = st.lists(
    st.one_of(st.binary(max_size=40), st.binary(max_size=9).map(lambda b: b"\xff" * len(b))), max_size=6
)


@given(parts, st.sampled_from([bytes, bytearray, memoryview]))
@example([b""], bytes)
@example([b"\xff\xff"], bytes)
@example([b"\xff", b"\xff"], bytes)
@example([b"\0\0"], bytes)
@example([b"\0", b"\0", b"\xff", b"\xff"], bytes)
def test_any_scatter_list_sums_as_its_bytes_joined(pieces: list[bytes], kind: Any) -> None:
    assert checksum(*map(kind, pieces)) == oracle(b"".join(pieces))


@given(parts, st.integers(0, 1 << 34))
def test_a_total_goes_on_from_another(pieces: list[bytes], initial: int) -> None:
    assert checksum(*pieces, initial=initial) == oracle(b"".join(pieces), initial)
    assert fold(sum_words(pieces) + initial) == oracle(b"".join(pieces), initial) ^ 0xFFFF


def test_the_two_zeros_are_told_apart() -> None:
    assert checksum(bytes(20)) == 0xFFFF
    assert checksum(b"\xff\xff") == 0
    assert fold(0) == 0
    assert fold(65535) == fold(2 * 65535) == 65535


def test_the_example_of_rfc_1071() -> None:
    assert fold(sum_words([bytes.fromhex("0001f203f4f5f6f7")])) == 0xDDF2


@given(st.binary(min_size=4, max_size=60).filter(any), st.integers(0, 14))
def test_data_with_its_checksum_sums_to_zero(data: bytes, position: int) -> None:
    field = min(2 * position, len(data) // 2 * 2 - 2)
    cleared = data[:field] + b"\0\0" + data[field + 2 :]
    if not any(cleared):
        return
    whole = cleared[:field] + checksum(cleared).to_bytes(2, "big") + cleared[field + 2 :]
    assert checksum(whole) == 0
    flipped = bytes([whole[0] ^ 1]) + whole[1:]
    assert checksum(flipped) != 0


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(1, 255), st.integers(0, 65535))
def test_the_pseudo_header_is_its_bytes(src: int, dst: int, proto: int, length: int) -> None:
    header = src.to_bytes(4, "big") + dst.to_bytes(4, "big") + bytes([0, proto]) + length.to_bytes(2, "big")
    assert fold(pseudo_header(src, dst, proto, length)) == oracle(header) ^ 0xFFFF


@pytest.mark.parametrize("width", [2, 4])
@given(data=st.binary(min_size=8, max_size=40), where=st.integers(0, 18), new=st.integers(0, 0xFFFFFFFF))
def test_an_update_equals_a_fresh_sum(width: int, data: bytes, where: int, new: int) -> None:
    """RFC 1624 §3 eqn. 3, the corner cases of RFC 1141 included."""
    data = b"\x45" + data[1:]  # a header is never all zeros
    at = max(2, min(2 * where, (len(data) - width) // 2 * 2))
    new &= (1 << 8 * width) - 1
    changed = data[:at] + new.to_bytes(width, "big") + data[at + width :]
    old = int.from_bytes(data[at : at + width], "big")
    assert update(oracle(data), old, new) == oracle(changed)


def test_the_example_of_rfc_1624() -> None:
    """RFC 1624 §4: checksum 0xDD2F, a field from 0x5555 to 0x3285, and the result is 0x0000, not 0xFFFF."""
    assert update(0xDD2F, 0x5555, 0x3285) == 0x0000
