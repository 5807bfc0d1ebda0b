"""What waits in the sockets of UDP clients until the link of the guest takes it: bounded for all of them together, since a client costs a stranger nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.stack.l4.udp import UdpSocket

MOST_WAITING = 1 << 20  # bytes for the guest that its link has not taken yet
KEPT = 512  # bytes that a datagram takes here besides its own, about


class Waiting:
    """Bytes of datagrams, and KEPT for each."""

    __slots__ = ("_bytes", "_sockets")

    def __init__(self) -> None:
        self._sockets: dict[UdpSocket, None] = {}
        self._bytes = 0  # at the most: what has left since the last count is not known

    def room(self, size: int, count: int) -> int:
        """Bytes that may wait besides, KEPT for each datagram included. Counted anew only where so many datagrams, with so many bytes of data, would not fit."""
        if self._bytes + size + KEPT * count > MOST_WAITING:
            self._count()
        return MOST_WAITING - self._bytes

    def add(self, socket: UdpSocket, size: int, count: int) -> None:
        """So many datagrams with so many bytes of data wait now, in this socket."""
        self._sockets[socket] = None
        self._bytes += size + KEPT * count

    def _count(self) -> None:
        self._sockets = {socket: None for socket in self._sockets if len(socket.outbox)}
        self._bytes = sum(socket.outbox.bytes + KEPT * len(socket.outbox) for socket in self._sockets)
