"""The queues and what waits ahead of a gap, at their edges: what is copied and what is kept, and that nothing empty comes out."""

from __future__ import annotations

import pytest

from usernat.stack.l4.tcp.reassembly import Reassembly
from usernat.stack.l4.tcp.receive_queue import ReceiveQueue, compact
from usernat.stack.l4.tcp.send_queue import SendQueue


class TestSendQueue:
    def test_only_small_writes_are_joined(self) -> None:
        """Below 1,024 octets, and to a last chunk below 4,096; anything else stays the object that was handed in."""
        for first, second, joined in (
            (4095, 1023, True),
            (4096, 1023, False),
            (4095, 1024, False),
            (1, 1, True),
        ):
            queue = SendQueue(10)
            queue.append(bytes(first))
            write = b"x" * second
            queue.append(write)
            views = queue.slices(10, first + second)
            assert len(views) == (1 if joined else 2)
            assert joined or views[-1] is write

    def test_parts_are_views_and_whole_chunks_themselves(self) -> None:
        one, two, three = (bytes([value]) * 2000 for value in (1, 2, 3))
        queue = SendQueue(0)
        for chunk in (one, two, three):
            queue.append(chunk)
        assert queue.slices(2000, 2000)[0] is two
        first, second, third = queue.slices(500, 5000)
        assert (len(first), second is two, len(third)) == (1500, True, 1500)
        assert memoryview(third).obj is three
        (exact,) = queue.slices(500, 1500)
        assert memoryview(exact).obj is one
        assert queue.slices(2000, 4000) == [two, three]
        assert queue.slices(6000, 0) == []

    def test_a_chunk_is_kept_until_its_last_octet_is_released(self) -> None:
        queue = SendQueue(0)
        for value in (1, 2):
            queue.append(bytes([value]) * 2000)
        assert queue.release(1999) == 1999
        assert queue.slices(1999, 2) == [b"\1", b"\2"]
        assert queue.release(2000) == 1
        assert queue.release(2000) == queue.release(1500) == 0
        assert queue.start == 2000
        assert len(queue._chunks) == 1
        assert queue.release(4000) == 2000
        assert not queue._chunks

    def test_a_stream_goes_on_after_all_was_released(self) -> None:
        queue = SendQueue(0)
        queue.append(b"abc")
        queue.release(3)
        queue.append(b"")
        queue.append(b"de")
        assert (queue.start, queue.end) == (3, 5)
        assert queue.slices(3, 2) == [b"de"]


class TestReceiveQueue:
    def test_nothing_empty_is_handed_out(self) -> None:
        queue = ReceiveQueue()
        queue.append(bytes(1000))
        queue.append(bytes(1000))
        assert queue.peek(0) == []
        assert [len(view) for view in queue.peek(1000)] == [1000]
        assert [len(view) for view in queue.peek(1001)] == [1000, 1]
        queue.consume(1000)
        assert [len(view) for view in queue.peek(5000)] == [1000]

    def test_a_small_part_of_a_frame_does_not_keep_it(self) -> None:
        frame = memoryview(bytes(65536))
        queue = ReceiveQueue()
        queue.append(frame[:1000])
        queue.append(frame[:60_000])
        small, large = queue.peek(100_000)
        assert memoryview(small).obj is not frame.obj
        assert memoryview(large).obj is frame.obj

    def test_whole_pieces_are_handed_out_as_they_are(self) -> None:
        one, two = b"1" * 1000, b"2" * 1000
        queue = ReceiveQueue()
        queue.append(one)
        queue.append(two)
        queue.consume(300)
        first, second = queue.peek(1700)
        assert (bytes(first), bytes(second)) == (one[300:], two)
        queue.consume(200)
        assert b"".join(queue.peek(600)) == one[500:] + two[:100]

    def test_what_was_cleared_leaves_no_trace(self) -> None:
        queue = ReceiveQueue()
        queue.append(bytes(1000))
        queue.consume(300)
        queue.clear()
        queue.append(b"new")
        assert b"".join(queue.peek(10)) == b"new"
        queue.consume(3)
        assert (queue.size, queue.peek(10)) == (0, [])

    def test_no_more_and_no_less_than_there_is_can_be_consumed(self) -> None:
        queue = ReceiveQueue()
        queue.append(b"abc")
        for count in (-1, 4):
            with pytest.raises(ValueError, match=f"cannot consume {count} of 3 bytes"):
                queue.consume(count)
        queue.consume(0)
        queue.consume(3)
        assert queue.size == 0

    def test_small_pieces_are_joined_up_to_a_limit(self) -> None:
        """Below 512 octets, and to a last piece below 4,096."""
        for first, second, pieces in ((4095, 511, 1), (4096, 511, 2), (4095, 512, 2)):
            queue = ReceiveQueue()
            queue.append(bytes(first))
            queue.append(memoryview(bytes(second)))
            assert len(queue.peek(first + second)) == pieces

    def test_a_view_is_kept_where_it_is_a_quarter_of_its_buffer(self) -> None:
        buffer = memoryview(bytes(4000))
        assert isinstance(compact(buffer[:1000]), memoryview)
        assert isinstance(compact(buffer[:999]), bytes)
        small = memoryview(bytes(600))
        assert isinstance(compact(small[:512]), memoryview)
        assert isinstance(compact(small[:511]), bytes)


class TestReassembly:
    def test_nothing_empty_comes_out(self) -> None:
        """A piece that ends just where RCV.NXT has come to is known already."""
        held = Reassembly(10)
        held.add(10, memoryview(b"x" * 10))
        held.add(30, memoryview(b"y" * 10))
        assert held.take(20) == []
        assert held.take(35) == [b"y" * 5]
        assert not held

    def test_with_too_many_pieces_the_rest_is_left(self) -> None:
        """What has been taken of the segment stays; the range around it is still the newest."""
        held = Reassembly(2)
        assert held.add(20, memoryview(b"a"))
        assert held.add(10, memoryview(b"b"))
        assert not held.add(30, memoryview(b"c"))
        assert list(held.ranges) == [(10, 11), (20, 21)]
        assert held.sack_blocks(4)[0] == (10, 11)
        assert held.add(20, memoryview(b"a")), "nothing of it is missing"
        assert held.sack_blocks(4)[0] == (20, 21)

    @pytest.mark.rfc("2018", "4-d", "4-f")
    def test_eight_of_the_newest_are_remembered(self) -> None:
        """Beyond that, ranges are reported from the lowest on."""
        held = Reassembly(100)
        for start in (50, 10, 30, 70, 90, 110, 130, 150, 170, 190):
            held.add(start, memoryview(b"x"))
        order = [low for low, _ in held.sack_blocks(10)]
        assert order == [190, 170, 150, 130, 110, 90, 70, 30, 10, 50]
