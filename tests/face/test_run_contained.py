"""`usernat run`: the command reaches no process and no namespace but its own, as root and as anybody, and still works as before."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.face.runner import NOBODY, command, environment, eventually, readable_copy, run, said, started
from tests.processes import outside
from usernat.namespace import guest as namespace_guest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or namespace_guest.usable() is not None,
    reason="namespaces or /dev/net/tun cannot be used here",
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="it is about root")

Start = tuple[list[str], dict[str, str]]
NOT_THE_HOSTS = "test $$ = 2"  # where all fails: do not kill the host, on which no shell has this id
# Told to the guest from outside, since in there nothing leads to it.
GATEWAY = 'export GATEWAY=$$; exec "$@"'


@pytest.fixture(scope="module", params=["ourselves", "nobody"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """The start of a command line that runs usernat, as whoever runs the tests and as an unprivileged user; its environment."""
    if request.param == "ourselves":
        yield command(), environment()
        return
    if os.geteuid() != 0:
        pytest.skip("ourselves are unprivileged")
    change = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3"]
    with readable_copy() as site:
        yield [*change, "-m", "usernat", "run"], environment(site)


def inside(start: Start, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in the guest; $GATEWAY is the process id of `usernat run`."""
    arguments, env = start
    return subprocess.run(
        ["sh", "-c", GATEWAY, "sh", *arguments, *options, "--", "sh", "-c", script],
        capture_output=True, text=True, env=env, cwd="/", timeout=30, check=False, start_new_session=True,
    )  # fmt: skip


def test_only_its_own_processes_are_seen(start: Start) -> None:
    done = inside(start, "ls /proc | grep '^[0-9]' | sort -n; echo me $$; readlink /proc/self/ns/pid")
    numbers, mine = done.stdout.split("me ")
    assert [int(pid) for pid in numbers.split()][:2] == [1, 2], done.stderr
    assert all(int(pid) < 20 for pid in numbers.split())
    assert mine.split() != ["2", str(Path("/proc/self/ns/pid").readlink())]
    assert mine.startswith("2\n")


@pytest.mark.parametrize("name", ["HUP", "TERM", "KILL", "0"])
def test_the_gateway_cannot_be_sent_a_signal(start: Start, name: str) -> None:
    done = inside(start, f"kill -{name} $GATEWAY; echo $?")
    assert done.returncode == 0
    assert done.stdout == "1\n"
    assert "No such process" in done.stderr


def test_a_signal_to_all_ends_in_the_namespace(start: Start) -> None:
    assert inside(start, f"{NOT_THE_HOSTS} && kill -KILL -1; exit 4").returncode == 4


def test_away_from_a_terminal_a_signal_to_the_group_stays_with_the_command(start: Start) -> None:
    done = inside(start, "trap 'echo mine' HUP; kill -HUP 0; echo after")
    assert (done.returncode, done.stdout) == (0, "mine\nafter\n")


def test_its_init_cannot_be_killed(start: Start) -> None:
    script = f"{NOT_THE_HOSTS} && kill -KILL 1 && kill -TERM 1 && sleep 0.1; echo still here $?"
    assert inside(start, script).stdout == "still here 0\n"


@pytest.mark.parametrize("which", ["--net", "--mount", "--pid", "--user"])
def test_the_namespaces_of_the_gateway_cannot_be_entered_by_its_id(start: Start, which: str) -> None:
    done = inside(start, f"nsenter --target $GATEWAY {which} true")
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr


HELD = """
import ctypes, os, sys
error = ctypes.CDLL(None, use_errno=True).setns(int(sys.argv[1]), 0)
print(os.strerror(ctypes.get_errno()) if error else "entered")
"""


@pytest.mark.parametrize("kind", ["net", "mnt", "pid", "uts", "ipc", "cgroup"])
def test_a_descriptor_of_the_hosts_namespace_cannot_be_entered(kind: str) -> None:
    """So not even one that was left open by the caller helps: the right to enter it is what lacks."""
    with Path(f"/proc/self/ns/{kind}").open() as namespace:
        held = str(namespace.fileno())
        done = run("--", sys.executable, "-c", HELD, held, pass_fds=[namespace.fileno()])
    assert done.stdout == "Operation not permitted\n"


def test_the_processes_outside_stay_unseen_under_its_proc(start: Start) -> None:
    """Root of the guest may take its own /proc away again; what then shows can be neither signalled nor entered."""
    done = inside(
        start,
        "umount /proc; nsenter --target $GATEWAY --net true && echo entered; ls /proc/$GATEWAY/root/ && echo looked",
    )
    assert "entered" not in done.stdout
    assert "looked" not in done.stdout


