"""Which names a guest has found at an address: for how long, how many, and whose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.nat.names import CEILING_S, FLOOR_S, NAMES, NameTable

S = 1_000_000
ME, OTHER = 0x0A00020F, 0x0A000210
ONE, TWO = 0xC0000201, 0xC0000202


def test_c32_an_address_has_many_names_and_a_name_many_addresses() -> None:
    table = NameTable()
    table.bind(ME, ONE, "b.test", 300, 0)
    table.bind(ME, ONE, "a.test", 300, 0)
    table.bind(ME, TWO, "a.test", 300, 0)
    assert table.names(ME, ONE, 0) == ("a.test", "b.test")
    assert table.names(ME, TWO, 0) == ("a.test",)
    assert table.names(OTHER, ONE, 0) == table.names(ME, TWO + 1, 0) == ()
    assert len(table) == table.counters.bound == 3


def test_c32_a_name_that_comes_later_takes_nothing_from_one_that_was_there() -> None:
    table = NameTable()
    table.bind(ME, ONE, "allowed.test", 300, 0)
    for number in range(NAMES - 1):
        table.bind(ME, ONE, f"denied{number}.test", 300, 1)
    assert "allowed.test" in table.names(ME, ONE, 2)


def test_what_one_guest_has_found_goes_when_its_address_is_anothers() -> None:
    table = NameTable()
    for guest in (ME, OTHER):
        table.bind(guest, ONE, "a.test", 300, 0)
    table.forget(ME)
    table.forget(ME)
    assert (table.names(ME, ONE, 0), table.names(OTHER, ONE, 0), len(table)) == ((), ("a.test",), 1)


@pytest.mark.parametrize(
    ("ttl", "lives"),
    [
        (0, FLOOR_S),
        (59, FLOOR_S),
        (61, 61),
        (86_400, CEILING_S),
        (86_401, CEILING_S),
        (0x7FFFFFFF, CEILING_S),
        (-1, FLOOR_S),
    ],
)
def test_c34_a_binding_lives_for_its_ttl_between_floor_and_ceiling(ttl: int, lives: int) -> None:
    table = NameTable()
    table.bind(ME, ONE, "a.test", ttl, 5)
    assert table.names(ME, ONE, 5 + lives * S - 1) == ("a.test",)
    assert table.names(ME, ONE, 5 + lives * S) == ()
    assert (len(table), table.counters.expired) == (0, 1)


def test_c34_each_name_ends_in_its_own_time() -> None:
    table = NameTable()
    table.bind(ME, ONE, "long.test", 600, 0)
    table.bind(ME, ONE, "short.test", 60, 0)
    assert table.names(ME, ONE, 60 * S) == ("long.test",)
    table.bind(ME, ONE, "short.test", 60, 61 * S)
    assert table.names(ME, ONE, 62 * S) == ("long.test", "short.test")


def test_c34_an_answer_again_extends_and_never_shortens() -> None:
    table = NameTable()
    table.bind(ME, ONE, "a.test", 600, 0)
    table.bind(ME, ONE, "a.test", 60, 0)
    assert table.names(ME, ONE, 599 * S) == ("a.test",)
    table.bind(ME, ONE, "a.test", 60, 599 * S)
    assert table.names(ME, ONE, 658 * S) == ("a.test",)
    assert table.names(ME, ONE, 659 * S) == ()
    assert (table.counters.bound, table.counters.renewed) == (1, 2)


def test_c60_names_of_an_address_are_bounded_and_the_first_to_end_gives_way() -> None:
    table = NameTable(names=2)
    table.bind(ME, ONE, "long.test", 600, 0)
    table.bind(ME, ONE, "short.test", 100, 0)
    table.bind(ME, ONE, "new.test", 300, 0)
    assert table.names(ME, ONE, 0) == ("long.test", "new.test")
    assert len(table) == 2
    assert table.counters.too_many_names == 1
    table.bind(ME, ONE, "newer.test", 300, 300 * S)  # new.test is over: nobody that lives gives way
    assert table.names(ME, ONE, 300 * S) == ("long.test", "newer.test")
    assert (table.counters.too_many_names, table.counters.expired) == (1, 1)


def test_c60_bindings_of_a_guest_are_bounded_and_the_address_used_longest_ago_gives_way() -> None:
    table = NameTable(names=2, guest_bindings=3)
    for address in (1, 2, 3):
        table.bind(ME, address, "a.test", 60, 0)
    table.bind(OTHER, 2, "a.test", 60, 0)
    table.names(ME, 1, 0)  # a flow
    table.bind(ME, 2, "a.test", 60, 0)  # an answer again
    table.bind(ME, 4, "a.test", 60, 0)
    assert list(table._guests[ME].addresses) == [1, 2, 4]
    assert table.names(ME, 3, 0) == ()
    assert table.names(OTHER, 2, 0) == ("a.test",)
    assert table.counters.guest_full == 1


def test_c60_all_bindings_are_bounded_and_the_guest_heard_of_longest_ago_gives_way() -> None:
    table = NameTable(names=1, guest_bindings=2, bindings=3)
    table.bind(1, ONE, "a.test", 60, 0)
    table.bind(2, ONE, "a.test", 60, 0)
    table.bind(3, ONE, "a.test", 60, 0)
    table.names(1, ONE, 0)
    table.bind(2, ONE, "a.test", 60, 0)
    table.bind(4, ONE, "a.test", 60, 0)
    assert list(table._guests) == [1, 2, 4]
    assert table.names(3, ONE, 0) == ()
    assert (len(table), table.counters.full) == (3, 1)


@pytest.mark.parametrize("caps", [(0, 1, 1), (2, 1, 3), (1, 3, 2)])
def test_caps_that_cannot_be(caps: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at most as many"):
        NameTable(names=caps[0], guest_bindings=caps[1], bindings=caps[2])


STEPS = st.lists(
    st.tuples(
        st.booleans(),
        st.integers(1, 4),
        st.integers(1, 4),
        st.sampled_from("abcd"),
        st.integers(0, 200),
        st.integers(0, 90),
    ),
    max_size=60,
)


@given(STEPS)
def test_without_caps_it_is_a_plain_dictionary(steps: list[tuple[bool, int, int, str, int, int]]) -> None:
    table, model, now = NameTable(), dict[tuple[int, int, str], int](), 0
    for binds, guest, address, name, ttl, pause in steps:
        now += pause * S
        if binds:
            table.bind(guest, address, name, ttl, now)
            key = guest, address, name
            model[key] = max(model.get(key, 0), now + max(ttl, FLOOR_S) * S)
        expected = sorted(n for (g, a, n), end in model.items() if (g, a) == (guest, address) and end > now)
        assert table.names(guest, address, now) == tuple(expected)


@given(STEPS)
def test_with_caps_what_is_there_is_true_and_never_too_much(
    steps: list[tuple[bool, int, int, str, int, int]],
) -> None:
    table, model, now = NameTable(names=2, guest_bindings=4, bindings=7), dict[tuple[int, int, str], int](), 0
    for binds, guest, address, name, ttl, pause in steps:
        now += pause * S
        if binds:
            table.bind(guest, address, name, ttl, now)
            key = guest, address, name
            model[key] = max(model.get(key, 0), now + max(ttl, FLOOR_S) * S)
            assert name in table.names(guest, address, now)
        assert all(model[guest, address, name] > now for name in table.names(guest, address, now))
        kept = {guest: list(known.addresses.values()) for guest, known in table._guests.items()}
        counts = {guest: sum(map(len, all_ends)) for guest, all_ends in kept.items()}
        assert len(table) == sum(counts.values()) <= 7
        assert all(0 < count <= 4 for count in counts.values())
        assert counts == {guest: known.bindings for guest, known in table._guests.items()}
        assert all(0 < len(ends) <= 2 for all_ends in kept.values() for ends in all_ends)
