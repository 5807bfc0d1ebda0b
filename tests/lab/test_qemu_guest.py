"""The QEMU guest: a kernel with no offload on a stream socket, with busybox's tools, served by `usernat serve`."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import ADDRESS, GATEWAY, RESOLVER, USERNAT
from tests.lab.initramfs import build, find_kernel
from tests.lab.needs import lacking, need_commands
from tests.lab.netns import ENVIRONMENT, end
from tests.lab.qemu import qemu_guest
from tests.lab.servers import pattern
from tests.lab.world import WWW, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.console import GuestConsole

LISTEN_SECONDS = 10.0
ETHERNET_HEADER = 14
MTU = 1500


@pytest.fixture(scope="module")
def booted(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GuestConsole, Path]]:
    """A guest that has its lease, and the capture of all its frames."""
    need_commands("qemu-system-x86_64", "busybox")
    kernel = find_kernel()
    busybox = shutil.which("busybox", path=ENVIRONMENT["PATH"])
    if kernel is None or busybox is None:
        lacking("Debian's cloud kernel (linux-image-cloud-amd64; tests/lab/install.sh unpacks it)")
        return
    folder = tmp_path_factory.mktemp("qemu")
    initramfs, socket, capture = folder / "initramfs", folder / "guest.sock", folder / "guest.pcap"
    initramfs.write_bytes(build(kernel, Path(busybox)))
    gateway = world.host.start(*USERNAT, "serve", "--qemu", f"unix:{socket}", "--capture", str(capture))
    try:
        _wait_for(socket, gateway)
        netdev = f"stream,server=off,addr.type=unix,addr.path={socket}"
        with qemu_guest(world.host, kernel.image, initramfs, netdev) as console:
            assert console.exec("udhcpc -i eth0 -n -q -t 5 -T 1", 20).status == 0
            yield console, capture
    finally:
        end(gateway)


@pytest.fixture
def qemu(booted: tuple[GuestConsole, Path]) -> GuestConsole:
    return booted[0]


def output(console: GuestConsole, command: str, timeout: float = 20.0) -> str:
    """What a command prints that must succeed."""
    text, status = console.exec(command, timeout)
    assert status == 0, text
    return text


def test_lease(qemu: GuestConsole) -> None:
    assert f"inet {ADDRESS}/24" in output(qemu, "ip -4 addr show eth0")
    assert f"default via {GATEWAY}" in output(qemu, "ip route")
    assert output(qemu, "cat /etc/resolv.conf") == f"nameserver {RESOLVER}\n"


def test_lease_is_renewed(qemu: GuestConsole) -> None:
    assert f"lease of {ADDRESS} obtained" in output(qemu, "udhcpc -i eth0 -n -q -r 10.0.2.15 2>&1")


@pytest.mark.parametrize("address", [GATEWAY, WWW], ids=["gateway", "outside"])
def test_ping(qemu: GuestConsole, address: str) -> None:
    assert "3 packets transmitted, 3 packets received" in output(qemu, f"ping -c 3 -i 0.2 {address}")


def test_nslookup(qemu: GuestConsole) -> None:
    assert WWW in output(qemu, "nslookup -type=a www.lab.test")


def test_wget_http(qemu: GuestConsole) -> None:
    assert output(qemu, "wget -q -O - http://www.lab.test/") == "the pretend internet\n"


def test_c14_wget_https(qemu: GuestConsole) -> None:
    """busybox's TLS client verifies nothing, but its handshake takes the long certificate chain like any other."""
    for _ in range(3):
        assert (
            output(qemu, "wget -q --no-check-certificate -O - https://www.lab.test/")
            == "the pretend internet\n"
        )


def test_c15_large_download_in_frames_of_the_mtu(booted: tuple[GuestConsole, Path]) -> None:
    """Byte-exact, and of all frames either way none is larger than the MTU allows: this link segments nothing for us."""
    need_commands("tcpdump")
    console, capture = booted
    size = 30_000_000
    assert output(console, f"wget -q -O - http://{WWW}/bytes/{size} | sha256sum", 60).split()[
        0
    ] == pattern.digest(size)
    time.sleep(0.5)  # the last frames reach the file
    total = _frames(capture, "ip")
    assert total > size // MTU
    assert _frames(capture, f"greater {ETHERNET_HEADER + MTU + 1}") == 0


def test_upload(qemu: GuestConsole) -> None:
    """busybox posts a file of its own making; what the server hashed is what the guest hashes."""
    output(qemu, "seq 1 50000 > /tmp/up")
    sent = output(qemu, "sha256sum < /tmp/up").split()[0]
    assert output(qemu, f"wget -q -O - --post-file=/tmp/up http://{WWW}/upload") == sent


def test_refused_connection(qemu: GuestConsole) -> None:
    text, status = qemu.exec(f"wget -q -O - http://{WWW}:81/ 2>&1", 10)
    assert status != 0
    assert "refused" in text


def _frames(capture: Path, wanted: str) -> int:
    read = ["tcpdump", "-nr", str(capture), "--count", wanted]
    shown = subprocess.run(read, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    return int(shown.stdout.split()[0])


def _wait_for(socket: Path, gateway: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LISTEN_SECONDS
    while not socket.exists():
        assert gateway.poll() is None, f"usernat serve ended with status {gateway.returncode}"
        assert time.monotonic() < deadline, "usernat serve does not listen"
        time.sleep(0.05)
