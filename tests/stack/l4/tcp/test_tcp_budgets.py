"""Budgets of memory and of challenge ACKs, and what a configuration may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.stack.l4.tcp.challenge import ChallengeAllowance
from usernat.stack.l4.tcp.config import TcpConfig, window_scale
from usernat.stack.l4.tcp.memory import FLOOR, MemoryBudget

SECOND = 1_000_000


class TestBudgets:
    @given(st.integers(0, 2_000_000), st.integers(1, 1 << 20))
    def test_shares(self, used: int, buffer: int) -> None:
        memory = MemoryBudget(1_000_000)
        memory.used = used
        share = memory.share(buffer)
        assert min(buffer, FLOOR) <= share <= buffer
        if used <= 500_000:
            assert share == buffer
        if used >= 1_000_000:
            assert share == min(buffer, FLOOR)

    def test_challenges(self) -> None:
        """RFC 5961 7-a, 7-b."""
        allowance = ChallengeAllowance(3, 100)
        assert [allowance.take(10) for _ in range(5)] == [True] * 3 + [False] * 2
        assert not allowance.take(109)
        assert allowance.take(110)


class TestConfig:
    @pytest.mark.parametrize(
        ("buffer", "shift"), [(1, 0), (65535, 0), (65536, 1), (1 << 20, 5), (1 << 30, 14)]
    )
    def test_window_scale(self, buffer: int, shift: int) -> None:
        assert window_scale(buffer) == shift

    @pytest.mark.parametrize(
        "wrong",
        [
            {"congestion": "vegas"},
            {"receive_buffer": 0},
            {"receive_buffer": 1 << 31},
            {"delayed_ack_us": 500_000},
            {"syn_timeout_us": 179 * SECOND},
            {"memory": 0},
            {"max_half_open": 0},
        ],
    )
    def test_what_cannot_be(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"."):
            TcpConfig(**wrong)  # type: ignore[arg-type] # wrong on purpose
