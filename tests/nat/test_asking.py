"""Questions to somebody outside: the first word counts, silence is a no, and nobody is worn down."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from usernat.nat import asking
from usernat.nat.asking import Asker, Question
from usernat.policy import FlowRequest, Verdict
from usernat.policy.decision import ASK, TCP

if TYPE_CHECKING:
    import pytest

SECOND = 1_000_000
VERDICT = Verdict(ASK, "rule 1: ask")


def request(port: int = 80, guest_port: int = 1) -> FlowRequest:
    return FlowRequest(1, b"\2\0\0\0\0\1", TCP, 2, port, guest_port)


class World:
    """An asker, what it was asked, and what came of it."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.woken = 0
        self.outcomes: list[tuple[str, bool, int]] = []
        self.asker = Asker(self.questions.append, self.wake, 30 * SECOND)

    def wake(self) -> None:
        self.woken += 1

    def ask(self, name: str, now: int = 0, port: int = 80, guest_port: int = 1) -> None:
        def answered(allowed: bool, now: int) -> None:
            self.outcomes.append((name, allowed, now))

        self.asker.ask(request(port, guest_port), VERDICT, answered, now)


def test_the_first_word_counts() -> None:
    world = World()
    world.ask("a")
    (question,) = world.questions
    assert (question.request, question.reason) == (request(), "rule 1: ask")
    question.allow()
    question.deny()
    assert (world.woken, world.outcomes) == (2, [])  # told by the loop, not from within
    world.asker.serve(5)
    assert world.outcomes == [("a", True, 5)]
    world.asker.serve(6)
    question.deny()
    world.asker.serve(7)
    assert len(world.outcomes) == 1
    assert world.asker.poll_at() is None


def test_silence_is_a_no() -> None:
    world = World()
    world.ask("a", now=7)
    assert world.asker.poll_at() == 30 * SECOND + 7
    world.asker.on_time(30 * SECOND + 6)
    assert world.outcomes == []
    world.asker.on_time(30 * SECOND + 7)
    assert world.outcomes == [("a", False, 30 * SECOND + 7)]
    assert (world.asker.counters.timed_out, world.asker.counters.denied) == (1, 1)


def test_the_same_question_is_asked_once_whatever_the_guests_port() -> None:
    world = World()
    world.ask("a")
    world.ask("b", guest_port=2)
    world.ask("c", port=81)
    assert len(world.questions) == 2
    world.questions[0].allow()
    world.asker.serve(1)
    assert world.outcomes == [("a", True, 1), ("b", True, 1)]


def test_a_no_holds_for_a_while_and_a_yes_for_one_flow() -> None:
    world = World()
    world.ask("a")
    world.questions[0].deny()
    world.asker.serve(0)
    world.ask("b", now=asking.REMEMBERED_US - 1)
    assert world.outcomes[1:] == [("b", False, asking.REMEMBERED_US - 1)]
    world.ask("c", now=asking.REMEMBERED_US)
    assert (len(world.questions), world.asker.counters.remembered) == (2, 1)
    world.questions[1].allow()
    world.asker.serve(asking.REMEMBERED_US)
    world.ask("d", now=asking.REMEMBERED_US)
    assert len(world.questions) == 3


def test_with_nobody_to_ask_the_answer_is_no() -> None:
    said: list[bool] = []
    asker = Asker(None, lambda: None, SECOND)
    asker.ask(request(), VERDICT, lambda allowed, _now: said.append(allowed), 0)
    assert said == [False]


def test_a_callback_that_fails_denies(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_question: Question) -> None:
        raise RuntimeError("no display")

    said: list[bool] = []
    asker = Asker(fails, lambda: None, SECOND)
    asker.ask(request(), VERDICT, lambda allowed, _now: said.append(allowed), 0)
    assert (said, asker.counters.failed, asker.poll_at()) == ([False], 1, None)
    assert "no display" in caplog.text


def test_questions_come_at_a_bounded_rate() -> None:
    world = World()
    for port in range(asking.QUESTIONS_AT_ONCE + 5):
        world.ask(str(port), port=port)
    assert len(world.questions) == asking.QUESTIONS_AT_ONCE
    assert [name for name, allowed, _ in world.outcomes if not allowed] == [
        str(asking.QUESTIONS_AT_ONCE + number) for number in range(5)
    ]
    world.ask("later", now=SECOND // asking.QUESTIONS_A_SECOND, port=999)
    assert len(world.questions) == asking.QUESTIONS_AT_ONCE + 1


def test_what_waits_is_bounded() -> None:
    world = World()
    for port in range(asking.MOST_WAITING + 10):
        world.ask(str(port), port=port, now=port * SECOND)
    assert len(world.questions) == asking.MOST_WAITING
    assert [allowed for _, allowed, _ in world.outcomes] == [False] * 10
    for number in range(asking.MOST_JOINED + 10):
        world.ask(f"again {number}", port=0)
    assert len(world.outcomes) == 10 + 11
    assert world.asker.counters.overload == 10 + 11


def test_denials_that_are_remembered_are_bounded() -> None:
    world = World()
    for port in range(asking.MOST_REMEMBERED + 50):
        world.ask("", port=port, now=port * SECOND)
        world.questions[-1].deny()
        world.asker.serve(port * SECOND)
    assert len(world.asker._denied) == asking.MOST_REMEMBERED


def test_an_answer_from_another_thread() -> None:
    world = World()
    world.ask("a")
    thread = threading.Thread(target=world.questions[0].allow)
    thread.start()
    thread.join()
    world.asker.serve(3)
    assert (world.woken, world.outcomes) == (1, [("a", True, 3)])


def test_after_the_end_nobody_waits_and_words_do_nothing() -> None:
    world = World()
    world.ask("a")
    world.asker.close()
    assert world.asker.poll_at() is None
    world.questions[0].allow()
    world.asker.serve(1)
    assert world.outcomes == []
