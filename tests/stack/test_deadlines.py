"""Deadlines against a plain dict, and the promise that re-arming is cheap."""

from __future__ import annotations

import gc
import weakref

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from usernat.stack.deadlines import Deadlines, earliest

keys = st.sampled_from("abcde")
times = st.integers(0, 40)


class DeadlinesAgainstDict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[str] = Deadlines()
        self.model: dict[str, int] = {}
        self.now = 0

    @rule(key=keys, when=times)
    def arm(self, key: str, when: int) -> None:
        self.deadlines.set(key, when)
        self.model[key] = when

    @rule(key=keys)
    def disarm(self, key: str) -> None:
        self.deadlines.set(key, None)
        self.model.pop(key, None)

    @rule(key=keys)
    def clear(self, key: str) -> None:
        self.deadlines.clear(key)
        self.model.pop(key, None)

    @rule(now=times)
    def expire(self, now: int) -> None:
        due = self.deadlines.expire(now)
        assert sorted(due) == sorted(key for key, when in self.model.items() if when <= now)
        assert [self.model[key] for key in due] == sorted(self.model[key] for key in due)
        for key in due:
            del self.model[key]
        following = self.deadlines.next()
        assert following is None or following > now

    @rule()
    def ask(self) -> None:
        """Never too late. Too early is for a moment at which nothing is due, and no more often than there are keys."""
        first = min(self.model.values(), default=None)
        for _ in range(6):
            due = self.deadlines.next()
            if due == first:
                return
            assert due is not None
            assert first is None or due < first
            assert self.deadlines.expire(due) == []
        raise AssertionError("what was moved is still at the front")

    @invariant()
    def equal(self) -> None:
        for key in "abcde":
            assert self.deadlines.get(key) == self.model.get(key)
        assert len(self.deadlines) >= len(self.model)


TestDeadlines = DeadlinesAgainstDict.TestCase


class Uncomparable:
    """Two of these at one time must not be compared; nor are they equal."""


def test_keys_go_by_identity_and_are_never_compared() -> None:
    deadlines: Deadlines[Uncomparable] = Deadlines()
    one, other = Uncomparable(), Uncomparable()
    deadlines.set(one, 5)
    deadlines.set(other, 5)
    assert deadlines.expire(5) == [one, other]


def test_arming_later_leaves_the_order_alone() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for key in "abc":
        deadlines.set(key, 10)
    before = list(deadlines._heap)
    for when in range(10, 1000):
        deadlines.set("b", when)
    deadlines.set("c", None)
    assert deadlines._heap == before
    assert deadlines.next() == 10
    assert deadlines.expire(10) == ["a"]
    assert deadlines.next() == 999
    assert len(deadlines._heap) == 1


def test_what_is_left_behind_is_bounded_by_what_lives() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for key in range(100):
        deadlines.set(key, 1_000_000)
    for turn in range(10_000):
        deadlines.set(100 + turn, 2_000_000)
        deadlines.set(turn % 100, 999_999 - turn)
        deadlines.clear(100 + turn)
        assert len(deadlines) == 100
        assert len(deadlines._heap) <= 2 * 101 + 64
    assert deadlines.next() == 990_000
    due = deadlines.expire(1_000_000)
    assert [key for key in due if key >= 100] == []
    assert due == list(range(99, -1, -1))
    assert deadlines.next() is None
    assert not deadlines._heap


def test_what_was_only_ever_cleared_is_bounded_too() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for key in range(10_000):
        deadlines.set(key, 1_000_000)
        deadlines.clear(key)
        assert len(deadlines._heap) <= 64


def test_times_that_come_again_do_not_pile_up() -> None:
    """An entry placed where one of the same key was left behind is another one: only one of them counts."""
    deadlines: Deadlines[str] = Deadlines()
    for now in range(1000):
        deadlines.set("a", now)
        deadlines.set("a", 5000)
        assert deadlines.expire(now) == []
        assert len(deadlines._heap) <= 66
    assert deadlines.expire(5000) == ["a"]
    assert deadlines.expire(9000) == []


def test_a_microsecond_earlier_is_earlier() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 10)
    deadlines.set("b", 10)
    deadlines.set("a", 9)
    assert deadlines.next() == 9
    assert deadlines.expire(9) == ["a"]
    assert deadlines.next() == 10


def test_the_earliest_of_several_may_be_the_origin_of_time() -> None:
    def said(*times: int | None) -> int | None:
        return earliest([iter([at]).__next__ for at in times])

    assert said() is said(None, None) is None
    assert said(7, None, 5, 9) == 5
    assert said(3, 0, None) == 0


def test_a_cleared_key_is_let_go_of_at_once_and_a_disarmed_one_when_its_time_comes() -> None:
    deadlines: Deadlines[Uncomparable] = Deadlines()
    one, other = Uncomparable(), Uncomparable()
    deadlines.set(one, 5)
    deadlines.set(other, 6)
    cleared, disarmed = weakref.ref(one), weakref.ref(other)
    deadlines.clear(one)
    deadlines.set(other, None)
    del one, other
    gc.collect()
    assert cleared() is None
    assert deadlines.expire(6) == []
    gc.collect()
    assert disarmed() is None
    assert deadlines.next() is None
    assert len(deadlines) == 0


def test_what_was_moved_and_is_due_all_the_same_comes_in_its_turn() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 1)
    deadlines.set("a", 5)
    deadlines.set("b", 3)
    assert deadlines.expire(6) == ["b", "a"]


def test_what_was_placed_anew_can_be_moved_back() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 5)
    deadlines.set("a", 20)
    assert deadlines.expire(5) == []
    deadlines.set("a", 10)
    assert deadlines.next() == 10
    assert deadlines.expire(10) == ["a"]
