"""No step of the loop does more than a moment's worth, and nothing that is left undone is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nat.dns.kit import DNS, GUEST, MS, S, World, _Datagram, answer_to, asked, query, rcode
from tests.nat.dns.screen_kit import Listed, Screened, a, records
from tests.nat.kit import NAMESERVER, Lab
from usernat.nat.dns.framing import framed
from usernat.nat.dns.message import NXDOMAIN, SERVFAIL
from usernat.nat.dns.turns import MOMENT, Turns
from usernat.nat.gateway import Gateway
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

OVER = 16  # units: the clients that one guest may have at one answer


def most(world: World, done: Callable[[], int]) -> int:
    """Lets the loop come again until nothing is left; how much the busiest step did."""
    worst = 0
    before = done()
    busy = True
    while busy:
        busy = world.step()
        worst = max(worst, done() - before)
        before = done()
    return worst


class Count:
    """A worker with so many pieces of work, of one unit each."""

    def __init__(self, turns: Turns, pieces: int) -> None:
        self.turns = turns
        self.left = pieces
        self.done: list[int] = []  # when

    def turn(self, now: int) -> bool:
        self.turns.spend(1)
        self.left -= 1
        self.done.append(now)
        return self.left > 0


# -- the line -----------------------------------------------------------------------------------------------------------


def test_the_line_is_served_round_robin_and_goes_on_the_next_moment() -> None:
    turns = Turns()
    one, two = Count(turns, MOMENT), Count(turns, MOMENT)
    turns.may(4)
    turns.spend(MOMENT)
    assert not turns.serve(one, 4)
    assert not turns.serve(two, 4)
    assert turns.poll_at() == 5
    turns.run(5)
    assert (one.left, two.left) == (MOMENT // 2, MOMENT // 2)
    turns.run(5)
    assert (one.left, two.left) == (MOMENT // 2, MOMENT // 2)
    assert turns.poll_at() == 6
    turns.run(6)
    assert (one.left, two.left) == (0, 0)
    assert turns.poll_at() is None


def test_nobody_waits_for_one_who_has_much_to_do() -> None:
    turns = Turns()
    greedy, modest = Count(turns, 10_000), Count(turns, 1)
    turns.serve(greedy, 1)
    turns.serve(modest, 1)
    turns.run(2)
    assert modest.done == [2]


def test_who_is_dropped_has_no_turn() -> None:
    turns = Turns()
    turns.may(1)
    turns.spend(MOMENT)
    one, two = Count(turns, 1), Count(turns, 1)
    assert not turns.serve(one, 1)
    assert not turns.serve(two, 1)
    turns.drop(one)
    turns.drop(one)
    turns.run(2)
    assert (one.done, two.done) == ([], [2])


def test_turns_do_not_nest() -> None:
    turns = Turns()
    inner = Count(turns, 1)

    class Outer:
        def turn(self, now: int) -> bool:
            assert not turns.serve(inner, now)
            assert inner.done == []
            return False

    assert turns.serve(Outer(), 1)
    assert inner.done == [1]


# -- from the guests ----------------------------------------------------------------------------------------------------


def test_c60_sessions_that_waited_for_a_silent_resolver_do_not_stall_the_loop() -> None:
    """The review's attack: sessions full of queries that wait, their receive queues full of more; all of them end at one moment."""
    calls: list[int] = []
    lab = Lab(policy=NetworkPolicy.deny_all().allow_domain("*.ok.test"))
    sessions = [lab.guest.tcp.connect(NAMESERVER, 53) for _ in range(4)]
    lab.run(50 * MS)
    for session in sessions:
        session.send(b"".join(framed(a(f"q{number}.ok.test", id_=number)) for number in range(64)))
    lab.run(100 * MS)
    for session in sessions:
        session.send(framed(a("no", id_=7)) * 2_000)
    lab.run(2 * S)
    waiting = lab.count("dns.queries")
    assert waiting == 4 * 64
    with pytest.MonkeyPatch.context() as patch:
        for name in ("serve", "on_time"):
            patch.setattr(Gateway, name, counted(getattr(Gateway, name), calls))
        lab.run(6 * S)
    assert lab.count("dns.queries") == 4 * 2_000 + waiting
    assert lab.count("dns.no_answer") == 64
    assert max(calls) <= MOMENT + OVER


def counted(call: Callable[[Gateway, int], None], calls: list[int]) -> Callable[[Gateway, int], None]:
    def counting(self: Gateway, now: int) -> None:
        before = self.dns.counters.queries
        call(self, now)
        calls.append(self.dns.counters.queries - before)

    return counting


def test_many_sessions_at_one_moment_share_a_moment() -> None:
    world = Screened(Listed(), settles=False)
    sessions = [world.connect() for _ in range(100)]
    world.settle()
    world.host.now += 1
    for session in sessions:
        session.inbox += framed(a("evil.test")) * 30
        session.owner.serve(world.now)
    assert world.counters.queries <= MOMENT + OVER
    assert most(world, lambda: world.counters.queries) <= MOMENT + OVER
    assert [len(session.take()) for session in sessions] == [30] * 100


