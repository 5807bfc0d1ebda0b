"""How `usernat run` begins and ends: exit status, signals, and that nothing outlives either side (C27)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import USERNAT, namespace_guest
from tests.lab.servers import peers
from tests.lab.world import PEERS

if TYPE_CHECKING:
    from tests.lab.guest import Guest
    from tests.lab.world import World

GONE_SECONDS = 5.0
FLOWS = 100
HOLD_FLOWS = (
    *(sys.executable, "-c"),
    (
        f"import os, socket, sys; kept = [socket.create_connection(({PEERS!r}, {peers.ECHO})) for _ in range({FLOWS})];"
        "print(os.getpid(), flush=True); sys.stdin.read()"
    ),
)


@pytest.mark.parametrize("status", [0, 1, 42])
def test_exit_status_is_the_command_s(world: World, status: int) -> None:
    done = world.host.run(*USERNAT, "run", "--", "sh", "-c", f"exit {status}", check=False)
    assert done.returncode == status
    assert done.stderr == ""


def test_command_that_does_not_exist(world: World) -> None:
    done = world.host.run(*USERNAT, "run", "--", "/no/such/command", check=False)
    assert done.returncode == 127
    assert "/no/such/command" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_streams_of_the_command_pass_through(world: World) -> None:
    done = world.host.run(*USERNAT, "run", "--", "sh", "-c", "cat; echo err >&2", stdin=b"from outside\n")
    assert (done.stdout, done.stderr) == ("from outside\n", "err\n")


def test_signals_pass_through(world: World) -> None:
    command = ("sh", "-c", "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.05; done")
    run = world.host.start(*USERNAT, "run", "--", *command, stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"up\n"
    run.send_signal(signal.SIGTERM)
    assert run.stdout.readline() == b"caught\n"
    assert run.wait(GONE_SECONDS) == 9


def test_c27_gateway_ends_with_its_guest(world: World) -> None:
    """A guest that leaves with flows open takes the gateway along, and every host socket with it."""
    with namespace_guest(world.host, command=HOLD_FLOWS) as guest:
        assert len(_host_connections(world)) == FLOWS
        assert guest.leave() == 0
        assert _until_empty(lambda: _host_connections(world)) == []


def test_c27_killed_gateway_takes_the_guest_along(world: World) -> None:
    with namespace_guest(world.host, command=HOLD_FLOWS) as guest:
        network = Path(f"/proc/{guest.pid}/ns/net").readlink()
        guest.gateway.kill()
        assert _until_empty(lambda: _processes_in(network)) == []
        assert _until_empty(lambda: _host_connections(world)) == []


def test_c27_killed_command_ends_the_gateway(world: World) -> None:
    with namespace_guest(world.host) as guest:
        network = Path(f"/proc/{guest.pid}/ns/net").readlink()
        os.kill(guest.pid, signal.SIGKILL)
        assert guest.gateway.wait(GONE_SECONDS) == 128 + signal.SIGKILL
        assert _until_empty(lambda: _processes_in(network)) == []


def test_c27_flows_that_end_leave_no_descriptor(world: World) -> None:
    """Two thousand flows one after the other, TCP and UDP: the gateway holds no more descriptors than before."""
    with namespace_guest(world.host) as guest:
        before = _descriptors(guest)
        for _ in range(20):
            assert guest.call("streams.echoes", 50, 100) == 50
        deadline = time.monotonic() + GONE_SECONDS
        while (now := _descriptors(guest)) > before and time.monotonic() < deadline:
            time.sleep(0.1)
        assert now <= before


def _host_connections(world: World) -> list[str]:
    """Live connections of the host place to the peers."""
    shown = world.host.run("ss", "-Htn", "state", "connected", "exclude", "time-wait", "dst", PEERS).stdout
    return shown.splitlines()


def _processes_in(network: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "ns/net").readlink() == network:
                found.append(int(entry.name))
        except OSError:
            continue  # it has just ended
    return found


def _until_empty(ask: object) -> object:
    assert callable(ask)
    deadline = time.monotonic() + GONE_SECONDS
    while (found := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _descriptors(guest: Guest) -> int:
    return len(list(Path(f"/proc/{guest.gateway.pid}/fd").iterdir()))
