"""`usernat run`: the guest's network, its exit status, its signals, and that nothing of it stays behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.face.runner import (
    NOBODY,
    STAY,
    alive,
    command,
    environment,
    eventually,
    guest_of,
    members,
    readable_copy,
    run,
    said,
    started,
)
from usernat.namespace import guest as namespace_guest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or namespace_guest.usable() is not None,
    reason="namespaces or /dev/net/tun cannot be used here",
)

Nobody = tuple[list[str], dict[str, str]]


def test_the_guest_sees_one_interface_with_address_route_and_resolver() -> None:
    before = Path("/etc/resolv.conf").read_bytes()
    done = run(
        "--",
        "sh",
        "-c",
        "cat /proc/net/dev /proc/net/route /etc/resolv.conf; cat /sys/class/net/tap0/mtu || true",
    )
    assert re.findall(r"^ *(\w+):", done.stdout, re.MULTILINE) == ["lo", "tap0"]
    assert "tap0\t00000000\t0202000A\t0003" in done.stdout  # default by 10.0.2.2
    assert "tap0\t0002000A\t00000000\t0001" in done.stdout  # 10.0.2.0/24 directly
    assert "nameserver 10.0.2.3\n" in done.stdout
    assert Path("/etc/resolv.conf").read_bytes() == before
    assert done.returncode == 0


def test_the_network_follows_the_options() -> None:
    script = (
        "import fcntl,socket,struct; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
        "ask=lambda n,size: fcntl.ioctl(s,n,struct.pack('16s24x',b'tap0'))[16:16+size];"
        "print(socket.inet_ntoa(ask(0x8915,8)[4:]), socket.inet_ntoa(ask(0x891b,8)[4:]),"
        " struct.unpack('i',ask(0x8921,4))[0], open('/etc/resolv.conf').read().strip())"
    )
    done = run("--subnet", "172.20.0.0/16", "--mtu", "9000", "--", sys.executable, "-c", script)
    assert done.stdout == "172.20.0.15 255.255.0.0 9000 nameserver 172.20.0.3\n"


@pytest.mark.parametrize("mtu", [68, 65520])
def test_the_smallest_and_the_largest_mtu(mtu: int) -> None:
    assert run("--mtu", str(mtu), "--", "grep", "-c", "tap0", "/proc/net/dev").stdout == "1\n"


def test_ipv6_is_off_and_everybody_may_ping() -> None:
    done = run(
        "--", "cat", "/proc/sys/net/ipv6/conf/tap0/disable_ipv6", "/proc/sys/net/ipv4/ping_group_range"
    )
    assert done.stdout.split()[0] == "1"
    low, high = done.stdout.split()[1:]
    assert int(low) <= os.getgid() <= int(high)


@pytest.mark.parametrize(
    ("script", "status"),
    [("true", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
def test_the_exit_status_is_the_commands(script: str, status: int) -> None:
    assert run("--", "sh", "-c", script).returncode == status


@pytest.mark.parametrize(
    ("what", "status", "reason"),
    [
        ("/no/such/command", 127, "command not found"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/tmp", 126, "Permission denied"),
        ("", 127, "command not found"),
    ],
)
def test_a_command_that_cannot_be_executed(what: str, status: int, reason: str) -> None:
    done = run("--", what)
    assert (done.returncode, done.stderr) == (status, f"usernat: {what}: {reason}\n")


def test_the_gateway_raises_its_descriptor_limit_and_the_command_keeps_its_own() -> None:
    limited = [
        "prlimit",
        "--nofile=200:4000",
        *command("-v", "--", "sh", "-c", "ulimit -Sn; read line"),
    ]
    with subprocess.Popen(
        limited, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert said(process) == "200\n"
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii").splitlines()
    assert next(line.split()[3:5] for line in limits if line.startswith("Max open files")) == ["4000", "4000"]


def test_arguments_environment_and_streams_pass_through_unchanged() -> None:
    arguments = ["a b", "", "--mtu", "-v", "*", "ü", "\n"]
    script = "import sys,os; print(sys.argv[1:], os.environ['GREETING']); sys.stderr.write(sys.stdin.read())"
    done = subprocess.run(
        command("--", sys.executable, "-c", script, *arguments),
        input="from stdin",
        capture_output=True,
        text=True,
        env={**environment(), "GREETING": "hello"},
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{arguments} hello\n", "from stdin")


def test_inherited_descriptors_reach_the_command_and_no_others() -> None:
    reader, writer = os.pipe()
    script = (
        f"import os; os.write({writer}, b'here'); print(sorted(map(int, os.listdir('/proc/self/fd')))[3:])"
    )
    subprocess.run(
        command("--", sys.executable, "-c", script),
        pass_fds=[writer],
        env=environment(),
        timeout=30,
        check=True,
        stdout=subprocess.PIPE,
    )
    os.close(writer)
    assert os.read(reader, 100) == b"here"
    os.close(reader)
    done = run("--", sys.executable, "-c", "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))")
    assert done.stdout == "[0, 1, 2, 3]\n"  # 3 is the listing itself


def test_the_command_starts_with_the_signal_dispositions_of_any_other_child() -> None:
    ask = ["/bin/grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]
    outside = subprocess.run(ask, capture_output=True, text=True, check=True, close_fds=False)
    assert run("--", *ask).stdout == outside.stdout


def test_signals_that_the_caller_ignores_stay_ignored() -> None:
    done = run(
        "--",
        "sh",
        "-c",
        "kill -HUP $$; echo survived",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout) == (0, "survived\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"])
def test_signals_are_passed_on_and_the_command_decides(name: str) -> None:
    number = getattr(signal, name)
    script = f"trap 'echo got; exit 33' {name[3:]}; echo ready; while :; do sleep 0.02; done"
    with started("--", "sh", "-c", script) as process:
        assert said(process) == "ready\n"
        process.send_signal(number)
        assert said(process) == "got\n"
        assert process.wait(10) == 33


def test_a_signal_that_ends_the_command_shows_in_the_status() -> None:
    with started("--", "sh", "-c", "echo ready; exec sleep 100") as process:
        said(process)
        time.sleep(0.1)  # from sh to sleep, which both die of it
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM


COUNT_INTERRUPTS = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print("ready", flush=True)
count = 0
while signal.sigtimedwait({signal.SIGINT}, 20 if count == 0 else 0.5):
    count += 1
print("interrupts:", count, flush=True)
sys.exit(count)
"""


