"""Answers that are written anew: names keep their meaning, wherever they point to."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.dns.kit import only, query, rcode
from tests.nat.dns.screen_kit import Listed, Screened, a, told
from usernat.nat.dns.message import SERVFAIL
from usernat.nat.dns.rewriting import without
from usernat.nat.dns.screening import MAX_JUDGED
from usernat.stack.addr import parse_ip

KEPT = {parse_ip("192.0.2.1")}

names = st.sampled_from(
    ["w.test.", "a.w.test.", "mail.w.test.", "x.example.", "deep.er.x.example.", "other."]
)
kinds = st.one_of(
    st.tuples(st.just("A"), st.sampled_from(["192.0.2.1", "10.0.0.1", "10.0.0.2"])),
    st.tuples(st.sampled_from(["NS", "CNAME", "PTR", "DNAME"]), names),
    st.tuples(st.sampled_from(["MX", "AFSDB", "RT", "KX"]), names.map(lambda name: f"10 {name}")),
    st.tuples(st.just("SOA"), st.tuples(names, names).map(lambda two: " ".join(two) + " 1 2 3 4 5")),
    st.tuples(st.just("RP"), st.tuples(names, names).map(" ".join)),
    st.tuples(st.just("PX"), st.tuples(names, names).map(lambda two: "10 " + " ".join(two))),
    st.tuples(st.just("SRV"), names.map(lambda name: f"1 2 443 {name}")),
    st.tuples(st.just("NAPTR"), names.map(lambda name: f'1 2 "s" "x" "" {name}')),
    st.tuples(st.sampled_from(["HTTPS", "SVCB"]), names.map(lambda name: f"1 {name} alpn=h3")),
    st.tuples(st.just("TXT"), st.just('"\\192\\012"')),  # looks like a pointer
    st.tuples(st.just("AAAA"), st.just("2001:db8::1")),
)
sections = st.lists(st.tuples(names, kinds), max_size=8)


def rrset(owner: str, kind: tuple[str, str]) -> dns.rrset.RRset:
    return dns.rrset.from_text(owner, 60, "IN", *kind)


@given(sections, sections, sections, st.booleans(), st.booleans())
def test_what_stays_says_what_it_said(
    answer: list[tuple[str, tuple[str, str]]],
    authority: list[tuple[str, tuple[str, str]]],
    additional: list[tuple[str, tuple[str, str]]],
    edns: bool,
    services: bool,
) -> None:
    """Against dnspython, which reads both messages; compressed as it compresses."""
    message = dns.message.make_response(dns.message.from_wire(query("W.test.")), recursion_available=True)
    message.flags |= dns.flags.AD
    written = (answer, authority, additional)
    for section, listed in zip(message.sections[1:], written, strict=True):
        section += [rrset(*one) for one in listed]
    if edns:
        message.use_edns(0, payload=4096)
    rewritten = without(message.to_wire(max_size=65535) + b"trailing", KEPT, services=services)
    assert rewritten is not None
    again = dns.message.from_wire(rewritten, one_rr_per_rrset=True)
    for section, listed in zip(again.sections[1:], written, strict=True):
        stay = [
            rrset(owner, kind)
            for owner, kind in listed
            if not (kind[0] == "A" and kind[1] != "192.0.2.1")
            and (services or kind[0] not in ("HTTPS", "SVCB"))
        ]
        assert [one.to_text().lower() for one in section] == [one.to_text().lower() for one in stay]
    assert str(again.question[0].name) == "W.test."
    assert not again.flags & dns.flags.AD
    assert (again.edns >= 0) is edns
    assert [int(option.otype) for option in again.options] == ([15] if edns else [])


@given(st.binary(max_size=200), st.integers(0, 12))
def test_whatever_comes_it_is_written_or_refused(data: bytes, count: int) -> None:
    wire = (
        query("w.test.")[:2] + b"\x81\x80\0\1\0" + bytes((count, 0, 0, 0, 0)) + query("w.test.")[12:] + data
    )
    written = without(wire, KEPT, services=False)
    assert written is None or len(written) < 65536


def test_a_name_that_began_in_a_record_that_is_withheld() -> None:
    """Its first user spells it out, all others point to it there."""
    head = query("w.test.")[:2] + b"\x81\x80\0\1\0\4\0\0\0\0" + query("w.test.")[12:]
    fixed = b"\0\1\0\1\0\0\0\x3c\0\4"
    gone = len(head)
    wire = head + b"\4long\5owner\0" + fixed + b"\x0a\0\0\1"
    for _ in range(2):
        wire += (0xC000 | gone).to_bytes(2, "big") + fixed + b"\xc0\0\2\1"
    wire += (0xC000 | gone + 5).to_bytes(2, "big") + fixed + b"\xc0\0\2\1"
    written = without(wire, KEPT, services=True)
    assert written is not None
    message = dns.message.from_wire(written, one_rr_per_rrset=True)
    assert [str(one.name) for one in message.answer] == ["long.owner.", "long.owner.", "owner."]
    assert len(written) == len(head) + (12 + 14) + (2 + 14) * 2


@pytest.mark.parametrize("pointer", [b"\xc0\x60", b"\xff\xff", b"\xc0\x19", b"\x40a", b"\xc0"])
def test_c53_pointers_that_lead_nowhere(pointer: bytes) -> None:
    """Forward, out of the message, to themselves; a label of a type that there is not; one that is cut off."""
    head = query("ww.test.")[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query("ww.test.")[12:]
    assert len(head) == 0x19
    record = pointer + b"\0\x0c\0\1\0\0\0\x3c\0\2\xc0\x0c"
    assert without(head + record, KEPT, services=True) is None
    inside = b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0" + bytes((len(pointer),)) + pointer
    if pointer != b"\xc0\x19":
        assert without(head + inside, KEPT, services=True) is None


def test_an_answer_of_names_times_addresses_beyond_measure_fails_closed() -> None:
    """The policy is asked about each address under all names that lead there."""
    for addresses, code in ((MAX_JUDGED // 17, 0), (MAX_JUDGED // 17 + 1, SERVFAIL)):
        policy = Listed("n0.test")
        world = Screened(policy)
        chain = [f"n{number}.test 60 CNAME n{number + 1}.test" for number in range(16)]
        found = [f"n16.test 60 A 192.0.2.{number}" for number in range(addresses)]
        answer = only(world.resolves(query("n0.test.", use_edns=0, payload=4096), *chain, *found))
        assert rcode(answer) == code
        assert len(policy.requests) == (2 + addresses if code == 0 else 1)
        assert world.screening.counters.unreadable == (code != 0)


def test_many_options_of_a_rewritten_answer_are_told_once() -> None:
    world = Screened(Listed("w.test"))
    world.ask(a("w.test"))
    (sock,) = world.host.live
    opt = b"\0\0\x29\x10\0\0\0\0\0\0\0"
    inside = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\1"
    sock.gives(sock.question[:2] + b"\x81\x80\0\1\0\1\0\0\0\1" + sock.question[12:] + inside + opt)
    assert [int(option.otype) for option in told(only(world.got)).options] == [15]
