"""TCP flows that a policy has to look at: names in the first bytes, and questions to somebody."""

from __future__ import annotations

import pytest

from tests.nat.inspection.oracles import python_hello as client_hello
from tests.nat.kit import GUEST, LOOPBACK, MS, OTHER, SECOND, SERVER
from tests.nat.policy_kit import ASKING, GIT, GOOD, HTTP, TLS, PolicyLab, http, opened, say
from tests.nat.tcp_kit import connect, drain, icmp_at_guest, nothing_remains, send_all
from usernat.nat.audit import ENDED
from usernat.policy import NetworkPolicy
from usernat.policy.decision import UNREADABLE
from usernat.policy.matchers import Domain
from usernat.stack.l4.tcp.state import TcpError


@pytest.mark.parametrize(("port", "hello"), [(TLS, client_hello("good.test")), (HTTP, http("good.test"))])
def test_the_name_is_read_before_the_host_is_dialled(port: int, hello: bytes) -> None:
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, port)
    assert connection.established
    assert [info.state for info in lab.gateway.flows()] == ["reading"]
    lab.run(SECOND)
    assert opened(lab) == 0
    assert say(lab, connection, hello) == hello  # every byte of it reaches the server, once
    assert lab.host.record.connects == [(SERVER, port, 63)]
    assert lab.decided() == [("allow", "good.test", "rule 1: allow good.test")]
    connection.close()
    lab.run(5 * SECOND)
    nothing_remains(lab)
    assert [(record.event, record.up, record.down) for record in lab.records[1:]] == [
        (ENDED, len(hello), len(hello))
    ]


@pytest.mark.parametrize(
    ("port", "hello"),
    [
        (TLS, client_hello("evil.test")),
        (TLS, client_hello("good.test.evil.test")),
        (TLS, client_hello(None)),
        (TLS, b"SSH-2.0-OpenSSH_9.2\r\n"),
        (HTTP, http("evil.test")),
        (HTTP, http("203.0.113.7")),
        (HTTP, b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ],
)
def test_c39_c33_another_name_or_none_is_reset_at_once(port: int, hello: bytes) -> None:
    """C39 fails closed; C33: the address was allowed, the name is not."""
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, port)
    before = lab.clock.now
    assert say(lab, connection, hello) == b""
    assert connection.error == TcpError.RESET
    assert lab.clock.now - before < 100 * MS
    assert opened(lab) == 0
    claimed = {TLS: b"evil" in hello, HTTP: b"Host: evil" in hello}[port]
    ((word, _, reason),) = lab.decided()
    assert (word, "name nobody" in reason) == ("deny", not claimed)
    nothing_remains(lab)


def test_c33_an_address_that_no_allowed_name_led_to_is_refused_unread() -> None:
    """`curl --resolve good.test:443:ADDRESS`, and literal addresses."""
    lab = PolicyLab(GOOD)
    assert connect(lab, TLS).error == TcpError.REFUSED
    assert lab.decided() == [("deny", "", "default: deny")]
    nothing_remains(lab)


def test_c32_names_that_share_an_address_are_each_judged_alone() -> None:
    lab = PolicyLab(GOOD.in_front("deny", Domain("evil.test")), "good.test", "evil.test", "other.test")
    outcomes = {}
    for name in ("good.test", "evil.test", "other.test"):
        connection = connect(lab, TLS)
        outcomes[name] = bool(say(lab, connection, client_hello(name)))
    assert outcomes == {"good.test": True, "evil.test": False, "other.test": False}


def test_c34_a_flow_that_stands_outlives_its_name_and_its_policy() -> None:
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, TLS)
    hello = client_hello("good.test")
    assert say(lab, connection, hello) == hello
    lab.run(3700 * SECOND)
    assert lab.gateway.names.names(GUEST, SERVER, lab.clock.now) == ()
    lab.gateway.policy = NetworkPolicy.deny_all()
    assert say(lab, connection, b"more") == b"more"
    assert connect(lab, TLS).error == TcpError.REFUSED


