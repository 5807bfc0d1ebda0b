"""What a guest may ask. "Nothing leaves" means that not even a host socket was opened."""

from __future__ import annotations

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.dns.kit import GUEST, MS, World, asked, only, query, rcode
from tests.nat.dns.screen_kit import Always, Listed, Screened, a, codes, texts
from usernat.nat.dns.message import NOERROR, NXDOMAIN, SERVFAIL
from usernat.nat.dns.screening import spelled
from usernat.policy.decision import ALLOW, DENY, DNS, MALFORMED, READ, FlowRequest, Verdict

EVERY_TYPE = [
    "A",
    "AAAA",
    "TXT",
    "NULL",
    "MX",
    "SRV",
    "CNAME",
    "NS",
    "PTR",
    "ANY",
    "HTTPS",
    "AXFR",
    "TYPE65400",
]


def on_the_wire(labels: tuple[bytes, ...]) -> bytes:
    """A name in the form in which it is read."""
    return b"".join(bytes((len(label),)) + label for label in labels).lower()


def nothing_left(world: World) -> bool:
    return world.host.opened == []


# -- a name is allowed or not, whatever is asked of it ------------------------------------------------------------------


@pytest.mark.parametrize("qtype", EVERY_TYPE)
def test_c35_an_unlisted_name_leaves_nothing_on_the_wire(qtype: str) -> None:
    world = Screened(Listed("pypi.org"))
    assert rcode(only(world.ask(query("c2VjcmV0.evil.test.", qtype)))) == NXDOMAIN
    connection = world.connect()
    world.writes(connection, query("c2VjcmV0.evil.test.", qtype))
    assert rcode(connection.take()[0]) == NXDOMAIN
    assert nothing_left(world)
    assert (world.screening.counters.refused, world.counters.screened) == (2, 2)


def test_c35_a_tunnel_by_labels_and_txt_has_no_way_out() -> None:
    """Names of full length, each another; the listed domain among the labels; queries pipelined over TCP."""
    world = Screened(Listed("pypi.org"))
    data = ["x" * 63] * 3
    for number in range(200):
        name = ".".join([f"{number}", *data, "pypi.org", "evil.test"])[-250:]
        assert rcode(only(world.ask(query(name + ".", "TXT", id_=number)))) == NXDOMAIN
    connection = world.connect()
    world.writes(connection, *[query(f"{'y' * 60}.{number}.evil.test.", "TXT") for number in range(60)])
    assert [rcode(message) for message in connection.take()] == [NXDOMAIN] * 60
    assert nothing_left(world)


def test_c35_each_decision_is_audited() -> None:
    world = Screened(Listed("pypi.org"))
    world.ask(a("evil.test"), port=4000)
    world.ask(a("PyPI.org"), port=4001)
    assert [(request.names, request.guest_port, verdict.action) for request, verdict in world.audit] == [
        (("evil.test",), 4000, DENY),
        (("pypi.org",), 4001, ALLOW),
    ]
    assert world.audit[0][0] == FlowRequest(GUEST, b"", DNS, 0, 53, 4000, ("evil.test",))
    assert len(world.host.live) == 1


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ((b"github", b"com"), "github.com"),
        ((b"GitHub", b"COM"), "github.com"),
        ((b"evilgithub", b"com"), "evilgithub.com"),
        ((b"github", b"com", b"evil"), "github.com.evil"),
        ((b"_dmarc", b"github", b"com"), "_dmarc.github.com"),
        ((b"xn--bcher-kva", b"test"), "xn--bcher-kva.test"),
        ((b"github.com",), MALFORMED),
        ((b"a.github", b"com"), MALFORMED),
        ((b"github", b"com."), MALFORMED),
        ((b"github", b"com\0"), MALFORMED),
        ((b"github\r\n", b"com"), MALFORMED),
        ((b"github%2e", b"com"), MALFORMED),
        ((b"*", b"com"), MALFORMED),
        (("gith\u00fcb".encode(), b"com"), MALFORMED),
        ((b"\xe2\x84\xaa", b"com"), MALFORMED),
        ((b"a b", b"com"), MALFORMED),
        ((b"?",), MALFORMED),
        ((), MALFORMED),
    ],
)
def test_c42_names_of_the_wire(labels: tuple[bytes, ...], name: str) -> None:
    assert spelled(on_the_wire(labels)) == name


