"""Answers that are too large, cut off, signed, or not to be read."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import pytest

from tests.nat.dns.kit import only, rcode
from tests.nat.dns.screen_kit import Listed, Screened, Waiter, a, records, texts, told
from usernat.nat.dns.answer import MAX_RECORDS
from usernat.nat.dns.message import SERVFAIL, TC


@pytest.mark.parametrize("count", [MAX_RECORDS, MAX_RECORDS + 1])
def test_c60_as_many_addresses_as_are_looked_at_and_one_more(count: int) -> None:
    policy = Listed("many.test")
    world = Screened(policy)
    many = [f"many.test 60 A 198.51.{100 + n // 250}.{n % 250}" for n in range(count)]
    connection = world.connect()
    world.writes(connection, a("many.test"))
    (upstream,) = world.host.live
    upstream.connects()
    upstream.says(records(upstream.take()[0], *many))
    (answer,) = connection.take()
    taken = count if count <= MAX_RECORDS else 0
    assert texts(answer) == [line.split()[-1] for line in many[:taken]]
    assert rcode(answer) == (0 if taken else SERVFAIL)
    assert (len(policy.requests), len(world.names)) == (1 + taken, taken)


def test_c53_what_cannot_be_read_fails_closed() -> None:
    world = Screened(Listed("w.test"))
    world.ask(a("w.test"))
    sock = world.host.live[0]
    sock.gives(records(sock.question, "w.test 60 A 192.0.2.1")[:-1])
    answer = only(world.got)
    assert (rcode(answer), texts(answer)) == (SERVFAIL, [])
    assert world.screening.counters.unreadable == 1
    assert len(world.names) == 0


@pytest.mark.parametrize("cut", [1, 5, 17])
def test_c54_one_that_was_cut_is_asked_for_again_over_tcp(cut: int) -> None:
    world = Screened(Listed("w.test"))
    world.ask(a("w.test"))
    sock = world.host.live[0]
    whole = records(sock.question, "w.test 60 A 192.0.2.1", "w.test 60 A 10.0.0.1")
    sock.gives((whole[:2] + bytes((whole[2] | TC >> 8,)) + whole[3:])[:-cut])
    message = told(only(world.got))
    assert message.flags & dns.flags.TC
    assert (message.answer, message.rcode()) == ([], 0)


def test_c54_what_a_truncated_answer_has_counts() -> None:
    world = Screened(Listed("w.test"))
    world.ask(a("w.test"))
    sock = world.host.live[0]
    whole = records(sock.question, "w.test 60 A 192.0.2.1", "w.test 60 A 10.0.0.1")
    sock.gives(whole[:2] + bytes((whole[2] | TC >> 8,)) + whole[3:])
    answer = only(world.got)
    assert told(answer).flags & dns.flags.TC
    assert texts(answer) == ["192.0.2.1"]
    assert world.found("192.0.2.1") == ("w.test",)


def test_c53_what_cannot_be_written_again_fails_closed() -> None:
    """A record to be withheld beside one that is garbage."""
    world = Screened(Listed("w.test"))
    world.ask(a("w.test"))
    sock = world.host.live[0]
    wire = records(sock.question, "w.test 60 A 10.0.0.1")
    garbage = b"\xc0\x0c\0\x0f\0\1\0\0\0\0\0\1\1"  # MX of one byte
    sock.gives(wire[:7] + b"\2" + wire[8:] + garbage)
    assert rcode(only(world.got)) == SERVFAIL
    assert world.screening.counters.not_rewritten == 1


def test_c53_a_signed_message_that_has_to_change_fails_closed() -> None:
    world = Screened(Listed("w.test"))
    world.ask(a("w.test"))
    sock = world.host.live[0]
    for last in ("192.0.2.1", "10.0.0.1"):
        message = dns.message.from_wire(records(sock.question, f"w.test 60 A {last}"))
        message.use_tsig({dns.name.from_text("key."): b"secret"}, keyname="key.")
        wire = message.to_wire()
        assert (world.screening.answer(Waiter(sock.question), wire, 0) == wire) is (last == "192.0.2.1")
    assert world.screening.counters.not_rewritten == 1
