"""Where a policy reads names, a query leaves with nothing in it but what was judged; where none does, as it came."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.dns.kit import GUEST, answer_to, only, query, rcode
from tests.nat.dns.screen_kit import Listed, Screened, a, codes, records, texts, told
from usernat.nat.dns.clean import cleaned
from usernat.nat.dns.message import NXDOMAIN, REFUSED, Query, parse_query

SECRET = b"SECRET" * 200


def left(wire: bytes, *, reads_names: bool = True) -> bytes:
    """What leaves the host."""
    world = Screened(Listed("pypi.org", reads_names=reads_names))
    assert world.ask(wire) == []
    return world.host.live[0].question


def options(*listed: tuple[int, bytes]) -> dict[str, Any]:
    return {
        "use_edns": 0,
        "options": [dns.edns.GenericOption(dns.edns.OptionType.make(code), data) for code, data in listed],
    }


def flagged(wire: bytes, flags: int) -> bytes:
    return wire[:2] + flags.to_bytes(2, "big") + wire[4:]


CARRIERS = [
    query("pypi.org.", **options((65001, SECRET))),
    query("pypi.org.", **options((10, b"SECRET12"), (12, SECRET))),  # cookie, padding
    query("pypi.org.", **options((8, b"\0\1\x20\0SECR"))),  # client subnet
    query("pypi.org.") + SECRET,
    query("pypi.org.")[:6] + b"\0\1" + query("pypi.org.")[8:] + b"\0\0\x10\0\1\0\0\0\0\0\6SECRET",
]


@pytest.mark.parametrize("wire", CARRIERS)
def test_c35_a_query_for_an_allowed_name_carries_nothing_else(wire: bytes) -> None:
    """EDNS options, bytes behind the last record, records that are none of a question's."""
    upstream = left(wire)
    assert b"SECR" not in upstream
    message = dns.message.from_wire(upstream)
    assert [str(rrset) for rrset in message.question] == ["pypi.org. IN A"]
    assert (message.answer, message.authority, message.additional, message.options) == ([], [], [], ())
    assert len(upstream) <= 12 + 14 + 11


@pytest.mark.rfc("5625", "3-a")
@pytest.mark.parametrize("wire", CARRIERS)
def test_without_a_policy_that_reads_names_all_of_it_passes(wire: bytes) -> None:
    assert left(wire, reads_names=False)[2:] == wire[2:]


def test_c35_the_spelling_carries_nothing_and_the_guest_gets_its_own_back() -> None:
    """RFC 1035 2.3.3: 0x20, where the guest checks that the answer has its own spelling."""
    world = Screened(Listed("pypi.org"))
    wire = query("pYpI.oRg.")
    assert world.ask(wire) == []
    (upstream,) = world.host.live
    assert upstream.question[12:] == query("pypi.org.")[12:]
    upstream.gives(records(upstream.question, "pypi.org 60 A 192.0.2.9"))
    answer = only(world.got)
    assert answer[12:26] == wire[12:26]
    assert texts(answer) == ["192.0.2.9"]
    assert world.found("192.0.2.9") == ("pypi.org",)


def test_clients_that_spell_it_differently_wait_for_one_answer_and_get_their_own() -> None:
    """Also where it is refused, and where it had to be written anew."""
    for reply in (["pypi.org 60 A 192.0.2.9"], ["pypi.org 60 A 10.0.0.1"], ["pypi.org 60 CNAME evil.test"]):
        world = Screened(Listed("pypi.org", denied=["evil.test"]))
        spellings = {1111: "PyPI.org.", 2222: "pypi.ORG.", 3333: "pypi.org."}
        for port, name in spellings.items():
            world.ask(query(name), port=port)
        (upstream,) = world.host.live
        upstream.gives(records(upstream.question, *reply))
        assert {one.port: str(told(one.data).question[0].name) for one in world.got} == spellings


@pytest.mark.parametrize(
    ("edns", "size", "version", "flags"),
    [
        ({"payload": 100}, 512, 0, 0),
        ({"payload": 1231}, 512, 0, 0),
        ({"payload": 1232}, 1232, 0, 0),
        ({"payload": 4095, "want_dnssec": True}, 1232, 0, dns.flags.DO),
        ({"payload": 65535}, 4096, 0, 0),
        ({"use_edns": 255, "payload": 4096, "ednsflags": 0x7FFF}, 4096, 1, 0),
    ],
)
@pytest.mark.rfc("5625", "4.4.2-a")
def test_edns_stays_without_what_could_carry_data(
    edns: dict[str, Any], size: int, version: int, flags: int
) -> None:
    """RFC 5625 4.4.2-a: it is not refused; size, version and DO are kept, as few values."""
    upstream = dns.message.from_wire(left(query("pypi.org.", **{"use_edns": 0, **edns})))
    assert (upstream.payload, upstream.edns, upstream.ednsflags & 0xFFFF) == (size, version, flags)
    assert upstream.options == ()


def test_no_edns_is_added() -> None:
    assert left(a("pypi.org"))[2:] == a("pypi.org")[2:]


