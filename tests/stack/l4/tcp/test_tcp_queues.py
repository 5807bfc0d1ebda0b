"""Queues and reassembly against plain models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.stack.l4.tcp.reassembly import Reassembly
from usernat.stack.l4.tcp.receive_queue import ReceiveQueue, compact
from usernat.stack.l4.tcp.send_queue import SendQueue
from usernat.stack.l4.tcp.seq import MASK

WORD = st.integers(0, MASK)
SECOND = 1_000_000


class TestQueues:
    @given(st.lists(st.binary(max_size=3000), max_size=20), st.data())
    def test_send_queue(self, chunks: list[bytes], data: st.DataObject) -> None:
        """Against a plain string of bytes: any part, before and after releases."""
        stream = b"".join(chunks)
        queue = SendQueue(1000)
        for chunk in chunks:
            queue.append(chunk)
        start = 0
        for _ in range(4):
            assert (queue.start, queue.end, len(queue)) == (
                1000 + start,
                1000 + len(stream),
                len(stream) - start,
            )
            low = data.draw(st.integers(start, len(stream)))
            high = data.draw(st.integers(low, len(stream)))
            assert b"".join(queue.slices(1000 + low, high - low)) == stream[low:high]
            upto = data.draw(st.integers(0, len(stream) + 5))
            released = queue.release(1000 + upto)
            assert released == max(0, min(upto, len(stream)) - start)
            start += released
        assert queue.clear() == len(stream) - start
        assert len(queue) == 0

    def test_send_queue_holds_by_reference_and_joins_the_small(self) -> None:
        queue = SendQueue(0)
        large = bytes(5000)
        queue.append(large)
        assert queue.slices(0, 5000)[0] is large
        for _ in range(3000):
            queue.append(b"x")
        assert len(queue.slices(5000, 3000)) == 1

    @given(
        st.lists(st.tuples(st.binary(max_size=2000), st.integers(0, 3000), st.integers(0, 3000)), max_size=20)
    )
    def test_receive_queue(self, steps: list[tuple[bytes, int, int]]) -> None:
        queue, model = ReceiveQueue(), b""
        for data, peek, consume in steps:
            queue.append(memoryview(data))
            model += data
            assert queue.size == len(model)
            views = queue.peek(peek)
            assert b"".join(views) == model[:peek]
            taken = min(consume, len(model))
            queue.consume(taken)
            model = model[taken:]
            assert b"".join(views) == (b"".join(views)), "views stay valid"
        with pytest.raises(ValueError, match="consume"):
            queue.consume(queue.size + 1)

    def test_receive_queue_keeps_views_of_frames(self) -> None:
        frame = bytes(1500)
        queue = ReceiveQueue()
        queue.append(memoryview(frame)[54:])
        assert memoryview(queue.peek(2000)[0]).obj is frame

    def test_small_views_do_not_hold_large_frames(self) -> None:
        """C60: a byte must not keep 64 KiB alive."""
        frame = bytes(65536)
        assert compact(memoryview(frame)[:1]) == b"\0"
        assert isinstance(compact(memoryview(frame)[:10_000]), bytes)
        assert isinstance(compact(memoryview(frame)[:60_000]), memoryview)
        queue = ReceiveQueue()
        for _ in range(4000):
            queue.append(memoryview(frame)[:1])
        assert len(queue.peek(4000)) == 1


class TestReassembly:
    @given(st.lists(st.tuples(st.integers(1, 120), st.integers(1, 30)), max_size=30), st.integers(0, 150))
    def test_against_a_set_of_bytes(self, arrivals: list[tuple[int, int]], upto: int) -> None:
        stream = bytes(range(200))
        held, model = Reassembly(1000), set()
        for start, size in arrivals:
            assert held.add(start, memoryview(stream)[start : start + size])
            model |= set(range(start, start + size))
            assert len(held) == len(model)
            blocks = held.sack_blocks(4)
            assert any(low <= start < high for low, high in blocks[:1]), "RFC 2018 4-d: the newest first"
            assert all(set(range(low, high)) <= model for low, high in blocks), "RFC 2018 8-a"
            assert all(low - 1 not in model and high not in model for low, high in blocks)
            assert len({low for low, _ in blocks}) == len(blocks) == min(4, len(list(held.ranges)))
        taken = b"".join(held.take(upto))
        end = upto
        while end in model:
            end += 1
        assert taken == stream[upto:end]
        assert len(held) == len({byte for byte in model if byte >= end})

    def test_pieces_are_bounded(self) -> None:
        held = Reassembly(10)
        results = [held.add(2 * index + 1, memoryview(b"x")) for index in range(20)]
        assert results == [True] * 10 + [False] * 10
        assert len(held) == 10
