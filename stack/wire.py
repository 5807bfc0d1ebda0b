"""Wire formats: declared once with construct, read and written at the speed of `struct`.

Each protocol file declares its header as a `construct` Struct, which is the truth and what a reader reads. construct
itself takes tens of microseconds a header, and its compiled parsers accept truncated input. So `Codec` walks the
declaration once, at import, and derives from it one precompiled `struct.Struct` and, written out as Python source
the way `dataclasses` does it, the functions around it. A bit field is cut out of its word by shift and mask; where many
stand at the front of a word, as the flags of IPv4 do, a table made by the same shifts and masks gives them at once.

What may stand in a declaration: `Int8ub`, `Int16ub`, `Int32ub`, `Int64ub`, `Bytes(n)`, `Padding(n)`, and a `BitStruct`
of `BitsInteger(n)`, `Flag` and `Padding(n)` that fills 1, 2, 4 or 8 bytes. The fields of a `BitStruct` stand in the
record beside the others, flat, under their own names. Anything else is a TypeError when the module is imported.

Records are NamedTuples. On CPython 3.11, one `Struct.unpack_from` of four to ten items takes 65 to 110 ns; `read_values` takes
1.3 times that, with bit fields up to twice; `read` two and a half times, with the six bit fields of IPv4 nearly three. The record
itself is 60 to 80 ns of it, because CPython makes one by copying a tuple, and nothing in pure Python spares that copy.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import construct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usernat.stack.device import Buffer

T = TypeVar("T", bound=tuple[Any, ...])
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

WORD_FORMATS = {1: "B", 2: "H", 4: "L", 8: "Q"}  # bytes in a word to its struct format
TABLE_BITS = 8  # a table of what stands in a word's first bits has 256 entries at most
TABLE_FIELDS = 3  # one look-up is faster than this many shifts and masks; two fields take the same either way


class Reader(Protocol[T_co]):
    """The type of `Codec.read` and `Codec.read_values`."""

    def __call__(self, buffer: Buffer, offset: int | None = None, /) -> T_co | None:
        """Read at `offset`, else at the start; None where truncated."""


class Writer(Protocol[T_contra]):
    """The type of `Codec.write`."""

    def __call__(self, record: T_contra, /) -> bytes:
        """Raises ValueError where a value does not fit."""


class WriterInto(Protocol[T_contra]):
    """The type of `Codec.write_into`."""

    def __call__(self, buffer: bytearray | memoryview, offset: int, record: T_contra, /) -> None:
        """Raises ValueError where a value, or the whole, does not fit."""


class Codec(Generic[T]):
    """The fast form of one fixed-size declaration.

    declaration: the construct Struct, for readers, documentation and tests.
    size: of the header, in bytes.
    read(buffer, offset=None): the record at `offset`, which is 0 if not given, or None where fewer than `size` bytes are there (or offset < 0). Never raises.
        Its class is a subclass of the record's that differs in how it is made only.
    read_values(buffer, offset=None): the same as a plain tuple: the hottest paths unpack it at once.
    write(record): the bytes. Raises ValueError for a value that its field cannot hold.
    write_into(buffer, offset, record): the same in place. Raises ValueError too where the buffer is too short;
        what stands at the offset after an error is undefined.

    Raises TypeError where the declaration holds what cannot be compiled, or differs from the record's fields.
    """

    __slots__ = ("declaration", "read", "read_values", "size", "write", "write_into")

    read: Reader[T]
    read_values: Reader[tuple[Any, ...]]
    write: Writer[T]
    write_into: WriterInto[T]

    def __init__(self, declaration: construct.Struct, record: type[T]) -> None:
        words = [_word(name, subcon) for name, subcon in _members(declaration)]
        _check_record([field.name for word in words for field in word.fields], record)
        functions = _generate(words, record)
        self.declaration = declaration
        self.size: int = struct.calcsize(">" + "".join(word.format for word in words))
        self.read = functions["read"]
        self.read_values = functions["read_values"]
        self.write = functions["write"]
        self.write_into = functions["write_into"]


class _Field(NamedTuple):
    """One field of the record: `bits` of its word, `shift` from the word's low end. A flag reads as bool."""

    name: str
    shift: int
    bits: int
    flag: bool = False


class _Word(NamedTuple):
    """One item of the `struct` format and the fields in it: one, or those of a BitStruct, or none in padding.

    packed: the bits of a word out of which the fields have to be cut, else 0. length: that of a Bytes field.
    """

    format: str
    fields: list[_Field]
    packed: int = 0
    length: int = 0


def _members(declaration: Any) -> Iterator[tuple[str | None, Any]]:
    """Name and inner construct of each member, the `name / subcon` wrappers taken off."""
    if not isinstance(declaration, construct.Struct):
        raise TypeError(f"a codec needs a construct Struct, not {declaration!r}")
    for subcon in declaration.subcons:
        name, inner = subcon.name, subcon
        while isinstance(inner, construct.Renamed):
            inner = inner.subcon
        yield name, inner


