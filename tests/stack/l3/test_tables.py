"""The small tables of the internet layer: addresses, routes, path MTUs, identifications, the rate limit."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack.rig import SECOND
from usernat.stack.addr import parse_ip
from usernat.stack.l3.addresses import Addresses
from usernat.stack.l3.ip_id import BLOCK, GROUP, LIFETIME_US, MAX_TUPLES, IpIds
from usernat.stack.l3.path_mtu import AGE_US, MAX_ENTRIES, PathMtu
from usernat.stack.l3.routes import DEAD_GATEWAY_US, Routes
from usernat.stack.l3.token_bucket import TokenBucket

A = parse_ip("10.0.2.2")
LAN = parse_ip("10.0.0.0")
DST = parse_ip("203.0.113.7")
GATEWAYS = [parse_ip(f"10.0.2.{last}") for last in range(10, 20)]


@pytest.mark.rfc("1122", "3.2.1.3-b")
@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("0.0.0.0", 0),
        ("127.0.0.1", 8),
        ("224.0.0.1", 4),
        ("10.0.2.255", 24),
        ("10.0.2.0", 24),
        ("10.0.2.2", 33),
        ("10.0.2.2", -1),
    ],
)
def test_addresses_that_no_host_has(address: str, prefix: int) -> None:
    with pytest.raises(ValueError, match=r"host's address|bits"):
        Addresses([(parse_ip(address), prefix)])


@pytest.mark.rfc("1122", "3.2.1.3-a", "3.3.1.1-a", "3.3.6-a", "3.3.6-e")
def test_addresses_and_their_broadcasts() -> None:
    addresses = Addresses([(A, 24), (parse_ip("10.0.2.130"), 25), (parse_ip("192.0.2.1"), 31)])
    assert addresses.primary == A
    assert [
        addresses.is_broadcast(parse_ip(a))
        for a in ("10.0.2.255", "10.0.2.0", "10.0.2.128", "255.255.255.255")
    ] == [True] * 4
    assert not addresses.is_broadcast(parse_ip("192.0.2.0"))
    assert addresses.on_link(parse_ip("10.0.2.200")) == parse_ip("10.0.2.130")
    assert Addresses([(parse_ip("10.0.2.130"), 25), (A, 24)]).on_link(parse_ip("10.0.2.200")) == parse_ip(
        "10.0.2.130"
    )
    assert addresses.on_link(parse_ip("10.0.2.3")) == A
    assert addresses.on_link(DST) is None
    addresses.remove(A)
    assert addresses.primary == parse_ip("10.0.2.130")
    assert not addresses.is_broadcast(parse_ip("10.0.2.0"))
    with pytest.raises(ValueError, match="not an address"):
        addresses.remove(A)
    assert Addresses().primary is None


@pytest.mark.rfc("1122", "3.3.1.2-a", "3.3.1.1-a")
def test_the_longest_prefix_wins() -> None:
    routes = Routes(Addresses([(A, 24)]))
    assert routes.next_hop(DST) is None
    routes.add_default(GATEWAYS[0])
    routes.add(DST & ~0xFF, 24, GATEWAYS[1])
    routes.add(DST, 32, GATEWAYS[2])
    assert routes.next_hop(GATEWAYS[5]) == GATEWAYS[5]
    assert [routes.next_hop(dst) for dst in (DST, DST + 1, DST + 256)] == [
        GATEWAYS[2],
        GATEWAYS[1],
        GATEWAYS[0],
    ]
    version = routes.version
    routes.remove(DST, 32)
    assert routes.next_hop(DST) == GATEWAYS[1]
    assert routes.version > version


def test_a_gateway_that_is_no_neighbour_any_more() -> None:
    addresses = Addresses([(A, 24), (parse_ip("192.0.2.1"), 24)])
    routes = Routes(addresses)
    routes.add_default(GATEWAYS[0])
    routes.add_default(parse_ip("192.0.2.9"))
    addresses.remove(A)
    assert routes.next_hop(DST) == parse_ip("192.0.2.9")
    addresses.remove(parse_ip("192.0.2.1"))
    assert routes.next_hop(DST) is None


def test_routes_that_cannot_be() -> None:
    routes = Routes(Addresses([(A, 24)]))
    for network, prefix, gateway in ((LAN + 1, 8, GATEWAYS[0]), (0, 33, GATEWAYS[0]), (0, 0, DST), (0, 0, A)):
        with pytest.raises(ValueError, match="is not a n"):
            routes.add(network, prefix, gateway)
    with pytest.raises(ValueError, match="no route"):
        routes.remove(0, 0)
    for gateway in GATEWAYS[:8]:
        routes.add_default(gateway)
    routes.add_default(GATEWAYS[0])
    with pytest.raises(ValueError, match="at most 8"):
        routes.add_default(GATEWAYS[8])


@pytest.mark.rfc("1122", "3.3.1.2-b", "3.3.1.4-a")
def test_a_dead_gateway_rests_for_a_minute() -> None:
    routes = Routes(Addresses([(A, 24)]))
    for gateway in GATEWAYS[:2]:
        routes.add_default(gateway)
    routes.gateway_failed(GATEWAYS[5], 0)
    assert routes.poll_at() is None, "no gateway, no matter"
    routes.gateway_failed(GATEWAYS[0], 5)
    assert routes.next_hop(DST) == GATEWAYS[1]
    routes.gateway_failed(GATEWAYS[1], 6)
    assert routes.next_hop(DST) == GATEWAYS[0], "with none alive, the first"
    assert routes.poll_at() == DEAD_GATEWAY_US + 5
    routes.on_time(DEAD_GATEWAY_US + 5)
    assert routes.next_hop(DST) == GATEWAYS[0]
    assert routes.poll_at() == DEAD_GATEWAY_US + 6


@pytest.mark.rfc("1191", "3-a", "3-b", "3-c")
def test_a_path_mtu_goes_down_only() -> None:
    paths = PathMtu(1500)
    assert paths.get(DST) == 1500
    assert not paths.too_big(DST, 1500, 1500, 0)
    assert paths.too_big(DST, 1000, 1500, 0)
    assert not paths.too_big(DST, 1200, 1500, 0)
    assert paths.get(DST) == 1000
    assert paths.get(DST + 1) == 1500
    assert paths.too_big(DST, 67, 1500, 0)
    assert paths.get(DST) == 68
    assert not paths.too_big(DST, 1, 1500, 0)
    assert paths.counters.as_dict() == {"lowered": 2, "ignored": 3, "evicted": 0}


@pytest.mark.rfc("1191", "3-f", "5-a")
@pytest.mark.parametrize(
    ("length", "mtu"), [(1500, 1492), (1492, 1006), (1006, 508), (576, 508), (100, 68), (68, 68), (20, 68)]
)
def test_old_routers_say_no_mtu(length: int, mtu: int) -> None:
    """The next plateau below."""
    paths = PathMtu(65535)
    assert paths.too_big(DST, 0, length, 0)
    assert paths.get(DST) == mtu


@pytest.mark.rfc("1191", "3-d")
def test_a_path_mtu_is_forgotten_after_ten_minutes() -> None:
    assert AGE_US == 600 * SECOND
    paths = PathMtu(1500)
    paths.too_big(DST, 1000, 1500, 0)
    paths.too_big(DST + 1, 1000, 1500, 50)
    paths.too_big(DST, 900, 1000, 100)
    assert paths.poll_at() == AGE_US + 50
    assert paths.expire(AGE_US + 99) == [DST + 1]
    assert paths.get(DST) == 900
    assert paths.expire(AGE_US + 100) == [DST]
    assert (paths.get(DST), paths.poll_at()) == (1500, None)


def test_c60_path_mtus_are_bounded() -> None:
    paths = PathMtu(1500)
    for dst in range(MAX_ENTRIES + 10):
        paths.too_big(dst, 1000, 1500, 0)
    assert paths.counters.evicted == 10
    assert (paths.get(9), paths.get(10)) == (1500, 1000)


@pytest.mark.rfc("6864", "4.3-a")
@pytest.mark.rfc("791", "3.2-id-a")
def test_c59_identifications_do_not_repeat_within_a_lifetime() -> None:
    """In a minute all 65,536, each once; then none, until those of the first block are a minute old."""
    ids = IpIds(Random(1))
    first = [ids.next(A, DST, 17, number) for number in range(65536)]
    assert set(first) == set(range(65536))
    assert ids.next(A, DST, 17, LIFETIME_US + BLOCK - 2) is None
    assert ids.counters.exhausted == 1
    assert ids.next(A, DST + 1, 17, 65536) is not None, "each tuple has its own"
    second = [ids.next(A, DST, 17, LIFETIME_US + BLOCK - 1) for _ in range(BLOCK + 1)]
    assert second == [*first[:BLOCK], None]


@pytest.mark.rfc("6864", "4.3-a")
@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 3 * BLOCK), st.integers(0, LIFETIME_US)), max_size=12))
def test_c59_no_identification_comes_back_before_its_time(bursts: list[tuple[int, int]]) -> None:
    ids, last = IpIds(Random(1)), dict[int, int]()
    now = 0
    for size, wait in [(65536, 1), *bursts]:
        for _ in range(size):
            value = ids.next(A, DST, 17, now)
            if value is None:
                break
            assert now - last.get(value, -LIFETIME_US) >= LIFETIME_US
            last[value] = now
        now += wait


@pytest.mark.rfc("6864", "4.3-a")
@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, 40, GROUP]), st.integers(1, 150), st.integers(0, LIFETIME_US // 8)
        ),
        max_size=60,
    )
)
def test_c59_runs_of_identifications_and_single_ones_never_meet_within_a_lifetime(
    takes: list[tuple[int, int, int]],
) -> None:
    """number: of a run, 0 for single ones; so many times, and then time goes by."""
    ids, last = IpIds(Random(1)), dict[int, int]()
    now = 0
    for number, times, wait in takes:
        for _ in range(times):
            first = ids.run(A, DST, 17, number, now) if number else ids.next(A, DST, 17, now)
            if first is None:
                break
            for value in range(first, first + max(1, number)):
                assert 0 <= value < 65536
                assert now - last.get(value, -LIFETIME_US) >= LIFETIME_US
                last[value] = now
        now += wait


def test_c59_runs_may_have_all_identifications_and_cannot_be_foretold() -> None:
    ids = IpIds(Random(1))
    firsts = [ids.run(A, DST, 17, GROUP, 0) for _ in range(65536 // GROUP)]
    assert sorted(first or 0 for first in firsts) == list(range(0, 65536, GROUP))
    assert ids.run(A, DST, 17, 2, LIFETIME_US - 1) is None
    assert ids.next(A, DST, 17, LIFETIME_US - 1) is None
    assert ids.counters.exhausted == 3
    assert ids.run(A, DST, 17, GROUP, LIFETIME_US) == firsts[0]
    steps = {((b or 0) - (a or 0)) % 65536 for a, b in itertools.pairwise(firsts[:64])}
    assert len(steps) > 24
    assert [IpIds(Random(2)).run(A, DST, 17, GROUP, 0), ids.run(A, DST + 1, 17, GROUP, 0)] != firsts[:1] * 2


def test_c59_identifications_cannot_be_foretold() -> None:
    """Nothing follows from those of another tuple, another instance, or the one before."""
    ids, other = IpIds(Random(1)), IpIds(Random(2))
    series = [[ids.next(A, DST + n, 17, 0) or 0 for _ in range(64)] for n in range(3)]
    series += [
        [ids.next(A, DST, 6, 0) or 0 for _ in range(64)],
        [other.next(A, DST, 17, 0) or 0 for _ in range(64)],
    ]
    for one in series:
        steps = {(b - a) % 65536 for a, b in itertools.pairwise(one)}
        assert len(steps) > 32
    assert len({tuple(one) for one in series}) == 5


def test_c60_tuples_are_bounded() -> None:
    ids = IpIds(Random(1))
    for dst in range(MAX_TUPLES + 5):
        ids.next(A, dst, 17, 0)
    assert ids.counters.evicted == 5


@pytest.mark.rfc("1812", "4.3.2.8-a")
def test_the_rate_limit() -> None:
    """A burst, then the rate, without losing fractions."""
    bucket = TokenBucket(rate=10, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    taken = sum(bucket.take(at) for at in range(0, 10 * SECOND, 1234))
    assert 99 <= taken <= 100
    assert [bucket.take(60 * SECOND) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0), "time that goes back gives nothing"
