"""The models against numbers that others have printed, and against their own cycles walked step by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim import theory


@pytest.mark.parametrize(
    ("p", "rtt", "window"),
    [
        (1e-4, 0.1, 187),
        (1e-5, 0.1, 1054),
        (1e-6, 0.1, 5926),
        (1e-7, 0.1, 33325),
        (1e-7, 0.01, 5926),
        (1e-8, 0.01, 33325),
    ],
)
def test_the_tables_of_the_rfc(p: float, rtt: float, window: int) -> None:
    """RFC 9438 §5.1, tables 1 and 2: where CUBIC is not in its Reno-friendly region."""
    assert theory.cubic_window(p, rtt) == pytest.approx(window, rel=0.01)


@pytest.mark.parametrize("p", [1e-2, 1e-3, 1e-4])
def test_reno_friendly(p: float) -> None:
    """RFC 9438 §5.1, tables 1 and 2: 12, 38 and 120, with the rounded constant 1.2."""
    assert theory.cubic_window(p, 0.01) == theory.aimd_window(p) == pytest.approx(1.2 / p**0.5, rel=0.025)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.5), (3 * 0.3 / 1.7, 0.7)])
def test_a_cycle_of_aimd_walked_by_hand(alpha: float, beta: float) -> None:
    top = 1000.0
    window, segments, rounds = beta * top, 0.0, 0
    while window < top:
        segments, rounds, window = segments + window, rounds + 1, window + alpha
    assert theory.aimd_window(1 / segments, alpha, beta) == pytest.approx(segments / rounds, rel=0.01)


def test_a_cycle_of_cubic_walked_by_hand() -> None:
    top, rtt = 4000.0, 0.1
    k = float((top * (1 - theory.CUBIC_BETA) / theory.CUBIC_C) ** (1 / 3))
    rounds = round(k / rtt)
    segments = sum(top + theory.CUBIC_C * (number * rtt - k) ** 3 for number in range(rounds))
    assert theory.pure_cubic_window(1 / segments, rtt) == pytest.approx(segments / rounds, rel=0.01)
    assert theory.peak_of(segments / rounds, "cubic") == pytest.approx(top, rel=0.01)


@given(st.floats(0.01, 0.99), st.sampled_from([0.5, 0.7]))
def test_a_cycle_over_a_buffer_walked_by_hand(buffer: float, beta: float) -> None:
    product, step = 10_000.0, 1.0
    top = (1 + buffer) * product
    window, segments, time = beta * top, 0.0, 0.0
    while window < top:
        segments, time, window = segments + window, time + max(1.0, window / product), window + step
    assert theory.utilisation(buffer, beta) == pytest.approx(min(1, segments / time / product), rel=0.01)


def test_known_utilisations() -> None:
    assert theory.utilisation(0, 0.5) == pytest.approx(0.75)
    assert theory.utilisation(1, 0.5) == 1
    assert theory.utilisation(0, 0.7) == pytest.approx(0.85)
    assert theory.utilisation(0.43, 0.7) == 1


def test_jain() -> None:
    assert theory.jain([5.0] * 7) == pytest.approx(1)
    assert theory.jain([1.0, 0, 0, 0]) == pytest.approx(0.25)
    assert theory.jain([3.0, 1.0]) == pytest.approx(0.8)
