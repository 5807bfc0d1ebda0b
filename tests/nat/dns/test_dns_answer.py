"""Reading answers: held against dnspython, over well-formed messages, damaged ones, and any bytes."""

from __future__ import annotations

import time

import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.nat.dns.kit import query, rcode
from tests.nat.dns.screen_kit import Listed, Screened, Waiter
from usernat.nat.dns.answer import MAX_RECORDS, read_answer
from usernat.nat.dns.records import labels_of, name_at
from usernat.stack.addr import parse_ip

NAMES = ["w.test.", "W.test.", "x.test.", "y.test.", "Y.TEST.", "deep.w.test."]
ASKED = query("w.test.")
IN = dns.rdataclass.IN


# -- the model: dnspython, names as it compares them --------------------------------------------------------------------


def parsed(data: bytes) -> dns.message.Message:
    return dns.message.from_wire(data, one_rr_per_rrset=True, ignore_trailing=True, continue_on_error=True)


def model(data: bytes) -> tuple[list[dns.name.Name], set[str], set[str]]:
    """The chain, the addresses on it, and all."""
    message = parsed(data)
    chain = [dns.name.from_text("w.test.")]
    while True:
        targets = [
            one[0].target
            for one in message.answer
            if one.name == chain[-1] and one.rdtype == dns.rdatatype.CNAME and one.rdclass == IN
        ]
        if not targets or targets[0] in chain:
            break
        chain.append(targets[0])
    sections = message.answer + message.authority + message.additional
    addresses = [one for one in sections if one.rdtype == dns.rdatatype.A and one.rdclass == IN]
    on_chain = {one[0].address for one in addresses if one in message.answer and one.name in chain}
    return chain, on_chain, {one[0].address for one in addresses}


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(ASKED))
    records = st.one_of(
        st.integers(1, 9).map(lambda n: ("A", f"192.0.2.{n}")),
        st.integers(1, 9).map(lambda n: ("A", f"10.0.0.{n}")),
        st.sampled_from(NAMES).map(lambda name: ("CNAME", name)),
        st.sampled_from(
            [("AAAA", "::1"), ("TXT", '"A"'), ("MX", "1 w.test."), ("HTTPS", "1 ."), ("DNAME", "test.")]
        ),
    )
    for section in (message.answer, message.authority, message.additional):
        for name, (kind, data), class_ in draw(
            st.lists(
                st.tuples(st.sampled_from(NAMES), records, st.sampled_from(["IN", "IN", "IN", "CH"])),
                max_size=6,
            )
        ):
            if kind in ("TXT", "CNAME") or class_ == "IN":
                section.append(dns.rrset.from_text(name, draw(st.integers(0, 600)), class_, kind, data))
    return message.to_wire(max_size=65535)


@given(answers())
def test_c30_the_reader_agrees_with_dnspython(data: bytes) -> None:
    chain, on_chain, everything = model(data)
    answer = read_answer(data)
    assert answer is not None
    steps = answer.chain(b"\1w\4test")
    assert steps is not None
    assert [dns.name.Name([*labels_of(name), b""]) for name in steps] == chain
    assert set(answer.addresses) == set(map(parse_ip, everything))
    assert {one.address for one in answer.records if one.owner in steps} == set(map(parse_ip, on_chain))
    services = [
        one
        for one in parsed(data).answer + parsed(data).authority + parsed(data).additional
        if one.rdtype == 65
    ]
    assert answer.has_services is bool(services)


@given(answers())
def test_c29_a_screened_answer_is_the_same_less_what_is_denied(data: bytes) -> None:
    world = Screened(Listed("w.test", reads_names=False))
    told = world.screening.answer(Waiter(ASKED), data, 0)
    assert told is not None
    _, on_chain, everything = model(data)
    before, after = parsed(data), parsed(told)
    for old, new in zip(
        (before.answer, before.authority, before.additional),
        (after.answer, after.authority, after.additional),
        strict=True,
    ):
        kept = [
            one
            for one in old
            if not (one.rdtype == 1 and one.rdclass == IN and one[0].address.startswith("10."))
        ]
        assert [(one.name, one.ttl, one[0]) for one in new] == [(one.name, one.ttl, one[0]) for one in kept]
    assert (told == data) is not any(address.startswith("10.") for address in everything)
    public = {address for address in on_chain if address.startswith("192.")}
    assert {address for address in everything if world.found(address)} == public


HEAD = ASKED[:2] + b"\x81\x80" + b"\0\1"
QUESTION = ASKED[12:]


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """Any bytes as records, or a good answer with some bytes changed, or cut."""
    if draw(st.booleans()):
        counts = b"".join(draw(st.integers(0, 4)).to_bytes(2, "big") for _ in range(3))
        pieces = st.sampled_from(
            [
                b"\xc0\x0c",
                b"\0\1\0\1",
                b"\0\5\0\1",
                b"\0\0\0\x3c",
                b"\0\4\x7f\0\0\1",
                b"\0\2\xc0\x0c",
                b"\1w\xc0\x0e",
                b"\0",
            ]
        )
        body = b"".join(draw(st.lists(st.one_of(pieces, st.binary(max_size=8)), max_size=30)))
        return HEAD + counts + QUESTION + body
    data = bytearray(draw(answers()))
    for at, value in draw(
        st.lists(st.tuples(st.integers(6, max(6, len(data) - 1)), st.integers(0, 255)), max_size=4)
    ):
        if at < 12 or at >= 12 + len(QUESTION):
            data[at] = value
    return bytes(data[: draw(st.integers(12 + len(QUESTION), len(data)))])


