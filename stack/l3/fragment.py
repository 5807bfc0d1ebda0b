"""Cutting a datagram that is larger than the path takes (RFC 791 §3.2), as a scatter list and without copying.

Fragments (RFC 1812 §4.2.2.7-a) leave in order and are as few as can be (§4.2.2.7-b): each but the last is filled to the largest multiple of
eight octets that fits, so that they never overlap (RFC 5722 §4-d).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usernat.stack.device import Buffer


def fragments(parts: Sequence[Buffer], room: int) -> Iterator[tuple[int, bool, list[Buffer]]]:
    """Yields (offset in octets, more to come, parts) for the payload `parts`, at most `room` (at least 8) bytes each."""
    limit = room & ~7  # RFC 791 §3.2-frag-b
    left = sum(map(len, parts))
    offset = 0
    views = [memoryview(part) for part in parts if len(part)]
    while left:
        size = left if left <= room else limit
        left -= size
        yield offset, left > 0, _take(views, size)
        offset += size


def _take(views: list[memoryview], size: int) -> list[Buffer]:
    """Cut `size` bytes off the front of `views`, which holds at least as many."""
    taken: list[Buffer] = []
    while size:
        view = views[0]
        if len(view) > size:
            taken.append(view[:size])
            views[0] = view[size:]
            break
        taken.append(view)
        size -= len(view)
        del views[0]
    return taken
