"""The SACK scoreboard against the words of RFC 6675, octet by octet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.stack.l4.tcp.flight import MAX_PIECES, MAX_RECORDS, Flight
from usernat.stack.l4.tcp.scoreboard import MAX_RANGES, Scoreboard
from usernat.stack.rangeset import RangeSet

if TYPE_CHECKING:
    from collections.abc import Iterator

SMSS = 10
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["sack", "sack", "sack", "ack", "send", "resend", "resend", "find", "find", "time-out", "mistake"]
        ),
        st.integers(0, 80),
        st.integers(1, 40),
    ),
    max_size=25,
)


@dataclass
class Oracle:
    """Each octet on its own. copies: how many are believed to be on the way, for octets in [una, nxt).

    judged: all below was looked at once; what was taken back since is left to time.
    """

    una: int = 0
    nxt: int = 0
    judged: int = 0
    sacked: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)
    copies: dict[int, int] = field(default_factory=dict)

    def is_lost(self, octet: int) -> bool:
        """RFC 6675 §4, IsLost: DupThresh separate runs, or more than (DupThresh - 1) * SMSS octets, are SACKed above."""
        above = [other for other in self.sacked if other > octet]
        runs = sum(1 for other in above if other - 1 not in self.sacked)
        return runs >= 3 or len(above) > 2 * SMSS

    @property
    def missing(self) -> list[int]:
        return [octet for octet in range(self.una, self.nxt) if octet not in self.sacked]

    @property
    def pipe(self) -> int:
        """SetPipe: octets not SACKed count once for each copy that is not believed lost."""
        return sum(self.copies[octet] for octet in self.missing)


class Both:
    """A scoreboard and the oracle go the same way."""

    def __init__(self) -> None:
        self.flight = Flight()
        self.board = Scoreboard(self.flight, 0)
        self.oracle = Oracle()
        self.now = 0
        self.send(60)

    def send(self, size: int) -> None:
        o = self.oracle
        for start in range(o.nxt, o.nxt + size, SMSS):
            self.flight.sent(start, min(start + SMSS, o.nxt + size), self.now)
        o.copies |= dict.fromkeys(range(o.nxt, o.nxt + size), 1)
        o.nxt += size

    def step(self, what: str, number: int, size: int) -> None:
        o, board = self.oracle, self.board
        start, stop = number, min(number + size, o.nxt)
        self.now += 1
        if what == "sack":
            news = board.sack(number, number + size, o.una, o.nxt, 1)
            if o.una < number and number + size <= o.nxt:
                fresh = set(range(number, number + size)) - o.sacked
                assert {octet for piece in news for octet in range(piece.start, piece.end)} == fresh
                o.sacked |= fresh
                o.lost -= fresh
            else:
                assert not news
        elif what == "ack":
            before = o.una
            o.una = max(o.una, min(number, o.nxt))
            arrived = self.flight.acknowledged(o.una)
            assert board.advance(o.una) == sum(1 for octet in range(before, o.una) if octet in o.sacked)
            assert {n for piece in arrived for n in range(piece.start, piece.end)} == set(
                range(before, o.una)
            )
            o.sacked = {octet for octet in o.sacked if octet >= o.una}
            o.lost = {octet for octet in o.lost if octet >= o.una}
        elif what == "send":
            self.send(size)
        elif what == "resend" and o.una <= start < stop and not o.sacked & set(range(start, stop)):
            board.resent(start, stop, self.now)
            for octet in range(start, stop):
                o.copies[octet] = 1 if octet in o.lost else 2
            o.lost -= set(range(start, stop))
            o.again |= set(range(start, stop))
        elif what == "find":
            below = board.is_lost(SMSS)
            assert {n for n in o.missing if n < (below or 0)} == {n for n in o.missing if o.is_lost(n)}
            if below is not None:
                board.find_lost(below)
                for octet in o.missing:
                    if octet >= o.judged and o.is_lost(octet) and octet not in o.again:
                        o.lost.add(octet)
                        o.copies[octet] = 0
                o.judged = max(o.judged, below)
        elif what == "time-out":
            forgotten = board.all_lost(o.una, o.nxt)
            assert {n for low, high in forgotten for n in range(low, high)} == o.sacked
            o.sacked.clear()
            o.judged = o.una
            o.lost = set(range(o.una, o.nxt))
            o.copies |= dict.fromkeys(o.lost, 0)
        elif what == "mistake":
            board.none_lost()
            for octet in o.lost:
                o.copies[octet] = 1
            o.lost.clear()

    def check(self) -> None:
        o, board = self.oracle, self.board
        assert {n for low, high in board.sacked for n in range(low, high)} == o.sacked
        assert {n for low, high in board.lost for n in range(low, high)} == o.lost
        assert board.pipe(o.una, o.nxt) == o.pipe
        rule_1 = board.lost.first
        assert (rule_1[0] if rule_1 else None) == min(o.lost, default=None)
        top = max(o.sacked, default=-1)
        rxt = max(o.una, board.high_rxt)
        rule_3 = board.next_missing(o.una)
        assert (rule_3[0] if rule_3 else None) == next((n for n in o.missing if rxt <= n < top), None)
        rule_4 = board.highest_missing(o.una, o.nxt)
        assert (rule_4[1] - 1 if rule_4 else None) == max(o.missing, default=None)
        if rule_4:
            assert set(range(*rule_4)) <= set(o.missing)
            assert rule_4[0] - 1 not in o.missing
        if self.flight.by_time is not None:
            waiting = {n for piece in self.flight.by_time.values() for n in range(piece.start, piece.end)}
            assert waiting == set(o.missing) - o.lost, "RACK waits for all that may still arrive"
            orders = [piece.order for piece in self.flight.by_time.values()]
            assert orders == sorted(orders)


@pytest.mark.rfc("6675", "3-a", "4-a", "4-b", "4-c", "4-e", "4-f", "5-a", "5.1-a")
@pytest.mark.rfc("8985", "6.1-a")
@given(STEPS, st.booleans())
def test_against_the_words_of_rfc_6675(steps: list[tuple[str, int, int]], by_time: bool) -> None:
    """IsLost, SetPipe, NextSeg rules 1, 3 and 4, whatever is SACKed, acknowledged, sent, sent again, lost or forgotten."""
    both = Both()
    if by_time:
        both.flight.keep_time()
    for step in steps:
        both.step(*step)
        both.check()


def test_blocks_that_cannot_be_are_ignored() -> None:
    flight = Flight()
    flight.sent(100, 200, 0)
    board = Scoreboard(flight, 100)
    for block in ((50, 60), (90, 110), (100, 110), (150, 140), (190, 201), (300, 400)):
        assert board.sack(*block, 100, 200, 10) == []
    assert [piece.end - piece.start for piece in board.sack(110, 200, 100, 200, 10)] == [90]


def in_flight(start: int, stop: int) -> Flight:
    flight = Flight()
    for at in range(start, stop, 1000):
        flight.sent(at, min(at + 1000, stop), 0)
    return flight


def test_ranges_are_bounded() -> None:
    board = Scoreboard(in_flight(0, 100_000), 0)
    for start in range(1, 20_000, 2):
        board.sack(start, start + 1, 0, 100_000, 1000)
    assert len(board.sacked) <= 8 + 100 + 1
    base = 1 << 40
    far = Scoreboard(in_flight(base, base + 5000), base)
    for start in range(1, 2000, 2):
        far.sack(base + start, base + start + 1, base, base + 5000, 1000)
    assert len(far.sacked) <= 8 + 5 + 1, "by what is in flight, wherever that lies"
    tiny = Scoreboard(in_flight(0, 100_000), 0)
    for start in range(1, 20_000, 2):
        tiny.sack(start, start + 1, 0, 100_000, 1)
    assert len(tiny.sacked) <= MAX_RANGES + 1, "and where segments are tiny"


def test_pieces_are_bounded() -> None:
    """A run that grows octet by octet is one range, but each of its edges would cut a piece."""
    flight = in_flight(0, 100_000)
    board = Scoreboard(flight, 0)
    for stop in range(2, 100_000):
        if not board.sack(1, stop, 0, 100_000, 1):
            break
    assert MAX_PIECES <= len(flight) <= MAX_PIECES + 2


@pytest.mark.parametrize("fate", ["sacked", "lost"])
def test_new_text_never_shares_a_record_with_what_has_another_fate(fate: str) -> None:
    flight = Flight()
    flight.keep_time()
    for start in range(MAX_RECORDS):
        flight.sent(start, start + 1, start)
    getattr(flight, fate)(MAX_RECORDS - 1, MAX_RECORDS)
    flight.sent(MAX_RECORDS, MAX_RECORDS + 1, 1 << 20)
    flight.sent(MAX_RECORDS + 1, MAX_RECORDS + 2, 1 << 20)
    last = flight.between(MAX_RECORDS, MAX_RECORDS + 2)
    assert [(piece.start, piece.end, piece.sacked) for piece in last] == [
        (MAX_RECORDS, MAX_RECORDS + 2, False)
    ]
    assert len(flight) == MAX_RECORDS + 1


def test_order_of_time_is_not_made_anew_for_each_sign_of_loss() -> None:
    """A peer that lets recovery begin and end with every other ACK pays for it once a window."""
    flight = in_flight(0, 10_000)
    flight.keep_time()
    order = flight.by_time
    flight.let_time_go()
    flight.acknowledged(1000)
    flight.keep_time()
    assert flight.by_time is order
    flight.let_time_go()
    flight.sent(10_000, 11_000, 1)
    flight.acknowledged(9999)
    assert flight.by_time is order
    flight.acknowledged(10_000)
    assert flight.by_time is None


@pytest.mark.rfc("6675", "4-b")
def test_pipe_costs_no_more_with_many_ranges() -> None:
    """A peer that SACKs every second octet must not make each segment cost a walk over all of them."""

    class Counted(RangeSet):
        visited = 0

        def _touching(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
            for found in super()._touching(start, stop):
                self.visited += 1
                yield found

    board = Scoreboard(in_flight(0, 2000), 0)
    board.sacked = counted = Counted()
    for start in range(1, 1000, 2):
        board.sack(start, start + 1, 0, 2000, 1)
    board.find_lost(999)
    counted.visited = 0
    for _ in range(1000):
        board.pipe(0, 2000)
        board.is_lost(1)
        board.next_missing(0)
        board.highest_missing(0, 2000)
    assert counted.visited < 4000


@pytest.mark.rfc("6675", "4-a", "4-b")
def test_what_was_sent_again_is_not_found_lost_by_counting() -> None:
    """However much is SACKed above it: that says nothing of the second copy, which only time can judge."""
    both = Both()
    for step in (("sack", 20, 10), ("resend", 0, 10), ("sack", 30, 30), ("find", 0, 1)):
        both.step(*step)
        both.check()
    assert list(both.board.lost) == [(10, 20)]
    assert both.board.doubled.total == 10
