"""The gateways that are measured, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers.pasta import Pasta
from bench.peers.raw import Raw
from bench.peers.slirp4netns import Slirp4netns
from bench.peers.usernat import UserNatPeer

if TYPE_CHECKING:
    from bench.peers.peer import Peer

PEERS: tuple[Peer, ...] = (Raw(), UserNatPeer(), Slirp4netns(), Pasta())

__all__ = ["PEERS"]