@as_root
def test_root_keeps_its_files_and_its_power_over_its_own_namespaces(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's\n", encoding="ascii")
    secret.chmod(0)
    script = (
        f"cat {secret}; echo more >> {secret}; chown 33:44 {secret}; setpriv --reuid 33 --regid 33 --init-groups id -u;"
        "ip link set tap0 mtu 1400 && cat /sys/class/net/lo/mtu >/dev/null && mount -t tmpfs none /mnt && echo mounted"
    )
    done = inside((command(), environment()), script)
    assert done.stdout == "root's\n33\nmounted\n", done.stderr
    assert (secret.stat().st_uid, secret.stat().st_gid) == (33, 44)
    assert secret.read_text(encoding="ascii") == "root's\nmore\n"


@as_root
def test_root_of_the_guest_has_no_power_over_the_machine(tmp_path: Path) -> None:
    script = f'mknod {tmp_path}/null c 1 3 || echo no device; hostname "$(hostname)" || echo no name'
    done = inside((command(), environment()), script)
    assert done.stdout == "no device\nno name\n"
    assert not (tmp_path / "null").exists()


@as_root
def test_real_root_leaves_root_its_power_over_the_machine(tmp_path: Path) -> None:
    script = f"mknod {tmp_path}/null c 1 3 && cat /proc/self/uid_map && kill -0 $GATEWAY; echo $$"
    done = inside((command(), environment()), script, "--real-root")
    assert done.stdout.split() == [*Path("/proc/self/uid_map").read_text(encoding="ascii").split(), "2"]
    assert (tmp_path / "null").is_char_device()


@as_root
def test_without_user_namespaces_root_is_told_of_the_way_to_do_without() -> None:
    """In a chroot, and where a machine's owner will have it so, there are none. Then nothing runs, rather than something uncontained."""
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    for options, status in ((["-v"], 125), (["--real-root"], 6)):
        done = subprocess.run(
            [*limited, forbid, "sh", *command(*options, "--", "sh", "-c", "exit 6")],
            capture_output=True, text=True, env=environment(), timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert ("--real-root" in done.stderr) == (status == 125)


def test_where_proc_may_not_be_mounted_the_rest_holds() -> None:
    """As in a container that hides some of /proc: it shows the processes outside, and none can be signalled."""
    mask = 'mount --bind /dev/null /proc/uptime && exec "$@"'
    script = "test -e /proc/$GATEWAY && echo seen; kill -0 $GATEWAY || echo out of reach; readlink /proc/self/ns/net"
    nested = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mask, "sh", *command()]
    done = inside((nested, environment()), script)
    assert done.stdout.split("\n")[:2] == ["seen", "out of reach"], done.stderr
    assert done.stdout.split("\n")[2] not in ("", str(Path("/proc/self/ns/net").readlink()))


def test_a_guest_within_a_guest(start: Start) -> None:
    """Every level is a user and PID namespace below the last."""
    inner = " ".join(start[0][-4:])  # without the change of user
    done = inside(start, f"{inner} -- sh -c 'cut -d: -f1 /proc/net/dev | tail -1; echo $$; exit 8'")
    assert (done.returncode, done.stdout.split()) == (8, ["tap0", "2"]), done.stderr


def test_orphans_are_reaped() -> None:
    script = "for i in 1 2 3 4 5; do (sleep 0 &); done; sleep 0.5; grep -h ^State /proc/[0-9]*/status"
    assert "zombie" not in run("--", "sh", "-c", script).stdout


def test_a_storm_of_orphans_and_signals_loses_neither_status_nor_signal() -> None:
    script = "trap 'echo got' USR1; echo ready; while read line; do (true &); (true &); done; exit 21"
    with started("--", "sh", "-c", script) as process:
        assert process.stdin is not None
        assert said(process) == "ready\n"
        for _ in range(50):
            process.stdin.write("\n" * 5)
            process.stdin.flush()
        process.send_signal(signal.SIGUSR1)
        assert said(process) == "got\n"
        process.stdin.close()
        assert process.wait(20) == 21


def test_a_signal_sent_to_the_commands_outside_id_arrives() -> None:
    with started(
        "--", "sh", "-c", "trap 'echo got; exit 3' TERM; echo $$; while :; do sleep 0.02; done"
    ) as process:
        os.kill(outside(process.pid, int(said(process))), signal.SIGTERM)
        assert said(process) == "got\n"
        assert process.wait(10) == 3


def at_a_terminal(*arguments: str) -> tuple[int, int]:
    """Start a command with a terminal of its own: its process id, and our side of the terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(arguments[0], arguments, {**environment(), "PS1": "> "})
    return child, terminal


def read_until(terminal: int, text: bytes) -> bytes:
    shown = b""
    while text not in shown:
        shown += os.read(terminal, 1000)
    return shown


def test_the_terminal_comes_back_from_a_guests_shell() -> None:
    """bash cannot give it back itself: the group that had it is not of its PID namespace."""
    guest = " ".join(f"'{word}'" for word in command("--", "bash", "--norc", "-i"))
    child, terminal = at_a_terminal("sh", "-c", f"{guest}; read line; echo got-$line")
    os.write(terminal, b"exit 5\n")
    read_until(terminal, b"exit")
    os.write(terminal, b"li''ne\n")
    read_until(terminal, b"got-li''ne")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    os.close(terminal)


def stopped(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return stat[stat.rindex(")") + 2] == "T"


def test_ctrl_z_stops_gateway_and_command_and_fg_continues_them() -> None:
    # Nothing is started from the moment on that it says so: a shell in the middle of that (vfork) waits for what was stopped in its place.
    guest = " ".join(f"'{word}'" for word in command("--", "sh", "-c", "sleep 2 & echo up-$$; wait; exit 7"))
    child, terminal = at_a_terminal("bash", "--norc", "-i")
    os.write(terminal, guest.encode() + b"\n")
    read_until(terminal, b"up-2")
    os.write(terminal, b"\x1a")
    read_until(terminal, b"Stopped")
    assert eventually(lambda: stopped(outside(child, 2)))
    os.write(terminal, b"fg; echo status-$?\n")
    read_until(terminal, b"status-7")
    os.write(terminal, b"exit\n")
    os.waitpid(child, 0)
    os.close(terminal)
