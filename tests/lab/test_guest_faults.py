"""Bad weather between the guest and the gateway: whatever is lost, doubled or late, the streams are byte-exact."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import namespace_guest
from tests.lab.servers import pattern, peers
from tests.lab.world import WWW

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.guest import Guest
    from tests.lab.world import World

LAUNCHER = (sys.executable, "-m", "tests.lab.faulty_run")
WEATHER = ("--loss", "5", "--duplication", "5", "--reordering", "5")
SIZE = 5_000_000


@pytest.mark.parametrize("device", [[], ["--no-offload"]], ids=["offload", "bare"])
@pytest.mark.parametrize("seed", ["1", "2"])
def test_c02_c04_loss_duplication_and_reordering(
    world: World, tmp_path: Path, device: list[str], seed: str
) -> None:
    report = tmp_path / "report"
    options = (*WEATHER, *device, "--seed", seed, "--report", str(report))
    with namespace_guest(world.host, *options, launcher=LAUNCHER) as guest:
        _exchange(guest, world, SIZE)
        assert guest.leave() == 0
    weather = json.loads(report.read_text())
    for way in ("inward", "outward"):
        assert min(weather[way][fault] for fault in ("lost", "duplicated", "reordered")) > 0, weather


def test_round_trip_of_200_ms(world: World) -> None:
    """The whole gateway at the far end of a long link."""
    with namespace_guest(world.host, "--delay-ms", "100", launcher=LAUNCHER) as guest:
        _exchange(guest, world, 200_000)


def test_many_streams_in_bad_weather(world: World, tmp_path: Path) -> None:
    sizes = range(20_001, 20_041)
    with namespace_guest(world.host, *WEATHER, launcher=LAUNCHER) as guest:
        guest.curl(
            *("--parallel", "--parallel-immediate", "--parallel-max", "40"),
            *("-o", f"{tmp_path}/#1", f"http://{WWW}/bytes/[{sizes[0]}-{sizes[-1]}]"),
        )
    assert all((tmp_path / str(size)).read_bytes() == pattern.content(size) for size in sizes)


@pytest.mark.parametrize("ordinal", range(3, 15))
def test_c02_any_single_frame_towards_the_guest_is_lost(world: World, ordinal: int) -> None:
    """From the first answers (ARP, SYN-ACK) on to data and the closing handshake."""
    with namespace_guest(world.host, "--no-offload", "--lose-at", str(ordinal), launcher=LAUNCHER) as guest:
        _exchange(guest, world, 5_000)


def _exchange(guest: Guest, world: World, size: int) -> None:
    down = guest.run("sh", "-c", f"curl -sS http://{WWW}/bytes/{size} | sha256sum").stdout
    assert down.split()[0] == pattern.digest(size)
    sent, came = guest.call("streams.half_close", size)
    assert world.last_seen("half-close")["sha256"] == sent
    assert came == pattern.digest(peers.ANSWER_SIZE)