def test_c42_a_label_of_46_bytes_has_no_dot_inside() -> None:
    """Its length is a dot, too."""
    assert spelled(on_the_wire((b"a" * 46, b"com"))) == "a" * 46 + ".com"


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=6).map(tuple))
def test_c42_any_labels_are_the_same_labels_or_malformed(labels: tuple[bytes, ...]) -> None:
    name = spelled(on_the_wire(labels))
    assert name == MALFORMED or tuple(name.encode().split(b".")) == tuple(label.lower() for label in labels)


def test_c42_a_label_with_a_dot_inside_is_not_the_listed_name() -> None:
    wire = query()[:12] + b"\x08pypi.org\0\0\1\0\1"
    world = Screened(Listed("pypi.org"))
    assert rcode(only(world.ask(wire))) == NXDOMAIN
    assert nothing_left(world)
    assert world.audit[0][0].names == (MALFORMED,)


# -- how a refusal looks ------------------------------------------------------------------------------------------------


def test_refusal_says_why_to_whom_can_read_it() -> None:
    """RFC 8914: EDE 15, Blocked."""
    world = Screened(Listed())
    assert codes(only(world.ask(query(use_edns=0)))) == [15]
    reply = only(world.ask(query()))
    assert dns.message.from_wire(reply).edns == -1
    assert (reply[:2], rcode(reply)) == (b"\0\7", NXDOMAIN)


def test_silence_over_udp() -> None:
    world = Screened(Listed(silent=True))
    assert world.ask(query()) == []
    world.run_until(10_000 * MS)
    assert world.got == []
    assert nothing_left(world)
    assert world.screening.counters.refused_silently == 1


def test_silence_over_tcp_is_an_end_too() -> None:
    """The session has room for more, and ends when the guest ends it."""
    world = Screened(Listed("good.test", silent=True), session_queries=2)
    connection = world.connect()
    world.writes(connection, *[a(f"evil{number}.test", id_=number) for number in range(10)])
    assert connection.take() == []
    world.writes(connection, a("good.test"))
    upstream = world.host.live[0]
    upstream.connects()
    (question,) = upstream.take()
    upstream.says(dns.message.make_response(dns.message.from_wire(question)).to_wire())
    assert len(connection.take()) == 1
    connection.eof = True
    connection.owner.serve(world.now)
    assert connection.finished


def test_verdict_that_is_none_for_dns_is_a_no() -> None:
    world = Screened(Always(Verdict(READ)))
    assert rcode(only(world.ask(query()))) == NXDOMAIN
    assert nothing_left(world)


# -- types that lead around the reading of names -----------------------------------------------------------------------


@pytest.mark.parametrize("qtype", ["HTTPS", "SVCB"])
def test_c33_service_bindings_are_withheld_where_names_are_read(qtype: str) -> None:
    """With the ECH key in them, the guest's ClientHello would hide the name."""
    world = Screened(Listed("pypi.org"))
    message = dns.message.from_wire(only(world.ask(query("pypi.org.", qtype))))
    assert (message.rcode(), message.answer) == (NOERROR, [])
    assert rcode(only(world.ask(query("evil.test.", qtype)))) == NXDOMAIN
    assert nothing_left(world)
    assert world.screening.counters.no_services == 1
    assert [verdict.action for _, verdict in world.audit] == [ALLOW, DENY]


def test_nobody_is_asked_about_what_is_withheld_anyway() -> None:
    world = Screened(Listed(asks=["pypi.org"]))
    assert rcode(only(world.ask(query("pypi.org.", "HTTPS")))) == NOERROR
    assert (world.waiting, world.audit) == ([], [])


@pytest.mark.parametrize("qtype", ["HTTPS", "SVCB", "AXFR", "IXFR"])
def test_any_type_passes_where_no_rule_reads_names(qtype: str) -> None:
    world = Screened(Listed("*", reads_names=False))
    assert world.ask(query("pypi.org.", qtype)) == []
    assert len(world.host.live) == 1


