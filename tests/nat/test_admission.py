"""Which destinations lead where, whatever the policy says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.nat.kit import FREE, GATEWAY, GUEST, LOOPBACK, NAMESERVER, SERVER
from usernat.nat.admission import ADMITTED, ASK, CLOSED, DENIED, NOBODY, READ, SILENT, Admission
from usernat.nat.audit import Audit
from usernat.nat.config import GatewayConfig
from usernat.policy import FlowRequest, NetworkPolicy, Policy, Verdict
from usernat.policy import decision as policy_words
from usernat.policy.decision import ALLOW, DENY
from usernat.stack.addr import parse_ip
from usernat.stack.l3.packet import Packet

EMPTY = memoryview(b"")
OWN = parse_ip("192.0.2.9")
NAMES = ("a.test", "b.test")


def packet(dst: int, src: int = GUEST, broadcast: bool = False) -> Packet:
    return Packet(
        src, dst, 6, 64, 0, True, EMPTY, EMPTY, EMPTY, broadcast=broadcast, link_source=b"\2\0\0\0\0\1"
    )


def admission(policy: Policy, config: GatewayConfig | None = None) -> Admission:
    """Of a host that has FREE's neighbour OWN; the guest knows SERVER by two names."""
    return Admission(
        config or GatewayConfig(),
        policy,
        Audit(),
        lambda _guest, address, _now: NAMES if address == SERVER else (),
        lambda address: address == OWN,
    )


def outcome(asked: Admission, destination: int, **options: Any) -> int:
    return asked.ask(packet(destination, **options), 80, 1, 0).outcome


class Asked(Policy):
    """A policy that remembers the questions."""

    def __init__(self, verdict: Verdict) -> None:
        self.requests: list[FlowRequest] = []
        self.verdict = verdict

    def decide(self, request: FlowRequest) -> Verdict:
        self.requests.append(request)
        return self.verdict


def test_the_policy_hears_all_there_is_to_know() -> None:
    policy = Asked(Verdict(ALLOW))
    decision = admission(policy).ask(packet(SERVER), 443, 50000, 0)
    assert (decision.outcome, decision.address) == (ADMITTED, SERVER)
    assert policy.requests == [FlowRequest(GUEST, b"\2\0\0\0\0\1", 6, SERVER, 443, 50000, NAMES)]


def test_the_policy_hears_what_is_the_hosts() -> None:
    policy = Asked(Verdict(ALLOW))
    assert outcome(admission(policy), OWN) == ADMITTED
    assert [(request.host, request.names) for request in policy.requests] == [(True, ())]


@pytest.mark.rfc("1812", "5.3.7-b")
@pytest.mark.parametrize("host_loopback", [False, True])
@pytest.mark.parametrize(
    "destination",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "255.255.255.255",
        "224.0.0.251",
        "239.1.1.1",
        "240.0.0.1",
    ],
)
def test_c28_what_is_never_forwarded_is_not_even_asked_about(destination: str, host_loopback: bool) -> None:
    """RFC 1812 5.3.7-b."""
    policy = Asked(Verdict(ALLOW))
    asked = admission(policy, GatewayConfig(host_loopback=host_loopback))
    assert outcome(asked, parse_ip(destination)) == SILENT
    assert (policy.requests, asked.counters.bad_destination) == ([], 1)


def test_c28_what_came_by_a_broadcast_frame_is_not_forwarded() -> None:
    """RFC 1812 5.3.4: whatever its IP destination."""
    asked = admission(NetworkPolicy.allow_all())
    assert outcome(asked, SERVER, broadcast=True) == SILENT
    assert asked.counters.bad_destination == 1


@pytest.mark.rfc("1812", "5.3.8-a")
@pytest.mark.parametrize(
    "source", ["10.0.2.2", "10.0.2.3", "10.0.2.0", "10.0.2.255", "192.168.1.1", "203.0.113.7"]
)
def test_c37_a_source_that_is_no_guests_opens_no_flow(source: str) -> None:
    """RFC 1812 5.3.8-a."""
    asked = admission(NetworkPolicy.allow_all())
    assert outcome(asked, SERVER, src=parse_ip(source)) == SILENT
    assert asked.counters.bad_source == 1