def test_what_is_left_of_a_stream_waits_for_no_event() -> None:
    """Less is left than a read brings, so that neither the connection nor an answer will tell of it."""
    world = Screened(Listed(), settles=False)
    connection = world.connect()
    connection.eof = True
    world.writes(connection, *[a("evil.test")] * (2 * MOMENT))
    assert not connection.finished
    world.settle()
    assert len(connection.take()) == 2 * MOMENT
    assert connection.finished


def test_session_that_ends_while_it_stands_in_the_line() -> None:
    world = Screened(Listed(), settles=False)
    connection = world.connect()
    world.writes(connection, *[a("evil.test")] * (3 * MOMENT))
    connection.closed = True
    connection.owner.serve(world.now)
    assert world.dns.poll_at() is None
    assert world.counters.queries <= MOMENT + OVER


def test_session_that_waits_for_its_turn_is_not_idle() -> None:
    """Neither does it make room for another, nor does it end for having said nothing."""
    world = Screened(Listed(), settles=False, sessions=1, session_idle_us=1)
    connection = world.connect()
    world.writes(connection, *[a("evil.test")] * (2 * MOMENT))
    refused = world.connect()
    world.settle()
    assert refused.aborted
    assert len(connection.take()) == 2 * MOMENT
    world.run_until(world.now + 2)
    assert connection.finished


def test_junk_in_a_stream_costs_as_much_as_queries() -> None:
    world = World(settles=False)
    connection = world.connect()
    world.writes_raw(connection, bytes(50_000))  # 25,000 empty messages
    assert world.counters.short <= MOMENT + OVER
    assert most(world, lambda: world.counters.short) <= MOMENT + OVER
    assert world.counters.short == 25_000


def test_a_long_query_counts_for_many() -> None:
    world = World(settles=False)
    connection = world.connect()
    world.writes(connection, *[query().ljust(60_000, b"\0")] * 5)
    assert world.counters.queries == 1
    assert most(world, lambda: world.counters.queries) == 1
    assert world.counters.queries == 5


def test_datagrams_that_wait_are_taken_in_turns() -> None:
    world = Screened(Listed(), settles=False)
    for number in range(1_000):
        world.udp.inbox.append(_Datagram(memoryview(a("evil.test")), GUEST, 1 + number, DNS))
    world.dns.serve(world.now)
    assert len(world.got) <= MOMENT + OVER
    assert most(world, lambda: len(world.got)) <= MOMENT + OVER
    assert [answer.port for answer in world.got] == list(range(1, 1_001))


def test_datagrams_do_not_keep_connections_out() -> None:
    world = Screened(Listed(), settles=False)
    for number in range(1_000):
        world.udp.inbox.append(_Datagram(memoryview(a("evil.test")), GUEST, 1 + number, DNS))
    world.connect()
    assert world.udp.inbox
    assert world.counters.sessions == 1


def test_queries_end_in_time_where_every_moment_is_spent() -> None:
    world = World(settles=False)
    world.ask(query())
    for _ in range(2):
        world.host.now += 4_500 * MS
        world.dns.turns.may(world.now)
        world.dns.turns.spend(MOMENT)
        world.dns.on_time(world.now)
    assert world.counters.no_answer == 1
    world.settle()
    assert [rcode(answer.data) for answer in world.got] == [SERVFAIL]


def test_many_words_that_come_at_once_are_carried_out_in_turns() -> None:
    world = Screened(Listed(asks=["pypi.org"]), settles=False)
    for port in range(1, 501):
        world.ask(a("pypi.org"), port=port)
        world.settle()
    for _, answered in world.waiting:
        answered(False, world.now)
    got = len(world.got)
    assert got <= MOMENT + OVER
    assert most(world, lambda: len(world.got)) <= MOMENT + OVER
    assert world.got[-1].port == 500


# -- from the resolvers -------------------------------------------------------------------------------------------------


def test_exchanges_that_end_at_one_moment_are_told_in_turns() -> None:
    """256 questions, each with 16 clients: 4,096 answers of our own."""
    world = World(settles=False)
    for number in range(256):
        for port in range(1, 17):
            world.ask(query(f"n{number}.example.", id_=number), port=port)
            world.settle()
            assert world.got == []
    start = world.now
    world.host.now = start + 4_400 * MS
    while (due := world.dns.poll_at()) is not None and due < start + 4_400 * MS:
        world.dns.on_time(world.host.now)
        world.host.now += 1
    told: list[int] = []
    answered: dict[tuple[int, int], int] = {}
    while (due := world.dns.poll_at()) is not None:
        world.udp.sent.clear()
        world.host.now = max(due, world.host.now)
        world.dns.on_time(world.now)
        told.append(len(world.got))
        for answer in world.got:
            assert rcode(answer.data) == SERVFAIL
            key = (answer.port, int.from_bytes(answer.data[:2], "big"))
            answered[key] = answered.get(key, 0) + 1
    assert len(answered) == 256 * 16
    assert set(answered.values()) == {1}
    assert max(told) <= MOMENT + OVER
    assert world.host.live == []


