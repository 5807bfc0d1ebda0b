"""Ephemeral ports (RFC 6056)."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from tests.stack.rig import Rig
from usernat.stack.l4.ports import choose_port


@pytest.mark.rfc("6056", "3.2-a")
def test_the_whole_range_is_used() -> None:
    """A flat histogram from 1024 to 65535."""
    rng = Random(1)
    ports = [choose_port(rng, lambda _: False) for _ in range(20_000)]
    assert all(port is not None and 1024 <= port <= 65535 for port in ports)
    bins = [0] * 16
    for port in ports:
        bins[((port or 0) - 1024) * 16 // 64512] += 1
    assert min(bins) > 1000


@pytest.mark.rfc("6056", "3.3-a")
def test_c59_ports_cannot_be_foretold() -> None:
    """No step repeats, and two instances differ."""
    one, other = Random(1), Random(2)
    ports = [choose_port(one, lambda _: False) or 0 for _ in range(200)]
    assert len({b - a for a, b in itertools.pairwise(ports)}) > 190
    assert ports != [choose_port(other, lambda _: False) for _ in range(200)]


@pytest.mark.rfc("6056", "3.2-b", "3.3-b")
def test_a_port_in_use_is_left_out() -> None:
    rng = Random(3)
    used: set[int] = {5002}
    for _ in range(4):
        port = choose_port(rng, used.__contains__, 5000, 5004)
        assert port is not None
        assert port not in used
        used.add(port)
    assert used == {5000, 5001, 5002, 5003, 5004}
    assert choose_port(rng, used.__contains__, 5000, 5004) is None


@pytest.mark.rfc("6056", "3.3-a")
def test_c59_sockets_of_two_stacks() -> None:
    series = [[Rig(seed=seed).interface.udp.bind(None, 0).port for _ in range(3)] for seed in (1, 2)]
    assert series[0] != series[1]
