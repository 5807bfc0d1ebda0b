"""The bytes that have arrived in order and wait for the application, by reference to the frames they came in.

`peek` hands out the views as they are, so that they can go to a host socket in one call without a copy; `consume` lets go of what was
taken. A view keeps its whole frame alive, so small pieces, and small parts of large buffers, are copied and joined: the memory held stays
within a small factor of the bytes counted, whatever sizes the peer sends.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.stack.device import Buffer

SMALL = 512  # pieces below this are copied, and joined to a small last piece
JOINED = 4096
WASTE = 4  # a piece that is less than a quarter of its buffer is copied too


def compact(data: memoryview) -> Buffer:
    """`data`, or a copy of it where holding the view would hold far more."""
    size = len(data)
    if size < SMALL or size * WASTE < memoryview(data.obj).nbytes:
        return bytes(data)
    return data


class ReceiveQueue:
    """size: bytes held."""

    __slots__ = ("_chunks", "_offset", "size")

    def __init__(self) -> None:
        self._chunks: deque[Buffer] = deque()
        self._offset = 0  # how much of the first chunk has been consumed
        self.size = 0

    def append(self, data: Buffer) -> None:
        """Add bytes at the end. Views are kept unless that would waste memory."""
        size = len(data)
        chunks = self._chunks
        if size < SMALL and chunks and len(chunks[-1]) < JOINED:
            chunks[-1] = b"".join((chunks[-1], data))
        else:
            chunks.append(compact(data) if isinstance(data, memoryview) else data)
        self.size += size

    def peek(self, limit: int) -> list[Buffer]:
        """Views of the first `limit` bytes, or of all there are; they stay valid after `consume`."""
        if self.size <= limit and not self._offset:
            return list(self._chunks)
        views: list[Buffer] = []
        offset = self._offset
        for chunk in self._chunks:
            if limit <= 0:
                break
            view = memoryview(chunk)[offset : offset + limit]
            offset = 0
            views.append(view)
            limit -= len(view)
        return views

    def consume(self, count: int) -> None:
        """Let go of the first `count` bytes. ValueError for more than there are."""
        if not 0 <= count <= self.size:
            raise ValueError(f"cannot consume {count} of {self.size} bytes")
        self.size -= count
        count += self._offset
        chunks = self._chunks
        while chunks and count >= len(chunks[0]):
            count -= len(chunks.popleft())
        self._offset = count

    def clear(self) -> None:
        """Let go of everything."""
        self._chunks.clear()
        self._offset = 0
        self.size = 0
