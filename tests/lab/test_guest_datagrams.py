"""Bursts of UDP between two kernels: datagrams that travel together arrive as they were sent, and what happens to one of them is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.world import WWW
from usernat.netdevice import cuts_datagrams

if TYPE_CHECKING:
    from tests.lab.guest import Guest


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        pytest.param([1200], 20_000, id="1200-bytes"),
        pytest.param([64], 20_000, id="64-bytes"),
        pytest.param([64, 64, 64, 64, 7, 1200, 1200, 1200, 1472, 0, 0, 1, 1, 1000, 1001], 6000, id="varied"),
    ],
)
def test_bursts_go_out_and_come_back_without_loss(guest: Guest, sizes: list[int], count: int) -> None:
    sent, came = guest.call("bursts.echoed", sizes, count)
    assert came == sent


def test_bursts_that_must_be_fragmented_come_back_too(guest_of_mtu: Guest) -> None:
    """The host's kernel does not cut what is larger than the path's MTU: each datagram goes by itself, in fragments."""
    sent, came = guest_of_mtu.call("bursts.echoed", [3000, 3000, 3000, 1473, 100], 600)
    assert came == sent


@pytest.mark.parametrize(("size", "number"), [(64, 40), (1200, 40), (1, 63), (1472, 44)])
def test_a_guest_whose_kernel_cuts_and_joins(guest: Guest, size: int, number: int) -> None:
    """UDP_SEGMENT and UDP_GRO in the guest: runs pass the TAP whole, both ways, where its kernel can do that."""
    whole, most = guest.call("bursts.echoed_by_offload", size, number, 50)
    assert whole
    if cuts_datagrams():
        assert most > number // 2


@pytest.mark.parametrize("size", [100, 1200])
def test_a_burst_to_a_closed_port_is_reported(guest: Guest, size: int) -> None:
    assert guest.call("bursts.error_after_burst", WWW, 9999, 30, size) == "Connection refused"
