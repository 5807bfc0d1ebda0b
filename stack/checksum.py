"""The Internet checksum (RFC 1071) over scatter lists, without copying and without a loop over bytes.

The checksum is a sum of 16-bit words in ones' complement arithmetic, which is arithmetic modulo 65535. A run of bytes
read as one big-endian number equals, modulo 65535, the sum of its words, because 65536 is 1 there. So one
`int.from_bytes` and one `%` do the work, about fifteen times faster than a Python loop over the bytes.

Ones' complement has two zeros. A sum is 0 only where every byte is zero, and 0xFFFF for any other multiple of 65535: a
header's checksum field depends on it, so the functions below keep the two apart.

A *total* is an integer of any size that stands for the sum of some words; totals add with `+` and `fold` ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usernat.stack.device import Buffer


def fold(total: int) -> int:
    """The 16-bit ones' complement sum that a total stands for; 0 only where the total is 0."""
    return total % 65535 or (65535 if total else 0)


def sum_words(parts: Iterable[Buffer]) -> int:
    """The total of the bytes of all parts joined, padded with a zero byte to a whole word (RFC 1071 §1)."""
    total = 0
    odd = 0  # whether the bytes so far end in the middle of a word
    for part in parts:
        value = int.from_bytes(part, "big")
        reduced = value % 65535 or (65535 if value else 0)
        odd ^= len(part) & 1
        # A part that ends in mid-word has all its bytes one place too low (RFC 1071 §2(B), byte order independence).
        total += reduced << 8 if odd else reduced
    return total


def checksum(*parts: Buffer, initial: int = 0) -> int:
    """The value for the checksum field: of the parts joined, plus the total `initial` (a pseudo-header's).

    Over data that holds its own checksum the result is 0 exactly where the checksum is right.
    """
    return fold(initial + sum_words(parts)) ^ 0xFFFF


def pseudo_header(src: int, dst: int, proto: int, length: int) -> int:
    """The total of the pseudo-header of TCP and UDP (RFC 9293 §3.1, RFC 768). `length` is that of the transport header and data."""
    return src + dst + proto + length  # 32-bit numbers may be added whole: their upper words weigh 1 too


def update(old_checksum: int, old: int, new: int) -> int:
    """The checksum after a field of one or two words (at an even offset) went from `old` to `new` (RFC 1624 §3, eqn. 3)."""
    return fold((old_checksum ^ 0xFFFF) + (old ^ 0xFFFFFFFF) + new) ^ 0xFFFF