def test_deliveries_that_wait_count_as_outstanding() -> None:
    world = Screened(Listed("*"), settles=False, outstanding=1)
    for number in range(16):
        world.udp.inbox.append(_Datagram(memoryview(a("w.test")), GUEST + number, 4000, DNS))
    world.dns.serve(world.now)
    (sock,) = world.host.live
    world.host.now += 1
    sock.gives(records(sock.question, "w.test 60 A 192.0.2.1").ljust(60_000, b"\0"))
    assert world.host.live == []
    assert world.ask(a("more.test")) == []
    world.settle()
    assert world.counters.overload == 1
    assert [rcode(answer.data) for answer in world.got].count(SERVFAIL) == 1
    assert len(world.got) == 15 + 1
    world.ask(a("more.test"))
    world.settle()
    assert len(world.host.live) == 1


def test_resolver_sockets_that_are_ready_at_one_moment() -> None:
    """They are watched no more until their turn, or the selector would tell of them without end."""
    world = World(settles=False)
    for number in range(250):
        world.ask(query(f"n{number}.example.", id_=number))
        world.settle()
    world.host.now += 1
    for sock in world.host.live:
        sock.answers("192.0.2.9")
    assert 0 < len(world.got) <= MOMENT + OVER
    assert not any(sock.readable for sock in world.host.live)
    assert most(world, lambda: len(world.got)) <= MOMENT + OVER
    assert len(world.got) == 250
    assert world.host.live == []


def test_pipelined_answers_are_handed_on_in_turns() -> None:
    world = World(settles=False, session_queries=250)
    connection, upstream = asked(world, *[f"n{number}" for number in range(240)])
    world.settle()
    upstream.becomes_writable()
    questions = upstream.take()
    assert len(questions) == 240
    world.host.now += 1
    upstream.says(*[answer_to(question, "192.0.2.9") for question in questions])
    assert 0 < world.counters.answers <= MOMENT + OVER
    assert not upstream.readable
    assert most(world, lambda: world.counters.answers) <= MOMENT + OVER
    assert len(connection.take()) == 240
    assert upstream.readable


def test_junk_from_a_resolver_is_read_in_turns() -> None:
    world = World(settles=False)
    connection, upstream = asked(world, "a")
    (question,) = upstream.take()
    upstream.gives(bytes(100_000), framed(answer_to(question)))
    assert world.counters.mismatch <= MOMENT
    assert most(world, lambda: world.counters.mismatch) <= MOMENT
    assert len(connection.take()) == 1
    assert world.counters.mismatch == 50_000


def test_upstream_that_ends_behind_answers_that_wait_for_their_turn() -> None:
    world = World(settles=False, session_queries=250)
    connection, upstream = asked(world, *[f"n{number}" for number in range(200)])
    world.settle()
    upstream.becomes_writable()
    upstream.says(*[answer_to(question) for question in upstream.take()])
    upstream.inbox.append(b"")
    world.settle()
    assert len(connection.take()) == 200
    assert not upstream.open


def test_each_guest_that_waits_is_screened_in_a_turn_of_its_own() -> None:
    """A large answer for many guests: one of them a moment."""
    world = Screened(Listed("w.test"), settles=False)
    for number in range(16):
        world.udp.inbox.append(_Datagram(memoryview(a("w.test")), GUEST + number, 4000, DNS))
    world.dns.serve(world.now)
    (sock,) = world.host.live
    world.host.now += 1
    sock.gives(records(sock.question, "w.test 60 A 192.0.2.1").ljust(60_000, b"\0"))
    assert world.screening.counters.answers == 1
    assert most(world, lambda: world.screening.counters.answers) == 1
    assert sorted(answer.dst for answer in world.got) == [GUEST + number for number in range(16)]


def test_close_forgets_who_stands_in_the_line() -> None:
    world = Screened(Listed(), settles=False)
    connection = world.connect()
    world.writes(connection, *[a("evil.test")] * (3 * MOMENT))
    for number in range(100):
        world.udp.inbox.append(_Datagram(memoryview(a("evil.test")), GUEST, 1 + number, DNS))
    world.dns.serve(world.now)
    world.dns.close()
    assert world.dns.poll_at() is None


def test_answers_that_a_guest_reads_late_leave_in_two_pieces() -> None:
    """Thousands of them, which it has not read so far: the first, and the rest."""
    world = Screened(Listed())
    connection = world.connect()
    connection.room = 0
    world.writes(connection, *[a("evil.test")] * 5_000)
    pieces: list[int] = []
    send = connection.send
    connection.send = lambda data: pieces.append(len(data)) or send(data)  # type: ignore[method-assign,func-returns-value]
    connection.room = 1 << 30
    connection.owner.serve(world.now)
    assert len(pieces) == 2
    answers = connection.take()
    assert [rcode(answer) for answer in answers] == [NXDOMAIN] * 5_000
