"""The Linux kernel as a TCP peer: a namespace of its own for each test, its sockets and TAP in our hands, its counters to read."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from typing import Any, Self

from tests.lab.interop.agent import MESSAGE_MAX
from tests.lab.interop.tcp_info import LISTEN, TIME_WAIT
from tests.lab.netns import ENVIRONMENT, REPOSITORY, end

ANSWER_SECONDS = 15.0


class Kernel:
    """One process inside, for as many namespaces, one after the other, as there are tests.

    beside: another one; devices can be moved between the two. pid: of the process, by which `ip` knows the namespace.
    """

    def __init__(self, beside: Kernel | None = None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        enter = ["unshare", "--net", "--mount"]
        if os.geteuid() and beside is None:
            enter += ["--user", "--map-root-user"]
        elif os.geteuid() and beside is not None:
            enter = [
                *("nsenter", "--target", str(beside.pid), "--user", "--preserve-credentials"),
                *enter,
            ]
        with theirs:
            self._agent = subprocess.Popen(
                [*enter, sys.executable, "-m", "tests.lab.interop.agent", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=REPOSITORY,
                env=ENVIRONMENT,
            )
        self._kept: list[socket.socket] = []
        self.pid: int = self._ask("fresh")

    def fresh(self) -> None:
        """An empty namespace. Nothing of the one before is left."""
        self.release()
        self._ask("fresh")
        # What one connection has learned of a path must not change the next one.
        self.set(tcp_no_metrics_save="1")

    def tap(self, name: str, address: str, *, mtu: int = 1500, offload: bool = True) -> int:
        """A TAP in the namespace: its descriptor, the caller's."""
        return self._descriptor("tap", name, address, mtu, offload)

    def stream(self) -> socket.socket:
        """A TCP socket in the namespace, non-blocking; closed with the namespace at the latest."""
        return self.adopt(socket.socket(fileno=self._descriptor("stream")))

    def adopt(self, sock: socket.socket) -> socket.socket:
        """Treat an accepted one likewise."""
        sock.setblocking(False)
        self._kept.append(sock)
        return sock

    def set(self, **values: str) -> None:
        """Set net.ipv4 variables."""
        for name, value in values.items():
            self._ask("write", f"/proc/sys/net/ipv4/{name}", value)

    def takes(self, name: str, value: str) -> bool:
        """Set one where this kernel knows the value; whether it does."""
        try:
            self.set(**{name: value})
        except OSError:
            return False
        return True

    def run(self, command: str) -> str:
        """What a command of blank-separated words prints inside. OSError where it fails."""
        printed: str = self._ask("run", *command.split())
        return printed

    def counters(self) -> dict[str, int]:
        """Those of /proc/net/netstat and snmp, as `nstat` names them: TcpExtTCPDSACKRecv, TcpInErrs."""
        found: dict[str, int] = {}
        for path in ("/proc/self/net/netstat", "/proc/self/net/snmp"):
            lines = self._ask("read", path).splitlines()
            for names, values in zip(lines[::2], lines[1::2], strict=True):
                group, *columns = names.split()
                found |= {
                    group.rstrip(":") + column: int(value)
                    for column, value in zip(columns, values.split()[1:], strict=True)
                }
        return found

    def states(self) -> list[int]:
        """States of the TCP connections that are left, TIME-WAIT apart."""
        rows = self._ask("read", "/proc/self/net/tcp").splitlines()[1:]
        states = [int(row.split()[3], 16) for row in rows]
        return [state for state in states if state not in (LISTEN, TIME_WAIT)]

    def release(self) -> None:
        """Close all sockets that were made."""
        for sock in self._kept:
            sock.close()
        self._kept.clear()

    def close(self) -> None:
        """End it."""
        self.release()
        self._control.close()
        end(self._agent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, *order: object) -> Any:
        value, descriptors = self._exchange(order)
        assert not descriptors
        return value

    def _descriptor(self, *order: object) -> int:
        _, (descriptor,) = self._exchange(order)
        return descriptor

    def _exchange(self, order: tuple[object, ...]) -> tuple[Any, list[int]]:
        self._control.send(json.dumps(order).encode())
        if not select.select([self._control], [], [], ANSWER_SECONDS)[0]:
            raise TimeoutError(f"the agent does not answer {order}")
        answer, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_MAX, 1)
        if not answer:
            raise OSError("the agent in the kernel's namespace has ended")
        said = json.loads(answer)
        if "error" in said:
            raise OSError(said["error"])
        return said["value"], descriptors
