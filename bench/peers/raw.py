"""No gateway at all: the host's own loopback, which is what the machine can do."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from bench.peers.peer import Peer

if TYPE_CHECKING:
    from tests.lab.netns import Place


class Raw(Peer):
    name = "raw loopback"
    server = "127.0.0.1"

    def guest(self, host: Place, mtu: int) -> AbstractContextManager[Place]:  # noqa: ARG002  # loopback has its own
        return nullcontext(host)
