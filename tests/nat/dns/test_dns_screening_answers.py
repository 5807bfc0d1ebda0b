"""What a guest may be told, and which names its addresses have from then on."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import pytest

from tests.nat.dns.kit import DNS, GUEST, S, _Datagram, only, query, rcode
from tests.nat.dns.screen_kit import Always, Listed, Screened, Waiter, a, codes, records, texts, told
from usernat.nat.dns.message import NXDOMAIN, SERVFAIL
from usernat.policy.decision import ALLOWED, READ, Verdict
from usernat.stack.addr import parse_ip

OTHER = parse_ip("10.0.2.16")
INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.1.2.3",
    "192.168.1.1",
    "172.16.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "100.64.0.1",
]


# -- C29: rebinding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", INSIDE)
def test_c29_an_allowed_name_that_resolves_inside_resolves_to_nothing(address: str) -> None:
    world = Screened(Listed("rebind.test"))
    answer = only(world.resolves(a("rebind.test"), f"rebind.test 60 A {address}"))
    assert (rcode(answer), texts(answer)) == (0, [])
    assert world.found(address) == ()
    assert world.screening.counters.addresses_withheld == 1
    request, verdict = world.audit[-1]
    assert (request.destination, request.names, verdict.allowed) == (
        parse_ip(address),
        ("rebind.test",),
        False,
    )


def test_c29_the_hosts_own_addresses_are_inside() -> None:
    world = Screened(Listed("rebind.test"), own=["203.0.113.7"])
    assert texts(only(world.resolves(a("rebind.test"), "rebind.test 60 A 203.0.113.7"))) == []
    assert world.audit[-1][0].host


def test_c29_the_unspecified_address_is_nobodys_whatever_the_policy_says() -> None:
    """A policy could not tell such an answer from a query."""
    world = Screened(Always(ALLOWED))
    assert texts(only(world.resolves(a("w.test"), "w.test 60 A 0.0.0.0", "w.test 60 A 0.0.0.1"))) == [
        "0.0.0.1"
    ]
    assert world.found("0.0.0.0") == ()


def test_c29_a_verdict_that_is_none_for_dns_is_a_no() -> None:
    world = Screened(Always(Verdict(READ)))
    world.screening.answer(Waiter(a("w.test")), records(a("w.test"), "w.test 60 A 192.0.2.1"), 0)
    assert world.found("192.0.2.1") == ()


def test_c29_only_what_points_inside_is_withheld() -> None:
    world = Screened(Listed("rebind.test"))
    answer = only(
        world.resolves(
            a("rebind.test"),
            "rebind.test 60 A 192.0.2.1",
            "rebind.test 60 A 10.0.0.1",
            "rebind.test 60 A 192.0.2.2",
            "rebind.test 60 AAAA ::ffff:127.0.0.1",
        )
    )
    assert texts(answer) == ["192.0.2.1", "192.0.2.2", "::ffff:127.0.0.1"]  # no IPv6 flow exists
    assert world.found("192.0.2.2") == ("rebind.test",)
    assert world.found("10.0.0.1") == ()


def test_c29_what_the_policy_opens_inside_passes() -> None:
    world = Screened(Listed("git.corp.test", inside=["10.1.2.3"]))
    answer = only(
        world.resolves(a("git.corp.test"), "git.corp.test 60 A 10.1.2.3", "git.corp.test 60 A 10.1.2.4")
    )
    assert texts(answer) == ["10.1.2.3"]
    assert world.found("10.1.2.3") == ("git.corp.test",)


@pytest.mark.parametrize("section", ["authority", "additional"])
def test_c29_no_section_carries_it(section: str) -> None:
    world = Screened(Listed("good.test"))
    stray = ["ns.test 60 A 10.0.0.1", "ns.test 60 A 192.0.2.53"]
    answer = only(
        world.resolves(
            a("good.test"),
            "good.test 60 A 192.0.2.1",
            "other.test 60 A 127.0.0.1",
            authority=stray if section == "authority" else [],
            additional=stray if section == "additional" else [],
        )
    )
    message = told(answer)
    assert texts(answer) == ["192.0.2.1"]
    rest = message.authority + message.additional
    assert [rdata.to_text() for rrset in rest for rdata in rrset] == ["192.0.2.53"]
    assert world.screening.counters.addresses_withheld == 2


def test_c29_a_rewritten_answer_says_so() -> None:
    """AD is cleared (RFC 4035 §3.2.3), EDE 15 added; flags, id, case of the question and EDNS stay."""
    world = Screened(Listed("rebind.test"))
    assert world.ask(query("reBind.test.", use_edns=0, payload=1232, want_dnssec=True)) == []
    sock = world.host.live[0]
    upstream = told(records(sock.question, "reBind.test 60 A 10.0.0.1", "reBind.test 60 A 192.0.2.1"))
    upstream.flags |= dns.flags.AD
    upstream.use_edns(
        0, dns.flags.DO, 4096, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")]
    )
    sock.gives(upstream.to_wire())
    answer = only(world.got)
    message = told(answer)
    assert message.flags & dns.flags.RA
    assert not message.flags & dns.flags.AD
    assert (message.id, message.edns, codes(answer)) == (7, 0, [15])
    assert answer[12:25] == query("reBind.test.")[12:25]
    assert message.ednsflags == dns.flags.DO
    assert message.payload == 4096
    assert int(message.options[0].otype) == 10


def test_c29_a_rewritten_answer_keeps_what_is_no_address_and_loses_what_is_no_record() -> None:
    world = Screened(Listed("w.test"))
    wire = records(a("w.test"), "w.test 60 A 10.0.0.1")
    chaos = b"\xc0\x0c\0\1\0\3\0\0\0\x3c\0\3\0\0\1"  # an address of class CH
    answer = world.screening.answer(Waiter(a("w.test")), wire[:7] + b"\2" + wire[8:] + chaos + b"trailing", 0)
    assert answer is not None
    assert [(rrset.rdclass, rrset.rdtype) for rrset in told(answer).answer] == [(3, 1)]


def test_what_is_not_filtered_is_not_touched() -> None:
    world = Screened(Listed("good.test"))
    world.ask(query("good.test.", use_edns=0))
    sock = world.host.live[0]
    wire = records(sock.question, "good.test 60 A 192.0.2.1") + b"trailing"
    sock.gives(wire[:3] + bytes((wire[3] | 0x20,)) + wire[4:])
    assert only(world.got)[2:] == wire[2:3] + bytes((wire[3] | 0x20,)) + wire[4:]
    assert world.screening.counters.rewritten == 0


# -- C30: only the chain counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", [0, 1, 2])
def test_c30_an_address_of_another_name_binds_nothing(section: int) -> None:
    world = Screened(Listed("evil.test", "a.test"))
    stray: list[list[str]] = [[], [], []]
    stray[section].append("a.test 60 A 192.0.2.66")
    world.resolves(
        a("evil.test"), "evil.test 60 A 192.0.2.1", *stray[0], authority=stray[1], additional=stray[2]
    )
    assert len(world.got) == 1
    assert world.found("192.0.2.66") == ()
    assert world.found("192.0.2.1") == ("evil.test",)


def test_c30_nor_one_of_a_chain_that_is_not_the_questions() -> None:
    world = Screened(Listed("*"))
    world.resolves(
        a("evil.test"),
        "evil.test 60 CNAME b.test",
        "a.test 60 CNAME c.test",
        "c.test 60 A 192.0.2.3",
        "evil.test.x 60 A 192.0.2.4",
        "test 60 A 192.0.2.5",
        "b.test 60 A 192.0.2.2",
    )
    assert [world.found(f"192.0.2.{n}") for n in range(2, 6)] == [("evil.test",), (), (), ()]


def test_c30_other_classes_are_no_addresses() -> None:
    world = Screened(Listed("evil.test"))
    world.ask(a("evil.test"))
    sock = world.host.live[0]
    wire = sock.question
    stray = b"\xc0\x0c\0\1\0\3\0\0\0\x3c\0\4\x7f\0\0\1"  # CH
    sock.gives(wire[:2] + b"\x81\x80" + wire[4:6] + b"\0\1" + wire[8:] + stray)
    assert world.found("127.0.0.1") == ()
    assert len(only(world.got)) == len(wire) + len(stray)


def test_c30_an_error_binds_nothing() -> None:
    world = Screened(Listed("a.test"))
    world.resolves(a("a.test"), "a.test 60 A 192.0.2.1", rcode=NXDOMAIN)
    assert world.found("192.0.2.1") == ()


# -- C31: the chain counts for the name that was asked for -------------------------------------------------------------


def test_c31_an_allowed_name_may_be_an_alias() -> None:
    world = Screened(Listed("www.c.test"))
    answer = only(
        world.resolves(
            a("www.c.test"),
            "www.c.test 300 CNAME cdn.example",
            "CDN.example 300 CNAME edge.cdn.example",
            "edge.cdn.EXAMPLE 300 A 192.0.2.1",
        )
    )
    assert texts(answer)[-1] == "192.0.2.1"
    assert world.found("192.0.2.1") == ("www.c.test",)
    assert rcode(only(world.ask(a("cdn.example")))) == NXDOMAIN  # by itself it is unlisted


def test_c31_order_does_not_matter() -> None:
    world = Screened(Listed("w.test"))
    world.resolves(a("w.test"), "y.test 60 A 192.0.2.1", "x.test 60 CNAME y.test", "w.test 60 CNAME x.test")
    assert world.found("192.0.2.1") == ("w.test",)


def test_c31_an_alias_of_a_forbidden_name_is_refused() -> None:
    world = Screened(Listed("*", denied=["tracker.test"]))
    answer = only(
        world.resolves(
            query("www.test.", use_edns=0),
            "www.test 60 CNAME x.test",
            "x.test 60 CNAME TRACKER.test",
            "tracker.test 60 A 192.0.2.1",
        )
    )
    assert (rcode(answer), codes(answer), texts(answer)) == (NXDOMAIN, [15], [])
    assert world.found("192.0.2.1") == ()
    assert world.audit[-1][0].names == ("www.test", "x.test", "tracker.test")
    assert world.audit[-1][0].destination == 0


def test_c31_and_refused_silently_where_that_is_the_way() -> None:
    world = Screened(Listed("*", denied=["tracker.test"], silent=True))
    assert world.resolves(a("www.test"), "www.test 60 CNAME tracker.test") == []
    connection = world.connect()
    world.writes(connection, a("www.test"))
    upstream = world.host.live[-1]
    upstream.connects()
    (question,) = upstream.take()
    upstream.says(records(question, "www.test 60 CNAME tracker.test"))
    assert connection.take() == []
    assert connection.owner.idle


def test_c34_the_least_ttl_of_the_chain_counts() -> None:
    world = Screened(Listed("w.test"))
    world.resolves(
        a("w.test"),
        "w.test 100 CNAME x.test",
        "x.test 300 CNAME y.test",
        "y.test 200 A 192.0.2.1",
        "w.test 250 A 192.0.2.2",
    )
    world.host.now = 100 * S - 1
    assert world.found("192.0.2.1") == ("w.test",)
    world.host.now = 100 * S
    assert world.found("192.0.2.1") == ()
    world.host.now = 250 * S - 1
    assert world.found("192.0.2.2") == ("w.test",)
    world.host.now = 250 * S
    assert world.found("192.0.2.2") == ()


def test_c34_a_ttl_with_the_highest_bit_set_is_zero() -> None:
    """RFC 2181 §8."""
    world = Screened(Listed("w.test"))
    wire = records(a("w.test"), "w.test 0 A 192.0.2.1")
    world.screening.answer(Waiter(a("w.test")), wire[:-10] + b"\xff\xff\xff\xff" + wire[-6:], 0)
    world.host.now = 60 * S - 1
    assert world.found("192.0.2.1") == ("w.test",)
    world.host.now = 60 * S
    assert world.found("192.0.2.1") == ()


@pytest.mark.parametrize(("links", "code"), [(20, 0), (32, 0), (33, SERVFAIL)])
def test_c31_long_chains(links: int, code: int) -> None:
    world = Screened(Listed("n0.test"))
    chain = [f"n{number}.test 60 CNAME n{number + 1}.test" for number in range(links)]
    answer = only(world.resolves(a("n0.test"), *chain, f"n{links}.test 60 A 192.0.2.1"))
    assert rcode(answer) == code
    assert world.found("192.0.2.1") == (() if code else ("n0.test",))


@pytest.mark.parametrize(
    "loop",
    [
        ["w.test 60 CNAME w.test"],
        ["w.test 60 CNAME x.test", "x.test 60 CNAME w.test"],
        ["w.test 60 CNAME x.test", "x.test 60 CNAME y.test", "y.test 60 CNAME X.test"],
    ],
)
def test_c31_loops(loop: list[str]) -> None:
    world = Screened(Listed("w.test"))
    answer = only(world.resolves(a("w.test"), *loop))
    assert rcode(answer) == 0
    assert len(texts(answer)) == len(loop)


# -- C32, and whose answer it is ----------------------------------------------------------------------------------------


def test_c32_names_that_share_an_address_stay_apart() -> None:
    world = Screened(Listed("one.test", "two.test"))
    for name in ("one.test", "two.test"):
        world.udp.sent.clear()
        world.resolves(a(name), f"{name} 300 A 192.0.2.1")
    assert world.found("192.0.2.1") == ("one.test", "two.test")


def test_c32_clients_that_wait_for_one_answer_are_guests_of_their_own() -> None:
    """One exchange, two guests: each is judged and bound by itself, and once."""
    policy = Listed("*")
    world = Screened(policy)
    for guest, port in ((GUEST, 4000), (GUEST, 4001), (OTHER, 4000)):
        world.udp.inbox.append(_Datagram(memoryview(a("w.test", id_=port)), guest, port, DNS))
    world.dns.serve(world.now)
    (sock,) = world.host.live
    policy.requests.clear()
    sock.gives(records(sock.question, "w.test 60 A 192.0.2.1", "w.test 60 A 10.0.0.1"))
    assert [(answer.dst, answer.port, texts(answer.data)) for answer in world.got] == [
        (GUEST, 4000, ["192.0.2.1"]),
        (GUEST, 4001, ["192.0.2.1"]),
        (OTHER, 4000, ["192.0.2.1"]),
    ]
    assert [int.from_bytes(answer.data[:2], "big") for answer in world.got] == [4000, 4001, 4000]
    assert [request.guest for request in policy.requests] == [GUEST, GUEST, OTHER, OTHER]
    assert world.found("192.0.2.1") == world.found("192.0.2.1", OTHER) == ("w.test",)


def test_a_malformed_name_is_bound_to_nothing() -> None:
    world = Screened(Listed("*"))
    world.ask(query()[:12] + b"\x08pypi.org\0\0\1\0\1")
    (sock,) = world.host.live
    sock.answers("192.0.2.1")
    assert len(world.got) == 1
    assert world.found("192.0.2.1") == ()


# -- records that lead around the reading of names ----------------------------------------------------------------------


@pytest.mark.parametrize("reads_names", [True, False])
def test_c33_service_bindings_in_other_answers(reads_names: bool) -> None:
    """Of ANY, or beside an address."""
    world = Screened(Listed("w.test", reads_names=reads_names))
    answer = only(
        world.resolves(
            query("w.test.", "ANY"),
            "w.test 60 A 192.0.2.1",
            "w.test 60 HTTPS 1 . alpn=h3 ipv4hint=10.0.0.1",
            additional=["w.test 60 SVCB 1 . alpn=h3"],
        )
    )
    assert len(texts(answer)) == (1 if reads_names else 2)
    assert len(told(answer).additional) == (0 if reads_names else 1)
    assert world.screening.counters.services_withheld == reads_names


def test_transfer_passes_as_it_is_where_no_rule_reads_names() -> None:
    world = Screened(Listed("*", reads_names=False))
    connection = world.connect()
    world.writes(connection, query("zone.test.", "AXFR"))
    (upstream,) = world.host.live
    upstream.connects()
    (question,) = upstream.take()
    wire = records(question, "zone.test 60 A 10.0.0.1", "zone.test 60 A 192.0.2.1")
    upstream.says(wire, wire)
    assert [message[2:] for message in connection.take()] == [wire[2:]] * 2
    assert len(world.names) == 0


def test_transfer_does_not_pass_a_policy_that_came_while_it_was_on_its_way() -> None:
    world = Screened(Listed("*", reads_names=False))
    connection = world.connect()
    world.writes(connection, query("zone.test.", "AXFR"))
    (upstream,) = world.host.live
    upstream.connects()
    (question,) = upstream.take()
    world.policy = Listed("zone.test")
    upstream.says(records(question, "zone.test 60 A 10.0.0.1", "zone.test 60 A 192.0.2.1"))
    assert [texts(message) for message in connection.take()] == [["192.0.2.1"]]
