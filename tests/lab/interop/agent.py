"""Our hand in the kernel's network namespace: makes its sockets and TAPs there and passes them out, reads and writes its /proc.

A descriptor belongs for ever to the namespace that it was made in, whoever holds it. So one test process can hold both ends of a connection: our
stack on the TAP, and the kernel's sockets. `fresh` moves on to an empty namespace; the one before is gone once its descriptors are closed.

Run as `unshare --net --mount … python -m tests.lab.interop.agent FD`, FD a SEQPACKET socket. A request is a JSON list of a name and
arguments, its answer {"value": …} or {"error": text}, with a descriptor where one was asked for. Ends with its socket.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usernat import linux, netdevice

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_MAX = 200_000
TUNSETOFFLOAD = 0x400454D0  # linux/if_tun.h: with no flags the kernel segments and sums for itself


def fresh() -> int:
    """A new network namespace, its loopback up; this process's id, by which `ip` can name the namespace."""
    linux.unshare(linux.CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        netdevice.bring_up("lo", control)
    return os.getpid()


def tap(name: str, address: str, mtu: int, offload: bool) -> Descriptor:
    """A TAP with that address in a /24; offload: whether the kernel leaves segmentation and checksums to us."""
    made = netdevice.open_tap(name)
    if not offload:
        fcntl.ioctl(made, TUNSETOFFLOAD, 0)
    netdevice.configure(name, netdevice.Address(address, "255.255.255.0"), mtu=mtu)
    return Descriptor(made)


def stream() -> Descriptor:
    """A TCP socket."""
    return Descriptor(socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach())


def write(path: str, text: str) -> None:
    """Write a file under /proc/sys."""
    Path(path).write_text(text, encoding="ascii")


def read(path: str) -> str:
    """A file under /proc."""
    return Path(path).read_text(encoding="ascii")


def run(*argv: str) -> str:
    """What a command prints. OSError with its message where it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


class Descriptor(int):
    """An answer that is passed as a descriptor."""


def main(control: socket.socket) -> None:
    """Serve requests until the other end is closed."""
    while order := control.recv(MESSAGE_MAX):
        name, *arguments = json.loads(order)
        descriptors: list[int] = []
        try:
            value: Any = ACTIONS[name](*arguments)
            answer = {"value": value}
            if isinstance(value, Descriptor):
                descriptors.append(value)
        except OSError as error:
            answer = {"error": str(error)}
        socket.send_fds(control, [json.dumps(answer).encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


ACTIONS: dict[str, Callable[..., Any]] = {
    action.__name__: action for action in (fresh, tap, stream, write, read, run)
}

if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
