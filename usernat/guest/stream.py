"""A TCP connection of the guest with the manners of a blocking socket. While a call waits, the guest's stack runs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from usernat.stack.l4.tcp.state import TcpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.stack.device import Buffer
    from usernat.stack.l4.tcp.connection import Connection

_ERRORS: dict[TcpError, type[OSError]] = {
    TcpError.RESET: ConnectionResetError,
    TcpError.REFUSED: ConnectionRefusedError,
    TcpError.TIMED_OUT: TimeoutError,
}


class Stream:
    """One connection. `timeout` is how long a call may wait, in seconds; TimeoutError then, other OSErrors as of a socket."""

    def __init__(
        self, connection: Connection, run_until: Callable[[Callable[[], bool], float], bool], timeout: float
    ) -> None:
        self.timeout = timeout
        self._connection = connection
        self._run_until = run_until

    def connected(self) -> None:
        """Waits for the handshake."""
        connection = self._connection
        self._wait(lambda: connection.established or connection.closed)
        self._check()

    def recv(self, limit: int) -> bytes:
        """At most `limit` bytes, at least one; none at the end of the stream."""
        connection = self._connection
        self._wait(lambda: bool(connection.readable) or connection.at_eof or connection.closed)
        if not connection.readable:
            self._check()
        return connection.recv(limit)

    def sendall(self, data: Buffer) -> None:
        """All of `data`, which is kept by reference until it is acknowledged."""
        connection = self._connection
        rest = memoryview(data)
        while rest:
            self._check()
            rest = rest[connection.send(rest) :]
            if rest:
                self._wait(lambda: connection.send_room > 0 or connection.closed)

    def shutdown(self) -> None:
        """No more will be sent; reading goes on."""
        self._connection.shutdown()

    def close(self) -> None:
        """Ends both directions in the background."""
        self._connection.close()

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """The stream as a file for reading. ValueError for any mode but `rb`."""
        if mode != "rb":
            raise ValueError(f"a stream can be read as bytes, not opened as {mode!r}")
        return io.BufferedReader(_Reader(self), 65536)

    def _wait(self, condition: Callable[[], bool]) -> None:
        if not self._run_until(condition, self.timeout):
            raise TimeoutError(f"nothing happened for {self.timeout} s")

    def _check(self) -> None:
        error = self._connection.error
        if error is not None:
            raise _ERRORS.get(error, OSError)(f"the connection ended: {error.name.lower().replace('_', ' ')}")


class _Reader(io.RawIOBase):
    """What `makefile` buffers."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(
        self, buffer: Any
    ) -> int:  # a writable buffer, which has a type of its own from Python 3.12 only
        data = self._stream.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)
