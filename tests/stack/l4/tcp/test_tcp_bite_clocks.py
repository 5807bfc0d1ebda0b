"""Initial sequence numbers, the time stamp clock, allowances and the memory budget, at their edges."""

from __future__ import annotations

from random import Random

import pytest

from tests.stack.packets import GATEWAY, GUEST
from usernat.stack.l4.tcp.challenge import ChallengeAllowance
from usernat.stack.l4.tcp.isn import IsnGenerator
from usernat.stack.l4.tcp.memory import FLOOR, MemoryBudget
from usernat.stack.l4.tcp.timestamps import TICK_US, Timestamps

KEY = (GUEST, 40000, GATEWAY, 80)


@pytest.mark.rfc("6528", "3-b")
def test_the_time_stamp_offset_does_not_tell_the_sequence_number() -> None:
    """Time stamps are shown to everybody: one function for both would give F away."""
    isn = IsnGenerator(Random(1))
    assert all(
        isn.initial_sequence(GUEST, port, GATEWAY, 80, 0) != isn.timestamp_offset(GUEST, port, GATEWAY, 80)
        for port in range(100)
    )


@pytest.mark.rfc("6528", "3-e")
@pytest.mark.rfc("9293", "MAY-2")
@pytest.mark.parametrize("ahead", [0, 1, 0x10000, 0x10001, 0x10002])
def test_a_margin_lies_between_two_lives(ahead: int) -> None:
    """The clock's number serves where it is 65,537 or more above the last life, and is pushed up to that where it is not."""
    isn = IsnGenerator(Random(1))
    after = isn.initial_sequence(*KEY, 0) - ahead
    assert isn.initial_sequence(*KEY, 0, after) == after + max(ahead, 0x10001)


@pytest.mark.rfc("7323", "7.1-a")
def test_the_offset_is_added_to_the_clock() -> None:
    plain, offset = Timestamps(0, 0, 0, 0), Timestamps(0xFFFFFFFF, 0, 0, 0)
    assert plain.value(5 * TICK_US) == 5
    assert offset.value(5 * TICK_US) == 4


def test_an_echo_from_long_ago_measures_nothing() -> None:
    """2**20 ticks, a good quarter of an hour: nothing can have been under way so long."""
    stamps = Timestamps(0, 0, 0, 0)
    longest = (1 << 20) - 1
    assert stamps.rtt_us(1, (1 + longest) * TICK_US) == longest * TICK_US
    assert stamps.rtt_us(0, (1 + longest) * TICK_US) is None
    assert stamps.rtt_us(7, 7 * TICK_US) == 0


@pytest.mark.rfc("5961", "7-a", "7-b")
def test_the_challenge_allowance_is_full_again_with_each_window() -> None:
    allowance = ChallengeAllowance(2, 1000)
    assert [allowance.take(at) for at in (0, 998, 999, 1000, 1000, 1999, 2000)] == [
        True,
        True,
        False,
        True,
        True,
        False,
        True,
    ]


def test_shares_fall_with_what_is_left_of_the_second_half() -> None:
    memory = MemoryBudget(1_000_000)
    shares = []
    for used in (0, 500_000, 500_001, 750_000, 1_000_000, 2_000_000):
        memory.used = used
        shares.append(memory.share(100_000))
    assert shares == [100_000, 100_000, 99_999, 50_000, FLOOR, FLOOR]
    memory.used = 999_999
    assert memory.share(100) == 100, "the floor is no more than was asked for"
