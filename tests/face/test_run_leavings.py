"""`usernat run`: whoever is killed, nothing of the guest stays behind."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.face.runner import (
    STAY,
    alive,
    eventually,
    guest_of,
    members,
    run,
    started,
)
from tests.processes import descendants
from usernat.config import Config
from usernat.namespace import guest as namespace_guest
from usernat.namespace.leavings import children

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or namespace_guest.usable() is not None,
    reason="namespaces or /dev/net/tun cannot be used here",
)


def test_what_the_command_leaves_running_ends_with_it() -> None:
    script = "(setsid sleep 1000 >/dev/null 2>&1 &); sleep 1000 >/dev/null 2>&1 & echo $$; read line; exit 3"
    with started("--", "sh", "-c", script) as process:
        _, namespace = guest_of(process)
        assert eventually(lambda: len(members(namespace)) == 5)  # keeper, init, sh, and both
        process.communicate("\n", timeout=10)
        assert process.wait(10) == 3
        assert members(namespace) == []


def test_nothing_stays_after_kill_9_of_the_gateway() -> None:
    script = "(setsid sleep 1000 >/dev/null 2>&1 &); " + STAY
    with started("--", "sh", "-c", script) as process:
        _, namespace = guest_of(process)
        assert eventually(lambda: len(members(namespace)) >= 3)
        mounts = Path("/proc/self/mountinfo").read_text()
        process.kill()
        assert eventually(lambda: members(namespace) == [])
        assert Path("/proc/self/mountinfo").read_text() == mounts


def test_nothing_stays_after_kill_9_of_the_command() -> None:
    with started("--", "sh", "-c", "(setsid sleep 1000 >/dev/null 2>&1 &); " + STAY) as process:
        pid, namespace = guest_of(process)
        os.kill(pid, signal.SIGKILL)
        assert process.wait(10) == 137
        assert members(namespace) == []


def test_nothing_stays_after_kill_9_of_the_keeper() -> None:
    with started("--", "sh", "-c", "(setsid sleep 1000 >/dev/null 2>&1 &); " + STAY) as process:
        pid, namespace = guest_of(process)
        (keeper,) = children(process.pid)
        assert keeper != pid
        os.kill(keeper, signal.SIGKILL)
        assert process.wait(10) == 137
        assert eventually(lambda: members(namespace) == [])
        assert not alive(pid)


def names(place: str) -> list[str]:
    return [path.name for path in Path(place).iterdir()]


def test_nothing_stays_after_kill_9_of_the_keeper_of_an_embedded_guest() -> None:
    with namespace_guest.NamespaceGuest(["sleep", "1000"], Config()) as guest:
        guest.start()
        assert eventually(lambda: len(descendants(guest.process.pid)) == 2)
        _, pid = descendants(guest.process.pid)  # init, sleep
        guest.process.kill()
        assert guest.wait(10) == 137
        assert eventually(lambda: not alive(pid))


def test_an_embedded_guest_that_is_closed_early_never_runs_its_command(tmp_path: Path) -> None:
    guest = namespace_guest.NamespaceGuest(["touch", str(tmp_path / "ran")], Config())
    assert guest.poll() is None
    guest.close()
    assert guest.wait() == 125
    guest.send_signal(signal.SIGTERM)
    assert not (tmp_path / "ran").exists()


def test_a_guest_whose_maker_fails_meanwhile_never_runs_its_command(tmp_path: Path) -> None:
    before = children(os.getpid())
    with pytest.raises(ZeroDivisionError):
        namespace_guest.NamespaceGuest(["touch", str(tmp_path / "ran")], Config(), meanwhile=lambda: 1 // 0)
    assert children(os.getpid()) == before
    assert not (tmp_path / "ran").exists()


def test_no_file_and_no_device_is_left_on_the_host(tmp_path: Path) -> None:
    places = ("/tmp", "/run", "/etc")
    before = (
        {place: set(names(place)) for place in places},
        Path("/proc/net/dev").read_text().count("\n"),
    )
    done = run("--", "sh", "-c", "ls /tmp; grep -c usernat /proc/self/mountinfo", cwd=tmp_path)
    after = {place: set(names(place)) for place in places}, Path("/proc/net/dev").read_text().count("\n")
    assert done.stdout.splitlines()[-1] == "1"  # the tmpfs that carries resolv.conf, and nothing else of ours
    assert before[1] == after[1]
    assert not [
        name
        for place in places
        for name in after[0][place] - before[0][place]
        if "usernat" in name or "resolv" in name
    ]
