"""Who is at which MAC address, who has to be asked, and what waits for the answer.

An address is in one of three places:

* in `headers` and known: its Ethernet header stands ready; after `timeout_us` without news the entry goes stale;
* known but stale, so not in `headers`: the next datagram for it still goes there, but has the neighbour asked by
  unicast, and for as long as the answers may take the old header serves on (RFC 1122 §2.3.2.1, "unicast poll");
  an entry that nobody uses is forgotten after another `timeout_us`. Doubts of the layers above make it stale at once;
* asked: requests go out one a second, datagrams wait in a short queue of the latest. When `requests` of them brought no
  answer, the address is given up and an `Unreachable` is left for the internet layer: only then, for a missing entry is
  no error in itself (RFC 1122 §2.4-c). Nothing is asked without need, so a dead neighbour is not pinged (§3.3.1.4-a).

So there is no moment at which a busy flow waits because an entry has expired. Every place has a bound, for a guest may
call itself by any number of addresses: an entry too many evicts the one that has not been confirmed for longest; a
question too many is not asked.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from usernat.stack.counters import Counters
from usernat.stack.deadlines import Deadlines
from usernat.stack.device import Buffer, Frame

SECOND_US = 1_000_000

# What became of a frame. The internet layer passes these on among results of its own, which have the other numbers.
SENT = 0  # in the outgoing queue
QUEUED = 1  # waits for the neighbour's answer
DROPPED = 4  # no room; counted

# Of an address: by unicast to its last MAC address, or by broadcast (None).
Ask = Callable[[int, bytes | None], None]
Deliver = Callable[[Frame], int]


@dataclass(frozen=True, slots=True)
class NeighbourConfig:
    """The bounds and times of a neighbour cache.

    timeout_us: how long an answer is believed (RFC 1122 §2.3.2.1-c). At least one second, the interval of requests.
    requests: how often is asked before a neighbour is given up.
    capacity: neighbours known. questions: neighbours asked about at a time.
    waiting_each, waiting_all: frames that wait for an answer, of one neighbour and of all.
    """

    timeout_us: int = 60 * SECOND_US
    requests: int = 3
    capacity: int = 1024
    questions: int = 256
    waiting_each: int = 4
    waiting_all: int = 256

    def __post_init__(self) -> None:
        if self.timeout_us < SECOND_US:
            raise ValueError(f"timeout_us must be at least {SECOND_US}, not {self.timeout_us}")
        if min(self.requests, self.capacity, self.questions, self.waiting_each, self.waiting_all) < 1:
            raise ValueError("the bounds of a neighbour cache start at 1")


@dataclass(slots=True)
class NeighbourCounters(Counters):
    """What the cache gave up, and why."""

    evicted: int = 0  # known, pushed out by a newer neighbour
    expired: int = 0  # known, unused and not heard of for twice the time-out
    failed: int = 0  # gave no answer
    too_many_questions: int = 0  # frames dropped: no more neighbours can be asked about
    waiting_overflow: int = 0  # frames dropped: too many wait already
    waiting_failed: int = 0  # frames that waited for a neighbour that gave no answer


class Unreachable(NamedTuple):
    """A neighbour that gave no answer, and the datagrams that waited for it, as scatter lists from the IP header on."""

    next_hop: int
    datagrams: list[list[Buffer]]


class _Question:
    """An address asked about. header: what is still believed meanwhile, if anything."""

    __slots__ = ("header", "requests", "waiting")

    def __init__(self, header: bytes | None) -> None:
        self.header = header
        self.requests = 0
        self.waiting: deque[Frame] = deque()


class NeighbourCache:
    """The neighbours of one interface, by IPv4 address.

    header_tail: what follows the destination MAC address in an Ethernet header to a neighbour.
    deliver: takes a frame that is complete.
    headers: address to the whole Ethernet header, of all who can be sent to at once. To be read only.
    ask: sends a request; set by the ARP layer, and until then nobody is asked.
    failures: who gave no answer, for the internet layer to take; the oldest are forgotten beyond `questions`.
    """

    def __init__(self, header_tail: bytes, deliver: Deliver, config: NeighbourConfig | None = None) -> None:
        self.config = config or NeighbourConfig()
        self.headers: dict[int, bytes] = {}
        self.failures: deque[Unreachable] = deque(maxlen=self.config.questions)
        self.counters = NeighbourCounters()
        self.ask: Ask = lambda _address, _mac: None
        self._tail = header_tail
        self._deliver = deliver
        # address to header, stale ones too; latest news last
        self._known: OrderedDict[int, bytes] = OrderedDict()
        self._asked: dict[int, _Question] = {}
        self._waiting = 0  # frames in all questions
        self._deadlines: Deadlines[int] = Deadlines()

    def __len__(self) -> int:
        """The neighbours known and asked about."""
        return len(self._known) + len(self._asked)

    def __contains__(self, address: int) -> bool:
        return address in self._known or address in self._asked

    def mac_of(self, address: int) -> bytes | None:
        """The MAC address last heard for the neighbour, stale or not."""
        question = self._asked.get(address)
        header = self._known.get(address) if question is None else question.header
        return None if header is None else header[:6]

    def learn(self, address: int, mac: bytes, now: int) -> None:
        """A neighbour has said where it is: believe it, and send what waited."""
        header = mac + self._tail
        question = self._asked.pop(address, None)
        self._known[address] = header
        self._known.move_to_end(address)
        self.headers[address] = header
        self._deadlines.set(address, now + self.config.timeout_us)
        if len(self._known) > self.config.capacity:
            self._evict()
        if question is not None:
            self._waiting -= len(question.waiting)
            for frame in question.waiting:
                self._complete(frame, header)

    def hold(self, address: int, frame: Frame, now: int) -> int:
        """Take a frame for an address that has no entry in `headers`: SENT, QUEUED or DROPPED."""
        stale = self._known.get(address)
        if stale is not None:
            self._poll(address, stale, now)
            return self._complete(frame, stale)
        question = self._asked.get(address)
        if question is None:
            if len(self._asked) >= self.config.questions:
                self.counters.too_many_questions += 1
                return DROPPED
            question = self._asked[address] = _Question(None)
            result = self._wait(question, frame)
            self._ask(address, question, now)
            return result
        return self._wait(question, frame)

    def doubt(self, address: int, now: int) -> None:
        """Advice from a layer above that nothing comes back by way of this neighbour (RFC 1122 §3.3.1.4).

        What is known of it goes stale before its time, so that the next datagram has it asked. Not within a second of the
        last news, which say that it lives and keep requests a second apart (§2.3.2.1-b).
        """
        expires = self._deadlines.get(address)
        fresh = address in self._known and address in self.headers
        if fresh and expires is not None and expires - now <= self.config.timeout_us - SECOND_US:
            del self.headers[address]
            self._deadlines.set(address, now + self.config.timeout_us)

    def poll_at(self) -> int | None:
        """When the next entry ages or the next request is due, in µs."""
        return self._deadlines.next()

    def on_time(self, now: int) -> None:
        """Age what is known, ask again, give up."""
        for address in self._deadlines.expire(now):
            question = self._asked.get(address)
            if question is None:
                self._age(address, now)
            elif question.requests < self.config.requests:
                self._ask(address, question, now)
            else:
                self._give_up(address, question)

    def _poll(self, address: int, header: bytes, now: int) -> None:
        """Ask a stale neighbour whether it is still there, and go on using what is known of it meanwhile."""
        if len(self._asked) >= self.config.questions:
            return
        del self._known[address]
        self.headers[address] = header
        question = self._asked[address] = _Question(header)
        self._ask(address, question, now)

    def _ask(self, address: int, question: _Question, now: int) -> None:
        question.requests += 1
        # RFC 1122 §2.3.2.1-b: the next one, of this address, not before a second has gone by
        self._deadlines.set(address, now + SECOND_US)
        self.ask(address, question.header and question.header[:6])

    def _wait(self, question: _Question, frame: Frame) -> int:
        """Queue the frame; the latest are kept (RFC 1122 §2.3.2.2-a)."""
        waiting = question.waiting
        if len(waiting) >= self.config.waiting_each:
            waiting.popleft()
            self.counters.waiting_overflow += 1
        elif self._waiting >= self.config.waiting_all:
            self.counters.waiting_overflow += 1
            return DROPPED
        else:
            self._waiting += 1
        waiting.append(frame)
        return QUEUED

    def _complete(self, frame: Frame, header: bytes) -> int:
        frame.parts[0] = header + frame.parts[0]
        return self._deliver(frame)

    def _age(self, address: int, now: int) -> None:
        """RFC 1122 §2.3.2.1-a: what is out of date goes, in two steps."""
        if self.headers.pop(address, None) is not None:
            self._deadlines.set(address, now + self.config.timeout_us)
        else:
            del self._known[address]
            self.counters.expired += 1

    def _give_up(self, address: int, question: _Question) -> None:
        del self._asked[address]
        self.headers.pop(address, None)
        self._waiting -= len(question.waiting)
        self.counters.failed += 1
        self.counters.waiting_failed += len(question.waiting)
        self.failures.append(Unreachable(address, [frame.parts for frame in question.waiting]))

    def _evict(self) -> None:
        address, _ = self._known.popitem(last=False)
        self.headers.pop(address, None)
        self._deadlines.clear(address)
        self.counters.evicted += 1
