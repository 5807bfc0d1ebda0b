"""The compiled codec against construct's interpreter: equal on all bytes, both ways, for declarations drawn at random too."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import construct as c
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from usernat.stack.wire import Codec


class Sample(NamedTuple):
    version: int
    ihl: int
    tos: int
    length: int
    urgent: bool
    df: bool
    offset: int
    buffer: bytes
    number: int
    wide: int


SAMPLE = c.Struct(
    "first" / c.BitStruct("version" / c.BitsInteger(4), "ihl" / c.BitsInteger(4)),
    "tos" / c.Int8ub,
    "length" / c.Int16ub,
    "flags" / c.BitStruct("urgent" / c.Flag, c.Padding(1), "df" / c.Flag, "offset" / c.BitsInteger(13)),
    c.Padding(3),
    "buffer" / c.Bytes(6),
    "number" / c.Int32ub,
    "wide" / c.Int64ub,
)
SAMPLE_CODEC = Codec(SAMPLE, Sample)


def flat(container: c.Container[Any]) -> list[Any]:
    """The values of an interpreted Struct in order, those of its BitStructs in place."""
    values: list[Any] = []
    for key, value in container.items():
        if isinstance(value, c.Container):
            values += flat(value)
        elif not str(key).startswith("_"):
            values.append(value)
    return values


def interpret(declaration: c.Struct[Any, Any], data: bytes) -> list[Any] | None:
    try:
        return flat(declaration.parse(data))
    except c.StreamError:
        return None


# Declarations at random: lists of (kind, argument), turned into a Struct and a record with fields f0, f1, …


bit_fields = st.lists(st.tuples(st.sampled_from(["bits", "flag", "gap"]), st.integers(1, 12)), max_size=5)
members = st.lists(
    st.one_of(
        st.tuples(st.just("int"), st.sampled_from([c.Int8ub, c.Int16ub, c.Int32ub, c.Int64ub])),
        st.tuples(st.just("bytes"), st.integers(1, 9)),
        st.tuples(st.just("pad"), st.integers(1, 5)),
        st.tuples(st.just("bitstruct"), bit_fields),
    ),
    min_size=1,
    max_size=8,
)


def make_bits(fields: list[tuple[str, int]], name: Any) -> Any:
    """A BitStruct of the fields, filled up with padding to a whole word."""
    subcons: list[Any] = []
    used = 0
    for kind, bits in fields:
        bits = 1 if kind == "flag" else bits
        used += bits
        made = {"bits": c.BitsInteger(bits), "flag": c.Flag, "gap": c.Padding(bits)}[kind]
        subcons.append(made if kind == "gap" else name() / made)
    word = next(size for size in (8, 16, 32, 64) if size >= used)
    return c.BitStruct(*subcons, c.Padding(word - used))


def make(description: list[tuple[str, Any]]) -> Codec[Any]:
    names: list[str] = []

    def name() -> str:
        names.append(f"f{len(names)}")
        return names[-1]

    subcons: list[Any] = []
    for index, (kind, argument) in enumerate(description):
        if kind == "int":
            subcons.append(name() / argument)
        elif kind == "bytes":
            subcons.append(name() / c.Bytes(argument))
        elif kind == "pad":
            subcons.append(c.Padding(argument))
        else:
            subcons.append(f"word{index}" / make_bits(argument, name))
    record = NamedTuple("Drawn", [(field, Any) for field in names])  # type: ignore[misc]  # drawn, not written
    return Codec(c.Struct(*subcons), record)


@given(members, st.data())
def test_any_declaration_reads_and_writes_as_construct_does(description: Any, data: st.DataObject) -> None:
    codec = make(description)
    assert codec.size == codec.declaration.sizeof()
    raw = data.draw(st.binary(min_size=0, max_size=codec.size + 3))
    record = codec.read(raw)
    expected = interpret(codec.declaration, raw)
    assert (None if record is None else list(record)) == expected
    assert codec.read_values(raw) == record
    if record is not None:
        assert [type(value) for value in record] == [type(value) for value in expected or []]
        assert codec.write(record) == codec.declaration.build(codec.declaration.parse(raw))


@given(st.binary(min_size=SAMPLE_CODEC.size, max_size=SAMPLE_CODEC.size))
def test_fields_stand_under_their_names(raw: bytes) -> None:
    record = SAMPLE_CODEC.read(raw)
    assert record is not None
    tree = SAMPLE.parse(raw)
    assert (record.version, record.ihl) == (tree.first.version, tree.first.ihl)
    assert (record.urgent, record.df, record.offset) == (tree.flags.urgent, tree.flags.df, tree.flags.offset)
    assert (record.tos, record.length, record.buffer) == (tree.tos, tree.length, tree.buffer)
    assert (record.number, record.wide) == (tree.number, tree.wide)


class Bits(NamedTuple):
    reserved: bool
    df: bool
    mode: int
    first: bool
    offset: int
    last: bool


BITS = c.Struct(
    "word"
    / c.BitStruct(
        "reserved" / c.Flag,
        "df" / c.Flag,
        c.Padding(1),
        "mode" / c.BitsInteger(4),
        "first" / c.Flag,
        "offset" / c.BitsInteger(7),
        "last" / c.Flag,
    )
)


ACROSS = c.Struct(
    "word"
    / c.BitStruct(
        "reserved" / c.Flag,
        "df" / c.Flag,
        c.Padding(1),
        "mode" / c.BitsInteger(2),
        "first" / c.Flag,
        "offset" / c.BitsInteger(9),  # two bits in the first byte, seven in the second
        "last" / c.BitsInteger(1),
    )
)


@pytest.mark.parametrize("declaration", [BITS, ACROSS], ids=["bytes apart", "a field across"])
def test_every_value_of_the_first_bits_of_a_word_is_read_as_construct_reads_it(declaration: Any) -> None:
    """They come out of a table, the others by shift and mask."""
    codec = Codec(declaration, Bits)
    for high in range(256):
        for low in (0x00, 0xFF, 0x81, high):
            raw = bytes((high, low))
            record = codec.read(raw)
            assert record is not None
            expected = flat(declaration.parse(raw))
            assert [(type(value), value) for value in record] == [(type(value), value) for value in expected]
            assert codec.read_values(raw) == record
            if not high & 0x20:  # padding is written as zeros
                assert codec.write(record) == raw


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))]
)
def test_what_is_read_is_a_record_like_any_other(copied: Any) -> None:
    record = SAMPLE_CODEC.read(SAMPLE_CODEC.write(GOOD))
    assert isinstance(record, Sample)
    assert record == GOOD
    assert repr(record) == repr(GOOD)
    assert hash(record) == hash(GOOD)
    assert isinstance(copied(record), Sample)
    assert copied(record) == GOOD
    changed = record._replace(tos=9)
    assert isinstance(changed, Sample)
    assert changed == GOOD._replace(tos=9)
    assert not hasattr(record, "__dict__")


@given(st.binary(max_size=60), st.integers(-40, 80), st.sampled_from([bytes, bytearray, memoryview]))
@example(bytes(60), -40, bytes)  # which `struct` would read from the end
def test_reads_at_any_offset_of_any_buffer_and_never_raises(raw: bytes, offset: int, kind: Any) -> None:
    record = SAMPLE_CODEC.read(kind(raw), offset)
    if offset < 0 or offset + SAMPLE_CODEC.size > len(raw):
        assert record is None
        assert SAMPLE_CODEC.read_values(kind(raw), offset) is None
    else:
        assert record == SAMPLE_CODEC.read(raw[offset:])


@given(st.binary(min_size=40, max_size=60), st.integers(0, 9))
def test_write_into_changes_its_own_bytes_only(raw: bytes, offset: int) -> None:
    record = SAMPLE_CODEC.read(raw)
    assert record is not None
    target = bytearray(raw)
    SAMPLE_CODEC.write_into(target, offset, record)
    written = SAMPLE_CODEC.write(record)
    assert bytes(target) == raw[:offset] + written + raw[offset + SAMPLE_CODEC.size :]


GOOD = Sample(4, 5, 0, 1500, urgent=False, df=True, offset=8191, buffer=b"abcdef", number=1, wide=2)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 16},
        {"ihl": -1},
        {"offset": 8192},
        {"tos": 256},
        {"length": -1},
        {"number": 1 << 32},
        {"buffer": b"short"},
        {"buffer": b"too long"},
    ],
)
def test_a_value_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    bad = GOOD._replace(**change)
    with pytest.raises(ValueError, match="Sample"):
        SAMPLE_CODEC.write(bad)
    target = bytearray(60)
    with pytest.raises(ValueError, match="Sample"):
        SAMPLE_CODEC.write_into(target, 0, bad)
    assert not any(target[SAMPLE_CODEC.size :])
    with pytest.raises(c.ConstructError):  # as construct does
        SAMPLE.build(
            {
                "first": {"version": bad.version, "ihl": bad.ihl},
                "flags": {"urgent": bad.urgent, "df": bad.df, "offset": bad.offset},
                **bad._asdict(),
            }
        )


def test_write_into_a_short_buffer_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer"):
        SAMPLE_CODEC.write_into(bytearray(20), 0, GOOD)


class One(NamedTuple):
    a: int


class NoTuple:
    a: int


@pytest.mark.parametrize(
    "subcon",
    [
        c.Int16ul,
        c.Int8sb,
        c.Float32b,
        c.VarInt,
        c.GreedyBytes,
        c.Bytes(c.this.n),
        c.Const(b"x"),
        c.Enum(c.Int8ub, x=1),
        c.Array(2, c.Int8ub),
        c.Struct("b" / c.Int8ub),
        c.BitStruct("a" / c.BitsInteger(4)),
        c.BitStruct("a" / c.BitsInteger(24)),
        c.BitStruct("a" / c.BitsInteger(8, signed=True)),
        c.BitStruct("a" / c.Nibble, "b" / c.Enum(c.Nibble, x=1)),
        c.ByteSwapped(c.BitStruct("a" / c.BitsInteger(16))),
        c.Padding(2, pattern=b"x"),
    ],
    ids=repr,
)
def test_what_cannot_be_compiled_is_a_type_error(subcon: Any) -> None:
    with pytest.raises(TypeError):
        Codec(c.Struct("a" / subcon), One)


def test_nameless_fields_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="name"):
        Codec(c.Struct(c.Int8ub), One)
    with pytest.raises(TypeError, match="name"):
        Codec(c.Struct("a" / c.BitStruct(c.BitsInteger(8))), One)


@pytest.mark.parametrize(
    ("declaration", "record"),
    [
        (c.Struct("b" / c.Int8ub), One),
        (c.Struct("a" / c.Int8ub, "b" / c.Int8ub), One),
        (c.Struct(c.Padding(1)), One),
        (c.Struct("a" / c.Int8ub), NoTuple),
        (c.Struct("a" / c.Int8ub), tuple),
        (c.Int8ub, One),
    ],
)
def test_a_record_that_differs_is_a_type_error(declaration: Any, record: Any) -> None:
    with pytest.raises(TypeError):
        Codec(declaration, record)


def test_field_names_do_not_meet_the_generated_code() -> None:
    class Clash(NamedTuple):
        record: int
        pack: int
        len: int
        tuple: int

    codec = Codec(c.Struct(*(name / c.Int8ub for name in Clash._fields)), Clash)
    assert codec.write(Clash(1, 2, 3, 4)) == b"\1\2\3\4"
    assert codec.read(b"\1\2\3\4") == (1, 2, 3, 4)
