"""`usernat serve`: guest after guest over QEMU's framing, played by guests of our own stack."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.face.runner import environment
from usernat.guest import Guest
from usernat.links.qemu import QemuLink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Server = subprocess.Popen[str]


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """A server that says where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "usernat", "serve", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def said(process: Server) -> str:
    assert process.stderr is not None
    return process.stderr.readline().rstrip()


def plug(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return sock


def ping_through(sock: socket.socket, network: str = "10.0.2") -> None:
    with Guest(QemuLink(sock)) as guest:
        guest.dhcp()
        assert guest.ping(f"{network}.2") < 5


def test_guest_after_guest_until_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "guest.sock"
    with serving("--qemu", f"unix:{path}") as process:
        assert said(process) == f"usernat: listening on unix:{path}"
        for _ in range(3):
            ping_through(plug(path))
            assert said(process) == "usernat: the guest closed the stream"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not path.exists()


def test_ctrl_c_while_a_guest_is_there_ends_as_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "guest.sock"
    with serving("--qemu", f"unix:{path}", "--subnet", "192.168.77.0/24") as process:
        said(process)
        with Guest(QemuLink(plug(path))) as guest:
            guest.dhcp()
            assert guest.ping("192.168.77.2") < 5
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        assert not path.exists()


def test_tcp() -> None:
    with serving("--qemu", "tcp:127.0.0.1:0") as process:
        host, _, port = said(process).removeprefix("usernat: listening on tcp:").rpartition(":")
        ping_through(socket.create_connection((host, int(port))))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_c58_no_guest_reaches_the_port_where_the_next_guest_is_awaited(address: str) -> None:
    """Not by the gateway's address, nor by the host's own; other ports of the host stay open."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        serving("--host-loopback", "--qemu", f"tcp:{address}:0") as process,
    ):
        port = int(said(process).rpartition(":")[2])
        with Guest(QemuLink(socket.create_connection(("127.0.0.1", port)))) as guest:
            guest.dhcp()
            for reached_by in ["10.0.2.2", *own_addresses()]:
                with pytest.raises(OSError, match="refused"):
                    guest.connect(reached_by, port, timeout=5)
            guest.connect("10.0.2.2", other.getsockname()[1]).close()
        said(process)
        ping_through(socket.create_connection(("127.0.0.1", port)))


def own_addresses() -> list[str]:
    """The host's addresses other than loopback, as far as its name and its routes tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a datagram socket's connect sends nothing
        except OSError:
            return []
        return [probe.getsockname()[0]]


def test_c57_a_guest_that_breaks_the_framing_is_told_in_one_line_and_the_next_is_served(
    tmp_path: Path,
) -> None:
    path = tmp_path / "guest.sock"
    with serving("--qemu", f"unix:{path}") as process:
        said(process)
        broken = plug(path)
        broken.send(b"\xff\xff\xff\xff" + bytes(100))
        assert (
            said(process)
            == "usernat: the guest announced a frame of 4294967295 bytes (1 to 65553 are possible)"
        )
        ping_through(plug(path))
        broken.close()


def test_the_second_waits_until_the_first_leaves(tmp_path: Path) -> None:
    path = tmp_path / "guest.sock"
    with serving("--qemu", f"unix:{path}") as process:
        said(process)
        second = None
        with Guest(QemuLink(plug(path))) as first:
            first.dhcp()
            second = Guest(QemuLink(plug(path)))
            with pytest.raises(TimeoutError):
                second.dhcp(0.3)
            assert first.ping("10.0.2.2") < 5
        second.dhcp(30)
        second.close()


def test_verbose_and_one_capture_for_all(tmp_path: Path) -> None:
    path, capture = tmp_path / "guest.sock", tmp_path / "all.pcap"
    with serving("--qemu", f"unix:{path}", "-v", "--capture", str(capture)) as process:
        said(process)
        ping_through(plug(path))
        assert said(process) == "usernat: the guest closed the stream"
        assert said(process) == "usernat: one guest"
        size = capture.stat().st_size
        ping_through(plug(path))
        while said(process) != "usernat: one guest":
            pass
        assert capture.stat().st_size > size + 1000
