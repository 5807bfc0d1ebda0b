"""The link with faults: what it may do to frames, and that it does nothing else."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.fuzz.faultylink import LATEST, Faults, FaultyLink, Weather
from usernat.links.memory import memory_pair
from usernat.stack.device import Capabilities, Frame

BATCHES = st.lists(st.integers(0, 20), max_size=30)
CHANCE = st.floats(0, 1)


def through(weather: Weather[int], sizes: list[int]) -> tuple[int, list[int]]:
    """Numbered frames in batches of these sizes, and at the end whatever was late: how many were sent, what arrived."""
    sent = 0
    arrived: list[int] = []
    for size in sizes:
        arrived += weather.through(list(range(sent, sent + size)))
        sent += size
    return sent, arrived + weather.through([])


@given(BATCHES, CHANCE, CHANCE, CHANCE, st.integers())
def test_every_frame_is_accounted_for(
    sizes: list[int], loss: float, duplication: float, reordering: float, seed: int
) -> None:
    weather: Weather[int] = Weather(Faults(loss, duplication, reordering), Random(seed))
    sent, arrived = through(weather, sizes)
    counters = weather.counters
    copies = Counter(arrived)
    assert set(copies) <= set(range(sent))
    assert max(copies.values(), default=0) <= 2
    assert sent - len(copies) == counters.lost
    assert len(arrived) - len(copies) == counters.duplicated
    assert counters.passed + counters.reordered == len(copies)
    assert weather.late == 0


@given(BATCHES, st.integers())
def test_fair_weather_changes_nothing(sizes: list[int], seed: int) -> None:
    sent, arrived = through(Weather(Faults(), Random(seed)), sizes)
    assert arrived == list(range(sent))


@given(st.integers(1, 200), CHANCE, st.integers())
def test_reordered_frames_are_overtaken_by_few(count: int, reordering: float, seed: int) -> None:
    _, arrived = through(Weather(Faults(reordering=reordering), Random(seed)), [count])
    assert sorted(arrived) == list(range(count))
    for place, number in enumerate(arrived):
        overtaken_by = [other for other in arrived[:place] if other > number]
        assert len(overtaken_by) <= LATEST


@given(BATCHES, st.integers())
def test_the_same_seed_gives_the_same_faults(sizes: list[int], seed: int) -> None:
    one, other = (through(Weather(Faults(0.3, 0.3, 0.3), Random(seed)), sizes) for _ in range(2))
    assert one == other


@given(st.sets(st.integers(0, 50)), st.integers(0, 60))
def test_chosen_frames_are_lost(lose_at: set[int], count: int) -> None:
    sent, arrived = through(Weather(Faults(lose_at=frozenset(lose_at)), Random(0)), [count])
    assert arrived == [number for number in range(sent) if number not in lose_at]


def test_faults_are_of_the_frequency_asked_for() -> None:
    weather: Weather[int] = Weather(Faults(0.05, 0.05, 0.05), Random(1))
    through(weather, [20] * 500)
    for happened in (weather.counters.lost, weather.counters.duplicated, weather.counters.reordered):
        assert happened == pytest.approx(500, rel=0.2)


def test_link_passes_frames_both_ways_and_late_ones_are_flushed() -> None:
    inner, guest = memory_pair()
    link = FaultyLink(inner, Faults(reordering=1.0), Random(3))
    link.send([Frame([b"to the guest"])])
    assert guest.receive(10) == []
    assert link.held == 1
    link.flush()
    assert guest.receive(10) == [(b"to the guest", False)]
    assert link.held == 0
    guest.send([Frame([b"from the guest"])])
    assert link.receive(10) == []
    assert link.pending
    assert link.receive(10) == [(b"from the guest", False)]
    assert not link.pending
    guest.close()
    link.close()


def test_offload_can_be_hidden() -> None:
    inner, guest = memory_pair(Capabilities(mtu=9000, tx_checksum=True, tx_segmentation=65535))
    assert FaultyLink(inner, Faults(), Random(0)).capabilities == inner.capabilities
    assert FaultyLink(inner, Faults(), Random(0), offload=False).capabilities == Capabilities(mtu=9000)
    guest.close()
    inner.close()
