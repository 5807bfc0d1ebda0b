"""Guests of QEMU: usernat on its stream link, QEMU's own user network (libslirp inside QEMU), and what else speaks the stream's framing.

Always emulated (tcg), one virtual CPU, virtio-net without offloads: both kinds of netdev have none. The guest is the lab's, with iperf3.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
import time
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.host import GATEWAY
from bench.peers.pasta import ordinary
from bench.peers.peer import READY_SECONDS, SILENT, Peer, Seat
from bench.peers.usernat import OPTIONS
from bench.results import OURS
from tests.lab.guest import USERNAT
from tests.lab.initramfs import Kernel, build, find_kernel
from tests.lab.netns import ENVIRONMENT, end
from tests.lab.qemu import qemu_guest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.console import GuestConsole
    from tests.lab.netns import Place

PROGRAMS = ("iperf3",)
SHELL_SECONDS = 20.0


@dataclass
class QemuSeat(Seat):
    """A guest behind a serial console."""

    console: GuestConsole

    def run(self, *argv: str, timeout: float) -> str:
        output, status = self.console.exec(shlex.join(argv), timeout)
        if status:
            raise AssertionError(f"{argv[0]}: {output.strip() or status}")
        return output


class QemuPeer(Peer):
    """A QEMU guest behind some netdev."""

    needs: ClassVar[tuple[str, ...]] = ("qemu-system-x86_64", "busybox")
    resolver = "10.0.2.3"

    def why_not(self) -> str:
        return super().why_not() or ("" if find_kernel() else "linux-image-cloud-amd64 not unpacked")

    @contextmanager
    def guest(self, host: Place, mtu: int, *, flows: int = 0) -> Iterator[QemuSeat]:  # noqa: ARG002  # not asked for here
        kernel = find_kernel()
        assert kernel is not None
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o777)  # passt makes its socket there as nobody
            initramfs = folder / "initramfs"
            initramfs.write_bytes(archive(kernel))
            with (
                self.gateway(host, folder / "socket", mtu) as (netdev, gateway),
                qemu_guest(host, kernel.image, initramfs, netdev) as console,
            ):
                seat = QemuSeat(self.name, self.server, self.resolver, gateway, console)
                seat.run("udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", timeout=SHELL_SECONDS)
                seat.run("ip", "link", "set", "eth0", "mtu", str(mtu), timeout=SHELL_SECONDS)
                yield seat

    @abstractmethod
    def gateway(
        self, host: Place, socket: Path, mtu: int
    ) -> contextlib.AbstractContextManager[tuple[str, tuple[int, ...]]]:
        """The netdev of a running gateway, and its processes."""


class UserNetwork(QemuPeer):
    """QEMU's own; the gateway is a part of the QEMU process."""

    name = "QEMU user"
    server = "10.0.2.2"

    @contextmanager
    def gateway(self, host: Place, socket: Path, mtu: int) -> Iterator[tuple[str, tuple[int, ...]]]:  # noqa: ARG002
        yield "user", ()


class StreamPeer(QemuPeer):
    """One that listens on a Unix socket."""

    @contextmanager
    def gateway(self, host: Place, socket: Path, mtu: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        process = host.start(*self.command(socket, mtu), **SILENT)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise OSError(f"{self.name} does not listen (status {process.poll()})")
                time.sleep(0.02)
            yield f"stream,server=off,addr.type=unix,addr.path={socket}", (process.pid,)
        finally:
            end(process)

    @abstractmethod
    def command(self, socket: Path, mtu: int) -> tuple[str, ...]:
        """What is to be run."""


class UserNatStream(StreamPeer):
    name = OURS
    server = "10.0.2.2"

    def command(self, socket: Path, mtu: int) -> tuple[str, ...]:
        return (*USERNAT, "serve", "--qemu", f"unix:{socket}", *OPTIONS, "--mtu", str(mtu))


class Passt(StreamPeer):
    """pasta's other self (C). It refuses to work as root."""

    name = "passt"
    needs = (*QemuPeer.needs, "passt")
    server = GATEWAY

    def command(self, socket: Path, mtu: int) -> tuple[str, ...]:
        options = ("--foreground", "--ipv4-only", "--socket", str(socket), "--mtu", str(mtu))
        return (*ordinary(), "passt", *options)


class Gvproxy(StreamPeer):
    """gvisor-tap-vsock (Go); no Debian package."""

    name = "gvproxy"
    needs = (*QemuPeer.needs, "gvproxy")
    server = "192.168.127.254"
    resolver = "192.168.127.1"

    def command(self, socket: Path, mtu: int) -> tuple[str, ...]:
        return ("gvproxy", "-listen-qemu", f"unix://{socket}", "-mtu", str(mtu), "-ssh-port", "-1")


@cache
def archive(kernel: Kernel) -> bytes:
    """The guest's root file system."""
    busybox = shutil.which("busybox", path=ENVIRONMENT["PATH"])
    assert busybox is not None
    return build(kernel, Path(busybox), PROGRAMS)
