"""Many datagrams at once: a host that takes and brings them so makes no difference but to the number of calls."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nat.kit import GUEST, MS, OTHER, ROUTER, SECOND, SERVER, Lab
from tests.nat.udp_kit import PORT, only_host_socket, received, reported, talking
from usernat.fuzz.fakehost import Failing
from usernat.fuzz.fakesockets import FakeDatagrams
from usernat.nat.gateway import Hooks
from usernat.nat.host_datagram import ReportedError
from usernat.nat.host_segmentation import MOST_AT_ONCE, RunSocket
from usernat.policy import NetworkPolicy
from usernat.stack.device import Capabilities

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usernat.nat.audit import Record
    from usernat.nat.host import Owner
    from usernat.stack.device import Buffer
    from usernat.stack.l4.udp import UdpSocket

LIMITS = {"upload_bytes_per_second": 100_000, "download_bytes_per_second": 100_000}


class FakeRuns(FakeDatagrams):
    """A host socket that can do what Linux can. refuses: it takes no run, as for a path on which the kernel does not cut."""

    def __init__(self, host: Any, owner: Owner, port: int, *, refuses: bool) -> None:
        super().__init__(host, owner, "udp", port)
        self.refuses = refuses
        self.gathers = False
        self.sent: list[int] = []
        self.brought: list[int] = []

    def gather(self) -> None:
        self.gathers = True

    def receive(self) -> tuple[bytes, int, int, int] | None:
        assert not self.gathers
        return super().receive()

    def receive_run(self) -> tuple[Sequence[Buffer], tuple[int, int, int]] | None:
        first = super().receive()
        if first is None:
            return None
        data, *origin = first
        run: list[Buffer] = [data]
        while self._in and list(self._in[0][1:]) == origin and len(run) < MOST_AT_ONCE:
            run.append(self._in.popleft()[0])
        self.brought.append(len(run))
        return run, (origin[0], origin[1], origin[2])

    def send_run(self, run: Sequence[Buffer], address: int, port: int, ttl: int, df: bool) -> bool:
        assert len(run) > 1
        assert all(len(data) == len(run[0]) for data in run[:-1])
        assert 0 < len(run[-1]) <= len(run[0])
        if self.refuses or self.error or (df and len(run[0]) + 28 > self.host.mtu):
            self.error = 0
            return False
        self.sent.append(len(run))
        for data in run:
            self.host.carry(self, bytes(data), address, port, ttl, df)
        return True


class RunLab(Lab):
    """A lab whose host sockets for UDP mappings are those. runs: whether they are."""

    def __init__(self, *, runs: bool = True, refuses: bool = False, mtu: int = 9000, **options: Any) -> None:
        self.records: list[Record] = []
        super().__init__(
            hooks=Hooks(audit=self.records.append), capabilities=Capabilities(mtu=mtu), **options
        )
        self.made: list[FakeRuns] = []
        if runs:
            self.host.open_udp = lambda owner: self._open(owner, refuses=refuses)  # type: ignore[method-assign]

    def _open(self, owner: Owner, *, refuses: bool) -> FakeRuns:
        sock = FakeRuns(self.host, owner, next(self.host._ports), refuses=refuses)
        self.host._add(sock)
        self.made.append(sock)
        return sock

    def outcome(self, *socks: UdpSocket) -> dict[str, Any]:
        """All that there is to be seen."""
        counters = {
            name: value
            for name, value in self.gateway.counters().items()
            if name.startswith(("nat.udp", "quota", "audit", "nat.destinations"))
        }
        sent, came = self.host.record.datagrams, [received(sock) for sock in socks]
        errors = [
            [(error.type, error.code, error.source, bytes(error.datagram)) for error in sock.errors]
            for sock in socks
        ]
        self.gateway.close()
        return {"sent": sent, "came": came, "counters": counters, "errors": errors, "records": self.records}


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


def filled(sizes: list[int]) -> Iterator[bytes]:
    return (bytes([number + 1]) * size for number, size in enumerate(sizes))


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
    return lab.outcome(*socks)


@settings(max_examples=60)
@given(BURSTS, st.booleans(), st.booleans(), st.sampled_from([2 * MS, 50 * MS]))
def test_a_host_that_takes_runs_sees_and_shows_what_another_does(
    bursts: list[Burst], limited: bool, refuses: bool, pause: int
) -> None:
    """Datagrams, counters, quota, ICMP errors and the bytes in the audit."""
    policy = NetworkPolicy.allow_all().limit(**LIMITS) if limited else NetworkPolicy.allow_all()
    options: dict[str, Any] = {"policy": policy, "host": {"mtu": 1500}}
    general, fast = RunLab(runs=False, **options), RunLab(refuses=refuses, **options)
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
    (host,) = lab.made
    assert isinstance(host, RunSocket)
    assert host.gathers
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
    lab = RunLab(refuses=True)
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
