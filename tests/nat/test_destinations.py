"""The memory of destinations: bounded per flow and in all, and the filter that stands on it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from usernat.nat.destinations import Budget, Destinations


def key(address: int, port: int) -> int:
    return address << 16 | port


def test_an_address_is_permitted_while_any_of_its_ports_is_remembered() -> None:
    destinations = Destinations(2, Budget(100))
    destinations.remember(key(1, 10), b"a")
    destinations.remember(key(1, 11), b"b")
    assert destinations.permits(1)
    destinations.remember(key(2, 10), b"c")  # forgets 1:10
    assert destinations.permits(1)
    assert destinations.header(key(1, 10)) is None
    assert destinations.header(key(1, 11)) == b"b"
    destinations.remember(key(2, 11), b"d")
    assert not destinations.permits(1)


def test_the_one_not_used_for_longest_goes_first_and_is_counted() -> None:
    budget = Budget(100)
    destinations = Destinations(2, budget)
    for address, header in ((1, b"a"), (2, b"b"), (1, b"A"), (3, b"c")):
        destinations.remember(key(address, 0), header)
    assert destinations.header(key(1, 0)) == b"A"
    assert key(2, 0) not in destinations
    assert budget.forgotten == 1


def test_c60_every_flow_may_have_one_whatever_the_others_took() -> None:
    budget = Budget(3)
    greedy, modest = Destinations(10, budget), Destinations(10, budget)
    for address in range(5):
        greedy.remember(key(address, 1), b"")
    assert (len(greedy), budget.used) == (3, 3)
    modest.remember(key(9, 1), b"")
    modest.remember(key(8, 1), b"")
    assert (len(modest), modest.permits(8)) == (1, True)
    greedy.clear()
    modest.clear()
    assert budget.used == 0


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=60),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_filter_and_budget_always_agree_with_what_is_remembered(
    steps: list[tuple[int, int]], limit: int, total: int
) -> None:
    budget = Budget(total)
    destinations = Destinations(limit, budget)
    for address, port in steps:
        destinations.remember(key(address, port), b"")
        assert key(address, port) in destinations
        assert 1 <= len(destinations) == budget.used <= min(limit, total)
        for other in range(1, 5):
            known = any(key(other, candidate) in destinations for candidate in range(1, 4))
            assert destinations.permits(other) == known
