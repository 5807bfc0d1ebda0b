"""gvproxy (Go) with its own forwarder, which makes a TAP in the guest and carries its frames over a Unix socket."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.peer import READY_SECONDS, SILENT, NamespacePeer, PlaceSeat, timed, wait_for_route
from tests.lab.netns import Namespace, end

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.lab.netns import Place


class GvproxyTap(NamespacePeer):
    name = "gvproxy"
    needs = ("gvproxy", "gvforwarder")
    server = "192.168.127.254"
    resolver = "192.168.127.1"

    @contextmanager
    def guest(self, host: Place, mtu: int, *, flows: int = 0) -> Iterator[PlaceSeat]:  # noqa: ARG002  # it has no limit to raise
        with tempfile.TemporaryDirectory() as folder, Namespace(within=host) as guest:
            processes = self._start(host, guest, Path(folder, "socket"), mtu)
            try:
                wait_for_route(guest)
                pids = tuple(process.pid for process in processes)
                yield PlaceSeat(self.name, self.server, self.resolver, pids, guest)
            finally:
                for process in processes:
                    end(process)

    def first_reply(self, host: Place) -> float:
        with tempfile.TemporaryDirectory() as folder, Namespace(within=host) as guest:
            processes: list[subprocess.Popen[bytes]] = []

            def start() -> subprocess.Popen[bytes]:
                processes.extend(self._start(host, guest, Path(folder, "socket"), 1500))
                return guest.start(*self.until_reply(), **SILENT)

            try:
                return timed(start)
            finally:
                for process in processes:
                    end(process)

    def _start(self, host: Place, guest: Place, socket: Path, mtu: int) -> list[subprocess.Popen[bytes]]:
        proxy = host.start(
            "gvproxy", "-listen", f"unix://{socket}", "-mtu", str(mtu), "-ssh-port", "-1", **SILENT
        )
        deadline = time.monotonic() + READY_SECONDS
        while not socket.exists():
            if proxy.poll() is not None or time.monotonic() > deadline:
                end(proxy)
                raise OSError(f"gvproxy does not listen (status {proxy.poll()})")
            time.sleep(0.002)
        forwarder = guest.start("gvforwarder", "-url", f"unix://{socket}/connect", "-mtu", str(mtu), **SILENT)
        return [proxy, forwarder]