def _word(name: str | None, subcon: Any) -> _Word:
    """How `struct` reads one member of the declaration."""
    if isinstance(subcon, construct.Transformed):
        return _bit_word(name, subcon)
    if _is_padding(subcon):
        return _Word(f"{subcon.length}x", [])
    if name is None:
        raise TypeError(f"a field without a name: {subcon!r}")
    if isinstance(subcon, construct.Bytes) and isinstance(subcon.length, int):
        return _Word(f"{subcon.length}s", [_Field(name, 0, 8 * subcon.length)], length=subcon.length)
    if isinstance(subcon, construct.FormatField) and subcon.fmtstr[0] == ">" and subcon.fmtstr[1] in "BHLQ":
        return _Word(subcon.fmtstr[1], [_Field(name, 0, 8 * subcon.length)])
    raise TypeError(f"{name}: cannot compile {subcon!r}")


def _bit_word(name: str | None, subcon: Any) -> _Word:
    """A BitStruct as one word, its fields from the high end down."""
    if subcon.decodefunc is not construct.lib.bytes2bits:
        raise TypeError(f"{name}: cannot compile {subcon!r}")
    members = list(_members(subcon.subcon))
    total = sum(_bit_length(inner_name, inner) for inner_name, inner in members)
    if total % 8 or total // 8 not in WORD_FORMATS:
        raise TypeError(f"{name}: {total} bits do not fill 1, 2, 4 or 8 bytes")
    fields, shift = [], total
    for inner_name, inner in members:
        bits = _bit_length(inner_name, inner)
        shift -= bits
        if not _is_padding(inner):
            fields.append(_Field(inner_name or "", shift, bits, inner is construct.Flag))
    if not fields:
        return _Word(f"{total // 8}x", [])
    whole = fields[0].bits == total and not fields[0].flag
    return _Word(WORD_FORMATS[total // 8], fields, packed=0 if whole else total)


def _bit_length(name: str | None, subcon: Any) -> int:
    if _is_padding(subcon):
        return int(subcon.length)
    if name is None:
        raise TypeError(f"a bit field without a name: {subcon!r}")
    if subcon is construct.Flag:
        return 1
    plain = isinstance(subcon, construct.BitsInteger) and not (subcon.signed or subcon.swapped)
    if plain and isinstance(subcon.length, int):
        return subcon.length
    raise TypeError(f"{name}: cannot compile {subcon!r}")


def _is_padding(subcon: Any) -> bool:
    """`construct.Padding(n)`: fixed length, zeros, nothing inside."""
    return (
        isinstance(subcon, construct.Padded)
        and subcon.subcon is construct.Pass
        and isinstance(subcon.length, int)
        and subcon.pattern == b"\0"
    )


def _check_record(names: list[str], record: Any) -> None:
    """Raise TypeError unless the record is a NamedTuple of just these fields, in this order."""
    if not (isinstance(record, type) and issubclass(record, tuple) and hasattr(record, "_fields")):
        raise TypeError(f"a codec's record must be a NamedTuple class, not {record!r}")
    if list(record._fields) != names:
        raise TypeError(
            f"{record.__name__} has the fields {list(record._fields)}, its declaration {names}",
        )


# Every name below but those of fields starts with an underscore, which a field's cannot.
_SOURCE = """
def read_values(_buffer, _offset=None, /):
    try:
        if _offset is None:
            {take_values} _unpack_from(_buffer)
        elif _offset < 0:
            return None
        else:
            {take_values} _unpack_from(_buffer, _offset)
        {values}
    except _StructError:
        return None

def read(_buffer, _offset=None, /):
    try:
        if _offset is None:
            {take} _unpack_from(_buffer)
        elif _offset < 0:
            return None
        else:
            {take} _unpack_from(_buffer, _offset)
        {record}
    except _StructError:
        return None

def write(_record, /):
    {names} = _record
    {check}
    try:
        return _pack({words})
    except _StructError as _error:
        raise ValueError(f"{{_record!r}}: {{_error}}") from None

def write_into(_buffer, _offset, _record, /):
    {names} = _record
    {check}
    try:
        _pack_into(_buffer, _offset, {words})
    except _StructError as _error:
        raise ValueError(f"{{_record!r}}: {{_error}}") from None
"""


def _generate(words: list[_Word], record: type[Any]) -> dict[str, Any]:
    """The four functions of a codec, from source."""
    names = ", ".join(field.name for word in words for field in word.fields)
    reading = struct.Struct(">" + "".join("BB" if _is_split(word) else word.format for word in words))
    writing = struct.Struct(">" + "".join(word.format for word in words))
    items, look_ups, values = _unpacking(words)
    plain = items == values  # nothing has to be cut out of what is unpacked
    source = _SOURCE.format(
        take=f"{items} =",
        take_values="return" if plain else f"{items} =",
        values="" if plain else f"{look_ups}return {values}",
        record=f"{look_ups}return _Record({values})",
        names=names + "," if names else "()",
        words=", ".join(_joined(word) for word in words if not word.format.endswith("x")),
        check=_check(words),
    )
    scope: dict[str, Any] = {
        **{f"_table{index}": _table(word) for index, word in enumerate(words) if _head(word)},
        "_Record": _made_of_a_tuple(record),
        "_StructError": struct.error,
        "_len": len,
        "_pack": writing.pack,
        "_pack_into": writing.pack_into,
        "_unpack_from": reading.unpack_from,
    }
    # The source is made of the declaration's own identifiers and of integers, at import; dataclasses does the same.
    exec(source, scope)  # noqa: S102
    return scope


def _unpacking(words: list[_Word]) -> tuple[str, str, str]:
    """What the items of a header are unpacked to, the statements that look fields up in tables, and the expression of the tuple of all values."""
    if not any(word.packed for word in words):
        return "_values", "", "_values"
    used = [(index, word) for index, word in enumerate(words) if word.fields]
    items = ", ".join(_target(index, word) for index, word in used) + ","
    look_ups = "".join(f"{_look_up(index, word)}\n        " for index, word in used if _head(word))
    cuts = ", ".join(_cut(index, word, field) for index, word in used for field in word.fields)
    return items, look_ups, f"({cuts},)"


def _target(index: int, word: _Word) -> str:
    """The local variable that one item of the `struct` format is read into; of a split word, two."""
    if _is_split(word):
        return f"_word{index}, _rest{index}"
    return f"_word{index}" if word.packed else word.fields[0].name


def _look_up(index: int, word: _Word) -> str:
    names = ", ".join(field.name for field in _tabled(word))
    place = f"_word{index}" if _is_split(word) else f"_word{index} >> {_head(word)[-1].shift}"
    return f"{names}, = _table{index}[{place}]"


def _cut(index: int, word: _Word, field: _Field) -> str:
    """The expression of one field's value."""
    if not word.packed or field in _head(word):
        return field.name
    split = _is_split(word)
    source, bits = (f"_rest{index}", TABLE_BITS) if split else (f"_word{index}", word.packed)
    if field.flag:
        return f"{source} & {1 << field.shift} != 0"
    shifted = f"{source} >> {field.shift}" if field.shift else source
    if split and field in _tabled(word):  # where it begins
        return f"{field.name} | {shifted}"
    first = field.shift + field.bits == bits  # nothing is left above it
    return shifted if first else f"{shifted} & {(1 << field.bits) - 1}"


def _head(word: _Word) -> list[_Field]:
    """The fields in a word's first bits that one look-up gives together, or none where shifts and masks take no longer."""
    head = [field for field in word.fields if word.packed and field.shift >= word.packed - TABLE_BITS]
    return head if len(head) >= TABLE_FIELDS else []


def _is_split(word: _Word) -> bool:
    """Whether it is read as two bytes, of which a table knows the first."""
    return word.packed == 2 * TABLE_BITS and bool(_head(word))


def _tabled(word: _Word) -> list[_Field]:
    """The fields that the table knows: the head, and of a field that begins in the first of two bytes what is there."""
    if not _is_split(word):
        return _head(word)
    return [field for field in word.fields if field.shift + field.bits > TABLE_BITS]


def _table(word: _Word) -> tuple[tuple[int, ...], ...]:
    """The values of those fields, by the bits in which they stand."""
    last = TABLE_BITS if _is_split(word) else _head(word)[-1].shift
    fields = _tabled(word)
    return tuple(
        tuple(_value(bits << last, field) for field in fields) for bits in range(1 << (word.packed - last))
    )


def _value(word: int, field: _Field) -> int:
    value = word >> field.shift & (1 << field.bits) - 1
    return value != 0 if field.flag else value


class _MadeOfATuple(tuple[Any, ...]):
    """Put before a NamedTuple, whose `__new__` is Python code, this keeps instances being made by that of `tuple`, in C."""

    __slots__ = ()
    __new__ = tuple.__new__


def _made_of_a_tuple(record: type[Any]) -> type[Any]:
    """A subclass of the record that differs in its constructor only: it takes the tuple of all values."""

    def reduce(made: tuple[Any, ...]) -> tuple[Any, ...]:
        return record, tuple(made)  # copies and pickles are made as the record itself

    namespace = {"__slots__": (), "__reduce__": reduce}
    namespace |= {name: getattr(record, name) for name in ("__doc__", "__module__", "__qualname__")}
    return type(record.__name__, (_MadeOfATuple, record), namespace)


def _joined(word: _Word) -> str:
    """The expression of one item of the `struct` format. The fields were found to fit."""
    if not word.packed:
        return word.fields[0].name
    parts = (
        f"(1 if {f.name} else 0) << {f.shift}" if f.flag else f"{f.name} << {f.shift}" for f in word.fields
    )
    return " | ".join(parts) or "0"


def _check(words: list[_Word]) -> str:
    """The statement that refuses what `struct` would let pass: bits beyond a bit field, bytes of another length."""
    bits = [f"{f.name} >> {f.bits}" for word in words if word.packed for f in word.fields if not f.flag]
    lengths = [f"_len({word.fields[0].name}) != {word.length}" for word in words if word.length]
    if not bits and not lengths:
        return "pass"
    return (
        f"if {' or '.join(bits + lengths)}:\n        raise ValueError(f'a field does not fit: {{_record!r}}')"
    )
