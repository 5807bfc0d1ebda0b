"""Which destinations lead where, whatever the policy says."""

from __future__ import annotations

import pytest

from tests.nat.kit import FREE, GATEWAY, GUEST, LOOPBACK, NAMESERVER, SERVER
from usernat.nat.admission import CLOSED, DENIED, NOBODY, SILENT, Admission
from usernat.nat.config import GatewayConfig
from usernat.policy import FlowRequest, NetworkPolicy, Verdict
from usernat.stack.addr import parse_ip
from usernat.stack.l3.packet import Packet

EMPTY = memoryview(b"")


def packet(dst: int, src: int = GUEST, broadcast: bool = False) -> Packet:
    return Packet(
        src, dst, 6, 64, 0, True, EMPTY, EMPTY, EMPTY, broadcast=broadcast, link_source=b"\2\0\0\0\0\1"
    )


class Asked:
    """A policy that remembers the questions."""

    def __init__(self, verdict: Verdict) -> None:
        self.requests: list[FlowRequest] = []
        self.verdict = verdict

    def decide(self, request: FlowRequest) -> Verdict:
        self.requests.append(request)
        return self.verdict


def test_the_policy_hears_all_there_is_to_know() -> None:
    policy = Asked(Verdict(True))
    assert Admission(GatewayConfig(), policy).ask(packet(SERVER), 443, 50000) == SERVER
    assert policy.requests == [FlowRequest(GUEST, b"\2\0\0\0\0\1", 6, SERVER, 443, 50000)]


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
    policy = Asked(Verdict(True))
    admission = Admission(GatewayConfig(host_loopback=host_loopback), policy)
    assert admission.ask(packet(parse_ip(destination)), 80, 1) == SILENT
    assert (policy.requests, admission.counters.bad_destination) == ([], 1)


def test_c28_what_came_by_a_broadcast_frame_is_not_forwarded() -> None:
    """RFC 1812 5.3.4: whatever its IP destination."""
    admission = Admission(GatewayConfig(), NetworkPolicy.allow_all())
    assert admission.ask(packet(SERVER, broadcast=True), 80, 1) == SILENT
    assert admission.counters.bad_destination == 1


@pytest.mark.rfc("1812", "5.3.8-a")
@pytest.mark.parametrize(
    "source", ["10.0.2.2", "10.0.2.3", "10.0.2.0", "10.0.2.255", "192.168.1.1", "203.0.113.7"]
)
def test_c37_a_source_that_is_no_guests_opens_no_flow(source: str) -> None:
    """RFC 1812 5.3.8-a."""
    admission = Admission(GatewayConfig(), NetworkPolicy.allow_all())
    assert admission.ask(packet(SERVER, parse_ip(source)), 80, 1) == SILENT
    assert admission.counters.bad_source == 1


def test_host_loopback_is_reached_through_the_gateway_and_only_if_switched_on() -> None:
    closed = Admission(GatewayConfig(), NetworkPolicy.allow_all())
    assert closed.ask(packet(GATEWAY), 80, 1) == CLOSED
    assert closed.guest_address(LOOPBACK) is None
    opened = Admission(GatewayConfig(host_loopback=True), NetworkPolicy.allow_all())
    assert opened.ask(packet(GATEWAY), 80, 1) == LOOPBACK
    assert opened.guest_address(LOOPBACK) == GATEWAY
    assert opened.guest_address(LOOPBACK + 1) is None  # C56: no guest ever sees 127/8
    denied = Admission(GatewayConfig(host_loopback=True), NetworkPolicy.deny_all())
    assert denied.ask(packet(GATEWAY), 80, 1) == DENIED


def test_addresses_of_the_guests_network() -> None:
    admission = Admission(GatewayConfig(), NetworkPolicy.allow_all())
    assert admission.ask(packet(NAMESERVER), 80, 1) == CLOSED
    assert admission.ask(packet(FREE), 80, 1) == NOBODY
    assert (admission.counters.closed, admission.counters.nobody) == (1, 1)


def test_denials_with_and_without_an_answer() -> None:
    loud, silent = (
        Admission(GatewayConfig(), NetworkPolicy.deny_all()),
        Admission(GatewayConfig(), NetworkPolicy.deny_all(silent=True)),
    )
    assert (loud.ask(packet(SERVER), 80, 1), silent.ask(packet(SERVER), 80, 1)) == (DENIED, SILENT)
    assert (loud.counters.denied, silent.counters.denied_silently) == (1, 1)
