"""A policy that changes while guests are there: by SIGHUP to `run` and `serve`."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.face.runner import command, environment, eventually, guest_of, said, started
from tests.face.test_serve import ping_through, plug, serving
from tests.face.test_serve import said as served_said
from usernat.guest import Guest
from usernat.links.qemu import QemuLink
from usernat.namespace import guest as namespace_guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_namespaces = pytest.mark.skipif(
    sys.platform != "linux" or namespace_guest.usable() is not None,
    reason="namespaces or /dev/net/tun cannot be used here",
)
CLOSED = "# nothing is allowed\n"


@pytest.fixture
def port() -> Iterator[int]:
    """Where an echo server listens on the host's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _echo(server: socket.socket) -> None:
    def answer(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(100):
                sock.sendall(data)

    while True:
        try:
            sock, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(sock,), daemon=True).start()


def open_to(port: int) -> str:
    return f'[[rules]]\naction = "allow"\naddress = "127.0.0.1"\nport = {port}\n'


# ---- serve


def test_serve_reloads_for_new_flows_and_later_guests(tmp_path: Path, port: int) -> None:
    path, policy = tmp_path / "guest.sock", tmp_path / "policy.toml"
    policy.write_text(CLOSED, encoding="utf-8")
    with serving("--qemu", f"unix:{path}", "--policy", str(policy)) as process:
        served_said(process)

        def reload(text: str) -> str:
            policy.write_text(text, encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            return served_said(process)

        with Guest(QemuLink(plug(path))) as guest:
            guest.dhcp()
            refused(guest, port)
            assert reload(open_to(port)) == f"usernat: {policy}: read again, 1 rule, default deny"
            stream = guest.connect("10.0.2.2", port)
            assert reload(CLOSED) == f"usernat: {policy}: read again, no rules, default deny"
            refused(guest, port)
            stream.sendall(b"a flow is decided once")
            assert stream.recv(100) == b"a flow is decided once"
            assert reload(open_to(port)).endswith("1 rule, default deny")
        assert served_said(process) == "usernat: the guest closed the stream"
        with Guest(QemuLink(plug(path))) as guest:
            guest.dhcp()
            guest.connect("10.0.2.2", port).close()


def test_c41_a_bad_new_file_keeps_the_old_policy_and_says_so(tmp_path: Path, port: int) -> None:
    path, policy = tmp_path / "guest.sock", tmp_path / "policy.toml"
    policy.write_text(open_to(port), encoding="utf-8")
    with serving("--qemu", f"unix:{path}", "--policy", str(policy)) as process:
        served_said(process)
        with Guest(QemuLink(plug(path))) as guest:
            guest.dhcp()
            policy.write_text('default = "allow"\n[[rules]]\nactoin = "deny"\n', encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            assert served_said(process).endswith(
                ": rules[0].actoin: unknown key (did you mean action?); the policy stays as it was"
            )
            guest.connect("10.0.2.2", port).close()
            refused(guest, port + 1 if port < 65535 else 1)
            policy.unlink()
            process.send_signal(signal.SIGHUP)
            assert served_said(process) == (
                f"usernat: {policy}: cannot be read: No such file or directory; the policy stays as it was"
            )
            guest.connect("10.0.2.2", port).close()


def test_a_reload_while_no_guest_is_there_counts_for_the_next(tmp_path: Path, port: int) -> None:
    path, policy = tmp_path / "guest.sock", tmp_path / "policy.toml"
    policy.write_text(CLOSED, encoding="utf-8")
    with serving("--qemu", f"unix:{path}", "--policy", str(policy)) as process:
        served_said(process)
        ping_through(plug(path))
        assert served_said(process) == "usernat: the guest closed the stream"
        policy.write_text(open_to(port), encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        assert served_said(process).endswith("1 rule, default deny")
        with Guest(QemuLink(plug(path))) as guest:
            guest.dhcp()
            guest.connect("10.0.2.2", port).close()


def test_c58_the_own_door_stays_closed_after_a_reload(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('default = "allow"\n', encoding="utf-8")
    with serving("--host-loopback", "--qemu", "tcp:127.0.0.1:0", "--policy", str(policy)) as process:
        port = int(served_said(process).rpartition(":")[2])
        with Guest(QemuLink(socket.create_connection(("127.0.0.1", port)))) as guest:
            guest.dhcp()
            refused(guest, port)
            policy.write_text(open_to(port), encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            assert served_said(process).endswith("1 rule, default deny")
            refused(guest, port)


def test_serve_with_a_preset_or_without_a_policy_ends_at_sighup(tmp_path: Path) -> None:
    for options in ((), ("--policy", "internet")):
        with serving("--qemu", f"unix:{tmp_path / 'guest.sock'}", *options) as process:
            served_said(process)
            process.send_signal(signal.SIGHUP)
            assert process.wait(10) == -signal.SIGHUP


def test_the_end_of_the_terminal_ends_a_server_that_would_reload(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(CLOSED, encoding="utf-8")
    path = tmp_path / "guest.sock"
    serve = ("-m", "usernat", "serve", "--qemu", f"unix:{path}", "--policy", str(policy))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, *serve], environment())
    try:
        assert eventually(path.exists)
        assert b"listening" in os.read(terminal, 1000)
    finally:
        os.close(terminal)
    ended: list[int] = []
    assert eventually(lambda: _reap(pid, ended))
    assert ended == [0]
    assert not path.exists()


def _reap(pid: int, ended: list[int]) -> bool:
    gone, status = os.waitpid(pid, os.WNOHANG)
    if gone:
        ended.append(os.waitstatus_to_exitcode(status))
    return gone != 0


# ---- run

TRY = """
import socket, sys
for line in sys.stdin:
    try:
        socket.create_connection(("10.0.2.2", int(line)), 5).close()
        print("connected", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@needs_namespaces
def test_run_reloads_for_new_flows(tmp_path: Path, port: int) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(CLOSED, encoding="utf-8")
    with started("--policy", str(policy), "--", sys.executable, "-c", TRY, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None

        def attempt() -> str:
            assert process.stdin is not None
            process.stdin.write(f"{port}\n")
            process.stdin.flush()
            return said(process).strip()

        assert attempt() == "ConnectionRefusedError"
        for text, told, outcome in [
            (open_to(port), "read again, 1 rule, default deny", "connected"),
            ("flows = ", "; the policy stays as it was", "connected"),
            (CLOSED, "read again, no rules, default deny", "ConnectionRefusedError"),
        ]:
            policy.write_text(text, encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            line = process.stderr.readline().rstrip()
            assert line.startswith(f"usernat: {policy}: ")
            assert line.endswith(told)
            assert attempt() == outcome
        process.stdin.close()
        assert process.wait(10) == 0


@needs_namespaces
@pytest.mark.parametrize("with_file", [True, False])
def test_a_sighup_is_the_commands_only_without_a_policy_file(tmp_path: Path, with_file: bool) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(CLOSED, encoding="utf-8")
    script = 'trap "echo hangup" HUP; echo $$; while :; do sleep 0.05; done'
    with started(
        "--policy", str(policy) if with_file else "offline", "--", "sh", "-c", script, stderr=subprocess.PIPE
    ) as process:
        guest_of(process)
        process.send_signal(signal.SIGHUP)
        if with_file:
            assert process.stderr is not None
            assert process.stderr.readline().endswith("read again, no rules, default deny\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 128 + signal.SIGTERM
            assert process.stdout is not None
            assert process.stdout.read() == ""
        else:
            assert said(process) == "hangup\n"


@needs_namespaces
def test_the_end_of_the_terminal_is_the_commands_as_before(tmp_path: Path) -> None:
    """As leader of the session `run` alone is told of it by the kernel, and tells the command."""
    policy, heard = tmp_path / "policy.toml", tmp_path / "heard"
    policy.write_text(CLOSED, encoding="utf-8")
    script = f'trap "touch {heard}; exit" HUP; echo ready; while :; do sleep 0.05; done'
    arguments = command("--policy", str(policy), "--", "sh", "-c", script)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(arguments[0], arguments, environment())
    try:
        while b"ready" not in os.read(terminal, 1000):
            pass
    finally:
        os.close(terminal)
    ended: list[int] = []
    assert eventually(lambda: _reap(pid, ended))
    assert heard.exists()


def refused(guest: Guest, port: int) -> None:
    with pytest.raises(OSError, match="refused"):
        guest.connect("10.0.2.2", port, timeout=5)
