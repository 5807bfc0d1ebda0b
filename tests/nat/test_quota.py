"""What one guest may use in all: the arithmetic, and then streams and datagrams through the gateway."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.kit import MS, NAMESERVER, SECOND, SERVER, Lab
from tests.nat.tcp_kit import connect, fetch, listening, nothing_remains, send_all
from usernat.fuzz.fakepeers import Echo, Source
from usernat.nat.quota import LARGEST, NO_END, Quota
from usernat.policy import UNLIMITED, GuestLimits, NetworkPolicy
from usernat.stack.l4.tcp.state import TcpError


class Sleeper:
    """A stream that notes when it is resumed."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.resumed: list[int] = []
        self.rooms: list[int] = []

    def resume(self, now: int) -> None:
        self.resumed.append(now)
        self.rooms.append(self.quota.up.room(now))


def test_without_limits_nothing_is_asked() -> None:
    quota = Quota(UNLIMITED, 0)
    assert not quota.active
    assert quota.admit(10**9, 0)
    assert quota.up.room(0) == quota.down.room(0) == NO_END


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "7"])
def test_a_limit_is_a_whole_number_above_0(value: object) -> None:
    with pytest.raises(ValueError, match=r"total_bytes must be a whole number above 0, not"):
        GuestLimits(total_bytes=value)  # type: ignore[arg-type] # that is the test


def test_flows_and_new_flows() -> None:
    quota = Quota(GuestLimits(flows=3, new_flows_per_second=2), 0)
    assert [quota.admit(flows, 0) for flows in (0, 1, 2)] == [True] * 3
    assert not quota.admit(3, 0)
    assert (quota.counters.flows_refused, quota.counters.rate_refused) == (1, 0)
    assert quota.admit(0, 0)
    assert not quota.admit(0, 0)  # the burst, two seconds' worth, is gone
    assert quota.counters.rate_refused == 1
    assert quota.admit(0, SECOND // 2)


@given(
    rate=st.integers(1, 10**7),
    steps=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=50),
)
def test_bytes_a_second_are_never_exceeded_by_more_than_the_burst(
    rate: int, steps: list[tuple[int, int]]
) -> None:
    quota = Quota(GuestLimits(download_bytes_per_second=rate), 0)
    now = passed = 0
    for wait, wanted in steps:
        now += wait
        took = min(wanted, quota.down.room(now))
        quota.down.went(took, now)
        passed += took
        assert passed <= max(rate, LARGEST) + rate * now / SECOND
    assert quota.up.room(now) == NO_END


def test_a_stream_that_waits_is_resumed_when_there_is_a_portion() -> None:
    quota = Quota(GuestLimits(upload_bytes_per_second=1_000_000), 0)
    stream = Sleeper(quota)
    quota.up.went(quota.up.room(0), 0)
    assert quota.up.room(0) == 0
    quota.up.wait(stream, 0)
    assert quota.poll_at() == 50 * MS
    quota.on_time(50 * MS - 1)
    assert stream.resumed == []
    quota.on_time(50 * MS)
    assert (stream.resumed, stream.rooms, quota.poll_at()) == ([50 * MS], [50_000], None)


def test_bytes_for_good() -> None:
    quota = Quota(GuestLimits(total_bytes=100), 0)
    ended: list[int] = []
    quota.up.went(60, 0)
    assert quota.down.room(0) == 40
    assert not quota.datagram_down(41, 0)
    quota.end_if_exhausted(lambda: ended.append(1))
    quota.down.went(40, 0)
    for _ in range(3):
        quota.end_if_exhausted(lambda: ended.append(1))
    assert ended == [1]  # once
    assert not quota.admit(0, 0)
    assert (quota.counters.used_up, quota.counters.used_up_refused, quota.counters.down_dropped) == (1, 1, 1)


# -- through the gateway --------------------------------------------------------------------------------------------------


def lab_with(**limits: int) -> Lab:
    return Lab(policy=NetworkPolicy.allow_all().limit(**limits))


def seconds(lab: Lab, since: int) -> float:
    return (lab.clock.now - since) / SECOND


def test_a_download_is_slowed_down_and_complete() -> None:
    lab = lab_with(download_bytes_per_second=200_000)
    data = bytes(range(256)) * 4000  # 1,024,000 bytes
    listening(lab, Source, data)
    began = lab.clock.now
    connection = connect(lab)
    assert fetch(lab, connection) == data
    assert 4 < seconds(lab, began) < 5  # a second's worth at once, 824,000 bytes at the rate
    assert lab.count("quota.slowed") > 10
    connection.close()
    lab.run(10 * SECOND)
    nothing_remains(lab)


def test_an_upload_is_slowed_down_and_complete() -> None:
    lab = lab_with(upload_bytes_per_second=200_000)
    (peers,) = (listening(lab),)
    connection = connect(lab)
    data = bytes(range(256)) * 4000
    began = lab.clock.now
    send_all(lab, connection, data)
    connection.shutdown()
    assert lab.run(60 * SECOND, stop=lambda: peers[0].eof)
    assert 4 < seconds(lab, began) < 6
    assert bytes(peers[0].received) == data