def test_c28_host_loopback_is_reached_through_the_gateway_and_only_if_switched_on() -> None:
    closed = admission(NetworkPolicy.allow_all())
    assert outcome(closed, GATEWAY) == CLOSED
    assert closed.guest_address(LOOPBACK) is None
    switched_on = GatewayConfig(host_loopback=True)
    opened = admission(NetworkPolicy.allow_all(), switched_on)
    decision = opened.ask(packet(GATEWAY), 80, 1, 0)
    assert (decision.outcome, decision.address) == (ADMITTED, LOOPBACK)
    assert opened.guest_address(LOOPBACK) == GATEWAY
    assert opened.guest_address(LOOPBACK + 1) is None  # C56: no guest ever sees 127/8
    assert outcome(admission(NetworkPolicy.deny_all(), switched_on), GATEWAY) == DENIED


def test_c28_or_a_rule_of_the_policy_names_it() -> None:
    policy = NetworkPolicy.allow_all().allow_group("loopback", port=80)
    asked = admission(policy)
    assert asked.guest_address(LOOPBACK) is None
    assert asked.ask(packet(GATEWAY), 81, 1, 0).outcome == CLOSED
    assert asked.ask(packet(GATEWAY), 80, 1, 0).outcome == ADMITTED
    assert asked.guest_address(LOOPBACK) == GATEWAY


def test_addresses_of_the_guests_network() -> None:
    asked = admission(NetworkPolicy.allow_all())
    assert outcome(asked, NAMESERVER) == CLOSED
    assert outcome(asked, FREE) == NOBODY
    assert (asked.counters.closed, asked.counters.nobody) == (1, 1)


def test_denials_with_and_without_an_answer() -> None:
    loud, silent = admission(NetworkPolicy.deny_all()), admission(NetworkPolicy.deny_all().denying("drop"))
    assert (outcome(loud, SERVER), outcome(silent, SERVER)) == (DENIED, SILENT)
    assert (loud.counters.denied, silent.counters.denied_silently) == (1, 1)


@pytest.mark.parametrize(("said", "then"), [(True, ADMITTED), (False, DENIED)])
def test_what_somebody_is_asked(said: bool, then: int) -> None:
    asked = admission(Asked(Verdict(policy_words.ASK, "rule 1")))
    decision = asked.ask(packet(SERVER), 80, 1, 0)
    assert (decision.outcome, asked.counters.asked) == (ASK, 1)
    told = asked.told(decision, said)
    assert told.outcome == then
    assert told.verdict == Verdict(ALLOW if said else DENY, "rule 1")


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize(
    ("policy", "then"),
    [
        (NetworkPolicy.deny_all(), DENIED),
        (NetworkPolicy.allow_all(), ADMITTED),
        (Asked(Verdict(policy_words.READ)), DENIED),
    ],
)
def test_a_policy_that_does_not_ask_any_more_decides(said: bool, policy: Policy, then: int) -> None:
    asked = admission(Asked(Verdict(policy_words.ASK, "rule 1")))
    decision = asked.ask(packet(SERVER), 80, 1, 0)
    asked.policy = policy
    assert asked.told(decision, said).outcome == then


def test_what_has_to_be_read_first() -> None:
    policy = Asked(Verdict(policy_words.READ))
    asked = admission(policy)
    decision = asked.ask(packet(SERVER), 443, 1, 0)
    assert (decision.outcome, asked.counters.read) == (READ, 1)
    assert asked.judge(decision, "a.test").outcome == DENIED  # c39: a policy that never has enough gets a no
    assert [request.claimed for request in policy.requests] == [None, "a.test"]
    policy.verdict = Verdict(ALLOW)
    assert asked.judge(decision, "a.test").outcome == ADMITTED


def test_the_host_is_probed_only_where_it_matters() -> None:
    probed: list[int] = []

    def is_own(address: int) -> bool:
        probed.append(address)
        return False

    for policy in (NetworkPolicy.allow_all(), NetworkPolicy.preset("internet")):
        asked = Admission(GatewayConfig(), policy, Audit(), lambda *_: (), is_own)
        asked.ask(packet(SERVER), 80, 1, 0)
    assert probed == [SERVER]


def test_a_new_policy_decides_what_is_new() -> None:
    asked = admission(NetworkPolicy.deny_all())
    assert outcome(asked, SERVER) == DENIED
    asked.policy = NetworkPolicy.allow_all()
    assert outcome(asked, SERVER) == ADMITTED
