"""Links: rate, delay, queue and marks to the microsecond, faults by the numbers."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.faults import BurstLoss, Faults, PeriodicLoss, PickedLoss, RandomLoss, sequence, text_length
from tests.sim.link import CARRIED, DROPPED, LOST, MARKED, Link, Queue, mark_congestion
from tests.sim.loop import Loop
from tests.stack.packets import GATEWAY, GUEST, TCP, internet_checksum, ipv4

if TYPE_CHECKING:
    from tests.sim.faults import LossPattern

MEGABIT = 1_000_000


class Line:
    """A link, and what came out of it."""

    def __init__(self, **options: Any) -> None:
        self.loop = Loop()
        self.link = Link(self.loop, **options)
        self.arrived: list[tuple[int, bytes]] = []
        self.vouched: list[bool] = []

    def send(self, at: int, frame: bytes) -> None:
        self.loop.call_at(at, self.link.send, frame, True, self.receive)

    def receive(self, frame: bytes, checksum_ok: bool) -> None:
        self.arrived.append((self.loop.clock.now, frame))
        self.vouched.append(checksum_ok)

    def run(self) -> list[tuple[int, bytes]]:
        self.loop.run(1 << 40)
        return self.arrived


def segment(text: int, *, tos: int = 0, seq: int = 77) -> bytes:
    tcp = bytes(4) + seq.to_bytes(4, "big") + bytes(4) + b"\x50\x10" + bytes(6) + bytes(text)
    return bytes(12) + b"\x08\x00" + ipv4(tcp, src=GUEST, dst=GATEWAY, proto=TCP, tos=tos)


def test_rate_and_delay() -> None:
    line = Line(rate=MEGABIT, delay_us=300)
    for number in range(3):
        line.send(0, bytes([number]) * 125)  # a millisecond each
    line.send(10_000, b"late" * 25)  # 0.8 ms
    assert [at for at, _ in line.run()] == [1300, 2300, 3300, 11_100]


def test_a_time_that_is_no_whole_number_of_microseconds_does_not_add_up() -> None:
    line = Line(rate=3 * MEGABIT)
    for _ in range(3000):
        line.send(0, bytes(1))  # 2.67 µs
    assert line.run()[-1][0] == pytest.approx(8000, abs=2)


@pytest.mark.parametrize("queue", [{"packets": 3}, {"octets": 3 * 125 + 124}])
def test_drop_tail(queue: dict[str, int]) -> None:
    line = Line(rate=MEGABIT, queue=Queue(**queue))
    for number in range(5):
        line.send(0, bytes([number]) * 125)
    line.send(999, bytes([5]) * 125)  # still full
    line.send(1000, bytes([6]) * 125)  # one has gone
    assert [frame[0] for _, frame in line.run()] == [0, 1, 2, 6]
    assert line.link.counts[DROPPED] == 3
    assert line.link.queue.longest == 3
    assert line.link.queue.length(3999) == 1
    assert line.link.queue.length(4000) == 0


def test_octets_count_not_packets() -> None:
    line = Line(rate=MEGABIT, queue=Queue(octets=200))
    for size in (150, 100, 50, 1):
        line.send(0, bytes(size))
    assert [len(frame) for _, frame in line.run()] == [150, 50]


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 1514)), max_size=60),
    st.integers(1, 10),
    st.integers(0, 3000),
)
def test_nothing_is_faster_than_the_rate_nor_lost_without_a_reason(
    frames: list[tuple[int, int]], room: int, jitter: int
) -> None:
    line = Line(rate=10 * MEGABIT, delay_us=50, queue=Queue(packets=room), jitter_us=jitter)
    for at, size in frames:
        line.send(at, bytes(size))
    arrived = line.run()
    counts = line.link.counts
    assert counts[CARRIED] == len(arrived)
    assert counts[CARRIED] + counts[DROPPED] == len(frames)
    assert line.link.queue.longest <= room
    if not jitter:
        for (before, _), (at, frame) in pairwise(arrived):
            assert at - before >= len(frame) * 8 // 10 - 1


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30))
def test_jitter_never_changes_the_order(times: list[int]) -> None:
    line = Line(jitter_us=500, rng=Random(3))
    for number, at in enumerate(sorted(times)):
        line.send(at, bytes([number]))
    arrived = line.run()
    assert [frame[0] for _, frame in arrived] == list(range(len(times)))
    assert all(at <= sent + 500 for (at, _), sent in zip(arrived, sorted(times), strict=True))


def test_reordering_and_doubling() -> None:
    line = Line(faults=Faults(reorder=0.5, late_us=10), rng=Random(1))
    for number in range(20):
        line.send(number, bytes([number]))
    order = [frame[0] for _, frame in line.run()]
    assert sorted(order) == list(range(20))
    assert order != sorted(order)
    double = Line(faults=Faults(duplicate=1))
    double.send(0, b"x")
    assert double.run() == [(0, b"x")] * 2


def test_a_spoilt_frame_differs_in_one_bit_and_nobody_vouches_for_it() -> None:
    line = Line(faults=Faults(corrupt=1))
    line.send(0, bytes(100))
    ((_, frame),) = line.run()
    assert sum(octet.bit_count() for octet in frame) == 1
    assert line.vouched == [False]


# -- loss patterns ------------------------------------------------------------------------------------------------------


def lost(pattern: LossPattern, count: int) -> list[int]:
    """The numbers, from 1, of the text segments that are lost; what has no text passes in between, and is never counted."""
    result = []
    for number in range(1, count + 1):
        assert not pattern(segment(0))
        assert not pattern(bytes(60))
        if pattern(segment(10)):
            result.append(number)
    return result


def test_text_is_told_from_what_has_none() -> None:
    assert text_length(segment(0)) == 0
    assert text_length(segment(1448)) == 1448
    assert text_length(bytes(12) + b"\x08\x06" + bytes(28)) == 0
    assert sequence(segment(5, seq=0xFFFFFFFE)) == 0xFFFFFFFE


def test_periodic_loss() -> None:
    assert lost(PeriodicLoss(10), 35) == [10, 20, 30]
    assert lost(PeriodicLoss(10, first=3), 35) == [3, 13, 23, 33]


def test_picked_loss() -> None:
    assert lost(PickedLoss(1, 7), 20) == [1, 7]


def test_random_loss_has_its_rate_and_no_memory() -> None:
    numbers = lost(RandomLoss(0.1, Random(1)), 20_000)
    assert len(numbers) == pytest.approx(2000, rel=0.1)
    pairs = sum(after == before + 1 for before, after in pairwise(numbers))
    assert pairs == pytest.approx(200, rel=0.3)


def test_bursts_have_their_rate_and_length() -> None:
    numbers = lost(BurstLoss(1 / 200, 1 / 4, Random(1)), 100_000)
    bursts = sum(after != before + 1 for before, after in pairwise(numbers)) + 1
    assert bursts == pytest.approx(100_000 / 204, rel=0.1)
    assert len(numbers) / bursts == pytest.approx(4, rel=0.1)


def test_the_good_state_of_bursts_may_lose_too() -> None:
    assert len(lost(BurstLoss(0, 0, Random(1), good=0.2), 5000)) == pytest.approx(1000, rel=0.1)


def test_what_is_lost_takes_no_room() -> None:
    line = Line(rate=MEGABIT, queue=Queue(packets=1), losses=[PickedLoss(1)])
    line.send(0, segment(100))
    line.send(0, segment(101))
    assert [text_length(frame) for _, frame in line.run()] == [101]
    assert line.link.counts == {CARRIED: 1, LOST: 1, DROPPED: 0, MARKED: 0}


# -- ECN ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ect", [1, 2, 3])
def test_a_mark_is_ce_with_a_good_checksum(ect: int) -> None:
    frame = segment(10, tos=0xB8 | ect)
    marked = mark_congestion(frame)
    assert marked is not None
    assert marked[15] == 0xBB
    assert internet_checksum(marked[14:34]) == 0
    assert marked[:15] + marked[16:24] + marked[26:] == frame[:15] + frame[16:24] + frame[26:]


def test_what_does_not_know_ecn_is_not_marked() -> None:
    assert mark_congestion(segment(10)) is None
    assert mark_congestion(bytes(12) + b"\x08\x06" + b"\xff" * 28) is None


def test_the_link_marks_at_random_what_knows_ecn() -> None:
    line = Line(faults=Faults(mark=0.5))
    for number in range(200):
        line.send(number, segment(100, tos=2 * (number & 1)))
    codepoints = [frame[15] & 3 for _, frame in line.run()]
    assert set(codepoints[::2]) == {0}
    assert set(codepoints[1::2]) == {2, 3}
    assert line.link.counts[MARKED] == codepoints.count(3)


def test_the_queue_marks_from_its_threshold_on_and_drops_only_when_full() -> None:
    line = Line(rate=MEGABIT, queue=Queue(packets=4, mark_above=2))
    fates = []
    line.link.tap = lambda _now, _frame, fate: fates.append(fate)
    for tos in (2, 2, 2, 0, 2):
        line.send(0, segment(100, tos=tos))
    assert [frame[15] & 3 for _, frame in line.run()] == [2, 2, 3, 0]
    assert fates == [CARRIED, CARRIED, MARKED, CARRIED, CARRIED, DROPPED]
