"""slirp4netns: libslirp (C) behind a TAP, as rootless containers use it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.peers.peer import SILENT, NamespacePeer, PlaceSeat, timed, wait_for_route
from tests.lab.netns import Namespace, end

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.lab.netns import Place


class Slirp4netns(NamespacePeer):
    name = "slirp4netns"
    needs = ("slirp4netns",)
    server = "10.0.2.2"
    resolver = "10.0.2.3"

    @contextmanager
    def guest(self, host: Place, mtu: int, *, flows: int = 0) -> Iterator[PlaceSeat]:  # noqa: ARG002  # it has no limit to raise
        with Namespace(within=host) as guest:
            gateway = self._start(host, guest, mtu)
            try:
                wait_for_route(guest)
                yield PlaceSeat(self.name, self.server, self.resolver, (gateway.pid,), guest)
            finally:
                end(gateway)

    def first_reply(self, host: Place) -> float:
        with Namespace(within=host) as guest:
            gateways = []

            def start() -> subprocess.Popen[bytes]:
                gateways.append(self._start(host, guest, 1500))
                return guest.start(*self.until_reply(), **SILENT)

            try:
                return timed(start)
            finally:
                for gateway in gateways:
                    end(gateway)

    def _start(self, host: Place, guest: Place, mtu: int) -> subprocess.Popen[bytes]:
        return host.start("slirp4netns", "--configure", f"--mtu={mtu}", str(guest.pid), "tap0", **SILENT)