def test_a_name_in_pieces_is_waited_for() -> None:
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, TLS)
    hello = client_hello("good.test")
    got = bytearray()
    for at in range(0, len(hello), 40):
        send_all(lab, connection, hello[at : at + 40], got)
        lab.run(50 * MS)
    lab.run(SECOND, stop=lambda: drain(connection, got) or len(got) == len(hello))  # type: ignore[func-returns-value]
    assert bytes(got) == hello


def test_a_name_in_too_many_pieces_is_not() -> None:
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, HTTP)
    connection.nodelay = True
    for byte in http("good.test" + "x" * 100):
        connection.send(bytes([byte]))
        lab.run(10 * MS)
    assert connection.error == TcpError.RESET
    assert opened(lab) == 0


def test_a_guest_that_says_nothing_is_reset_in_time() -> None:
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, TLS)
    lab.run(11 * SECOND)
    assert connection.error == TcpError.RESET
    assert lab.records[0].request.claimed == UNREADABLE
    nothing_remains(lab)


@pytest.mark.parametrize("begun", [b"", client_hello("good.test")[:100]])
def test_a_guest_that_ends_before_it_has_said_a_name_is_reset_at_once(begun: bytes) -> None:
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, TLS)
    connection.send(begun)
    connection.shutdown()
    lab.run(100 * MS)
    assert connection.error == TcpError.RESET
    nothing_remains(lab)


def test_but_where_a_later_rule_allows_the_port_it_is_then_connected() -> None:
    lab = PolicyLab(GOOD.allow_port(443), "good.test")
    connection = connect(lab, TLS)
    lab.run(11 * SECOND)
    assert say(lab, connection, b"hello") == b"hello"


def test_a_guest_that_leaves_before_it_has_said_anything_leaves_nothing() -> None:
    lab = PolicyLab(GOOD, "good.test")
    for end in ("abort", "close"):
        connection = connect(lab, TLS)
        getattr(connection, end)()
        lab.run(11 * SECOND)
    assert opened(lab) == 0
    nothing_remains(lab)


def test_a_host_that_does_not_answer_after_the_name_was_read_is_a_reset() -> None:
    lab = PolicyLab(GOOD, "good.test")
    del lab.host.tcp[SERVER, TLS]
    connection = connect(lab, TLS)
    connection.send(client_hello("good.test"))
    lab.run(5 * 60 * SECOND)
    assert connection.error == TcpError.RESET
    assert lab.count("nat.tcp.timed_out") == 1
    nothing_remains(lab)


def test_elsewhere_the_address_decides_and_the_server_may_speak_first() -> None:
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, GIT)
    assert connection.established
    assert opened(lab) == 1
    assert connect(lab, GIT, to=OTHER).error == TcpError.REFUSED


def test_c40_a_denied_flow_is_told_at_once_and_disturbs_nothing() -> None:
    policy = NetworkPolicy.allow_all().deny_port(HTTP)
    lab = PolicyLab(policy)
    standing = connect(lab, TLS)
    before = lab.clock.now
    assert connect(lab, HTTP).error == TcpError.REFUSED
    assert lab.clock.now - before < 50 * MS
    assert say(lab, standing, b"still here") == b"still here"
    sock = lab.guest.udp.bind(None, 5000)
    sock.send(b"?", SERVER, HTTP)
    lab.run(10 * MS)
    assert [(kind, code) for kind, code, _ in icmp_at_guest(lab)] == [(3, 13)]


def test_c40_or_not_at_all_for_those_who_want_silence() -> None:
    lab = PolicyLab(NetworkPolicy.deny_all().denying("drop"))
    connection = connect(lab, HTTP, wait=3 * SECOND)
    assert not connection.closed
    lab.guest.udp.bind(None, 5000).send(b"?", SERVER, HTTP)
    lab.run(10 * MS)
    assert icmp_at_guest(lab) == []
    assert lab.count("admission.denied_silently") >= 2


