"""UDP through the gateway: many, large, and to where nobody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.world import PEERS, WWW

if TYPE_CHECKING:
    from tests.lab.guest import Guest

SIZES = [0, 1, 1472, 1473, 9000, 65507]


def test_c01_3000_echoes(guest: Guest) -> None:
    assert guest.call("datagrams.echoes", 3000, 100) == 3000


@pytest.mark.parametrize("size", SIZES)
def test_c47_large_datagrams_out_and_back(guest_of_mtu: Guest, size: int) -> None:
    assert guest_of_mtu.call("datagrams.big_echo", size)


@pytest.mark.parametrize("size", SIZES)
def test_c47_large_datagrams_in(guest_of_mtu: Guest, size: int) -> None:
    assert guest_of_mtu.call("datagrams.big_source", size)


def test_closed_port_is_reported(guest: Guest) -> None:
    assert guest.call("datagrams.error_after_sending", WWW, 9999) == "Connection refused"


def test_c36_only_who_was_asked_is_heard(guest: Guest) -> None:
    """Another address answers before the one that was asked does, from a port of its own: only the latter gets through."""
    assert guest.call("datagrams.answers_from_elsewhere", 5) == [PEERS] * 5
