"""The QEMU guest: Debian's cloud kernel with our initramfs, its network card on a stream socket, its shell on the serial port.

Always emulated (`-accel tcg`): a /dev/kvm that exists need not work. The kernel boots in some three seconds. The guest is tied to
this process and ends with it.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.lab.console import GuestConsole
from tests.lab.netns import end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.netns import Place

PROMPT = "guest# "
BOOT_SECONDS = 60.0
MEMORY_MIB = 256
KERNEL_ARGUMENTS = "console=ttyS0 quiet loglevel=0 panic=-1 mitigations=off random.trust_cpu=on"


@contextmanager
def qemu_guest(host: Place, image: Path, initramfs: Path, netdev: str) -> Iterator[GuestConsole]:
    """Boot a guest in the host place and wait for its shell.

    netdev: the value of QEMU's -netdev without its id, `stream,addr.type=unix,…` for example.
    """
    child = host.start(
        *(
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-M",
            "q35",
            "-m",
            str(MEMORY_MIB),
            "-nodefaults",
            "-no-user-config",
        ),
        *("-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(image), "-initrd", str(initramfs), "-append", KERNEL_ARGUMENTS),
        *(
            "-netdev",
            f"{netdev},id=net0",
            "-device",
            # Before 9.1, QEMU under load can miss that the guest has room again, and hand it nothing any more: not without event_idx.
            "virtio-net-pci,netdev=net0,romfile=,event_idx=off",
            "-device",
            "virtio-rng-pci",
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        console = GuestConsole(child.stdout.fileno(), child.stdin.fileno())
        console.expect(PROMPT, BOOT_SECONDS)
        yield console
    finally:
        end(child)
