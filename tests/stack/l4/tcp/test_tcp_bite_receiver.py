"""The receiving half by itself, at its edges: what is counted as readable, what is left when memory is short, when limits grow."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.memory import FLOOR, MemoryBudget
from usernat.stack.l4.tcp.receiver import ACK_NONE, ACK_NOW, ACK_SOON, Receiver


def receiver(
    *, limit: int = 1 << 20, mss: int = 1000, ceiling: int = 100_000, initial: int = 50_000
) -> Receiver:
    """After a SYN with the number 0, so that 1 is the first octet."""
    rcv = Receiver(MemoryBudget(limit), mss, ceiling, initial)
    rcv.start(0)
    return rcv


def text(size: int) -> memoryview:
    return memoryview(bytes(size))


def test_take_says_how_much_became_readable() -> None:
    """Text in order counts at once, text ahead of a gap once the gap is filled, and text that was there already never."""
    rcv = receiver()
    assert rcv.take(1, text(10)) == 10
    assert rcv.take(21, text(10)) == 0
    assert rcv.take(1, text(10)) == 0
    assert rcv.take(6, text(15)) == 20, "ten that were missing, and the ten behind them"
    assert rcv.take(31, text(0)) == 0
    assert rcv.queue.size == 30


def test_what_brings_nothing_to_read_makes_nothing_ready() -> None:
    peer = in_established()
    peer.sends("A", seq=11, data=b"ahead")
    assert peer.ready() == []
    peer.sends("A", seq=1, data=b"0123456789")
    assert peer.ready() == [peer.conn]
    peer.sends("A", seq=1, data=b"0123456789")
    assert peer.ready() == []


def test_with_memory_used_up_text_ahead_of_a_gap_is_left() -> None:
    """To the byte; and what comes in order afterwards is taken as if nothing had been."""
    rcv = receiver()
    memory = rcv._memory
    memory.used = memory.limit
    assert rcv.take(101, text(100)) == 0
    assert rcv.reassembly is None
    assert memory.used == memory.limit
    assert rcv.take(1, text(100)) == 100, "a floor is always there"
    assert rcv.rcv_nxt == 101

    memory.used = memory.limit - 1
    rcv.take(301, text(100))
    assert rcv.reassembly is not None
    assert memory.used == memory.limit + 99


def test_with_memory_used_up_the_floor_may_still_be_queued() -> None:
    rcv = receiver()
    memory = rcv._memory
    memory.used = memory.limit - 1
    assert rcv.take(1, text(FLOOR - 1)) == FLOOR - 1
    assert rcv.take(FLOOR, text(1)) == 1, "one short of the floor"
    assert rcv.take(FLOOR + 1, text(1)) == 0
    assert rcv.ack == ACK_NOW
    memory.used = memory.limit
    assert rcv.take(FLOOR + 1, text(1)) == 0
    memory.used = memory.limit - 1
    assert rcv.take(FLOOR + 1, text(1)) == 1, "one byte is free again"


def test_the_limit_doubles_only_once_that_much_was_consumed() -> None:
    """A connection earns a larger window by having a whole one of its bytes taken, each time anew, up to the ceiling."""
    rcv = receiver(ceiling=35_000, initial=10_000)
    position = 1

    def pass_through(count: int) -> int:
        nonlocal position
        for size in [1000] * (count // 1000) + [count % 1000]:
            rcv.window_field()
            rcv.take(position, text(size))
            rcv.consume(size)
            position += size
        return rcv.limit

    assert pass_through(9_999) == 10_000
    assert pass_through(1) == 20_000
    assert pass_through(19_999) == 20_000
    assert pass_through(1) == 35_000
    assert pass_through(200_000) == 35_000


@pytest.mark.rfc("9293", "SHLD-19")
def test_two_full_segments_of_the_size_that_the_peer_sends() -> None:
    """Full-sized is 536 until more was seen, then the largest seen, and never more than we advertised."""
    rcv = receiver(mss=1000)
    assert rcv.segment_size == 536
    rcv.take(1, text(537))
    assert (rcv.segment_size, rcv.ack) == (537, ACK_SOON)
    rcv.take(538, text(536))
    assert rcv.ack == ACK_SOON
    rcv.take(1074, text(1))
    assert rcv.ack == ACK_NOW, "1,074 octets are two segments of 537"
    rcv.acknowledged()
    assert rcv.ack == ACK_NONE
    rcv.take(1075, text(537))
    rcv.take(1612, text(536))
    assert rcv.ack == ACK_SOON, "counted anew from each ACK"
    rcv.take(2148, text(5000))  # a device that joins segments
    assert rcv.segment_size == 1000


def test_a_window_below_one_segment_is_acknowledged_at_once() -> None:
    """The peer waits for nothing else."""
    rcv = receiver(mss=1000, ceiling=4000, initial=4000)
    rcv.take(1, text(600))
    rcv.acknowledged()
    rcv.take(601, text(536))
    rcv.acknowledged()
    rcv.edge = rcv.rcv_nxt + 601
    rcv.take(1137, text(1))
    assert rcv.edge - rcv.rcv_nxt == rcv.segment_size == 600
    assert rcv.ack == ACK_SOON
    rcv.take(1138, text(1))
    assert rcv.ack == ACK_NOW


def test_what_a_batch_asked_for_at_once_is_not_put_off() -> None:
    """Text in order after something that draws an ACK at once, in one batch: the ACK still leaves with the batch."""
    peer = in_established()
    peer.sends("A", seq=11, data=b"x", flush=False)
    peer.sends("A", seq=1, data=b"0123456789", flush=False)
    peer.sends("A", seq=12, data=b"y", flush=False)
    peer.expects("A", at=0, ack=13)
    peer.silence(until=100 * MS)


@pytest.mark.rfc("2883", "4-a", "4-c")
def test_of_several_duplicates_in_a_batch_the_first_is_reported() -> None:
    rcv = receiver()
    rcv.take(1, text(100))
    rcv.take(11, text(10))
    rcv.take(31, text(10))
    assert rcv.sack_blocks(3) == [(11, 21)]
    rcv.acknowledged()
    assert rcv.sack_blocks(3) == []
    rcv.note_duplicate(91, 30)
    assert rcv.duplicate == (91, 101), "what lies beyond RCV.NXT is no duplicate"
    rcv.acknowledged()
    rcv.note_duplicate(101, 0)
    assert rcv.duplicate is None


@pytest.mark.rfc("2883", "4-b", "4-d", "4-e")
def test_a_duplicate_ahead_of_a_gap_is_what_was_held_before() -> None:
    rcv = receiver()
    rcv.take(101, text(100))
    rcv.take(151, text(100))
    assert rcv.duplicate == (151, 201), "as far as it was held"
    assert rcv.sack_blocks(2) == [(151, 201), (101, 251)]
    assert rcv.sack_blocks(1) == [(151, 201)]
    rcv.take(111, text(5))
    assert rcv.duplicate == (151, 201), "the first of the batch"
    rcv.acknowledged()
    rcv.take(111, text(5))
    assert rcv.duplicate == (111, 116)


@pytest.mark.rfc("7323", "2.2-c", "2.2-a")
def test_the_window_of_a_syn_ends_at_65535() -> None:
    large = Receiver(MemoryBudget(1 << 30), 1000, 1 << 20, 1 << 18)
    large.start(7)
    assert (large.rcv_nxt, large.edge, large.irs, large.urgent) == (8, 8 + 65535, 7, 8)
    large.without_scale()
    assert (large.scale, large.ceiling, large.limit) == (0, 65535, 65535)
    small = Receiver(MemoryBudget(1 << 30), 1000, 5000, 4000)
    small.start(7)
    assert small.edge == 8 + 4000
    small.without_scale()
    assert (small.ceiling, small.limit) == (5000, 4000)


@pytest.mark.rfc("9293", "MUST-39")
def test_the_edge_moves_by_a_segment_or_half_the_buffer() -> None:
    rcv = receiver(mss=1000, ceiling=60_000, initial=60_000)
    rcv.take(1, text(999))
    rcv.consume(999)
    assert rcv.window_field() == 60_000 - 999
    rcv.take(1000, text(1))
    rcv.consume(1)
    assert rcv.window_field() == 60_000
    tiny = receiver(mss=1000, ceiling=100, initial=100)
    tiny.take(1, text(49))
    tiny.consume(49)
    assert tiny.window_field() == 51
    tiny.take(50, text(1))
    tiny.consume(1)
    assert tiny.window_field() == 100


def test_when_a_reader_is_worth_an_update_of_the_window() -> None:
    """With the window nearly closed: as soon as a segment or half the buffer is gained. Otherwise: a quarter of the buffer."""
    rcv = receiver(mss=1000, ceiling=60_000, initial=60_000)
    rcv.take(1, text(58_000))
    rcv.window_field()
    assert rcv.edge - rcv.rcv_nxt == 2000
    assert not rcv.consume(14_999)
    assert rcv.consume(1), "a quarter"
    rcv.window_field()

    rcv = receiver(mss=1000, ceiling=60_000, initial=60_000)
    rcv.take(1, text(58_001))
    rcv.window_field()
    assert not rcv.consume(999)
    assert rcv.consume(1), "a segment"

    rcv = receiver(mss=1000, ceiling=3, initial=3)
    rcv.take(1, text(3))
    rcv.window_field()
    assert not rcv.consume(0), "nothing gained is no news"
    assert rcv.consume(1), "half of three octets"


def test_a_finished_peer_needs_no_window() -> None:
    peer = Peer(receive_buffer=2000, initial_receive_window=2000).connected()
    peer.sends("A", data=b"x" * 1460)
    peer.sends("FA", data=b"y" * 400)
    peer.expects("A", at=0)
    peer.expects("A", at=0, ack=1862)
    peer.conn.recv(1860)
    peer.silence(until=100 * MS)
    assert peer.conn.at_eof


def test_fin_beyond_the_window_or_before_what_is_held_is_not_taken() -> None:
    rcv = receiver(ceiling=100, initial=100)
    rcv.take_fin(101)
    assert (rcv.fin, rcv.ack) == (None, ACK_NOW)
    rcv.take(51, text(10))
    rcv.take_fin(60)
    assert rcv.fin is None, "text that is here lies beyond it"
    rcv.take_fin(61)
    assert rcv.fin == 61
    assert not rcv.reach_fin()
    assert rcv.take(61, text(5)) == 0, "nothing follows on a FIN"
    assert len(rcv.reassembly or ()) == 10
    assert rcv.take(1, text(70)) == 60
    assert rcv.reach_fin()
    assert (rcv.rcv_nxt, rcv.finished) == (62, True)


def test_fin_at_the_very_next_number_and_at_the_last_of_the_window() -> None:
    for position in (1, 100):
        rcv = receiver(ceiling=100, initial=100)
        rcv.take_fin(position)
        assert rcv.fin == position


def test_the_queue_may_run_over_by_a_quarter_and_a_unit_of_the_window() -> None:
    """Rounding the window up lets a peer creep beyond the limit so far, and no octet further."""
    rcv = receiver(mss=10, ceiling=1 << 20, initial=1000)
    assert rcv.scale == 5
    rcv.edge = 1 << 20
    assert rcv.take(1, text(1000 + 250 + 32)) == 1282
    assert rcv.take(1283, text(1)) == 0
    assert rcv.ack == ACK_NOW
    assert rcv.rcv_nxt == 1283


def test_letting_go_gives_all_of_it_back() -> None:
    rcv = receiver()
    rcv.take(1, text(100))
    rcv.take(201, text(100))
    assert rcv._memory.used == 200
    rcv.drop_held()
    assert rcv._memory.used == 100
    assert rcv.reassembly is None
    rcv.drop_held()
    assert rcv._memory.used == 100
    rcv.clear()
    assert (rcv._memory.used, rcv.queue.size) == (0, 0)
