"""The two ends of a connection, with the same few verbs: ours on the stack, theirs on a kernel socket.

An end sends what it was given, as fast as the other takes it, then finishes its half; all the while it keeps what comes. `reading`
and `finishing` can be switched off and on again by a test. `error` names what ended it badly, None while nothing has.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.state import State

CHUNK = 1 << 18


class End(Protocol):
    """What both have."""

    received: bytearray
    ended: bool
    reading: bool
    finishing: bool

    @property
    def error(self) -> str | None: ...

    def close(self) -> None: ...


class OurEnd:
    """The owner of a connection of the stack. states: all that it was seen in, in order."""

    def __init__(self, connection: Connection, data: Buffer = b"", *, finishing: bool = True) -> None:
        self.connection = connection
        self.received = bytearray()
        self.ended = False
        self.reading = True
        self.finishing = finishing
        self.states: list[State] = [connection.state]
        self._left = memoryview(data)
        connection.owner = self
        self.serve(0)

    def serve(self, _now: int) -> None:
        """Do what can be done."""
        connection = self.connection
        self.look()
        if self.reading:
            while piece := connection.recv(CHUNK):
                self.received += piece
            self.ended = self.ended or connection.at_eof
        if self._left:
            self._left = self._left[connection.send(self._left) :]
        if not self._left and self.finishing:
            connection.shutdown()

    def look(self) -> None:
        """Take note of the state."""
        if self.connection.state is not self.states[-1]:
            self.states.append(self.connection.state)

    @property
    def error(self) -> str | None:
        """Name of a TcpError."""
        return self.connection.error.name if self.connection.error is not None else None

    def close(self) -> None:
        """Let go of it."""
        self.connection.close()


class KernelEnd:
    """The user of a kernel socket, which is non-blocking."""

    def __init__(self, sock: socket.socket, data: Buffer = b"", *, finishing: bool = True) -> None:
        self.sock = sock
        self.received = bytearray()
        self.ended = False
        self.reading = True
        self.finishing = finishing
        self.error: str | None = None
        self._left = memoryview(data)
        self._finished = False

    def turn(self) -> None:
        """Do what can be done."""
        if self.error is not None or self.sock.fileno() < 0:
            return
        try:
            self._write()
            self._read()
        except OSError as failure:
            self.error = errno.errorcode[failure.errno or 0]

    def wants(self) -> int:
        """The events of poll(2) that matter now; 0 where none does."""
        if self.error is not None or self.sock.fileno() < 0:
            return 0
        reading = select.POLLIN if self.reading and not self.ended else 0
        return reading | (select.POLLOUT if self._left else 0)

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def reset(self) -> None:
        """Close it with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _write(self) -> None:
        try:
            while self._left:
                self._left = self._left[self.sock.send(self._left[:CHUNK]) :]
        except BlockingIOError:
            return
        if self.finishing and not self._finished:
            self.sock.shutdown(socket.SHUT_WR)
            self._finished = True

    def _read(self) -> None:
        try:
            while self.reading and not self.ended:
                piece = self.sock.recv(CHUNK)
                self.received += piece
                self.ended = not piece
        except BlockingIOError:
            return