@given(hostile())
@example(HEAD + b"\0\1\0\0\0\0" + QUESTION + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\xc0\0\2\1")
def test_c53_hostile_answers_bind_nothing_off_the_chain(data: bytes) -> None:
    world = Screened(Listed("*", inside=["127.0.0.1"]))
    told = world.screening.answer(Waiter(ASKED), data, 0)
    assert told is not None
    if not len(world.names):
        return
    assert rcode(data) == 0
    _, on_chain, _ = model(data)
    bound = {address for known in world.names._guests.values() for address in known.addresses}
    assert bound <= set(map(parse_ip, on_chain))


@given(st.binary(max_size=300))
def test_c53_any_bytes_as_an_answer_never_raise(data: bytes) -> None:
    world = Screened(Listed("*"))
    world.screening.answer(Waiter(ASKED), data.ljust(12, b"\0"), 0)
    read_answer(data)
    name_at(data, 0)


@pytest.mark.parametrize(
    "record",
    [
        b"\xc0\x0c\0\1\0\1\0\0\0\0\0\5\xc0\0\2\1\0",
        b"\xc0\x0c\0\1\0\1\0\0\0\0\0\3\xc0\0\2",
        b"\xc0\x0c\0\5\0\1\0\0\0\0\0\3\xc0\x0c\0",  # something behind the target
        b"\xc0\x0c\0\5\0\1\0\0\0\0\0\1\1a\0",  # a target that goes on behind the record
        b"\xc0\xff\0\1\0\1\0\0\0\0\0\4\xc0\0\2\1",  # an owner that is nowhere
        b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\xc0\0\2",
        b"",
    ],
)
def test_c53_malformed_records_cannot_be_read(record: bytes) -> None:
    assert read_answer(HEAD + b"\0\1\0\0\0\0" + QUESTION + record) is None


# -- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("1035", "4.1.4-a")
@pytest.mark.parametrize(
    ("data", "at", "name"),
    [
        (b"\1A\1b\0", 0, (b"\1a\1b", 5)),
        (b"\1A\0\1b\xc0\0x", 3, (b"\1b\1a", 7)),
        (b"\1a\0\xc0\0\1b\xc0\3", 5, (b"\1b\1a", 9)),
        (b"\0", 0, (b"", 1)),
        (b"\xc0\0", 0, None),  # to itself
        (b"\xc0\2\0", 0, None),  # ahead
        (b"xx\xc0\5x\1a\0xx\xc0\2", 10, None),  # back, and then ahead
        (b"\1a\xc0\0", 0, None),  # a loop
        (b"\1a\xc0\0", 2, None),  # to what leads back to it
        (b"\2a", 0, None),
        (b"", 0, None),
        (b"\xc0", 0, None),
        (b"\x40" + b"a" * 64 + b"\0", 0, None),
        (b"\x80a\0", 0, None),
        (
            (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0",
            0,
            ((b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61, 255),
        ),
        ((b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0", 0, None),
    ],
)
def test_c53_names_with_pointers(data: bytes, at: int, name: tuple[bytes, int] | None) -> None:
    assert name_at(data, at) == name


@given(st.binary(max_size=64), st.integers(0, 64))
def test_names_are_those_of_dnspython(data: bytes, at: int) -> None:
    ours = name_at(data, at)
    try:
        theirs, used = dns.name.from_wire(data, at)
    except (dns.exception.DNSException, IndexError, ValueError):
        assert ours is None
    else:
        assert ours == (b"".join(bytes((len(one),)) + one.lower() for one in theirs.labels[:-1]), at + used)


# -- bounds -------------------------------------------------------------------------------------------------------------


def test_c60_records_are_bounded() -> None:
    record = b"\xc0\x0c\0\x10\0\1\0\0\0\0\0\0"
    for number in (MAX_RECORDS, MAX_RECORDS + 1):
        data = HEAD + number.to_bytes(2, "big") + bytes(4) + QUESTION + record * number
        assert (read_answer(data) is None) is (number > MAX_RECORDS)


def test_c60_hostile_names_cost_little() -> None:
    """Hundreds of owners that all lead to one name of 127 labels, or into a chain of thousands of pointers."""
    base = 12 + len(QUESTION) + 11  # where the first record's data begins
    labels = b"\1a" * 127 + b"\0"
    pointers = b"\0\0" + b"".join((0xC000 | at).to_bytes(2, "big") for at in range(base, 16_000, 2))
    tail = b"\0\1\0\1\0\0\0\0\0\4\xc0\0\2\1"
    start = time.process_time()
    for body, target, is_name in ((labels, base, True), (pointers, base + len(pointers) - 2, False)):
        first = b"\0\0\x10\0\1\0\0\0\0" + len(body).to_bytes(2, "big") + body
        owner = (0xC000 | target).to_bytes(2, "big")
        head = HEAD + MAX_RECORDS.to_bytes(2, "big") + bytes(4) + QUESTION
        data = head + first + (owner + tail) * (MAX_RECORDS - 1)
        assert (name_at(data, target) is not None) is is_name
        for _ in range(5):
            assert (read_answer(data) is not None) is is_name
    assert time.process_time() - start < 2