def test_c35_flags_that_mean_nothing_in_a_query_are_cleared() -> None:
    kept = dns.flags.RD | dns.flags.AD | dns.flags.CD
    assert left(flagged(a("pypi.org"), 0x07FF))[2:4] == int(kept).to_bytes(2, "big")
    assert left(flagged(a("pypi.org"), 0))[2:4] == b"\0\0"


def test_over_tcp_too() -> None:
    world = Screened(Listed("pypi.org"))
    connection = world.connect()
    wire = query("PYPI.org.", **options((65001, SECRET)))
    world.writes(connection, wire)
    (upstream,) = world.host.live
    upstream.connects()
    (question,) = upstream.take()
    assert b"SECRET" not in question
    upstream.says(answer_to(question, "192.0.2.9"))
    (answer,) = connection.take()
    assert answer[12:26] == wire[12:26]


def test_after_somebody_was_asked_too() -> None:
    world = Screened(Listed(asks=["pypi.org"]))
    world.ask(query("PYPI.org.", **options((65001, SECRET))))
    world.waiting[0][1](True, world.now)
    assert b"SECRET" not in world.host.live[0].question
    assert world.host.live[0].question[12:22] == a("pypi.org")[12:22]


def signed() -> bytes:
    message = dns.message.make_query("pypi.org.", "A", id=7)
    message.use_tsig({dns.name.from_text("key."): b"secret"}, keyname="key.")
    return message.to_wire()


def sig0() -> bytes:
    record = b"\0\0\x18\0\xff\0\0\0\0\0\x13" + b"\0" * 19
    return a("pypi.org")[:10] + b"\0\1" + a("pypi.org")[12:] + record


@pytest.mark.parametrize("wire", [signed(), sig0(), query("pypi.org.", "TKEY")])
def test_signed_queries_are_refused(wire: bytes) -> None:
    """RFC 5625 4.5-a, 4.5-b hold where no rule reads names: a signature would not survive."""
    world = Screened(Listed("pypi.org"))
    assert rcode(only(world.ask(wire))) == REFUSED
    assert world.host.opened == []
    assert "signed" in world.audit[-1][1].reason
    assert left(wire, reads_names=False)[2:] == wire[2:]


def test_a_signed_query_for_a_name_that_is_denied_is_denied() -> None:
    world = Screened(Listed())
    reply = only(world.ask(signed()))
    assert (rcode(reply), codes(reply)) == (NXDOMAIN, [])


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_whatever_is_a_query_leaves_as_a_short_one(name: bytes, rest: bytes) -> None:
    labels = bytes((len(name[:60]) or 1,)) + (name[:60] or b"a")
    wire = b"\0\7\1\0\0\1\0\0\0\0\0\1" + labels + b"\0\0\1\0\1" + rest
    parsed = parse_query(wire)
    assert isinstance(parsed, Query)
    if not parsed.rcode:
        clean = cleaned(parsed).wire
        again = parse_query(clean)
        assert isinstance(again, Query)
        assert not again.rcode
        assert again.question == parsed.question[:-4].lower() + parsed.question[-4:]
        assert len(clean) == 12 + len(parsed.question) + (11 if parsed.edns else 0)


# -- what was asked under another policy --------------------------------------------------------------------------------


def test_c34_a_yes_that_comes_after_a_reload_is_judged_by_the_new_rules() -> None:
    world = Screened(Listed(asks=["pypi.org"]))
    world.ask(a("pypi.org"))
    world.policy = Listed()
    world.waiting[0][1](True, world.now)
    assert rcode(only(world.got)) == NXDOMAIN
    assert world.host.opened == []
    assert [(verdict.allowed, request.guest) for request, verdict in world.audit] == [(False, GUEST)]


@pytest.mark.parametrize("policy", [Listed("pypi.org"), Listed(asks=["pypi.org"])])
def test_c34_where_the_new_rules_allow_or_ask_as_well_it_has_been_answered(policy: Listed) -> None:
    world = Screened(Listed(asks=["pypi.org"]))
    world.ask(a("pypi.org"))
    world.policy = policy
    world.waiting[0][1](True, world.now)
    assert len(world.host.live) == 1
    assert len(world.waiting) == 1


def test_c34_a_no_stays_a_no() -> None:
    world = Screened(Listed(asks=["pypi.org"]))
    world.ask(a("pypi.org"))
    world.policy = Listed("pypi.org")
    world.waiting[0][1](False, world.now)
    assert rcode(only(world.got)) == NXDOMAIN
    assert world.host.opened == []


@pytest.mark.parametrize(("qtype", "code"), [("AXFR", NXDOMAIN), ("HTTPS", 0), ("TKEY", REFUSED)])
def test_c34_what_the_new_rules_read_of_names_counts(qtype: str, code: int) -> None:
    world = Screened(Listed(asks=["pypi.org"], reads_names=False))
    world.ask(query("pypi.org.", qtype))
    world.policy = Listed("pypi.org")
    world.waiting[0][1](True, world.now)
    assert rcode(only(world.got)) == code
    assert world.host.opened == []


def test_an_answer_to_a_clean_query_finds_its_way_after_a_reload() -> None:
    world = Screened(Listed("pypi.org"))
    world.ask(query("PyPI.org."))
    world.policy = Listed("*", reads_names=False)
    world.host.live[0].answers("192.0.2.9")
    assert only(world.got)[12:26] == query("PyPI.org.")[12:26]
