"""The QEMU guest behind `usernat serve`, with everything on: a policy that tests replace, forwards, an audit, a capture."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.guest import USERNAT
from tests.lab.initramfs import build, find_kernel
from tests.lab.needs import lacking, need_commands
from tests.lab.netns import ENVIRONMENT, end
from tests.lab.policed import PolicedGateway, Subject, wait_for
from tests.lab.qemu import qemu_guest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.console import GuestConsole
    from tests.lab.netns import Place

# Ports of the host, and of the guest behind them
HTTP, ECHO, UDP_ECHO, OUTSIDE_HTTP = 8001, 8002, 8003, 8004
GUEST_HTTP, GUEST_ECHO, GUEST_UDP_ECHO = 80, 7001, 7003
OUTSIDE = "192.0.2.2"  # the host's address on the wire
PUBLISHED = (
    f"{HTTP}:{GUEST_HTTP}",
    f"{ECHO}:{GUEST_ECHO}",
    f"{UDP_ECHO}:{GUEST_UDP_ECHO}/udp",
    f"{OUTSIDE}:{OUTSIDE_HTTP}:{GUEST_HTTP}",
)


class ServedGuest(Subject):
    """console: of a guest that has its lease. gateway: which serves it. capture: of all its frames."""

    def __init__(self, console: GuestConsole, gateway: PolicedGateway, capture: Path) -> None:
        super().__init__(gateway)
        self.console = console
        self.capture = capture

    def shell(self, command: str, timeout: float) -> tuple[str, int]:
        return self.console.exec(command, timeout)


@contextmanager
def served_guest(host: Place, folder: Path) -> Iterator[ServedGuest]:
    """Serve and boot one. folder: for all files that this takes."""
    need_commands("qemu-system-x86_64", "busybox", "perl")
    kernel = find_kernel()
    busybox = shutil.which("busybox", path=ENVIRONMENT["PATH"])
    if kernel is None or busybox is None:
        lacking("Debian's cloud kernel (linux-image-cloud-amd64; tests/lab/install.sh unpacks it)")
    initramfs, socket, capture = folder / "initramfs", folder / "guest.sock", folder / "guest.pcap"
    initramfs.write_bytes(build(kernel, Path(busybox)))
    gateway = PolicedGateway(folder)
    options = [word for forward in PUBLISHED for word in ("--publish", forward)]
    with gateway.stderr() as stderr:
        process = host.start(
            *(*USERNAT, "serve", "--qemu", f"unix:{socket}", "--capture", str(capture)),
            *(*gateway.options, *options),
            stderr=stderr,
        )
    gateway.runs_as(process)
    try:
        wait_for(lambda: socket.exists() or None, gateway.said)
        netdev = f"stream,server=off,addr.type=unix,addr.path={socket}"
        with qemu_guest(host, kernel.image, initramfs, netdev) as console:
            served = ServedGuest(console, gateway, capture)
            served.run("udhcpc -i eth0 -n -q -t 5 -T 1")
            yield served
    finally:
        end(process)
