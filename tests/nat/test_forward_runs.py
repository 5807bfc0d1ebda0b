"""Many datagrams at once through a published port: a host that takes and brings them so makes no difference but to the number of calls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nat.forward_kit import ABROAD, CLIENT, INSIDE, OUTSIDE, come, publish_udp, sent, visited
from tests.nat.kit import GATEWAY, GUEST, LOOPBACK, MS, ROUTER, SECOND
from tests.nat.run_kit import FakeRuns, RunLab, filled
from tests.nat.udp_kit import only_host_socket, received
from usernat.nat.config import Limits
from usernat.nat.forwards.waiting import KEPT, MOST_WAITING
from usernat.nat.host_end import DATAGRAMS_AN_EVENT, MOST_AN_EVENT
from usernat.policy import NetworkPolicy

OTHER_CLIENT = (ABROAD, 9)
LIMITS = {"upload_bytes_per_second": 100_000, "download_bytes_per_second": 100_000}


class Burst:
    """What a client sends at once to an address of the host, and what the guest sends at once in return, with a TTL and DF."""

    def __init__(
        self,
        client: tuple[int, int],
        called: int,
        sizes: list[int],
        ttl: int,
        answers: list[int],
        df: bool,
        from_port: int,
    ) -> None:
        self.client, self.called, self.sizes, self.ttl = client, called, sizes, ttl
        self.answers, self.df, self.from_port = answers, df, from_port

    def __repr__(self) -> str:
        return (
            f"Burst{(self.client, self.called, self.sizes, self.ttl, self.answers, self.df, self.from_port)}"
        )


SIZES = st.lists(st.sampled_from([0, 1, 64, 64, 64, 64, 1200, 1200, 3000]), max_size=20)
BURSTS = st.lists(
    st.builds(
        Burst,
        st.sampled_from([CLIENT, CLIENT, CLIENT, OTHER_CLIENT, (ABROAD, 10), (ABROAD, 0)]),
        st.sampled_from([LOOPBACK, LOOPBACK, ABROAD]),
        SIZES,
        st.sampled_from([64, 64, 2]),
        SIZES,
        st.sampled_from([False, False, True]),
        st.sampled_from([INSIDE, INSIDE, INSIDE, 5000]),
    ),
    max_size=8,
)


def play(lab: RunLab, bursts: list[Burst], pause: int) -> dict[str, Any]:
    """The same scene for any host: all that there is to be seen."""
    publish_udp(lab, address=0)
    host = only_host_socket(lab)
    socks = {port: lab.guest.udp.bind(GUEST, port) for port in (INSIDE, 5000)}
    came: list[tuple[bytes, int, int, int]] = []
    ports: dict[tuple[int, int], int] = {}  # which client has which port of the gateway
    for burst in bursts:
        for data in filled(burst.sizes):
            host.arrive(data, *burst.client, burst.ttl, burst.called)
        lab.run(pause)
        while (datagram := socks[INSIDE].recv()) is not None:
            came.append((bytes(datagram.data), datagram.src, datagram.src_port, datagram.ttl))
            ports[burst.client] = datagram.src_port
        for data in filled(burst.answers if burst.client in ports else []):
            socks[burst.from_port].send(data, GATEWAY, ports[burst.client], ttl=burst.ttl, df=burst.df)
        lab.run(pause)
    lab.run(SECOND)
    counters = lab.counters("forwards", "nat.udp", "quota", "audit")
    errors = [
        (error.type, error.code, error.source, error.mtu, bytes(error.datagram))
        for sock in socks.values()
        for error in sock.errors
    ]
    flows = lab.gateway.flows()
    left_from = host.left_from
    lab.gateway.close()
    return {
        "came": came,
        "sent": lab.host.record.datagrams,
        "left from": left_from,
        "counters": counters,
        "errors": errors,
        "flows": flows,
    }


@settings(max_examples=60)
@given(BURSTS, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([2 * MS, 50 * MS]))
def test_a_host_that_takes_runs_sees_and_shows_what_another_does(
    bursts: list[Burst], limited: bool, cuts: bool, crowded: bool, pause: int
) -> None:
    """Datagrams, their sources, counters, quota, flows, ICMP errors and the bytes in the audit."""
    policy = NetworkPolicy.allow_all().limit(**LIMITS) if limited else NetworkPolicy.allow_all()
    seen = []
    for runs in (False, True):
        lab = RunLab(
            runs=runs,
            cuts=cuts,
            policy=policy,
            host={"mtu": 1500},
            limits=Limits(forwarded_udp=2 if crowded else 100),
            host_loopback=True,
        )
        lab.host.routers = (ROUTER,)  # TTL 2 dies there
        seen.append({**play(lab, bursts, pause), "records": lab.records})
    assert seen[1] == seen[0]


def test_a_burst_is_few_calls_each_way_and_comes_whole() -> None:
    lab, sock, client = visited()
    host = only_host_socket(lab)
    assert isinstance(host, FakeRuns)
    for number in range(40):
        host.arrive(bytes([number]) * 1200, *CLIENT)
    assert [data[0] for data, _, _ in come(lab, sock)] == list(range(40))
    assert host.brought == [1, 40]
    for number in range(40):
        sock.send(bytes([number]) * 1200, *client)
    sock.send(b"the end", *client)
    lab.run(50 * MS)
    assert [data[0] for data, _, _ in sent(lab)] == [*range(40), ord("t")]
    assert sum(host.sent) == 41
    assert len(host.sent) < 5
    assert (lab.count("forwards.udp.delivered"), lab.count("forwards.udp.answered")) == (41, 41)


def test_runs_of_two_clients_in_turn_stay_apart() -> None:
    lab = RunLab()
    publish_udp(lab)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    said = {
        source: [bytes([source[1] % 251, number]) for number in range(15)]
        for source in (CLIENT, OTHER_CLIENT)
    }
    for begin in (0, 5, 10):
        for source, datagrams in said.items():
            for data in datagrams[begin : begin + 5]:
                lab.host.post(LOOPBACK, OUTSIDE, data, source)
    heard: dict[int, list[bytes]] = {}
    for data, _, port in come(lab, sock):
        heard.setdefault(port, []).append(data)
        sock.send(data, GATEWAY, port)
    assert sorted(heard.values()) == sorted(said.values())
    lab.run(50 * MS)
    for source, datagrams in said.items():
        assert [data for data, *to in sent(lab) if tuple(to) == source] == datagrams


def test_a_burst_that_is_not_about_the_forward_goes_where_it_would_without_it() -> None:
    lab, _, client = visited(host_loopback=True)
    other = lab.guest.udp.bind(GUEST, 5000)
    for number in range(20):
        other.send(bytes([number]), *client)
    lab.run(50 * MS)
    assert sent(lab) == [(bytes([number]), LOOPBACK, client[1]) for number in range(20)]
    assert lab.count("forwards.udp.passed_over") == lab.count("nat.udp.forwarded") == 20
    assert lab.count("forwards.udp.answered") == 0


def test_answers_leave_from_the_address_that_was_spoken_to_last() -> None:
    """Also where one event brings what the client has sent to several."""
    lab = RunLab()
    publish_udp(lab, address=0)
    sock = lab.guest.udp.bind(GUEST, INSIDE)
    host = only_host_socket(lab)
    for called in (LOOPBACK, ABROAD):
        for _ in range(5):
            lab.host.post(called, OUTSIDE, b"x", CLIENT)
    client = come(lab, sock)[-1][1:]
    for _ in range(5):
        sock.send(b"y", *client)
    lab.run(50 * MS)
    assert host.left_from == [ABROAD] * 5


@pytest.mark.parametrize("runs", [True, False])
def test_each_datagram_of_a_run_counts_against_the_quota(runs: bool) -> None:
    """65,535 bytes at once are 53 datagrams with their headers, of which one has come before."""
    limit = NetworkPolicy.allow_all().limit(upload_bytes_per_second=1, download_bytes_per_second=1)
    lab, sock, client = visited(policy=limit, runs=runs)
    host = only_host_socket(lab)
    for _ in range(60):
        host.arrive(bytes(1200), *CLIENT)
        sock.send(bytes(1200), *client)
    lab.run(100 * MS)
    assert len(received(sock)) == len(sent(lab)) == 53
    assert lab.count("forwards.udp.over_quota") == 7 + 7


def test_what_is_left_of_a_run_holds_no_memory_but_its_own() -> None:
    """What comes at once are views of one buffer, and what waits for the guest is bounded by what it counts."""
    limit = NetworkPolicy.allow_all().limit(download_bytes_per_second=1)
    lab = RunLab(policy=limit)
    forward = publish_udp(lab)
    host = only_host_socket(lab)
    buffer = memoryview(bytes(60_000))
    kept: list[list[type]] = []
    for _ in range(2):
        for at in range(0, 60_000, 2_000):
            host._in.append((buffer[at : at + 2_000], (*CLIENT, 64, LOOPBACK)))  # type: ignore[arg-type] # as of a real one
        forward.on_host(readable=True, writable=False, now=lab.clock.now)
        (client,) = forward._clients.values()
        kept.append([type(data) for item, _, _ in client.socket.outbox._items for data in item.run])
        client.socket.outbox.clear()
    assert kept == [[memoryview] * 30, [bytes] * 2]


@pytest.mark.parametrize("runs", [True, False])
def test_each_datagram_of_a_run_that_finds_no_place_is_counted(runs: bool) -> None:
    lab = RunLab(limits=Limits(forwarded_udp=1), runs=runs)
    publish_udp(lab)
    for port in (1, 2):
        for _ in range(20):
            lab.host.post(LOOPBACK, OUTSIDE, b"x", (ABROAD, port))
    lab.run(SECOND)
    assert lab.count("forwards.udp.no_resources") == lab.count("forwards.refused_udp") == 20
    assert lab.count("forwards.udp.delivered") == 20


@pytest.mark.parametrize("size", [1, 5_000, 60_000])
def test_one_client_that_fills_its_queue_loses_what_does_not_fit_and_no_more(size: int) -> None:
    """The socket of one client takes 1024 datagrams, or a megabyte, and the last run that comes is cut off in its middle."""
    lab = RunLab(mtu=65535)
    forward = publish_udp(lab)
    posted = 0
    for _ in range(20):
        for _ in range(60):
            lab.host.post(LOOPBACK, OUTSIDE, bytes(size), CLIENT)
            posted += 1
        while only_host_socket(lab).readable():
            forward.on_host(readable=True, writable=False, now=lab.clock.now)
    (client,) = forward._clients.values()
    outbox = client.socket.outbox
    assert len(outbox) == lab.count("forwards.udp.delivered") == min(1024, MOST_WAITING // (size + KEPT))
    assert lab.count("forwards.udp.guest_full") == posted - len(outbox)
    assert client.down == outbox.bytes == len(outbox) * size


def test_an_event_takes_no_more_than_it_may() -> None:
    """Others have their turn."""
    lab = RunLab()
    forward = publish_udp(lab)
    host = only_host_socket(lab)
    host._in = type(host._in)()  # a kernel's queue holds more than one event takes
    for _ in range(3 * MOST_AN_EVENT):
        host.arrive(b"x", *CLIENT)
    forward.on_host(readable=True, writable=False, now=lab.clock.now)
    assert DATAGRAMS_AN_EVENT <= lab.count("forwards.udp.delivered") <= MOST_AN_EVENT


def test_large_and_empty_datagrams_among_runs_pass_whole() -> None:
    lab, sock, client = visited()
    sizes = [100, 100, 0, 0, 65507, 65507, 1, 65507, 100]
    for data in filled(sizes):
        lab.host.post(LOOPBACK, OUTSIDE, data, CLIENT)
    came: list[bytes] = []
    while len(came) < len(sizes):
        came += [data for data, _, _ in come(lab, sock)]
    assert came == list(filled(sizes))
    for data in filled(sizes):
        sock.send(data, *client)
        lab.run(20 * MS)
    assert [data for data, _, _ in sent(lab)] == list(filled(sizes))
