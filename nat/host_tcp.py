"""TCP sockets of the host: how a connect ended, whether a connection stands, and those that listen.

A listening socket hands out connections that its kernel has established already: to take one is to have told its peer nothing but "wait". What
its kernel holds until then is bounded by the backlog.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from usernat.nat.errors import HostError
from usernat.nat.host_datagram import ReportedError, address_of, read_error_queue
from usernat.stack.addr import format_ip

if TYPE_CHECKING:
    from usernat.nat.host import HostSocket

BACKLOG = 128  # connections that a kernel holds for a listening socket
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def stands(sock: HostSocket) -> bool:
    """Whether a connection is there still, if only in one direction. What ICMP says of it is no end (RFC 5382 REQ-10)."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def connect_outcome(sock: socket.socket) -> ReportedError | None:
    """Why a connect failed, None if it succeeded. Says what ICMP said, which TTL probes over TCP live on.

    Linux queues the ICMP error that ends a connect even without IP_RECVERR. That option must stay off: with it, errors would end
    established connections too, which RFC 5382 REQ-10 forbids.
    """
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if not number or stands(sock):  # an ICMP error about a SYN that was repeated, with success
        return _not_a_peer(sock)
    reports = read_error_queue(sock)
    return reports[-1] if reports else ReportedError(number)


def _not_a_peer(sock: socket.socket) -> ReportedError | None:
    """Refused where the kernel chose the very port that is called, so that TCP's simultaneous open has connected the socket to itself."""
    try:
        itself = sock.getsockname() == sock.getpeername()
    except OSError as error:  # it stood, and is gone again
        return ReportedError(error.errno or errno.ENOTCONN)
    return ReportedError(errno.ECONNREFUSED) if itself else None


def carry(sock: socket.socket) -> None:
    """Sets what every connection of a guest has."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the guest has done its Nagle
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def reset_on_close(sock: socket.socket) -> None:
    """Makes the close of a connection a reset."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def bind(sock: socket.socket, address: int, port: int) -> socket.socket:
    """The socket, which has that name now; it is closed where that cannot be. Raises HostError."""
    try:
        sock.bind((format_ip(address), port))
    except OSError as error:
        sock.close()
        raise HostError(error.errno or errno.EACCES) from error
    return sock


def listen(sock: socket.socket, address: int, port: int) -> Listening:
    """Has a fresh socket listen; it is closed where that cannot be. Raises HostError."""
    if os.name == "posix":
        # Connections of an earlier run that are in TIME-WAIT do not stand in the way. On Windows the option would share the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bind(sock, address, port)
    try:
        sock.listen(BACKLOG)
    except OSError as error:  # of two that have bound the port with this option, one may listen
        sock.close()
        raise HostError(error.errno or errno.EACCES) from error
    return Listening(sock)


class Listening:
    """A socket that listens. port: its own."""

    __slots__ = ("_socket", "port")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.port: int = sock.getsockname()[1]

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Gives the descriptor back; connections that nobody took are reset."""
        self._socket.close()

    def accept(self) -> tuple[socket.socket, int, int] | None:
        """A connection that waits, non-blocking, with its peer's address and port; None where none does. Raises OSError."""
        try:
            sock, peer = self._socket.accept()
        except BlockingIOError:
            return None
        try:
            sock.setblocking(False)
            carry(sock)
        except OSError:
            sock.close()
            raise
        return sock, address_of(peer[0]), peer[1]
