"""Content that every side can make for itself: a stream of bytes in which no two places look alike.

A block of random bytes (seeded) repeats each MiB with the MiB's number written in front, so that a piece lost, doubled or
moved changes the hash.
"""

from __future__ import annotations

import hashlib
from functools import cache
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@cache
def _block() -> bytes:
    return Random("usernat").randbytes(MIB - 8)


def pieces(length: int) -> Iterator[bytes]:
    """The first length bytes of the stream, at most one MiB at a time."""
    number = 0
    while length > 0:
        piece = number.to_bytes(8, "big") + _block()
        yield piece[:length]
        length -= len(piece)
        number += 1


def content(length: int) -> bytes:
    """The first length bytes of the stream, whole."""
    return b"".join(pieces(length))


@cache
def digest(length: int) -> str:
    """SHA-256 of the first length bytes, in hex."""
    made = hashlib.sha256()
    for piece in pieces(length):
        made.update(piece)
    return made.hexdigest()