def test_c28_the_gateways_own_address_is_no_way_to_the_host() -> None:
    lab = PolicyLab(NetworkPolicy.allow_all(), host_loopback=False)
    lab.host.tcp[LOOPBACK, HTTP] = lab.host.tcp[SERVER, HTTP]
    assert connect(lab, HTTP, to=lab.config.gateway).error == TcpError.REFUSED
    assert opened(lab) == 0


# -- ask ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [True, False])
def test_somebody_decides_while_the_syn_is_held(allowed: bool) -> None:
    lab = PolicyLab(ASKING)
    connection = connect(lab, GIT, wait=3 * SECOND)
    assert not connection.established
    assert [info.state for info in lab.gateway.flows()] == ["asking"]
    (question,) = lab.questions
    assert (question.request.destination, question.request.port) == (SERVER, GIT)
    assert question.reason == "rule 1: ask anything"
    (question.allow if allowed else question.deny)()
    lab.run(5 * SECOND, stop=lambda: connection.established or connection.closed)
    assert connection.established == allowed
    assert opened(lab) == allowed
    assert set(lab.decided()) == {
        ("allow" if allowed else "deny", "", "rule 1: ask anything")
    }  # a SYN on its way asks too


def test_silence_is_a_no_and_the_next_syn_does_not_ask_again() -> None:
    lab = PolicyLab(ASKING)
    connection = connect(lab, GIT, wait=31 * SECOND)
    assert connection.error == TcpError.REFUSED
    assert connect(lab, GIT).error == TcpError.REFUSED
    assert len(lab.questions) == 1
    nothing_remains(lab)


def test_a_guest_that_gives_up_while_somebody_thinks_leaves_nothing() -> None:
    lab = PolicyLab(ASKING)
    connection = connect(lab, GIT)
    connection.abort()
    lab.run(SECOND)
    lab.questions[0].allow()
    lab.run(40 * SECOND)
    nothing_remains(lab)


def test_a_datagram_waits_for_the_answer_too() -> None:
    lab = PolicyLab(ASKING)
    sock = lab.guest.udp.bind(None, 5000)
    sock.send(b"one", SERVER, 4000)
    lab.run(SECOND)
    assert lab.host.record.datagrams == []
    lab.questions[0].allow()
    lab.run(SECOND)
    sock.send(b"two", SERVER, 4000)
    lab.run(SECOND)
    assert [data for *_, data in lab.host.record.datagrams] == [b"one", b"two"]
    assert len(lab.questions) == 1


def test_asked_about_a_name_somebody_hears_the_name() -> None:
    policy = NetworkPolicy.deny_all().ask_domain("*.test")
    lab = PolicyLab(policy, "good.test")
    connection = connect(lab, TLS)
    hello = client_hello("good.test")
    connection.send(hello)
    lab.run(SECOND)
    (question,) = lab.questions
    assert question.request.claimed == "good.test"
    question.allow()
    assert say(lab, connection, b"") == b""
    got = bytearray()
    lab.run(SECOND, stop=lambda: drain(connection, got) or len(got) == len(hello))  # type: ignore[func-returns-value]
    assert bytes(got) == hello


def test_datagrams_that_wait_for_an_answer_are_bounded() -> None:
    lab = PolicyLab(ASKING)
    sock = lab.guest.udp.bind(None, 5000)
    for _ in range(40):
        sock.send(bytes(60_000), SERVER, 4000)
        lab.run(10 * MS)
    assert lab.count("nat.udp.held_full") == 23
    lab.questions[0].allow()
    lab.run(SECOND)
    assert len(lab.host.record.datagrams) == 17
    assert lab.gateway._udp._held == 0


def test_an_answer_that_comes_after_a_new_policy_counts_only_where_it_still_asks() -> None:
    lab = PolicyLab(ASKING)
    connection = connect(lab, GIT)
    lab.gateway.policy = NetworkPolicy.deny_all()
    lab.questions[0].allow()
    lab.run(SECOND)
    assert connection.error == TcpError.REFUSED
    assert opened(lab) == 0
