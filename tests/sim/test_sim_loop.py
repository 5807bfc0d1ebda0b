"""The event loop: what happens when, who is looked after, and that nothing happens otherwise."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.loop import MS, SECOND, Loop
from usernat.stack.addr import parse_ip
from usernat.stack.device import Capabilities, Frame
from usernat.stack.interface import Interface

if TYPE_CHECKING:
    from tests.sim.loop import Station


class Chatter:
    """A side that says one thing at each of its moments."""

    def __init__(self, *moments: int) -> None:
        self.moments = sorted(moments)
        self.to_say = 0
        self.heard: list[tuple[int, bytes]] = []
        self.asked = 0

    def receive(self, frame: bytes, now: int, checksum_ok: bool = False) -> None:
        self.heard.append((now, frame))

    def transmit(self, now: int) -> list[Frame]:
        self.asked += 1
        said, self.to_say = self.to_say, 0
        return [Frame([b"hello"])] * said

    def poll_at(self) -> int | None:
        return self.moments[0] if self.moments else None

    def on_time(self, now: int) -> None:
        while self.moments and self.moments[0] <= now:
            self.moments.pop(0)
            self.to_say += 1


def join(loop: Loop, sender: Station, receiver: Station, delay_us: int) -> None:
    def out(frame: Frame) -> None:
        loop.call_at(loop.clock.now + delay_us, receiver.arrive, bytes(frame), True)

    sender.out = out


@given(st.lists(st.integers(0, 50), max_size=10), st.integers(0, 20))
def test_each_frame_arrives_after_its_delay(moments: list[int], delay: int) -> None:
    loop = Loop()
    a, b = Chatter(*moments), Chatter()
    sender, receiver = loop.add(a), loop.add(b)
    join(loop, sender, receiver, delay)
    loop.run(100)
    assert b.heard == [(moment + delay, b"hello") for moment in sorted(moments)]
    assert loop.clock.now == 100


def test_events_of_one_moment_keep_their_order() -> None:
    loop = Loop()
    seen: list[int | str] = []
    for number in range(5):
        loop.call_at(7, seen.append, number)
    loop.call_at(3, seen.append, "first")
    loop.run(6)
    assert seen == ["first"]
    loop.run(7)
    assert seen == ["first", 0, 1, 2, 3, 4]


def test_only_those_that_something_happens_to_are_looked_after() -> None:
    loop = Loop()
    busy, idle = Chatter(*range(100)), Chatter()
    loop.add(busy), loop.add(idle)
    loop.run(1000)
    assert busy.asked > 100
    assert idle.asked == 1  # when the run begins


def test_an_attentive_loop_looks_after_all() -> None:
    loop = Loop(attentive=True)
    busy, idle = Chatter(*range(100)), Chatter()
    loop.add(busy), loop.add(idle)
    loop.run(1000)
    assert idle.asked > 100


def test_stop_is_asked_after_each_batch() -> None:
    loop = Loop()
    side = Chatter(10, 20, 30)
    loop.add(side)
    assert loop.run(100, lambda: loop.clock.now >= 20)
    assert loop.clock.now == 20
    assert not loop.run(100, lambda: False)
    assert loop.clock.now == 100


def test_a_deadline_that_stays_due_is_a_bug() -> None:
    class Liar(Chatter):
        def on_time(self, now: int) -> None:
            pass

    loop = Loop()
    loop.add(Liar(5))
    with pytest.raises(AssertionError, match="still due"):
        loop.run(10)


def test_a_quiet_day_costs_nothing() -> None:
    loop = Loop()
    host = Interface(
        mac=bytes((2, 0, 0, 0, 0, 1)),
        capabilities=Capabilities(),
        rng=Random(1),
        now=0,
        addresses=[(parse_ip("10.0.0.1"), 24)],
    )
    loop.add(host)
    batches: list[int] = []
    loop.observers.append(batches.append)
    loop.run(86_400 * SECOND)
    assert len(batches) < 10
    assert max(batches[:-1], default=0) < 60_000 * MS