def test_ctrl_c_at_the_terminal_reaches_the_command_once() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, command("--", sys.executable, "-c", COUNT_INTERRUPTS), environment())
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    while b"interrupts: " not in shown:
        shown += os.read(terminal, 1000)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    os.close(terminal)


def test_an_interactive_shell_has_job_control() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, command("--", "bash", "--norc", "-i"), {**environment(), "PS1": "> "})
    os.write(terminal, b"sleep 100 &\nkill %1; echo job-$((40+2)); exit 5\n")
    shown = b""
    try:
        while piece := os.read(terminal, 1000):
            shown += piece
    except OSError:  # how Linux tells the end of a terminal
        pass
    _, status = os.waitpid(child, 0)
    assert b"job-42" in shown
    assert b"no job control" not in shown
    assert os.waitstatus_to_exitcode(status) == 5
    os.close(terminal)


DELETE_TAP = """
import socket, struct, time
index = socket.if_nametoindex("tap0")
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
netlink.send(struct.pack("=IHHII", 32, 17, 5, 1, 0) + struct.pack("=BBHiII", 0, 0, 0, index, 0, 0))  # RTM_DELLINK
(error,) = struct.unpack_from("i", netlink.recv(100), 16)
print(error, [name for _, name in socket.if_nameindex()])
time.sleep(0.2)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="deleting the guest's device needs root in the guest")
def test_c27_a_guest_that_deletes_its_device_ends_the_gateway_and_goes_on_alone() -> None:
    done = run("-v", "--", sys.executable, "-c", DELETE_TAP)
    assert (done.returncode, done.stdout) == (0, "0 ['lo']\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_a_capture_that_cannot_be_written_starts_nothing() -> None:
    done = run("--capture", "/no/such/c.pcap", "--", "echo", "started")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usernat: cannot write the capture file /no/such/c.pcap")


def test_verbose_tells_what_happened_on_standard_error() -> None:
    done = run("-v", "--", "true")
    assert done.stdout == ""
    assert "true ended with status 0" in done.stderr
    assert "frames_out" in done.stderr


def test_a_folder_of_path_that_forbids_a_look_does_not_change_not_found(
    nobody: Nobody, tmp_path: Path
) -> None:
    start, env = nobody
    tmp_path.chmod(0o700)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    done = subprocess.run(
        [*start, "--", "no-such-command"],
        capture_output=True,
        text=True,
        env={**env, "PATH": f"{closed}:{os.environ['PATH']}"},
        cwd="/",
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (127, "usernat: no-such-command: command not found\n")


@pytest.fixture(scope="module")
def nobody() -> Iterator[Nobody]:
    """The start of a command line that runs usernat as an unprivileged user, and its environment."""
    if os.geteuid() != 0:
        yield command(), environment()
        return
    start = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3"]
    with readable_copy() as site:
        yield [*start, "-m", "usernat", "run"], environment(site)


def test_an_unprivileged_user_keeps_its_ids_and_gets_no_capabilities(nobody: Nobody) -> None:
    start, env = nobody
    script = (
        "id -u; id -g; grep CapEff /proc/self/status; cat /etc/resolv.conf; cut -d: -f1 /proc/net/dev; exit 9"
    )
    done = subprocess.run(
        [*start, "--", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=env,
        cwd="/",
        timeout=30,
        check=False,
    )
    words = done.stdout.split()
    uid = os.getuid() or NOBODY
    assert words[:2] == [str(uid)] * 2, done.stderr
    assert int(words[3], 16) == 0
    assert words[4:6] == ["nameserver", "10.0.2.3"]
    assert words[-2:] == ["lo", "tap0"]
    assert done.returncode == 9


def test_nothing_stays_after_kill_9_of_an_unprivileged_gateway(nobody: Nobody) -> None:
    start, env = nobody
    with subprocess.Popen(
        [*start, "--", "sh", "-c", STAY], stdout=subprocess.PIPE, text=True, env=env, cwd="/"
    ) as process:
        pid, namespace = guest_of(process)
        process.kill()
        assert eventually(lambda: members(namespace) == [])
        assert not alive(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="taking capabilities away needs root")
def test_root_that_may_not_map_all_ids_maps_its_own() -> None:
    drop = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]
    done = subprocess.run(
        [*drop, *command("--", "sh", "-c", "id -u; cut -d: -f1 /proc/net/dev | tail -1")],
        capture_output=True, text=True, env=environment(), timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["0", "tap0"], done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="taking capabilities away needs root")
def test_a_machine_that_allows_no_namespaces_is_told_in_one_line_with_status_125() -> None:
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run(
        [*drop, *command("--", "echo", "started")],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(
        "usernat: cannot make the guest: cannot make user, network, mount and PID namespaces: "
    )
    assert done.stderr.count("\n") == 1


def test_the_end_of_the_terminal_reaches_the_command(tmp_path: Path) -> None:
    """The kernel tells the leader of the session alone, which is us where a terminal was opened for us."""
    near, far = os.openpty()
    said = tmp_path / "said"
    script = f'trap "echo hup > {said}; exit 3" HUP; echo ready; while :; do sleep 0.05; done'
    process = subprocess.Popen(
        ["setsid", "--ctty", *command("--", "sh", "-c", script)],
        stdin=far, stdout=far, stderr=far, env=environment(),
    )  # fmt: skip
    os.close(far)
    while b"ready" not in os.read(near, 100):
        pass
    os.close(near)
    assert process.wait(10) == 3
    assert said.read_text() == "hup\n"
