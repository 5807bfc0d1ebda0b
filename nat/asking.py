"""The `ask` action: somebody outside decides, and has so long for it; silence is a no.

    flow ──> Asker.ask ──> callback(Question) …… Question.allow() / .deny(), from any thread ──> wake ──> serve ──> answered

The callback is called in the gateway's own thread and must not wait: it hands the question on, to a dialogue or a queue. A question that
is asked again while it waits, as a repeated SYN or datagram asks it, joins the first; a no holds for a while; and new questions come at a bounded
rate, so that a guest cannot wear anybody down. Questions that wait are bounded too; what does not fit is refused.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.stack.counters import Counters
from usernat.stack.deadlines import Deadlines
from usernat.stack.l3.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.policy.decision import FlowRequest, Verdict

log = logging.getLogger(__name__)

MOST_WAITING = 64  # questions
MOST_JOINED = 64  # that wait for the answer to one question
QUESTIONS_A_SECOND = 2
QUESTIONS_AT_ONCE = 20
MOST_REMEMBERED = 1024  # denials
REMEMBERED_US = 30_000_000

Key = tuple[int, int, int, int, tuple[str, ...], str | None]


@dataclass(slots=True)
class AskingCounters(Counters):
    """Of questions."""

    asked: int = 0
    joined: int = 0
    allowed: int = 0
    denied: int = 0
    timed_out: int = 0  # denied because nobody said anything
    remembered: int = 0  # denied because they had been, a moment ago
    overload: int = 0  # denied because too many wait or come too fast, or nobody is there to ask
    failed: int = 0  # denied because the callback raised


class Question:
    """What the callback gets. request: what the guest wants. reason: the rule that asks. The first word counts; later ones are ignored."""

    __slots__ = ("_asker", "_key", "reason", "request")

    def __init__(self, asker: Asker, key: Key, request: FlowRequest, reason: str) -> None:
        self._asker = asker
        self._key = key
        self.request = request
        self.reason = reason

    def allow(self) -> None:
        """Let the guest. From any thread."""
        self._asker.say(self, self._key, allowed=True)

    def deny(self) -> None:
        """Do not let it. From any thread."""
        self._asker.say(self, self._key, allowed=False)


class _Waiting:
    """A question, and who waits for its answer."""

    __slots__ = ("answered", "question")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.answered: list[Callable[[bool, int], None]] = []


class Asker:
    """All open questions of one gateway. Times in µs."""

    def __init__(
        self,
        callback: Callable[[Question], None] | None,
        wake: Callable[[], None],
        timeout_us: int,
        now: int = 0,
    ) -> None:
        """callback: None where nobody can be asked: then all is denied. wake: makes the loop call `serve` soon; called from any thread."""
        self.counters = AskingCounters()
        self._callback = callback
        self._wake = wake
        self._timeout_us = timeout_us
        self._rate = TokenBucket(QUESTIONS_A_SECOND, QUESTIONS_AT_ONCE, now)
        self._waiting: dict[Key, _Waiting] = {}
        self._timers: Deadlines[Key] = Deadlines()
        # append and popleft of a deque need no lock
        self._said: deque[tuple[Question, Key, bool]] = deque()
        self._denied: OrderedDict[Key, int] = OrderedDict()  # until when

    def ask(
        self, request: FlowRequest, verdict: Verdict, answered: Callable[[bool, int], None], now: int
    ) -> None:
        """Have somebody decide. answered(allowed, now): called once, by `serve` or `on_time`, or from here where it is no at once."""
        key = (
            request.guest,
            request.protocol,
            request.destination,
            request.port,
            request.names,
            request.claimed,
        )
        waiting = self._waiting.get(key)
        if waiting is not None:
            if len(waiting.answered) < MOST_JOINED:
                self.counters.joined += 1
                waiting.answered.append(answered)
                return
            self.counters.overload += 1
        elif self._denied.get(key, 0) > now:
            self.counters.remembered += 1
        elif self._callback is None or len(self._waiting) >= MOST_WAITING or not self._rate.take(now):
            self.counters.overload += 1
        elif self._open(key, request, verdict.reason, answered, now):
            return
        answered(False, now)

    def _open(
        self,
        key: Key,
        request: FlowRequest,
        reason: str,
        answered: Callable[[bool, int], None],
        now: int,
    ) -> bool:
        assert self._callback is not None
        question = Question(self, key, request, reason)
        waiting = self._waiting[key] = _Waiting(question)
        try:
            self._callback(question)
        except Exception:
            log.exception("the callback that decides has failed: denied")
            self.counters.failed += 1
            del self._waiting[key]
            return False
        self.counters.asked += 1
        waiting.answered.append(answered)
        self._timers.set(key, now + self._timeout_us)
        return True

    def say(self, question: Question, key: Key, *, allowed: bool) -> None:
        """See `Question`."""
        self._said.append((question, key, allowed))
        self._wake()

    def serve(self, now: int) -> None:
        """Tells the flows what has been said."""
        while self._said:
            question, key, allowed = self._said.popleft()
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.question is question:
                self._answer(key, now, allowed=allowed)

    def on_time(self, now: int) -> None:
        """Denies what nobody has answered in time."""
        for key in self._timers.expire(now):
            self.counters.timed_out += 1
            self._answer(key, now, allowed=False)

    def poll_at(self) -> int | None:
        """When the next of them is due."""
        return self._timers.next()

    def close(self) -> None:
        """Nobody waits any more."""
        for key in self._waiting:
            self._timers.clear(key)
        self._waiting.clear()
        self._said.clear()

    def _answer(self, key: Key, now: int, *, allowed: bool) -> None:
        waiting = self._waiting.pop(key)
        self._timers.clear(key)
        if allowed:
            self.counters.allowed += 1
        else:
            self.counters.denied += 1
            self._denied[key] = now + REMEMBERED_US
            self._denied.move_to_end(key)
            if len(self._denied) > MOST_REMEMBERED:
                self._denied.popitem(last=False)
        for answered in waiting.answered:
            answered(allowed, now)
