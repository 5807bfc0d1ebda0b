"""Ways to spoil bytes that were good: cut, grown, flipped, overwritten, repeated, or with a field that lies.

Mutations of a whole frame seldom get past its first checksum. So the protocol modules spoil one layer and then have
the layers around it built truly: `hostile_tcp` reaches TCP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence


class Field(NamedTuple):
    """An integer field of some header: its offset and its width, in bytes."""

    offset: int
    width: int


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> bytes:
    """The beginning of the data: anything from nothing to one byte less than all."""
    return data[: draw(st.integers(0, max(len(data) - 1, 0)))]


@st.composite
def grown(draw: st.DrawFn, data: bytes) -> bytes:
    """The data with more behind it."""
    return data + draw(st.binary(min_size=1, max_size=64))


@st.composite
def flipped(draw: st.DrawFn, data: bytes) -> bytes:
    """The data with one to eight bits turned over, mostly in its first 64 bytes, where headers are."""
    spoiled = bytearray(data)
    if not spoiled:
        return data
    places = st.one_of(st.integers(0, min(len(data), 64) - 1), st.integers(0, len(data) - 1))
    for place, bit in draw(st.sets(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=8)):
        spoiled[place] ^= 1 << bit
    return bytes(spoiled)


@st.composite
def overwritten(draw: st.DrawFn, data: bytes) -> bytes:
    """The data with a few neighbouring bytes replaced."""
    place = draw(st.integers(0, len(data)))
    patch = draw(
        st.one_of(
            st.sampled_from([b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff"]),
            st.binary(max_size=8),
        )
    )
    return (data[:place] + patch + data[place + len(patch) :])[: max(len(data), place)]


@st.composite
def repeated(draw: st.DrawFn, data: bytes) -> bytes:
    """The data with a piece of it standing twice."""
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 64)))
    return data[:stop] + data[start:]


@st.composite
def lying(draw: st.DrawFn, data: bytes, fields: Sequence[Field]) -> bytes:
    """The data with one of the fields replaced by an extreme, or by what is nearly true."""
    present = [field for field in fields if field.offset + field.width <= len(data)]
    if not present:
        return data
    offset, width = draw(st.sampled_from(present))
    highest = (1 << 8 * width) - 1
    true = int.from_bytes(data[offset : offset + width], "big")
    near = [
        true - 1,
        true + 1,
        true * 2,
        true // 2,
        0,
        1,
        highest,
        highest - 1,
        highest // 2,
        highest // 2 + 1,
    ]
    value = draw(st.one_of(st.sampled_from(near), st.integers(0, highest))) & highest
    return data[:offset] + value.to_bytes(width, "big") + data[offset + width :]


@st.composite
def damaged(draw: st.DrawFn, good: st.SearchStrategy[bytes], fields: Sequence[Field] = ()) -> bytes:
    """Good data spoiled in one to three ways. fields: the lengths, offsets and counts in it that are worth lying about."""
    data = draw(good)
    ways = [cut, grown, flipped, overwritten, repeated, *([None] if fields else [])]
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(ways))
        data = draw(way(data) if way is not None else lying(data, fields))
    return data
