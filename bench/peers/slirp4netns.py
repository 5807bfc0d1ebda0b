"""slirp4netns: libslirp (C) behind a TAP, as rootless containers use it."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.peers.peer import Peer, wait_for_route
from tests.lab.netns import Namespace, end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Place


class Slirp4netns(Peer):
    name = "slirp4netns"
    needs = ("slirp4netns",)
    server = "10.0.2.2"

    @contextmanager
    def guest(self, host: Place, mtu: int) -> Iterator[Place]:
        with Namespace(within=host) as guest:
            gateway = host.start(
                *("slirp4netns", "--configure", f"--mtu={mtu}", str(guest.pid), "tap0"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_for_route(guest)
                yield guest
            finally:
                end(gateway)
