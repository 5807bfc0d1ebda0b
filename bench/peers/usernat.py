"""This project: `usernat run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers.peer import Peer
from tests.lab.guest import GATEWAY, namespace_guest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.lab.netns import Place


class UserNatPeer(Peer):
    name = "usernat"
    server = GATEWAY

    def guest(self, host: Place, mtu: int) -> AbstractContextManager[Place]:
        return namespace_guest(host, "--host-loopback", "--mtu", str(mtu))
