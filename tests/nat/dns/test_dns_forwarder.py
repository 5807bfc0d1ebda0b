"""Who waits for what, and what happens when resolvers do not answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.dns.kit import (
    DNS,
    MS,
    ONE,
    THREE,
    TWO,
    S,
    Upstream,
    World,
    only,
    query,
    rcode,
)
from usernat.nat.dns.message import SERVFAIL

# -- who waits for what -----------------------------------------------------------------------------------------------


@pytest.mark.rfc("5452", "5-a")
def test_same_question_is_asked_once() -> None:
    """RFC 5452 5-a: coalesced; each client gets the answer under its own id and to its own port."""
    world = World()
    world.ask(query(id_=1), port=1111)
    world.ask(query(id_=2), port=2222)
    (upstream,) = world.host.live
    upstream.answers("192.0.2.9")
    assert [(answer.port, answer.data[:2]) for answer in world.got] == [(1111, b"\0\1"), (2222, b"\0\2")]
    assert world.counters.joined == 1


@pytest.mark.rfc("1035", "4.2.1-a")
def test_repeated_query_is_absorbed() -> None:
    """RFC 1035 4.2.1-a."""
    world = World()
    for _ in range(5):
        world.ask(query())
    world.host.live[0].answers("192.0.2.9")
    assert len(world.got) == 1
    assert world.counters.repeated == 4


@pytest.mark.parametrize(
    "other", [query("WWW.example."), query(qtype="AAAA"), query(use_edns=0), query(want_dnssec=True)]
)
def test_different_questions_are_not_joined(other: bytes) -> None:
    world = World()
    world.ask(query(), port=1)
    world.ask(other, port=2)
    assert len(world.host.live) == 2


def test_c60_waiting_clients_are_bounded() -> None:
    world = World()
    refused = [rcode(only(answers)) for port in range(1, 100) if (answers := world.ask(query(), port=port))]
    assert refused == [SERVFAIL] * 83
    world.udp.sent.clear()
    world.host.live[0].answers("192.0.2.9")
    assert len(world.got) == 16
    assert world.counters.too_many_joined == 83


@pytest.mark.rfc("5625", "6.3-b")
def test_c60_outstanding_questions_are_bounded() -> None:
    """RFC 5625 6.3-b: one too many is told SERVFAIL at once."""
    world = World(outstanding=10)
    for number in range(10):
        assert world.ask(query(f"n{number}.example.")) == []
    assert rcode(only(world.ask(query("more.example.")))) == SERVFAIL
    assert len(world.host.live) == 10
    assert world.counters.overload == 1
    world.host.live[0].answers()
    assert world.ask(query("more.example.")) == []


def test_c60_outstanding_bytes_are_bounded() -> None:
    world = World(outstanding_bytes=100)
    world.ask(query("a.example."))
    assert rcode(only(world.ask(query("b.example.") + bytes(80)))) == SERVFAIL
    assert world.ask(query("c.example.")) == []
    world.run_until(10 * S)
    assert world.dns._exchange_bytes == 0


# -- resolvers that do not answer ---------------------------------------------------------------------------------------


@pytest.mark.rfc("5625", "6.3-b", "6.1-b")
@pytest.mark.rfc("1035", "4.1.1-c")
def test_c23_silent_resolver_gives_servfail_before_the_guest_gives_up() -> None:
    """RFC 5625 6.3-b, 6.1-b; RFC 1035 4.1.1-c."""
    world = World()
    world.ask(query())
    world.run_until(4_400 * MS)
    assert world.got == []
    world.run_until(4_500 * MS)
    assert rcode(only(world.got)) == SERVFAIL
    assert len(world.host.opened) == 3
    assert world.host.live == []
    assert world.dns.poll_at() is None


def test_c23_servfail_is_in_time_however_long_one_try_may_take() -> None:
    world = World(try_us=10 * S)
    world.ask(query())
    world.run_until(4_500 * MS)
    assert rcode(only(world.got)) == SERVFAIL


def test_c23_answer_after_four_seconds_is_in_time() -> None:
    world = World()
    world.ask(query())
    slow = world.host.opened[0]
    world.run_until(4_000 * MS)
    slow.answers("192.0.2.9")
    assert rcode(only(world.got)) == 0
    assert world.host.live == []


@pytest.mark.rfc("5625", "6.1-b")
def test_c23_late_answers_find_nobody() -> None:
    world = World()
    world.ask(query())
    world.run_until(5 * S)
    world.got.clear()
    for sock in world.host.opened:
        sock.answers("192.0.2.9")
    assert world.got == []


def test_c54_dead_first_resolver() -> None:
    """Fallback, and the dead one is remembered for a while."""
    world = World(resolvers=(ONE, TWO))
    world.ask(query())
    world.run_until(1_500 * MS)
    assert [sock.peer for sock in world.host.opened] == [ONE, TWO]
    world.host.opened[1].answers("192.0.2.9")
    assert rcode(only(world.got)) == 0
    world.ask(query("next.example."))
    assert world.host.live[0].peer == TWO
    world.host.live[0].answers()
    world.run_until(40 * S)
    world.ask(query("later.example."))
    assert world.host.live[0].peer == ONE


def test_c54_refusing_first_resolver_costs_no_time() -> None:
    world = World(resolvers=(ONE, TWO))
    world.ask(query())
    world.host.live[0].fails()
    assert [sock.peer for sock in world.host.live] == [TWO]
    world.host.live[0].answers("192.0.2.9")
    assert rcode(only(world.got)) == 0
    assert world.counters.try_failed == 1


def test_answer_revives_a_dead_resolver() -> None:
    world = World(resolvers=(ONE, TWO))
    world.ask(query())
    world.run_until(1_500 * MS)
    world.host.opened[0].answers("192.0.2.9")
    world.ask(query("next.example."))
    assert world.host.live[0].peer == ONE


@pytest.mark.rfc("1035", "4.1.1-c")
def test_all_refusing_gives_servfail_at_once() -> None:
    world = World(resolvers=(ONE, TWO, THREE))
    world.ask(query())
    for _ in range(3):
        world.host.live[0].fails()
    assert rcode(only(world.got)) == SERVFAIL
    assert len(world.host.opened) == 3


def test_more_resolvers_than_tries_are_all_asked() -> None:
    many = tuple((ONE[0] + number, 53) for number in range(6))
    world = World(resolvers=many)
    world.ask(query())
    for _ in range(5):
        world.host.live[0].fails()
    world.host.live[0].answers("192.0.2.9")
    assert [sock.peer for sock in world.host.opened] == list(many)
    assert rcode(only(world.got)) == 0


@pytest.mark.parametrize("resolvers", [(), (ONE,), (ONE, TWO)])
def test_host_without_sockets_gives_servfail_at_once(resolvers: tuple[tuple[int, int], ...]) -> None:
    world = World(resolvers=resolvers)
    world.host.open_error = OSError(24, "too many open files")
    assert rcode(only(world.ask(query()))) == SERVFAIL
    assert world.dns.poll_at() is None


def test_failing_send_closes_the_socket() -> None:
    world = World()
    world.host.send_error = OSError(101, "network is unreachable")
    assert rcode(only(world.ask(query()))) == SERVFAIL
    assert world.host.live == []


def test_close_leaves_nothing() -> None:
    world = World()
    for number in range(5):
        world.ask(query(f"n{number}.example."))
    connection = world.connect()
    world.writes(connection, query())
    world.host.live[-1].connects()
    world.dns.close()
    assert world.host.live == []
    assert world.dns.poll_at() is None
    assert world.udp.closed
    assert world.tcp.closed
    assert connection.finished
    assert (world.udp.bound, world.tcp.bound) == ((DNS, 53), (DNS, 53))


def happens(sock: Upstream, event: int) -> None:
    """One of four things: nothing, an answer, an error, junk."""
    if event == 1:
        sock.answers("192.0.2.9")
    elif event == 2:
        sock.fails()
    elif event == 3:
        sock.gives(b"junk")


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from((0, 300, 1500, 4600))), max_size=30
    )
)
def test_every_query_is_answered_once_in_time(steps: list[tuple[int, int, int]]) -> None:
    """Whatever resolvers do: one answer a query, within its time, and nothing left over."""
    world = World(resolvers=(ONE, TWO))
    asked: dict[int, int] = {}
    seen: dict[int, int] = {}

    def collect() -> None:
        for answer in world.udp.sent:
            assert answer.port not in seen
            seen[answer.port] = world.now
        world.udp.sent.clear()

    def wait_for(duration: int) -> None:
        end = world.now + duration
        while (due := world.dns.poll_at()) is not None and due < end:
            world.run_until(due)
            collect()
        world.run_until(end)
        collect()

    for port, (name, event, wait) in enumerate(steps, start=1):
        asked[port] = world.now
        world.ask(query(f"n{name}.example.", id_=port), port=port)
        collect()
        if world.host.live:
            happens(world.host.live[name % len(world.host.live)], event)
            collect()
        wait_for(wait * MS)
    wait_for(5 * S)
    assert seen.keys() == asked.keys()
    assert all(seen[port] - asked[port] <= 5 * S for port in asked)
    assert world.host.live == []
    assert world.dns._exchange_bytes == 0
    assert world.dns.poll_at() is None
