"""What passes, what is cut, what is answered at once, whose answer counts: RFC 1035, 5452 and 5625."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import pytest

from tests.nat.dns.kit import (
    GUEST,
    ONE,
    Answer,
    World,
    answer_to,
    only,
    plain_answer,
    query,
    rcode,
)
from usernat.nat.dns.message import FORMERR, NOTIMP, TC, with_id

# -- transparency -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5625", "3-a")
def test_query_and_answer_pass_byte_for_byte() -> None:
    """RFC 5625 3-a: all but the id."""
    world = World()
    wire = query()
    assert world.ask(wire) == []
    (upstream,) = world.host.live
    assert upstream.peer == ONE
    assert upstream.question[2:] == wire[2:]
    answer = answer_to(upstream.question, "192.0.2.9")
    upstream.gives(answer)
    assert world.got == [Answer(with_id(7, answer), GUEST, 4000)]
    assert world.host.live == []
    assert world.dns.poll_at() is None


@pytest.mark.rfc("5625", "4.1-a")
@pytest.mark.parametrize("bit", range(0x10, 0x800, 0x10))
def test_flags_pass(bit: int) -> None:
    """RFC 5625 4.1-a: AA, TC, RD, RA, Z, AD, CD in any combination."""
    world = World()
    wire = query()
    wire = wire[:2] + (bit & 0x7F0).to_bytes(2, "big") + wire[4:]
    world.ask(wire)
    assert world.host.live[0].question[2:] == wire[2:]


@pytest.mark.rfc("5625", "4.3-a", "4.5-b")
@pytest.mark.parametrize("qtype", ["A", "ANY", "TYPE65535", "TKEY", "TYPE0", "HTTPS", "AXFR"])
def test_any_type_passes(qtype: str) -> None:
    """RFC 5625 4.3-a, 4.5-b."""
    world = World()
    wire = query("a.example.", qtype)
    world.ask(wire)
    assert world.host.live[0].question[2:] == wire[2:]


@pytest.mark.rfc("5625", "4.3-b")
def test_unknown_records_pass() -> None:
    """RFC 5625 4.3-b, 4.2-a: records are not looked at, be they compressed or not, known or not."""
    world = World()
    world.ask(query())
    (upstream,) = world.host.live
    answer = plain_answer(upstream.question, 300)
    upstream.gives(answer)
    assert only(world.got)[2:] == answer[2:]


@pytest.mark.rfc("5625", "4.4.2-a")
@pytest.mark.parametrize(
    "edns", [{"use_edns": 0}, {"use_edns": 0, "want_dnssec": True}, {"use_edns": 1, "payload": 4096}]
)
def test_edns_passes(edns: dict[str, Any]) -> None:
    """RFC 5625 4.4.2-a: version 0 and 1, options, DO."""
    world = World()
    wire = query(**edns)
    world.ask(wire)
    assert world.host.live[0].question[2:] == wire[2:]


@pytest.mark.rfc("5625", "4.5-a")
def test_tsig_passes() -> None:
    """RFC 5625 4.5-a: the id may change, for TSIG carries the original one; nothing else does."""
    message = dns.message.make_query("www.example.", "A", id=7)
    message.use_tsig({dns.name.from_text("key."): b"secret"}, keyname="key.")
    wire = message.to_wire()
    world = World()
    world.ask(wire)
    assert world.host.live[0].question[2:] == wire[2:]


# -- truncation -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5625", "4.4-a", "4.4-b", "4.4.3-a")
@pytest.mark.rfc("1035", "2.3.4-a", "4.1.1-b")
@pytest.mark.parametrize(
    ("payload", "size", "whole"),
    [
        (None, 512, True),
        (None, 513, False),
        (1232, 1232, True),
        (1232, 1400, False),
        (4096, 4096, True),
        (100, 512, True),
    ],
)
def test_c54_large_answers(payload: int | None, size: int, whole: bool) -> None:
    """RFC 5625 4.4-a, 4.4-b, 4.4.3-a; RFC 1035 2.3.4-a, 4.1.1-b: what the client takes passes, else TC is set."""
    world = World()
    world.ask(query() if payload is None else query(use_edns=0, payload=payload))
    (upstream,) = world.host.live
    answer = plain_answer(upstream.question, size)
    upstream.gives(answer)
    got = only(world.got)
    if whole:
        assert got[2:] == answer[2:]
    else:
        message = dns.message.from_wire(got)
        assert message.flags & dns.flags.TC
        assert message.id == 7
        assert len(got) <= 512
        assert world.counters.truncated == 1


@pytest.mark.rfc("5625", "4.4-c")
@pytest.mark.rfc("9210", "3-b")
def test_c54_truncated_answers_pass_with_tc() -> None:
    """RFC 5625 4.4-c."""
    world = World()
    world.ask(query())
    (upstream,) = world.host.live
    upstream.gives(answer_to(upstream.question, flags=TC))
    assert only(world.got)[2] & 2


# -- answers of our own -----------------------------------------------------------------------------------------------


@pytest.mark.rfc("1035", "4.1.1-c")
@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (query()[:-3], FORMERR),
        (query()[:4] + b"\0\0" + query()[6:], FORMERR),
        (query()[:2] + b"\x28\0" + query()[4:], NOTIMP),
        (query()[:12] + b"\xc0\x0c\0\1\0\1", FORMERR),
    ],
)
def test_c53_unusable_queries_are_answered_at_once(wire: bytes, code: int) -> None:
    """RFC 1035 4.1.1-c."""
    world = World()
    assert rcode(only(world.ask(wire))) == code
    assert world.host.opened == []
    assert world.counters.rejected == 1


def test_c53_what_is_no_query_is_not_answered() -> None:
    world = World()
    assert world.ask(b"") == world.ask(b"\0" * 11) == world.ask(answer_to(query())) == []
    assert (world.counters.short, world.counters.not_a_query) == (2, 1)


# -- whose answer counts ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("5452", "9.1-b")
@pytest.mark.rfc("1035", "7.1-a")
def test_c53_mismatches_are_ignored_and_the_true_answer_taken() -> None:
    """RFC 5452 9.1-a, 9.1-b: each field spoofed in turn."""
    world = World()
    world.ask(query())
    (upstream,) = world.host.live
    good = answer_to(upstream.question, "192.0.2.9")
    wrong_id = int.from_bytes(good[:2], "big") ^ 1
    upstream.gives(
        b"",
        b"garbage",
        with_id(wrong_id, good),
        upstream.question,
        answer_to(with_id(wrong_id ^ 1, query("www.example.org.")), "6.6.6.6"),
        answer_to(with_id(wrong_id ^ 1, query("www.example.", "AAAA"))),
    )
    assert world.got == []
    assert world.counters.mismatch == 6
    upstream.gives(good)
    assert only(world.got)[2:] == good[2:]


def test_c53_guessing_is_cut_short() -> None:
    """RFC 5452 9.3: after 32 wrong answers that socket is closed, and the question asked anew from another one."""
    world = World()
    world.ask(query())
    (upstream,) = world.host.live
    upstream.gives(
        *[
            with_id(number, answer_to(query()))
            for number in range(100)
            if number != int.from_bytes(upstream.question[:2], "big")
        ]
    )
    assert not upstream.open
    assert world.counters.spoofed == 1
    (fresh,) = world.host.live
    assert fresh.question[:2] != upstream.question[:2]
    fresh.answers("192.0.2.9")
    assert rcode(only(world.got)) == 0


@pytest.mark.rfc("5452", "9.2-b", "9.2-c")
@pytest.mark.rfc("5625", "6.1-a")
def test_c59_ids_and_sockets_are_fresh() -> None:
    """RFC 5452 9.2-a, 9.2-b, 9.2-c, 4-b; RFC 5625 6.1-a: a socket of its own and a random id for every question."""
    ids: list[list[int]] = []
    for seed in (1, 2):
        world = World(seed=seed)
        for number in range(100):
            world.ask(query(f"n{number}.example.", id_=number))
        assert len(world.host.live) == 100
        ids.append([int.from_bytes(sock.question[:2], "big") for sock in world.host.live])
    assert all(len(set(one)) > 95 for one in ids)
    assert max(ids[0]) > 60_000
    assert sum(a == b for a, b in zip(*ids, strict=True)) < 5
    assert sum(one == number for number, one in enumerate(ids[0])) < 5


@pytest.mark.rfc("5625", "4.2-a")
@pytest.mark.parametrize("owner", [b"\xc0\x0c", b"\3www\7example\0", b"\1a\xc0\x10"])
def test_names_pass_compressed_or_not(owner: bytes) -> None:
    """In a query's records behind the question, and in an answer's."""
    record = owner + b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
    world = World()
    wire = query()[:6] + b"\0\1" + query()[8:] + record
    assert world.ask(wire) == []
    (upstream,) = world.host.live
    assert upstream.question[2:] == wire[2:]
    answer = upstream.question[:2] + b"\x81\x80" + upstream.question[4:]
    upstream.gives(answer)
    assert only(world.got)[2:] == answer[2:]
