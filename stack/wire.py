"""Wire formats: declared once with construct, read and written at the speed of `struct`.

Each protocol file declares its header as a `construct` Struct, which is the truth and what a reader reads. construct
itself takes tens of microseconds a header, and its compiled parsers accept truncated input. So `Codec` walks the
declaration once, at import, and derives from it one precompiled `struct.Struct` and, written out as Python source
the way `dataclasses` does it, the functions around it. A bit field is cut out of its word by shift and mask.

What may stand in a declaration: `Int8ub`, `Int16ub`, `Int32ub`, `Int64ub`, `Bytes(n)`, `Padding(n)`, and a `BitStruct`
of `BitsInteger(n)`, `Flag` and `Padding(n)` that fills 1, 2, 4 or 8 bytes. The fields of a `BitStruct` stand in the
record beside the others, flat, under their own names. Anything else is a TypeError when the module is imported.

Records are NamedTuples. Measured on CPython 3.11, a header of nine fields: `Struct.unpack_from` alone 105 ns,
`read_values` 125 ns, `read` 200 ns; with a slots dataclass in its place 210 ns, which reads an attribute in 6 ns where a
NamedTuple takes 14, but does not unpack into local variables. With four bit fields, `read` takes 1.4 times what a
function written by hand does.
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


class Reader(Protocol[T_co]):
    """The type of `Codec.read` and `Codec.read_values`."""

    def __call__(self, buffer: Buffer, offset: int = 0, /) -> T_co | None:
        """Read at `offset`; None where truncated."""


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
    read(buffer, offset=0): the record at `offset`, or None where fewer than `size` bytes are there (or offset < 0). Never raises.
    read_values(buffer, offset=0): the same as a plain tuple: the hottest paths unpack it at once.
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
        layout = struct.Struct(">" + "".join(word.format for word in words))
        functions = _generate(words, layout, record)
        self.declaration = declaration
        self.size: int = layout.size
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

    packed: the fields have to be cut out of the word. length: that of a Bytes field.
    """

    format: str
    fields: list[_Field]
    packed: bool = False
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
    return _Word(WORD_FORMATS[total // 8], fields, packed=not whole)


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
def read_values(_buffer, _offset=0, /):
    if _offset < 0:
        return None
    try:
        {unpack}
    except _StructError:
        return None

def read(_buffer, _offset=0, /):
    if _offset < 0:
        return None
    try:
        {unpack_record}
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


def _generate(words: list[_Word], layout: struct.Struct, record: type[Any]) -> dict[str, Any]:
    """The four functions of a codec, from source."""
    names = ", ".join(field.name for word in words for field in word.fields)
    values = "_unpack_from(_buffer, _offset)"
    unpack = f"return {values}"
    unpack_record = f"return _new(_Record, {values})"
    if any(word.packed for word in words):
        targets = ", ".join(_target(index, word) for index, word in enumerate(words) if word.fields)
        cut = ", ".join(_cut(index, word, field) for index, word in enumerate(words) for field in word.fields)
        unpack = f"{targets}, = {values}\n        return ({cut},)"
        unpack_record = f"{targets}, = {values}\n        return _new(_Record, ({cut},))"
    source = _SOURCE.format(
        unpack=unpack,
        unpack_record=unpack_record,
        names=names + "," if names else "()",
        words=", ".join(_joined(word) for word in words if not word.format.endswith("x")),
        check=_check(words),
    )
    scope: dict[str, Any] = {
        "_Record": record,
        "_StructError": struct.error,
        "_len": len,
        "_new": tuple.__new__,
        "_pack": layout.pack,
        "_pack_into": layout.pack_into,
        "_unpack_from": layout.unpack_from,
    }
    # The source is made of the declaration's own identifiers and of integers, at import; dataclasses does the same.
    exec(source, scope)  # noqa: S102
    return scope


def _target(index: int, word: _Word) -> str:
    """The local variable that one item of the `struct` format is read into."""
    return f"_word{index}" if word.packed else word.fields[0].name


def _cut(index: int, word: _Word, field: _Field) -> str:
    """The expression of one field's value."""
    if not word.packed:
        return field.name
    if field.flag:
        return f"_word{index} & {1 << field.shift} != 0"
    shifted = f"_word{index} >> {field.shift}" if field.shift else f"_word{index}"
    return f"{shifted} & {(1 << field.bits) - 1}"


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
