"""Queues, reassembly and the SACK scoreboard against plain models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.stack.l4.tcp.reassembly import Reassembly
from usernat.stack.l4.tcp.receive_queue import ReceiveQueue, compact
from usernat.stack.l4.tcp.scoreboard import MAX_RANGES, Scoreboard
from usernat.stack.l4.tcp.send_queue import SendQueue
from usernat.stack.l4.tcp.seq import MASK
from usernat.stack.rangeset import RangeSet

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        assert queue.peek(2000)[0].obj is frame

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


class TestScoreboard:
    SMSS = 10

    @given(
        st.lists(st.tuples(st.integers(0, 210), st.integers(1, 40)), max_size=12),
        st.integers(0, 200),
        st.integers(0, 200),
    )
    def test_against_the_words_of_rfc_6675(self, blocks: list[tuple[int, int]], una: int, rxt: int) -> None:
        """IsLost, SetPipe and NextSeg rule 1, octet by octet (RFC 6675 4-a, 4-b, 4-c)."""
        nxt = 200
        board, sacked = Scoreboard(0), set()
        for start, size in blocks:
            if board.sack(start, start + size, 0, nxt, 1):
                sacked |= set(range(start, start + size))
            elif start > 0 and start + size <= nxt:
                assert set(range(start, start + size)) <= sacked
        board.advance(una)
        sacked = {octet for octet in sacked if octet >= una}
        assert board.sacked.total == len(sacked)
        board.find_lost(self.SMSS)
        board.high_rxt = max(una, rxt)

        def is_lost(octet: int) -> bool:
            above = sorted(other for other in sacked if other > octet)
            runs = sum(1 for other in above if other - 1 not in sacked)
            return runs >= 3 or len(above) > 2 * self.SMSS

        missing = [octet for octet in range(una, nxt) if octet not in sacked]
        pipe = sum(1 for octet in missing if not is_lost(octet))
        pipe += sum(1 for octet in missing if octet < board.high_rxt)
        assert board.pipe(una, nxt) == pipe
        top = max(sacked, default=-1)
        rule_1 = next((o for o in missing if o >= board.high_rxt and o < top and is_lost(o)), None)
        found = board.next_lost(una, nxt)
        assert (found[0] if found else None) == rule_1
        rule_3 = next((o for o in missing if o >= board.high_rxt and o < top), None)
        found = board.next_missing(una)
        assert (found[0] if found else None) == rule_3
        found = board.highest_missing(una, nxt)
        assert (found[1] - 1 if found else None) == max(missing, default=None)

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("sack"), st.integers(0, 199), st.integers(1, 20)),
                st.tuples(
                    st.sampled_from(["ack", "resent", "restart", "lost", "all"]),
                    st.integers(0, 200),
                    st.just(0),
                ),
            ),
            max_size=20,
        )
    )
    def test_pipe_whatever_happens(self, steps: list[tuple[str, int, int]]) -> None:
        """RFC 6675 4-b: its tallies agree with a count, wherever the numbers move."""
        una, nxt = 0, 200
        board = Scoreboard(0)
        for step, number, size in steps:
            if step == "sack":
                board.sack(number, number + size, una, nxt, 1)
            elif step == "ack":
                una = max(una, number)
                board.advance(una)
            elif step == "resent":
                board.high_rxt = max(board.high_rxt, number)
            elif step == "restart":
                board.high_rxt = una
            elif step == "lost":
                board.find_lost(self.SMSS)
            else:
                board.all_lost(una, nxt)
            missing = [octet for octet in range(una, nxt) if octet not in board.sacked]
            on_the_way = sum(1 for octet in missing if octet >= board.lost_below)
            assert board.pipe(una, nxt) == on_the_way + sum(1 for octet in missing if octet < board.high_rxt)

    def test_pipe_costs_no_more_with_many_ranges(self) -> None:
        """A peer that SACKs every second octet must not make each segment cost a walk over all of them."""

        class Counted(RangeSet):
            visited = 0

            def _touching(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
                for found in super()._touching(start, stop):
                    self.visited += 1
                    yield found

        board = Scoreboard(0)
        board.sacked = counted = Counted()
        for start in range(1, 1000, 2):
            board.sack(start, start + 1, 0, 2000, 1)
        board.find_lost(1)
        counted.visited = 0
        for end in range(1000):
            board.high_rxt = end
            board.pipe(0, 2000)
            board.highest_missing(0, 2000)
        assert counted.visited < 4000

    def test_blocks_that_cannot_be_are_ignored(self) -> None:
        board = Scoreboard(100)
        for block in ((50, 60), (90, 110), (100, 110), (150, 140), (190, 201), (300, 400)):
            assert board.sack(*block, 100, 200, 10) == 0
        assert board.sack(110, 200, 100, 200, 10) == 90

    def test_ranges_are_bounded(self) -> None:
        board = Scoreboard(0)
        for start in range(1, 20_000, 2):
            board.sack(start, start + 1, 0, 100_000, 1000)
        assert len(board.sacked) <= 8 + 100 + 1
        far = Scoreboard(1 << 40)
        for start in range(1, 2000, 2):
            far.sack((1 << 40) + start, (1 << 40) + start + 1, 1 << 40, (1 << 40) + 5000, 1000)
        assert len(far.sacked) <= 8 + 5 + 1, "by what is in flight, wherever that lies"
        tiny = Scoreboard(0)
        for start in range(1, 20_000, 2):
            tiny.sack(start, start + 1, 0, 100_000, 1)
        assert len(tiny.sacked) <= MAX_RANGES + 1, "and where segments are tiny"
