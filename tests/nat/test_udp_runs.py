"""Many datagrams at once: a host that takes and brings them so makes no difference but to the number of calls."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nat.kit import GUEST, MS, OTHER, ROUTER, SECOND, SERVER
from tests.nat.run_kit import FakeRuns, RunLab, filled
from tests.nat.udp_kit import PORT, only_host_socket, received, reported, talking
from usernat.fuzz.fakehost import Failing
from usernat.fuzz.fakesockets import FakeDatagrams
from usernat.nat.host_datagram import ReportedError
from usernat.policy import NetworkPolicy

LIMITS = {"upload_bytes_per_second": 100_000, "download_bytes_per_second": 100_000}


class Burst:
    """What a guest's socket sends at once, and what a host's sends at once in return."""

    def __init__(
        self, who: int, to: tuple[int, int], sizes: list[int], ttl: int, df: bool, answers: list[int]
    ) -> None:
        self.who, self.to, self.sizes, self.ttl, self.df, self.answers = who, to, sizes, ttl, df, answers

    def __repr__(self) -> str:
        return f"Burst{(self.who, self.to, self.sizes, self.ttl, self.df, self.answers)}"


SIZES = st.lists(st.sampled_from([0, 1, 64, 64, 64, 64, 1200, 1200, 3000]), max_size=20)
BURSTS = st.lists(
    st.builds(
        Burst,
        st.integers(0, 1),
        st.sampled_from([(SERVER, PORT), (SERVER, PORT), (SERVER, 1), (OTHER, PORT)]),
        SIZES,
        st.sampled_from([64, 64, 2]),
        st.sampled_from([False, False, True]),
        SIZES,
    ),
    max_size=8,
)


def play(lab: RunLab, bursts: list[Burst], pause: int) -> dict[str, Any]:
    """The same scene for any host."""
    socks = [lab.guest.udp.bind(GUEST, 4000 + number) for number in range(2)]
    for burst in bursts:
        sock = socks[burst.who]
        for data in filled(burst.sizes):
            sock.send(data, *burst.to, ttl=burst.ttl, df=burst.df)
        lab.run(pause)
        for host in list(lab.host.sockets):
            assert isinstance(host, FakeDatagrams)
            for data in filled(burst.answers):
                host.arrive(data, *burst.to, burst.ttl)
        lab.run(pause)
    lab.run(SECOND)
    counters = lab.counters("nat.udp", "quota", "audit", "nat.destinations")
    came = [received(sock) for sock in socks]
    errors = [
        [(error.type, error.code, error.source, bytes(error.datagram)) for error in sock.errors]
        for sock in socks
    ]
    lab.gateway.close()
    return {
        "sent": lab.host.record.datagrams,
        "came": came,
        "counters": counters,
        "errors": errors,
        "records": lab.records,
    }


@settings(max_examples=60)
@given(BURSTS, st.booleans(), st.booleans(), st.sampled_from([2 * MS, 50 * MS]))
def test_a_host_that_takes_runs_sees_and_shows_what_another_does(
    bursts: list[Burst], limited: bool, cuts: bool, pause: int
) -> None:
    """Datagrams, counters, quota, ICMP errors and the bytes in the audit."""
    policy = NetworkPolicy.allow_all().limit(**LIMITS) if limited else NetworkPolicy.allow_all()
    options: dict[str, Any] = {"policy": policy, "host": {"mtu": 1500}}
    general, fast = RunLab(runs=False, **options), RunLab(cuts=cuts, **options)
    for lab in (general, fast):
        lab.host.routers = (ROUTER,)  # TTL 2 dies there
    expected = play(general, bursts, pause)
    assert play(fast, bursts, pause) == expected


def test_a_burst_is_few_calls_and_comes_whole() -> None:
    lab = RunLab()
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"first, which is decided", SERVER, PORT)
    lab.run(50 * MS)
    for _ in range(30):
        sock.send(b"x" * 1200, SERVER, PORT)
    sock.send(b"x" * 100, SERVER, PORT)
    lab.run(50 * MS)
    host = only_host_socket(lab)
    assert isinstance(host, FakeRuns)
    assert sum(host.sent) == 31
    for number in range(40):
        host.arrive(bytes([number]) * 1200, SERVER, PORT)
    lab.run(50 * MS)
    assert host.brought == [40]
    assert [data[0] for data, _, _ in received(sock)] == list(range(40))
    assert (lab.count("nat.udp.forwarded"), lab.count("nat.udp.delivered")) == (32, 40)


def test_each_new_destination_of_a_burst_is_decided_by_itself() -> None:
    """What the policy refuses does not go along with what it allows."""
    policy = NetworkPolicy.deny_all().allow_ip("203.0.113.7", port=PORT)
    lab = RunLab(policy=policy)
    sock = lab.guest.udp.bind(GUEST, 4000)
    for number in range(40):
        sock.send(b"x" * 100, SERVER, PORT + (number // 10) % 2)
    lab.run(100 * MS)
    assert {(address, port) for address, port, *_ in lab.host.record.datagrams} == {(SERVER, PORT)}
    assert len(lab.host.record.datagrams) == 20
    assert len(sock.errors) == 20


@pytest.mark.rfc("1812", "5.3.1-a")
@pytest.mark.rfc("6864", "4.3-c")
def test_what_differs_in_ttl_or_df_goes_by_itself() -> None:
    lab = RunLab()
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"decided", SERVER, PORT)
    lab.run(50 * MS)
    kinds = [(64, False)] * 3 + [(9, False)] * 3 + [(9, True)] * 3 + [(9, False)] * 3
    for ttl, df in kinds:
        sock.send(b"x" * 100, SERVER, PORT, ttl=ttl, df=df)
    lab.run(50 * MS)
    assert [(ttl + 1, df) for _, _, ttl, df, _ in lab.host.record.datagrams[1:]] == kinds


@pytest.mark.parametrize("runs", [True, False])
def test_each_datagram_of_a_run_counts_against_the_quota(runs: bool) -> None:
    """65,535 bytes at once are 53 datagrams with their headers."""
    lab = RunLab(
        runs=runs,
        policy=NetworkPolicy.allow_all().limit(upload_bytes_per_second=1, download_bytes_per_second=1),
    )
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"", SERVER, PORT)
    lab.run(100 * MS)
    for _ in range(60):
        sock.send(b"x" * 1200, SERVER, PORT)
    lab.run(100 * MS)
    (host,) = lab.host.sockets
    assert isinstance(host, FakeDatagrams)
    for _ in range(60):
        host.arrive(b"x" * 1200, SERVER, PORT)
    lab.run(100 * MS)
    assert len(lab.host.record.datagrams) == 1 + len(received(sock)) == 54
    assert (lab.count("quota.up_dropped"), lab.count("quota.down_dropped")) == (7, 7)
    assert (lab.count("nat.udp.forwarded"), lab.count("nat.udp.delivered")) == (54, 53)


@pytest.mark.rfc("4787", "REQ-12b")
def test_an_error_about_a_run_reaches_the_guest_and_the_rest_goes_on() -> None:
    lab = RunLab()
    lab.host.udp[SERVER, PORT] = reported(3, 3, SERVER)
    sock = lab.guest.udp.bind(GUEST, 4000)
    for _ in range(3):
        for _ in range(20):
            sock.send(b"x" * 100, SERVER, PORT)
        lab.run(50 * MS)
    assert len(lab.host.record.datagrams) == 60
    assert sock.errors
    assert {(error.type, error.code, error.source) for error in sock.errors} == {(3, 3, SERVER)}
    assert {bytes(error.payload[:4]) for error in sock.errors} == {b"\x0f\xa0\x1e\x61"}


def test_a_run_that_the_host_refuses_for_good_is_counted_datagram_by_datagram() -> None:
    lab = RunLab(cuts=False)
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"decided", SERVER, PORT)
    lab.run(50 * MS)
    lab.host.udp[SERVER, PORT] = Failing(ReportedError(errno.EAGAIN), None)  # from the call itself
    for _ in range(20):
        sock.send(b"x" * 100, SERVER, PORT)
    lab.run(50 * MS)
    assert lab.count("nat.udp.host_full") == 20
    assert lab.count("nat.udp.forwarded") == 1


def a_megabyte_at_once(lab: RunLab, host: FakeDatagrams, source: int) -> None:
    for _ in range(17):
        host.arrive(bytes(65000), source, PORT)
    while lab.host.run(lab.clock.now):
        pass


@pytest.mark.parametrize("runs", [True, False])
def test_what_is_read_and_dropped_leaves_no_socket_unread(runs: bool) -> None:
    """A megabyte of a stranger's at once fills nobody's queue, so what comes after it is read."""
    lab = RunLab(runs=runs, mtu=65535)
    sock = talking(lab)
    host = only_host_socket(lab)
    a_megabyte_at_once(lab, host, OTHER)
    assert lab.count("nat.udp.filtered") == 17
    assert lab.count("nat.udp.paused") == 0
    host.arrive(b"the answer", SERVER, PORT)
    lab.run(100 * MS)
    assert received(sock) == [(b"the answer", SERVER, PORT)]


@pytest.mark.parametrize("runs", [True, False])
def test_nor_does_what_a_limit_holds_back(runs: bool) -> None:
    policy = NetworkPolicy.allow_all().limit(download_bytes_per_second=100_000)
    lab = RunLab(runs=runs, mtu=65535, policy=policy)
    sock = talking(lab)
    host = only_host_socket(lab)
    a_megabyte_at_once(lab, host, SERVER)
    lab.run(10 * SECOND)
    received(sock)
    host.arrive(b"later", SERVER, PORT)
    lab.run(SECOND)
    assert received(sock) == [(b"later", SERVER, PORT)]


@pytest.mark.parametrize("runs", [True, False])
def test_what_is_told_in_the_middle_of_a_run_quotes_the_datagram_of_that_moment(runs: bool) -> None:
    """The first of three that are too large finds an error about an earlier one waiting."""
    lab = RunLab(runs=runs, host={"mtu": 1000})
    sock = talking(lab)
    host = only_host_socket(lab)
    lab.host.watch(host, readable=False, writable=False)  # so that the sending meets it first
    host.fail_later(ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=SERVER), SERVER, PORT)
    host.error = 0
    for size in (1200, 1200, 1100):
        sock.send(bytes(size), SERVER, PORT, df=True)
    lab.run(50 * MS)
    lengths = [int.from_bytes(error.datagram[2:4], "big") for error in sock.errors]
    assert [error.code for error in sock.errors] == [3, 4, 4, 4]
    assert lengths == [1228, 1228, 1228, 1128]


@pytest.mark.parametrize("runs", [True, False])
def test_an_error_about_a_run_quotes_the_last_of_it(runs: bool) -> None:
    """Which of them it is about nobody can say; it is one of those that have gone."""
    lab = RunLab(runs=runs)
    sock = talking(lab)
    lab.host.udp[SERVER, PORT] = reported(3, 3, SERVER)
    for size in (100, 100, 50):
        sock.send(bytes(size), SERVER, PORT)
    lab.run(50 * MS)
    assert {int.from_bytes(error.datagram[2:4], "big") for error in sock.errors} == {78}


def test_what_a_limit_leaves_of_a_run_holds_no_memory_but_its_own() -> None:
    """What comes at once are views of one buffer."""
    lab = RunLab(policy=NetworkPolicy.allow_all().limit(download_bytes_per_second=1))
    talking(lab)
    host = only_host_socket(lab)
    buffer = memoryview(bytes(60_000))
    kept: list[list[type]] = []
    for _ in range(2):
        for at in range(0, 60_000, 2_000):
            host._in.append((buffer[at : at + 2_000], (SERVER, PORT, 64, 0)))  # type: ignore[arg-type] # as of a real one
        host.owner.on_host(readable=True, writable=False, now=lab.clock.now)
        outbox = lab.gateway._udp._socket.outbox
        kept.append([type(data) for item, _, _ in outbox._items for data in item.run])
        outbox.clear()
    assert kept == [[memoryview] * 30, [bytes] * 2]
