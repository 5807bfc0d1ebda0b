"""What is recorded of each flow, and how much of what is refused."""

from __future__ import annotations

import pytest

from tests.nat.kit import MS, OTHER, SECOND, SERVER
from tests.nat.policy_kit import ASKING, GIT, GOOD, TLS, PolicyLab
from tests.nat.tcp_kit import connect
from usernat.nat.audit import DECIDED, ENDED, REFUSALS_AT_ONCE
from usernat.policy import NetworkPolicy


def test_each_destination_of_a_mapping_has_an_account_of_its_own() -> None:
    lab = PolicyLab(NetworkPolicy.allow_all())
    lab.host.udp[SERVER, 4000] = lambda data: [data * 2]
    sock = lab.guest.udp.bind(None, 5000)
    sock.send(b"1", SERVER, 4001)
    for _ in range(3):
        sock.send(bytes(1000), SERVER, 4000)
    lab.run(400 * SECOND)
    ended = [(record.request.port, record.up, record.down) for record in lab.records if record.event == ENDED]
    assert sorted(ended) == [(4000, 3000, 6000), (4001, 1, 0)]


def test_datagrams_that_waited_together_are_one_flow() -> None:
    lab = PolicyLab(ASKING)
    sock = lab.guest.udp.bind(None, 5000)
    for _ in range(3):
        sock.send(bytes(100), SERVER, 4000)
    lab.run(SECOND)
    (question,) = lab.questions
    question.allow()
    lab.run(400 * SECOND)
    assert [(record.event, record.up) for record in lab.records] == [(DECIDED, 0), (ENDED, 300)]


def test_a_ping_is_accounted_for_by_host() -> None:
    lab = PolicyLab(NetworkPolicy.allow_all())
    lab.host.echo_hosts.add(SERVER)
    pinger = lab.guest.echo.bind(7)
    for number in range(3):
        pinger.request(SERVER, number, bytes(56))
        pinger.request(OTHER, number, bytes(10))
        lab.run(SECOND)
    lab.run(100 * SECOND)
    ended = {
        record.request.destination: (record.up, record.down)
        for record in lab.records
        if record.event == ENDED
    }
    assert ended == {SERVER: (168, 168), OTHER: (30, 0)}
    assert len(lab.records) == 4


def test_what_a_limit_refuses_is_recorded() -> None:
    lab = PolicyLab(NetworkPolicy.allow_all().limit(flows=1))
    connect(lab, GIT)
    connect(lab, GIT, wait=10 * MS)
    assert lab.decided()[:2] == [("allow", "", "default: allow"), ("deny", "", "a limit refuses it")]


@pytest.mark.parametrize("end", ["abort", "close"])
def test_a_flow_that_ends_undecided_is_recorded(end: str) -> None:
    lab = PolicyLab(GOOD, "good.test")
    connection = connect(lab, TLS)
    getattr(connection, end)()
    lab.run(12 * SECOND)
    assert [word for word, _, _ in lab.decided()] == ["deny"]


def test_refusals_beyond_a_rate_are_counted_and_what_is_allowed_is_always_there() -> None:
    lab = PolicyLab(NetworkPolicy.deny_all().allow_port(GIT))
    sock = lab.guest.udp.bind(None, 5000)
    for port in range(10_000, 13_000):
        sock.send(b"", SERVER, port)
        lab.run(MS // 10)
    assert REFUSALS_AT_ONCE <= len(lab.records) < REFUSALS_AT_ONCE + 100
    assert connect(lab, GIT).established
    assert lab.records[-1].word == "allow"
    left_out = sum(record.unrecorded for record in lab.records)
    assert left_out == 3_000 - (len(lab.records) - 1) == lab.count("audit.unrecorded")
    assert lab.records[-1].unrecorded > 0
