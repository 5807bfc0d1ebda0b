from __future__ import annotations

import time
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.dns.kit import answer_to, query
from usernat.nat.dns.message import (
    FORMERR,
    NOTIMP,
    NXDOMAIN,
    OWN_UDP,
    SERVFAIL,
    Query,
    blocked_reply,
    error_reply,
    is_answer,
    parse_query,
    truncated_reply,
    with_id,
)


def parsed(wire: bytes) -> Query:
    result = parse_query(wire)
    assert isinstance(result, Query), result
    return result


def raw(question: bytes, *, flags: int = 0x0100, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    words = (0x1234, flags, *counts)
    return b"".join(word.to_bytes(2, "big") for word in words) + question


QUESTION = b"\3www\7example\0\0\1\0\1"


@pytest.mark.rfc("1035", "2.3.4-a", "4.1.1-c", "4.1.4-a")
@pytest.mark.rfc("5625", "4.1-a", "4.3-a")
@pytest.mark.parametrize(
    ("wire", "result"),
    [
        (b"", "short"),
        (raw(b"")[:11], "short"),
        (raw(QUESTION, flags=0x8100), "not_a_query"),
        (raw(QUESTION, flags=0x2000), NOTIMP),  # NOTIFY
        (raw(QUESTION, flags=0x2800), NOTIMP),  # UPDATE
        (raw(QUESTION, flags=0x0800), NOTIMP),  # inverse query
        (raw(b"", counts=(0, 0, 0, 0)), FORMERR),
        (raw(QUESTION * 2, counts=(2, 0, 0, 0)), FORMERR),
        (raw(QUESTION, counts=(65535, 0, 0, 0)), FORMERR),
        (raw(QUESTION, counts=(1, 65535, 65535, 65535)), FORMERR),
        (raw(QUESTION[:-1]), FORMERR),
        (raw(b"\3ww"), FORMERR),
        (raw(b""), FORMERR),
        (raw(b"\xc0\x0c\0\1\0\1"), FORMERR),  # a pointer to itself
        (raw(b"\xc0\xff\0\1\0\1"), FORMERR),  # forward, out of the packet
        (raw(b"\1a\xc0\x0c\0\1\0\1"), FORMERR),
        (raw(b"\x40" + b"a" * 64 + b"\0\0\1\0\1"), FORMERR),  # label of 64
        (raw(b"\x3f" + b"a" * 63 + b"\0\0\1\0\1"), 0),
        (raw((b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0\0\1\0\1"), 0),  # name of 255
        (raw((b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0\0\1\0\1"), FORMERR),  # of 256
        (raw(b"\0\0\1\0\1"), 0),
        (raw(QUESTION, flags=0x01F0), 0),  # RFC 5625 4.1-a: any flags
        (raw(b"\0\xff\xff\0\3"), 0),  # RFC 5625 4.3-a: any type and class
        (raw(QUESTION + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\1\2\3\4", counts=(1, 1, 0, 0)), 0),
        (
            raw(QUESTION + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\5\1\2\3\4", counts=(1, 1, 0, 0)),
            FORMERR,
        ),  # rdata past the end
        (raw(QUESTION + b"\x80\0\0\1\0\1\0\0\0\0\0\0", counts=(1, 1, 0, 0)), FORMERR),
    ],
)
def test_c53_queries(wire: bytes, result: int | str) -> None:
    """RFC 1035 2.3.4-a, 4.1.1-c, 4.1.4-a; RFC 5625 4.1-a, 4.3-a."""
    query_ = parse_query(wire)
    assert (query_.rcode if isinstance(query_, Query) else query_) == result


@pytest.mark.rfc("5625", "6.3-a")
@given(st.binary(max_size=600))
def test_any_bytes_give_a_query_or_a_reason(data: bytes) -> None:
    result = parse_query(data)
    if isinstance(result, Query):
        dns.message.from_wire(error_reply(result, SERVFAIL))


@given(st.binary(max_size=300), st.tuples(*[st.integers(0, 65535)] * 4))
def test_any_body_behind_a_header(body: bytes, counts: tuple[int, int, int, int]) -> None:
    result = parse_query(raw(body, counts=counts))
    assert isinstance(result, Query)
    answer = dns.message.from_wire(error_reply(result, SERVFAIL))
    assert answer.rcode() == SERVFAIL
    if result.question:
        assert error_reply(result, SERVFAIL)[12 : 12 + len(result.question)] == result.question


@given(st.binary(max_size=300))
def test_any_bytes_as_an_answer(data: bytes) -> None:
    query_ = parsed(query())
    is_answer(data, query_, 7)
    dns.message.from_wire(truncated_reply(query_, answer_to(query())))


@pytest.mark.rfc("1035", "4.1.4-a")
def test_hostile_sizes_cost_little() -> None:
    """64 KiB of one-byte labels, of records, of pointers: each read in one pass."""
    start = time.process_time()
    for body in (b"\1a" * 32_000, QUESTION + bytes(11) * 5_900, QUESTION + b"\xc0\x0c" * 32_000):
        for _ in range(20):
            parse_query(raw(body, counts=(1, 65535, 65535, 65535)))
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("edns", "size"), [({}, None), ({"payload": 4096}, 4096), ({"payload": 100}, 512), ({"payload": 0}, 512)]
)
def test_edns_size(edns: dict[str, Any], size: int | None) -> None:
    """RFC 6891 §6.2.3: less than 512 means 512."""
    assert parsed(query(use_edns=0 if edns else -1, **edns)).udp_size == size


def test_edns_behind_other_records() -> None:
    opt = b"\0\0\x29\x10\0\0\0\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\1\2\3\4"
    assert parsed(raw(QUESTION + record + opt, counts=(1, 1, 0, 1))).udp_size == 4096


def test_edns_has_the_root_as_its_owner() -> None:
    """RFC 6891 §6.1.2."""
    opt = b"\xc0\x0c\0\x29\x10\0\0\0\0\0\0\0"
    assert parsed(raw(QUESTION + opt, counts=(1, 0, 0, 1))).udp_size is None


@pytest.mark.rfc("1035", "4.1.1-a", "2.3.3-a")
def test_error_reply_copies_what_it_must() -> None:
    """RFC 1035 4.1.1-a, 2.3.3-a: id, opcode, RD; the question byte for byte in its case."""
    wire = raw(b"\3wWw\7eXample\0\0\1\0\1")
    reply = error_reply(parsed(wire), SERVFAIL)
    assert reply[:2] == wire[:2]
    assert reply[2:4] == (0x8182).to_bytes(2, "big")
    assert reply[4:] == wire[4:]
    notify = error_reply(parsed(raw(QUESTION, flags=0x2000)), NOTIMP)
    assert notify[2:4] == (0xA084).to_bytes(2, "big")
    assert notify[12:] == QUESTION


def test_opt_answers_opt() -> None:
    with_edns = dns.message.from_wire(error_reply(parsed(query(use_edns=0, payload=4096)), SERVFAIL))
    without = dns.message.from_wire(error_reply(parsed(query()), SERVFAIL))
    assert (with_edns.edns, without.edns) == (0, -1)


@given(
    st.lists(st.binary(min_size=1, max_size=63), max_size=3),
    st.integers(0, 0xFFFF),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
)
def test_replies_are_as_another_library_writes_them(
    labels: list[bytes], id_: int, rcode: int, edns: bool, blocked: bool
) -> None:
    name = dns.name.Name([*labels, b""])
    asked = dns.message.make_query(name, "A", id=id_, use_edns=0 if edns else None)
    wanted = dns.message.make_response(asked, recursion_available=True, our_payload=OWN_UDP)
    wanted.set_rcode(dns.rcode.Rcode(NXDOMAIN if blocked else rcode))
    if blocked and edns:
        wanted.use_edns(0, payload=OWN_UDP, options=[dns.edns.EDEOption(dns.edns.EDECode.BLOCKED)])
    query_ = parsed(asked.to_wire())
    assert (blocked_reply(query_) if blocked else error_reply(query_, rcode)) == wanted.to_wire()


@pytest.mark.rfc("5625", "4.4-b")
@pytest.mark.rfc("1035", "4.1.1-b")
def test_truncated_reply_is_well_formed() -> None:
    """RFC 5625 4.4-b."""
    wire = query()
    answer = answer_to(wire, *(f"192.0.2.{n}" for n in range(100)))
    reply = truncated_reply(parsed(wire), answer)
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.TC
    assert message.flags & dns.flags.RA
    assert not message.answer
    assert message.question == dns.message.from_wire(wire).question


@pytest.mark.rfc("5452", "9.1-a")
@pytest.mark.rfc("1035", "7.1-a", "2.3.3-a")
def test_answers_are_matched() -> None:
    """RFC 5452 9.1-a, RFC 1035 7.1-a, 2.3.3-a: id, name, type, class; names without case."""
    wire = query("www.Example.")
    asked = parsed(wire)
    good = answer_to(wire, "192.0.2.9")
    assert is_answer(good, asked, 7)
    assert is_answer(answer_to(query("WWW.eXAMPLE."), "192.0.2.9"), asked, 7)
    for bad in (
        b"",
        good[:11],
        good[:20],
        with_id(8, good),
        wire,
        answer_to(query("www.example.org."), "192.0.2.9"),
        answer_to(query("wwx.example."), "192.0.2.9"),
        answer_to(query("www.example.", "AAAA")),
        good.replace(b"\0\0\1\0\1\xc0", b"\0\0\1\0\3\xc0"),
        good[:2] + bytes((good[2] | 0x28,)) + good[3:],
        good[:4] + b"\0\0" + good[6:],
        good[:4] + b"\0\2" + good[6:],
    ):
        assert not is_answer(bad, asked, 7)


@pytest.mark.parametrize(
    ("code", "taken"), [(FORMERR, True), (NOTIMP, True), (0, False), (SERVFAIL, False), (3, False)]
)
def test_answers_without_question(code: int, taken: bool) -> None:
    """A server that could not read the question cannot repeat it; nobody else may leave it out."""
    assert (
        is_answer(raw(b"", flags=0x8180 | code, counts=(0, 0, 0, 0)), parsed(query(id_=0x1234)), 0x1234)
        is taken
    )


def test_type_bytes_are_not_letters() -> None:
    """Type 0x4141 is not type 0x6161, though `A` is `a` in a name."""
    asked = parsed(raw(b"\1a\0\x41\x41\0\1"))
    assert not is_answer(raw(b"\1a\0\x61\x61\0\1", flags=0x8180), asked, 0x1234)


def test_name_asked_for() -> None:
    asked = parsed(raw(b"\3wWw\4a\0.B\0\0\x1c\0\1"))
    assert (asked.name, asked.qtype) == (b"\3www\4a\0.b", 28)
    assert parsed(raw(b"\0\0\2\0\1")).name == b""


def test_edns_cut_off_is_malformed() -> None:
    opt = b"\0\0\x29\x10\0\0\0\0\0\0\4\1\2"
    assert parsed(raw(QUESTION + opt, counts=(1, 0, 0, 1))).rcode == FORMERR


@pytest.mark.parametrize(("edns", "codes"), [({}, []), ({"use_edns": 0, "payload": 4096}, [15])])
def test_blocked_reply(edns: dict[str, Any], codes: list[int]) -> None:
    """RFC 8914 §4.16: who speaks EDNS is told why the name does not exist."""
    wire = query("wWw.example.", **edns)
    reply = blocked_reply(parsed(wire))
    message = dns.message.from_wire(reply)
    assert (message.rcode(), message.id, message.answer) == (NXDOMAIN, 7, [])
    assert message.flags & dns.flags.RD
    assert message.flags & dns.flags.RA
    assert reply[12:30] == wire[12:30]
    assert [int(option.code) for option in message.options if isinstance(option, dns.edns.EDEOption)] == codes
    assert message.edns == (0 if edns else -1)
