"""The forwarder over TCP, the guests' side: RFC 7766, RFC 9210."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.dns.kit import DNS, MS, ONE, S, World, answer_to, asked, query, rcode
from usernat.nat.dns.framing import MessageBuffer, framed
from usernat.nat.dns.message import FORMERR, SERVFAIL, with_id


@pytest.mark.rfc("5625", "4.4.1-a", "4.4.1-b")
@pytest.mark.rfc("7766", "5-a", "5-b")
@pytest.mark.rfc("9210", "3-a", "3-c", "4.1-c")
def test_tcp_query_goes_over_tcp() -> None:
    """RFC 5625 4.4.1-a, 4.4.1-b; RFC 7766 5-a, 5-b; RFC 9210 3-a, 3-c, 4.1-c: cold, and never tried over UDP."""
    world = World()
    connection, upstream = asked(world, "a")
    assert [(sock.kind, sock.peer) for sock in world.host.opened] == [("tcp", ONE)]
    (question,) = upstream.take()
    assert question[2:] == query("a.example.")[2:]
    answer = answer_to(question, "192.0.2.9")
    upstream.says(answer)
    assert connection.take() == [with_id(1, answer)]
    assert not connection.finished  # RFC 1035 4.2.2-b, RFC 9210 4.3-a: the client closes first


@pytest.mark.rfc("1035", "4.2.2-a")
@given(st.data())
def test_c53_streams_cut_anywhere(data: st.DataObject) -> None:
    """RFC 1035 4.2.2-a: both ways."""
    world = World()
    connection = world.connect()
    wires = [query(f"n{number}.example.", id_=number) for number in range(3)]
    stream = b"".join(map(framed, wires))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        world.writes_raw(connection, stream[start:end])
    upstream = world.host.live[0]
    upstream.connects()
    back = b"".join(framed(answer_to(question, "192.0.2.9")) for question in upstream.take())
    cuts = sorted(data.draw(st.lists(st.integers(1, len(back) - 1), max_size=6, unique=True)))
    for start, end in zip([0, *cuts], [*cuts, len(back)], strict=True):
        upstream.gives(back[start:end])
    assert [answer[:2] for answer in connection.take()] == [b"\0\0", b"\0\1", b"\0\2"]


@given(st.lists(st.binary(max_size=20), max_size=5), st.data())
def test_message_buffer(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(framed, messages))
    buffer, got = MessageBuffer(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        buffer.feed(stream[:size])
        stream = stream[size:]
        while (message := buffer.take()) is not None:
            got.append(message)
    assert got == messages
    assert len(buffer) == 0


def test_one_byte_at_a_time() -> None:
    world = World()
    connection = world.connect()
    for byte in framed(query()):
        world.writes_raw(connection, bytes((byte,)))
    assert len(world.host.live) == 1


@pytest.mark.rfc("7766", "6.2.1-a", "6.2.1.1-a", "6.2.1.1-b", "7-a", "7-b")
def test_pipelined_queries_share_a_connection_and_are_answered_in_any_order() -> None:
    """RFC 7766 6.2.1-a, 6.2.1.1-a, 6.2.1.1-b, 7-a, 7-b: ten in one segment, answered backwards."""
    world = World()
    connection, upstream = asked(world, *"abcdefghij")
    questions = upstream.take()
    assert len(world.host.opened) == 1
    assert len({question[:2] for question in questions}) == 10
    upstream.says(*[answer_to(question, "192.0.2.9") for question in reversed(questions)])
    assert [answer[1] for answer in connection.take()] == list(range(10, 0, -1))


@pytest.mark.rfc("7766", "7-b")
def test_c59_ids_on_one_connection_are_unique() -> None:
    """RFC 7766 7-b, even where the dice fall twice alike."""

    class Loaded(random.Random):
        drawn = iter((5, 5, 6))

        def getrandbits(self, bits: int, /) -> int:
            return next(self.drawn)

    world = World()
    world.dns.rng = Loaded()
    _, upstream = asked(world, "a", "b")
    assert [question[:2] for question in upstream.take()] == [b"\0\5", b"\0\6"]


@pytest.mark.rfc("7766", "8-a")
def test_each_answer_leaves_as_one_piece() -> None:
    """RFC 7766 8-a: both ways."""
    world = World()
    connection, upstream = asked(world, "a")
    pieces: list[int] = []
    send = connection.send
    connection.send = lambda data: pieces.append(len(data)) or send(data)  # type: ignore[method-assign,func-returns-value]
    (question,) = upstream.take()
    answer = answer_to(question)
    upstream.says(answer)
    assert pieces == [len(answer) + 2]


def test_large_answer_passes_whole() -> None:
    world = World()
    connection, upstream = asked(world, "a")
    (question,) = upstream.take()
    answer = answer_to(question).ljust(60_000, b"\xaa")
    upstream.says(answer)
    assert connection.take() == [with_id(1, answer)]


@pytest.mark.rfc("1035", "4.2.2-c")
def test_half_close_still_gets_all_answers() -> None:
    """RFC 1035 4.2.2-c."""
    world = World()
    connection, upstream = asked(world, "a", "b")
    connection.eof = True
    connection.owner.serve(world.now)
    assert not connection.finished
    upstream.says(*[answer_to(question) for question in upstream.take()])
    assert len(connection.take()) == 2
    assert connection.finished


@pytest.mark.rfc("7766", "6.2.4-b")
def test_client_gone_before_the_answer() -> None:
    """RFC 7766 6.2.4-b."""
    world = World()
    connection, upstream = asked(world, "a")
    connection.closed = True
    connection.error = "reset"
    connection.owner.serve(world.now)
    upstream.says(*[answer_to(question) for question in upstream.take()])
    assert connection.outbox == b""
    assert world.dns._sessions == {}


@pytest.mark.rfc("7766", "6.2.3-a")
@pytest.mark.rfc("9210", "4.2-c", "4.3-a")
@pytest.mark.rfc("1035", "4.2.2-b")
def test_idle_session_is_closed() -> None:
    """RFC 7766 6.2.3-a, RFC 9210 4.2-c, RFC 1035 4.2.2-b."""
    world = World()
    connection = world.connect()
    world.run_until(9_999 * MS)
    assert not connection.finished
    world.run_until(10 * S)
    assert connection.finished
    assert world.counters.sessions_idle == 1
    assert world.dns._sessions == {}


def test_session_that_waits_for_an_answer_is_not_idle() -> None:
    world = World(session_idle_us=S)
    connection, upstream = asked(world, "a")
    world.run_until(4 * S)
    assert not connection.finished
    upstream.says(*[answer_to(question) for question in upstream.take()])
    assert len(connection.take()) == 1
    world.run_until(5 * S)
    assert connection.finished


def test_dripping_bytes_do_not_keep_a_session() -> None:
    """Only whole queries count as traffic."""
    world = World()
    connection = world.connect()
    for second in range(1, 10):
        world.run_until(second * S)
        world.writes_raw(connection, b"\1")
    world.run_until(10 * S)
    assert connection.finished


@pytest.mark.rfc("9210", "4.2-a")
def test_sessions_are_bounded_and_the_oldest_idle_one_makes_room() -> None:
    """RFC 9210 4.2-a, RFC 7766 6.2.2-a."""
    world = World(sessions=3)
    busy, _ = asked(world, "a")
    idle = [world.connect() for _ in range(2)]
    late = world.connect()
    assert [one.finished for one in (busy, *idle, late)] == [False, True, False, False]
    assert world.counters.sessions_evicted == 1
    for number, one in enumerate((idle[1], late)):
        world.writes(one, query(f"busy{number}.example."))
    refused = world.connect()
    assert refused.aborted
    assert world.counters.sessions_refused == 1


def test_queries_of_a_session_are_bounded() -> None:
    """Reading stops, so that the window closes; it goes on with the answers."""
    world = World(session_queries=4)
    connection, upstream = asked(world, *"abcdefgh")
    assert len(upstream.take()) == 4
    more = framed(query("z.example.")) * 2_000
    world.writes_raw(connection, more)
    assert len(connection.inbox) > len(more) - 20_000
    assert world.counters.queries == 4


@pytest.mark.rfc("9210", "4.2-c")
def test_c60_one_question_asked_too_often_does_not_keep_a_session() -> None:
    """RFC 9210 4.2-c: every query of a session comes to an end, also those that could not join the others."""
    world = World()
    connection = world.connect()
    world.writes(connection, *[query(id_=number) for number in range(20)])
    assert [rcode(answer) for answer in connection.take()] == [SERVFAIL] * 4
    upstream = world.host.live[0]
    upstream.connects()
    upstream.says(*[answer_to(question) for question in upstream.take()])
    assert len(connection.take()) == 16
    world.run_until(20 * S)
    assert connection.finished
    assert world.dns.poll_at() is None


def test_reading_goes_on_with_the_answers() -> None:
    world = World(session_queries=2)
    connection, upstream = asked(world, *"abcde")
    answers = 0
    while questions := upstream.take():
        upstream.says(*[answer_to(question) for question in questions])
        answers += len(connection.take())
        upstream.becomes_writable()
    assert answers == 5


def test_c24_session_that_does_not_read_is_cut_off() -> None:
    world = World(session_bytes=100_000)
    connection, upstream = asked(world, "a", "b", "c")
    connection.room = 10
    for question in upstream.take():
        upstream.says(answer_to(question).ljust(60_000, b"\0"))
    assert connection.aborted
    assert world.counters.sessions_not_reading == 1
    assert world.dns._sessions == {}


def test_session_that_reads_may_read_for_ever() -> None:
    """What was sent no longer counts against it."""
    world = World(session_bytes=100_000)
    connection, upstream = asked(world, "a", "b", "c")
    for question in upstream.take():
        upstream.says(answer_to(question).ljust(60_000, b"\0"))
    assert not connection.aborted
    assert len(connection.take()) == 3


def test_slow_reader_gets_all() -> None:
    world = World()
    connection, upstream = asked(world, "a", "b")
    connection.room = 1
    upstream.says(*[answer_to(question) for question in upstream.take()])
    for _ in range(300):
        connection.room = 1
        connection.owner.serve(world.now)
    assert [message[1] for message in connection.take()] == [1, 2]


def test_garbage_in_a_stream() -> None:
    world = World()
    connection = world.connect()
    world.writes(connection, b"", b"\0" * 5, query()[:14], query("good.example."))
    assert world.counters.short == 2
    (error,) = connection.take()
    assert rcode(error) == FORMERR
    assert len(world.host.live) == 1


@pytest.mark.rfc("5625", "4.4.1-b")
def test_udp_and_tcp_do_not_share_an_answer() -> None:
    """RFC 5625 4.4.1-b: a client that came by TCP may need an answer that UDP cannot carry."""
    world = World()
    world.ask(query())
    asked(world, "www")
    assert [sock.kind for sock in world.host.live] == ["udp", "tcp"]


@pytest.mark.rfc("7766", "6.2.2-a")
def test_all_sessions_share_one_connection_to_a_resolver() -> None:
    world = World()
    sessions = [world.connect() for _ in range(10)]
    for number, connection in enumerate(sessions):
        world.writes(connection, query(f"n{number}.example.", id_=number))
    (upstream,) = world.host.opened
    upstream.connects()
    upstream.says(*[answer_to(question) for question in upstream.take()])
    assert [len(connection.take()) for connection in sessions] == [1] * 10


@pytest.mark.rfc("5625", "6.2-a")
@pytest.mark.rfc("9210", "4.1-b")
def test_nothing_listens_on_the_host() -> None:
    """Both listeners are the stack's, at the address on the guests' network; of the host there are only sockets that call a resolver."""
    world = World()
    assert (world.udp.bound, world.tcp.bound) == ((DNS, 53), (DNS, 53))
    assert world.host.opened == []
    world.ask(query())
    asked(world, "a")
    assert [(sock.kind, sock.peer) for sock in world.host.opened] == [("udp", ONE), ("tcp", ONE)]
