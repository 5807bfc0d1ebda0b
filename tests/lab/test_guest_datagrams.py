"""Bursts of UDP between two kernels: datagrams that travel together arrive as they were sent, and what happens to one of them is told."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import namespace_guest
from tests.lab.world import WWW
from usernat.netdevice import cuts_datagrams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.guest import Guest
    from tests.lab.netns import Place
    from tests.lab.world import World

PUBLISHED, SERVICE = 8700, 7000


@pytest.fixture(scope="module")
def clients(world: World) -> Iterator[Place]:
    """The host, a port of which leads to a server of a guest's that answers at once what comes at once."""
    with namespace_guest(world.host, "--publish", f"0.0.0.0:{PUBLISHED}:{SERVICE}/udp") as guest:
        serving = ("-m", "tests.lab.inside", "bursts.echo_runs", json.dumps([SERVICE]))
        server = guest.start(sys.executable, *serving, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield world.host


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


@pytest.mark.parametrize("called", ["127.0.0.1", "127.0.0.2", "192.0.2.2"])
@pytest.mark.parametrize(("size", "number"), [(64, 40), (1200, 40), (1, 63), (1472, 44)])
def test_runs_of_a_client_come_in_by_a_forward_and_go_back(
    clients: Place, called: str, size: int, number: int
) -> None:
    """From the address that was spoken to: the client's socket is connected to it."""
    whole, most = clients.call("bursts.echoed_by_offload", size, number, 50, called, PUBLISHED)
    assert whole
    if cuts_datagrams():
        assert most > number // 2


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([1200], id="1200-bytes"),
        pytest.param([64, 64, 64, 64, 7, 1200, 1200, 1200, 1472, 0, 0, 1, 1, 1000, 1001], id="varied"),
        pytest.param([3000, 3000, 3000, 1473, 100], id="fragments"),
    ],
)
def test_bursts_of_a_client_come_in_by_a_forward_and_go_back_without_loss(
    clients: Place, sizes: list[int]
) -> None:
    sent, came = clients.call("bursts.echoed", sizes, 6000, "127.0.0.1", PUBLISHED)
    assert came == sent
