"""The neighbour cache: asking, waiting, ageing, giving up, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.stack.l2.link import GUEST, GUEST_MAC, MS, OTHER, OTHER_MAC, OUR_MAC, Link, S, ethernet
from usernat.stack.addr import MAC_BROADCAST
from usernat.stack.l2.arp import REPLY, REQUEST
from usernat.stack.l2.ethernet import ETHERTYPE_IPV4
from usernat.stack.l2.neighbour import DROPPED, QUEUED, SENT, NeighbourConfig


def datagram(data: bytes, dst: bytes = GUEST_MAC) -> bytes:
    return ethernet(data, ETHERTYPE_IPV4, src=OUR_MAC, dst=dst)


def counted(link: Link) -> dict[str, int]:
    return {name: value for name, value in link.neighbours.counters.as_dict().items() if value}


@pytest.mark.rfc("1122", "2.3.2.2-a", "2.4-c")
def test_what_waits_goes_out_once_the_neighbour_answers() -> None:
    """No error, no loss."""
    link = Link()
    assert link.send(GUEST, b"first") == QUEUED
    assert link.send(GUEST, b"second") == QUEUED
    assert len(link.says_arp()) == 1
    link.guest_answers(now=200 * MS)
    assert link.says() == [datagram(b"first"), datagram(b"second")]
    assert link.send(GUEST, b"third") == SENT
    assert link.says() == [datagram(b"third")]
    assert not link.neighbours.failures
    assert counted(link) == {}


def test_a_request_of_the_neighbour_s_own_is_an_answer_too() -> None:
    link = Link()
    link.send(GUEST, b"first")
    link.says()
    link.hears_arp(REQUEST, GUEST, GUEST)  # an announcement
    assert link.says() == [datagram(b"first")]


def test_the_latest_few_are_kept() -> None:
    link = Link(NeighbourConfig(waiting_each=2))
    assert [link.send(GUEST, bytes([65 + n]) * 5) for n in range(5)] == [QUEUED] * 5
    link.says()
    link.guest_answers()
    assert link.says() == [datagram(b"DDDDD"), datagram(b"EEEEE")]
    assert counted(link) == {"waiting_overflow": 3}


@pytest.mark.rfc("1122", "2.3.2.1-b")
def test_a_hundred_datagrams_in_a_second_ask_once() -> None:
    link = Link()
    for number in range(100):
        link.send(GUEST, now=number * 9 * MS)
    assert len(link.says_arp()) == 1


@pytest.mark.rfc("1122", "2.3.2.1-b", "3.3.1.4-a")
def test_an_unanswered_question_is_repeated_each_second_and_given_up() -> None:
    """Then silence, and the datagrams are handed back."""
    link = Link()
    link.send(GUEST, b"hello", now=5 * S)
    assert len(link.says_arp()) == 1
    assert [(at, dst) for at, dst, _ in link.run(until=100 * S)] == [
        (6 * S, MAC_BROADCAST),
        (7 * S, MAC_BROADCAST),
    ]
    (failure,) = link.neighbours.failures
    assert failure.next_hop == GUEST
    assert [b"".join(parts) for parts in failure.datagrams] == [b"hello"]
    assert counted(link) == {"failed": 1, "waiting_failed": 1}
    assert link.neighbours.poll_at() is None
    assert len(link.neighbours) == 0


def test_a_neighbour_given_up_is_asked_anew_when_there_is_need() -> None:
    link = Link()
    link.send(GUEST, now=0)
    link.run(until=10 * S)
    link.says()
    assert link.send(GUEST, b"again", now=10 * S) == QUEUED
    assert len(link.says_arp()) == 1
    link.guest_answers(now=10 * S)
    assert link.says() == [datagram(b"again")]


@pytest.mark.rfc("1122", "2.3.2.1-a", "2.3.2.1-c")
@pytest.mark.parametrize("timeout", [60 * S, 5 * S])
def test_an_entry_goes_out_of_date_and_is_asked_about_by_unicast(timeout: int) -> None:
    link = Link(NeighbourConfig(timeout_us=timeout))
    link.guest_answers(now=0)
    assert link.run(until=timeout - 1) == []
    link.send(GUEST, now=timeout - 1)
    assert link.says() == [datagram(b"datagram")]
    assert link.run(until=timeout) == []
    assert GUEST not in link.neighbours.headers
    assert link.send(GUEST, b"still", now=timeout + 1) == SENT
    question, frame = link.says()
    assert question[:6] == GUEST_MAC
    assert frame == datagram(b"still")
    link.guest_answers(now=timeout + 2)
    assert link.run(until=2 * timeout + 1) == []
    assert GUEST in link.neighbours.headers


def test_a_busy_flow_never_waits_for_an_expired_entry() -> None:
    link = Link()
    link.guest_answers(now=0)
    for now in range(0, 400 * S, 500 * MS):
        said = link.run(until=now)
        assert all(dst == GUEST_MAC for _, dst, _ in said)
        assert link.send(GUEST, now=now) == SENT
        frames = link.says()
        assert frames[-1] == datagram(b"datagram")
        if said or len(frames) > 1:
            link.guest_answers(now=now)
    assert counted(link) == {}


def test_what_was_known_serves_on_while_the_question_is_open() -> None:
    link = Link()
    link.guest_answers(now=0)
    link.run(until=61 * S)
    results = [link.send(GUEST, now=61 * S + number * 100 * MS) for number in range(5)]
    assert results == [SENT] * 5
    assert len(link.says()) == 6  # and one question


@pytest.mark.rfc("1122", "3.3.1.4-a")
def test_a_neighbour_that_went_away_is_noticed() -> None:
    """RFC 1122 §2.3.2.1 (2): deleted after N polls without an answer."""
    link = Link()
    link.guest_answers(now=0)
    link.run(until=61 * S)
    link.send(GUEST, now=61 * S)
    link.says()
    assert [at for at, _, _ in link.run(until=64 * S)] == [62 * S, 63 * S]
    assert [failure.next_hop for failure in link.neighbours.failures] == [GUEST]
    assert link.send(GUEST, now=65 * S) == QUEUED
    assert [dst for dst, _ in link.says_arp()] == [MAC_BROADCAST]


def test_an_unused_entry_is_forgotten_without_a_word() -> None:
    link = Link()
    link.guest_answers(now=0)
    assert link.run(until=200 * S) == []
    assert len(link.neighbours) == 0
    assert counted(link) == {"expired": 1}


def test_a_stale_entry_follows_the_neighbour_s_new_card() -> None:
    link = Link()
    link.guest_answers(now=0)
    link.run(until=61 * S)
    link.send(GUEST, now=61 * S)
    link.hears_arp(REPLY, GUEST, 0x0A000202, now=61 * S, mac=OTHER_MAC)
    link.says()
    link.send(GUEST, b"there", now=61 * S)
    assert link.says() == [datagram(b"there", OTHER_MAC)]


def test_c60_questions_are_bounded() -> None:
    link = Link(NeighbourConfig(questions=10, waiting_all=1000))
    results = [link.send(OTHER + number) for number in range(10_000)]
    assert results == [QUEUED] * 10 + [DROPPED] * 9_990
    assert len(link.neighbours) == 10
    assert counted(link) == {"too_many_questions": 9_990}
    link.run(until=10 * S)
    assert len(link.neighbours) == 0
    assert len(link.neighbours.failures) == 10


def test_c60_what_waits_is_bounded_in_all() -> None:
    link = Link(NeighbourConfig(waiting_each=4, waiting_all=6))
    results = [link.send(GUEST + number) for number in range(4) for _ in range(4)]
    assert results == [QUEUED] * 6 + [DROPPED] * 2 + [DROPPED] * 8
    assert counted(link) == {"waiting_overflow": 10}
    link.guest_answers()
    assert len([frame for frame in link.says() if frame[12:14] == b"\x08\x00"]) == 4
    assert link.send(OTHER) == QUEUED  # the room is free again


def test_a_question_whose_datagram_found_no_room_is_asked_all_the_same() -> None:
    link = Link(NeighbourConfig(waiting_all=1))
    link.send(OTHER)
    assert link.send(GUEST) == DROPPED
    link.says()
    link.guest_answers()
    assert link.send(GUEST) == SENT


def test_the_one_not_confirmed_for_longest_is_evicted() -> None:
    link = Link(NeighbourConfig(capacity=3))
    for address in (1, 2, 3):
        link.neighbours.learn(0x0A000000 + address, GUEST_MAC, 0)
    link.neighbours.learn(0x0A000001, GUEST_MAC, 1)
    link.neighbours.learn(0x0A000004, GUEST_MAC, 2)
    assert sorted(link.neighbours.headers) == [0x0A000001, 0x0A000003, 0x0A000004]
    assert counted(link) == {"evicted": 1}


@pytest.mark.parametrize(
    "change", [{"timeout_us": 999_999}, {"capacity": 0}, {"requests": 0}, {"waiting_each": 0}]
)
def test_senseless_bounds_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        NeighbourConfig(**change)


addresses = st.integers(0x0A000210, 0x0A000215)


class NeighbourMachine(RuleBasedStateMachine):
    """Any order of sending, hearing and waiting: bounds hold, requests keep their distance, no datagram is lost uncounted."""

    def __init__(self) -> None:
        super().__init__()
        self.link = Link(
            NeighbourConfig(timeout_us=3 * S, capacity=4, questions=3, waiting_each=2, waiting_all=4)
        )
        self.now = 0
        self.sent = self.out = self.dropped = 0
        self.last_request: dict[int, int] = {}

    @rule(address=addresses)
    def send(self, address: int) -> None:
        self.sent += 1
        self.dropped += self.link.send(address, now=self.now) == DROPPED
        self.listen()

    @rule(address=addresses)
    def answer(self, address: int) -> None:
        if address not in self.last_request:
            return
        self.link.hears_arp(REPLY, address, 0x0A000202, self.now)
        self.listen()

    @rule(wait=st.sampled_from([1, 300 * MS, S, 3 * S]))
    def wait(self, wait: int) -> None:
        target = self.now + wait
        due = self.link.ethernet.poll_at()
        while due is not None and due <= target:
            self.now = max(self.now, due)
            self.link.ethernet.on_time(due)
            self.listen()
            due = self.link.ethernet.poll_at()
        self.now = target

    def listen(self) -> None:
        for frame in self.link.says():
            if frame[12:14] == b"\x08\x00":
                self.out += 1
                continue
            target = int.from_bytes(frame[38:42], "big")
            last = self.last_request.get(target)
            evicted = self.link.neighbours.counters.evicted
            assert last is None or self.now - last >= S or evicted, "RFC 1122 2.3.2.1-b"
            self.last_request[target] = self.now

    @invariant()
    def bounded_and_accounted_for(self) -> None:
        cache = self.link.neighbours
        assert len(cache._known) <= 4
        assert len(cache._asked) <= 3
        waiting = sum(len(question.waiting) for question in cache._asked.values())
        assert waiting == cache._waiting <= 4
        replaced = cache.counters.waiting_overflow + cache.counters.too_many_questions - self.dropped
        assert self.sent == self.out + waiting + self.dropped + replaced + cache.counters.waiting_failed
        assert set(cache.headers) <= set(cache._known) | set(cache._asked)
        assert (cache.poll_at() is None) == (len(cache) == 0)


TestNeighbourMachine = NeighbourMachine.TestCase