@pytest.mark.parametrize("qtype", ["AXFR", "IXFR"])
def test_transfers_are_refused_where_names_are_read(qtype: str) -> None:
    world = Screened(Listed("pypi.org"))
    connection = world.connect()
    world.writes(connection, query("pypi.org.", qtype))
    assert rcode(connection.take()[0]) == NXDOMAIN
    assert rcode(only(world.ask(query("pypi.org.", qtype)))) == NXDOMAIN
    assert nothing_left(world)
    assert "zone transfers" in world.audit[0][1].reason


# -- somebody is asked --------------------------------------------------------------------------------------------------


def test_ask_holds_the_client_until_somebody_has_spoken() -> None:
    world = Screened(Listed(asks=["pypi.org"]))
    assert world.ask(a("pypi.org")) == []
    assert nothing_left(world)
    assert world.audit == []
    ((request, answered),) = world.waiting
    assert request.names == ("pypi.org",)
    world.host.now = 2_000 * MS
    answered(True, world.now)
    (upstream,) = world.host.live
    upstream.answers("192.0.2.9")
    assert texts(only(world.got)) == ["192.0.2.9"]
    assert world.found("192.0.2.9") == ("pypi.org",)
    assert [verdict.action for _, verdict in world.audit] == [ALLOW]


@pytest.mark.parametrize("silent", [False, True])
def test_ask_answered_with_no(silent: bool) -> None:
    world = Screened(Listed(asks=["pypi.org"], silent=silent))
    world.ask(a("pypi.org"))
    world.waiting[0][1](False, world.now)
    assert [rcode(answer.data) for answer in world.got] == ([] if silent else [NXDOMAIN])
    assert nothing_left(world)
    assert [verdict.action for _, verdict in world.audit] == [DENY]


def test_ask_answered_at_once() -> None:
    world = Screened(Listed(asks=["pypi.org"]))
    world.screening._ask = lambda _, __, answered, now: answered(False, now)
    assert rcode(only(world.ask(a("pypi.org")))) == NXDOMAIN


def test_ask_when_the_client_has_gone() -> None:
    """Its TCP connection was reset, or the whole gateway closed: the word comes too late and does nothing."""
    world = Screened(Listed(asks=["pypi.org"]))
    connection = world.connect()
    world.writes(connection, a("pypi.org", id_=1), a("pypi.org", id_=2))
    world.ask(a("pypi.org"))
    connection.closed = True
    connection.owner.serve(world.now)
    world.waiting[1][1](False, world.now)
    assert connection.take() == []
    world.dns.close()
    world.waiting[0][1](True, world.now)
    world.waiting[2][1](False, world.now)
    assert nothing_left(world)
    assert world.got == []


def test_ask_keeps_a_session_that_is_idle_meanwhile() -> None:
    world = Screened(Listed(asks=["pypi.org"]))
    connection = world.connect()
    world.writes(connection, a("pypi.org"))
    world.run_until(60_000 * MS)
    assert not connection.finished
    world.waiting[0][1](False, world.now)
    assert rcode(connection.take()[0]) == NXDOMAIN


# -- beside it ----------------------------------------------------------------------------------------------------------


def test_malformed_queries_are_no_question_for_the_policy() -> None:
    policy = Listed("*")
    world = Screened(policy)
    world.ask(query()[:-3])
    assert policy.requests == []


def test_the_policy_of_the_moment_counts() -> None:
    world = Screened(Listed("old.test"))
    world.ask(a("new.test"))
    world.policy = Listed("new.test")
    world.udp.sent.clear()
    assert world.ask(a("new.test")) == []
    assert rcode(only(world.ask(a("old.test")))) == NXDOMAIN


def test_a_refusal_leaves_others_alone() -> None:
    world = Screened(Listed("one.example", "two.example"))
    _, upstream = asked(world, "one", "two")
    world.ask(a("evil.test"))
    assert len(upstream.take()) == 2
    assert SERVFAIL not in [rcode(answer.data) for answer in world.got]
