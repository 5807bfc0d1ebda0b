"""Which port of the host the connections of one guest endpoint leave from (RFC 5382 REQ-1).

All connections from one address and port of a guest, whatever they lead to, leave from one port of the host, as long as one of them is open. So who has
seen one of them knows where the next comes from, on which connecting two guests behind two gateways rests (RFC 5128 §3.4).

    first connection     the kernel chooses the port in connecting, at random for each destination (RFC 6056 §4-a)
    each further one     bind to the same, which SO_REUSEADDR on all of them permits while their destinations differ

The kernel never gives two endpoints one port for one destination (RFC 5382 REQ-7), but may for two (RFC 7857 §3-a). To bind the first connection to a
port that no other socket has would avoid that, and is not done: with some thousand connections in TIME-WAIT the search for one takes milliseconds,
in which everything else stands still.

Where the port cannot be had, because somebody who does not share it has it too, or the very connection is in TIME-WAIT there, the kernel chooses
another. So it does for every connection on other systems than Linux, where SO_REUSEADDR means other things.
"""

from __future__ import annotations

import socket
import sys

_SHARES = sys.platform == "linux"


class _Mapping:
    """first: the connection that the port is learnt from, once it is asked for. port: 0 until then."""

    __slots__ = ("connections", "first", "port")

    def __init__(self, first: socket.socket) -> None:
        self.first = first
        self.port = 0
        self.connections = 1


class TcpPorts:
    """The ports of all mappings that have connections. A mapping is any number; there are no more than there are sockets."""

    __slots__ = ("_mappings",)

    def __init__(self) -> None:
        self._mappings: dict[int, _Mapping] = {}

    def __len__(self) -> int:
        return len(self._mappings)

    def bind(self, sock: socket.socket, number: int) -> bool:
        """Takes a socket that is about to connect into the mapping. False: it is not in it, and `release` is not due."""
        if not _SHARES:
            return False
        mapping = self._mappings.get(number)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if mapping is not None:
                mapping.port = mapping.port or mapping.first.getsockname()[1]
                sock.bind(("", mapping.port))
        except OSError:
            return False
        if mapping is None:
            self._mappings[number] = _Mapping(sock)
        else:
            mapping.connections += 1
        return True

    def release(self, number: int) -> None:
        """A connection of the mapping is over; with the last one the port is given back."""
        mapping = self._mappings[number]
        mapping.connections -= 1
        if not mapping.connections:
            del self._mappings[number]
