"""The gateways that are measured, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers.gvforwarder import GvproxyTap
from bench.peers.pasta import Pasta
from bench.peers.qemu import Gvproxy, Passt, UserNatStream, UserNetwork
from bench.peers.raw import Raw
from bench.peers.slirp4netns import Slirp4netns
from bench.peers.usernat import UserNatPeer

if TYPE_CHECKING:
    from bench.peers.peer import NamespacePeer, Peer

RAW = Raw()
NAMESPACES: tuple[NamespacePeer, ...] = (UserNatPeer(), Slirp4netns(), Pasta(), GvproxyTap())
QEMU: tuple[Peer, ...] = (UserNatStream(), UserNetwork(), Passt(), Gvproxy())

__all__ = ["NAMESPACES", "QEMU", "RAW"]
