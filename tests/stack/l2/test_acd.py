"""Address conflict detection, RFC 5227, on a virtual clock."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.stack.l2.link import GATEWAY, GUEST, OTHER, OTHER_MAC, OUR_MAC, Link, S, arp, ethernet
from usernat.stack.addr import MAC_BROADCAST, MAC_ZERO
from usernat.stack.l2.acd import CLAIMED, CONFLICT, PROBING
from usernat.stack.l2.arp import REPLY, REQUEST, ArpPacket

PROBE = ArpPacket(1, 0x0800, 6, 4, REQUEST, OUR_MAC, 0, MAC_ZERO, GUEST)
ANNOUNCEMENT = PROBE._replace(spa=GUEST)


@pytest.mark.rfc("5227", "2.1-a", "2.1-b", "2.1.1-a", "2.1.1-b", "2.3-a")
@pytest.mark.parametrize("seed", range(20))
def test_a_host_probes_three_times_then_announces_twice(seed: int) -> None:
    link = Link(seed=seed)
    claim = link.arp.claim(GUEST, 7 * S)
    said = link.run(until=3600 * S)
    assert [packet for _, _, packet in said] == [PROBE] * 3 + [ANNOUNCEMENT] * 2
    assert {dst for _, dst, _ in said} == {MAC_BROADCAST}
    times = [at for at, _, _ in said]
    assert 7 * S <= times[0] <= 8 * S
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(S <= gap <= 2 * S for gap in gaps[:2])
    assert gaps[2:] == [2 * S, 2 * S]  # ANNOUNCE_WAIT, ANNOUNCE_INTERVAL
    assert claim.state == CLAIMED
    assert link.arp.poll_at() is None


@pytest.mark.rfc("5227", "2.1-a")
def test_the_address_may_not_be_used_before_the_silence_is_over() -> None:
    link = Link()
    claim = link.arp.claim(GUEST, 0)
    probes = link.run(until=60 * S)
    assert claim.state == CLAIMED
    link = Link()
    claim = link.arp.claim(GUEST, 0)
    link.run(until=probes[3][0] - 1)
    assert claim.state == PROBING
    assert repr(claim) == "Claim(0x0a00020f, probing)"


@pytest.mark.rfc("5227", "2.1.1-c", "2.1.1-d")
@pytest.mark.parametrize(
    ("op", "spa", "tpa"),
    [(REQUEST, GUEST, GATEWAY), (REPLY, GUEST, GATEWAY), (REQUEST, GUEST, GUEST), (REQUEST, 0, GUEST)],
)
@pytest.mark.parametrize("probes_before", [0, 1, 3])
def test_any_user_of_the_address_and_any_other_candidate_is_a_conflict(
    op: int, spa: int, tpa: int, probes_before: int
) -> None:
    """Until ANNOUNCE_WAIT after the last probe."""
    link = Link()
    claim = link.arp.claim(GUEST, 0)
    now = 0
    for _ in range(probes_before):
        now = link.arp.poll_at() or 0
        link.arp.on_time(now)
    link.says()
    link.hears_arp(op, spa, tpa, now, mac=OTHER_MAC)
    assert claim.state == CONFLICT
    assert link.arp.counters.claims_lost == 1
    link.says()
    assert link.run(until=3600 * S) == []


@pytest.mark.parametrize(
    ("op", "spa", "tpa"), [(REQUEST, OTHER, GUEST), (REPLY, 0, GUEST), (REQUEST, 0, OTHER)]
)
def test_others_who_ask_for_the_address_are_no_conflict(op: int, spa: int, tpa: int) -> None:
    link = Link()
    claim = link.arp.claim(GUEST, 0)
    link.hears_arp(op, spa, tpa, mac=OTHER_MAC)
    assert claim.state == PROBING


@pytest.mark.rfc("5227", "2.1.1-d")
def test_our_own_probe_come_back_is_no_conflict() -> None:
    link = Link()
    claim = link.arp.claim(GUEST, 0)
    link.hears(ethernet(arp(REQUEST, 0, GUEST, sha=OUR_MAC), src=OUR_MAC, dst=MAC_BROADCAST))
    assert claim.state == PROBING
    assert link.ethernet.counters.own_source == 1


def first_probe(link: Link, candidate: int, now: int) -> int:
    """Claim a candidate; the time of the first probe, after which somebody objects."""
    claim = link.arp.claim(candidate, now)
    at = link.arp.poll_at()
    assert at is not None
    link.arp.on_time(at)
    link.hears_arp(REPLY, candidate, GATEWAY, at, mac=OTHER_MAC)
    assert claim.state == CONFLICT
    return at


@pytest.mark.rfc("5227", "2.1.1-e")
def test_after_ten_conflicts_one_candidate_a_minute() -> None:
    """A claim that succeeds ends the penance."""
    link = Link()
    times = [first_probe(link, OTHER + number, 0) for number in range(10)]
    assert max(times) <= S
    now = max(times)
    for minute in range(1, 4):
        now = first_probe(link, OTHER + minute, now)
        assert 60 * S * minute <= now <= 60 * S * minute + S
    claim = link.arp.claim(GUEST, now)
    link.run(until=now + 70 * S)
    assert claim.state == CLAIMED
    link.arp.claim(OTHER, now + 70 * S)
    assert (link.arp.poll_at() or 0) <= now + 71 * S


def test_a_claim_made_twice_is_one() -> None:
    link = Link()
    assert link.arp.claim(GUEST, 0) is link.arp.claim(GUEST, 5)


def test_a_claim_withdrawn_falls_silent() -> None:
    link = Link()
    claim = link.arp.claim(GUEST, 0)
    link.arp.withdraw(GUEST)
    assert link.run(until=60 * S) == []
    assert claim.state == PROBING


@pytest.mark.rfc("5227", "2.3-a")
def test_a_gateway_announces_without_probing() -> None:
    """Its address is fixed, so there is nothing to probe for."""
    link = Link()
    link.arp.announce(GATEWAY, 0)
    first = [(0, dst, packet) for dst, packet in link.says_arp()]
    said = first + link.run(until=60 * S)
    announcement = PROBE._replace(spa=GATEWAY, tpa=GATEWAY)
    assert said == [(0, MAC_BROADCAST, announcement), (2 * S, MAC_BROADCAST, announcement)]


def test_an_announcement_begun_anew_starts_over() -> None:
    link = Link()
    link.arp.announce(GATEWAY, 0)
    link.arp.announce(GATEWAY, S)
    link.says()
    assert [at for at, _, _ in link.run(until=60 * S)] == [3 * S]


def test_an_address_given_up_is_not_announced_again() -> None:
    link = Link()
    link.arp.announce(GATEWAY, 0)
    link.says()
    link.arp.withdraw(GATEWAY)
    assert link.run(until=60 * S) == []
