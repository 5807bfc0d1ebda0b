"""The forwarder over TCP, the resolvers' side: RFC 7766, RFC 9210."""

from __future__ import annotations

import errno

import pytest

from tests.nat.dns.kit import MS, ONE, TWO, S, World, answer_to, asked, query, rcode
from usernat.nat.dns.message import SERVFAIL, with_id


@pytest.mark.rfc("7766", "6.2.4-a")
def test_refused_connection_tries_the_next() -> None:
    """RFC 7766 6.2.4-a."""
    world = World(resolvers=(ONE, TWO))
    connection = world.connect()
    world.writes(connection, query())
    world.host.live[0].connects(OSError(errno.ECONNREFUSED, "refused"))
    (second,) = world.host.live
    assert second.peer == TWO
    second.connects()
    second.says(*[answer_to(question) for question in second.take()])
    assert rcode(connection.take()[0]) == 0


@pytest.mark.rfc("9210", "4.1-a")
def test_silent_connection_is_not_used_again() -> None:
    """RFC 9210 4.1-a: our own time-out for connecting, far below the system's."""
    world = World()
    connection = world.connect()
    world.writes(connection, query("a.example."))
    world.run_until(1_500 * MS)
    assert len(world.host.live) == 2
    world.run_until(4_500 * MS)
    assert rcode(connection.take()[0]) == SERVFAIL
    assert world.host.live == []


@pytest.mark.rfc("7766", "6.2.4-a")
@pytest.mark.parametrize("end", [b"", OSError(errno.ECONNRESET, "reset")])
def test_connection_that_ends_with_questions_open(end: bytes | OSError) -> None:
    """RFC 7766 6.2.4-a: one that has answered before is opened again at once."""
    world = World()
    connection, upstream = asked(world, "a", "b")
    first, second = upstream.take()
    upstream.says(answer_to(first, "192.0.2.9"))
    upstream.gives(end)
    (fresh,) = world.host.live
    fresh.connects()
    (again,) = fresh.take()
    assert again[2:] == second[2:]
    fresh.says(answer_to(again, "192.0.2.8"))
    assert [answer[1] for answer in connection.take()] == [1, 2]


def test_connection_that_never_answers_but_closes() -> None:
    world = World()
    connection, upstream = asked(world, "a")
    upstream.gives(b"")
    assert rcode(connection.take()[0]) == SERVFAIL
    assert world.host.live == []


def test_resolver_that_closes_after_every_answer() -> None:
    world = World()
    connection, upstream = asked(world, "a")
    upstream.says(*[answer_to(question) for question in upstream.take()])
    upstream.gives(b"")
    world.writes(connection, query("b.example."))
    (fresh,) = world.host.live
    fresh.connects()
    fresh.says(*[answer_to(question) for question in fresh.take()])
    assert [rcode(answer) for answer in connection.take()] == [0, 0]


@pytest.mark.rfc("7766", "6.2.3-a")
def test_idle_upstream_connection_is_closed() -> None:
    """RFC 7766 6.2.3-a."""
    world = World()
    _, upstream = asked(world, "a")
    upstream.says(*[answer_to(question) for question in upstream.take()])
    world.run_until(4 * S)
    assert upstream.open
    world.run_until(6 * S)
    assert not upstream.open


def test_upstream_that_takes_bytes_slowly() -> None:
    world = World()
    connection = world.connect()
    world.writes(connection, query("a.example."), query("b.example."))
    upstream = world.host.live[0]
    upstream.room = 7
    upstream.connects()
    while upstream.writable:
        upstream.room = 7
        upstream.becomes_writable()
    assert len(upstream.take()) == 2


@pytest.mark.rfc("7766", "7-b")
def test_mismatches_on_a_stream_are_ignored() -> None:
    """RFC 7766 7-b."""
    world = World()
    connection, upstream = asked(world, "a")
    (question,) = upstream.take()
    wrong = int.from_bytes(question[:2], "big") ^ 1
    upstream.says(
        b"", b"x", with_id(wrong, answer_to(question)), answer_to(with_id(wrong ^ 1, query("z.example.")))
    )
    assert connection.take() == []
    assert world.counters.mismatch == 4
    upstream.says(answer_to(question))
    assert len(connection.take()) == 1


@pytest.mark.rfc("5625", "4.3-a")
def test_zone_transfer_of_many_messages() -> None:
    """RFC 5625 4.3-a: AXFR too; its messages pass until the resolver closes or falls silent."""
    world = World()
    connection = world.connect()
    wire = query("example.", "AXFR")
    world.writes(connection, wire, wire)
    upstream = world.host.live[0]
    upstream.connects()
    first, second = upstream.take()
    upstream.says(answer_to(second, "192.0.2.8"))
    for _ in range(3):
        upstream.says(answer_to(first, "192.0.2.9"))
        world.run_until(world.now + 3 * S)
    assert [rcode(answer) for answer in connection.take()] == [0] * 4
    world.run_until(world.now + 30 * S)
    assert connection.take() == []
    assert connection.finished
    assert world.host.live == []
    assert world.dns.poll_at() is None
