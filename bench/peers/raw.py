"""No gateway at all: the host's own loopback, which is what the machine can do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.peers.peer import Peer, PlaceSeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Place


class Raw(Peer):
    name = "raw loopback"
    server = "127.0.0.1"
    resolver = "127.0.0.1"

    @contextmanager
    def guest(self, host: Place, mtu: int, *, flows: int = 0) -> Iterator[PlaceSeat]:  # noqa: ARG002  # loopback has its own
        yield PlaceSeat(self.name, self.server, self.resolver, (), host)
