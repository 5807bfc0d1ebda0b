"""The bytes that the application has given and the peer has not yet acknowledged, by reference.

Chunks are kept as they were handed in, in order of their sequence numbers, so that any part of the stream, new or to be sent again,
is found by bisection and handed out as views without a copy. Only small writes are joined with what precedes them: a
stream of single bytes must not cost a hundred bytes of bookkeeping each, nor one view each in a segment.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.stack.device import Buffer

SMALL = 1024  # a write below this is joined to a last chunk below JOINED
JOINED = 4096


class SendQueue:
    """start: sequence number of the first byte held. end: the one after the last."""

    __slots__ = ("_chunks", "_starts", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self._chunks: list[Buffer] = []
        self._starts: list[int] = []

    def __len__(self) -> int:
        """Bytes held."""
        return self.end - self.start

    def append(self, data: Buffer) -> None:
        """Take `data` (bytes that will not change) as the end of the stream."""
        if not data:
            return
        chunks = self._chunks
        if len(data) < SMALL and chunks and len(chunks[-1]) < JOINED:
            chunks[-1] = b"".join((chunks[-1], data))
        else:
            chunks.append(data)
            self._starts.append(self.end)
        self.end += len(data)

    def release(self, upto: int) -> int:
        """Forget what lies before `upto`; returns how many bytes that was. `upto` may lie anywhere."""
        upto = min(upto, self.end)
        released = upto - self.start
        if released <= 0:
            return 0
        self.start = upto
        done = bisect_right(self._starts, upto)
        if upto < self.end:
            done -= 1  # the chunk that `upto` lies in is still needed
        del self._chunks[:done]
        del self._starts[:done]
        return released

    def slices(self, start: int, length: int) -> list[Buffer]:
        """Views of `length` bytes from `start`, all of which must be held."""
        if not length:
            return []
        index = bisect_right(self._starts, start) - 1
        chunk = self._chunks[index]
        offset = start - self._starts[index]
        if len(chunk) - offset >= length:  # the usual case: one chunk holds it all
            if len(chunk) == length:
                return [chunk]
            return [memoryview(chunk)[offset : offset + length]]
        views: list[Buffer] = [memoryview(chunk)[offset:]]
        length -= len(chunk) - offset
        while length:
            index += 1
            chunk = self._chunks[index]
            if len(chunk) > length:
                chunk = memoryview(chunk)[:length]
            views.append(chunk)
            length -= len(chunk)
        return views

    def clear(self) -> int:
        """Forget everything; returns how many bytes that was."""
        return self.release(self.end)