def test_one_way_that_is_slow_leaves_the_other_alone() -> None:
    lab = lab_with(upload_bytes_per_second=65535)
    data = bytes(1_000_000)
    listening(lab, Source, data)
    began = lab.clock.now
    assert fetch(lab, connect(lab)) == data
    assert seconds(lab, began) < 2


def test_streams_share_the_rate() -> None:
    lab = lab_with(download_bytes_per_second=400_000)
    listening(lab, Source, bytes(10_000_000))
    connections = [connect(lab) for _ in range(4)]
    got = [0] * 4

    def step() -> bool:
        for index, connection in enumerate(connections):
            got[index] += len(connection.recv(1 << 20))
        return False

    lab.run(10 * SECOND, stop=step)
    assert 4_000_000 < sum(got) < 4_500_000
    assert min(got) > 0.7 * max(got)


def test_datagrams_beyond_the_rate_are_dropped_and_counted() -> None:
    lab = lab_with(upload_bytes_per_second=100_000)
    sock = lab.guest.udp.bind(None, 5000)
    for _ in range(300):
        sock.send(bytes(1000), SERVER, 4000)
        lab.run(MS)
    assert 90 <= len(lab.host.record.datagrams) <= 135
    assert lab.count("quota.up_dropped") == 300 - len(lab.host.record.datagrams)


def test_empty_datagrams_are_not_free() -> None:
    lab = lab_with(total_bytes=2800)
    sock = lab.guest.udp.bind(None, 5000)
    for _ in range(200):
        sock.send(b"", SERVER, 4000)
        lab.run(MS)
    assert len(lab.host.record.datagrams) == 100


def test_each_new_destination_of_a_mapping_is_a_new_flow() -> None:
    lab = lab_with(new_flows_per_second=5)
    sock = lab.guest.udp.bind(None, 5000)
    for port in range(1000, 1040):
        for _ in range(2):
            sock.send(b"?", SERVER, port)
        lab.run(MS)
    assert len(lab.host.record.datagrams) == 20  # ten at once, and each of them goes on
    assert lab.count("quota.rate_refused") == 60


def test_when_the_bytes_are_used_up_everything_ends_and_nothing_begins() -> None:
    lab = lab_with(total_bytes=9_000_000)
    listening(lab, Source, bytes(5_000_000))
    first, second = connect(lab), connect(lab)
    assert second.established
    got = 0

    def step() -> bool:
        nonlocal got
        got += len(first.recv(1 << 20)) + len(second.recv(1 << 20))
        return first.closed and second.closed

    assert lab.run(10 * SECOND, stop=step)
    assert 4_000_000 < got <= 9_000_000  # what was in the send buffers is lost with the flows
    assert first.error == second.error == TcpError.RESET
    assert lab.count("quota.used_up") == 1
    third = connect(lab)
    lab.run(SECOND)
    assert not third.established
    assert lab.count("quota.used_up_refused") > 0
    lab.run(SECOND)
    nothing_remains(lab)


def test_more_flows_than_may_be_are_refused_at_once_and_change_nothing() -> None:
    lab = lab_with(flows=2)
    peers = listening(lab, Echo)
    first, second, third = (connect(lab) for _ in range(3))
    assert (first.established, second.established, third.established) == (True, True, False)
    send_all(lab, first, b"still here")
    lab.run(SECOND)
    assert bytes(peers[0].received) == b"still here"
    assert lab.count("quota.flows_refused") >= 1
    second.abort()
    lab.run(100 * MS)
    assert connect(lab).established


def test_new_limits_count_at_once() -> None:
    lab = lab_with(download_bytes_per_second=1000)
    data = bytes(3_000_000)
    listening(lab, Source, data)
    connection = connect(lab)
    lab.run(SECOND)
    lab.gateway.policy = NetworkPolicy.allow_all()
    began = lab.clock.now
    assert fetch(lab, connection) == data
    assert seconds(lab, began) < 2


def test_c35_when_the_bytes_are_used_up_names_carry_none_out_either() -> None:
    lab = lab_with(total_bytes=128)
    asked: list[bytes] = []
    lab.host.udp[SERVER, 53] = lambda data: asked.append(data) or []  # type: ignore[func-returns-value] # notes it, and says nothing
    sock = lab.guest.udp.bind(None, 5000)
    query = dns.message.make_query("secret.example", "A").to_wire()
    sock.send(query, NAMESERVER, 53)
    lab.run(100 * MS)
    assert len(asked) == 1
    sock.send(bytes(100), SERVER, 4000)
    lab.run(100 * MS)
    sock.send(query[:1] + b"x" + query[2:], NAMESERVER, 53)
    lab.run(100 * MS)
    assert len(asked) == 1
    reply = sock.recv()
    assert reply is not None
    assert dns.message.from_wire(bytes(reply.data)).rcode() == dns.rcode.NXDOMAIN
