"""Waking a selector from another thread: a socket pair, because pipes cannot be selected everywhere."""

from __future__ import annotations

import contextlib
import socket


class Waker:
    """Readable after `wake`, until `clear`."""

    def __init__(self) -> None:
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to watch for reading."""
        return self._bell.fileno()

    def wake(self) -> None:
        """Make it readable. From any thread; one that is full of calls is readable already, a closed one needs none."""
        with contextlib.suppress(OSError):
            self._button.send(b"!")

    def clear(self) -> None:
        """Make it unreadable again. To be called before looking at what was announced."""
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(4096)

    def close(self) -> None:
        """Give the descriptors back."""
        self._bell.close()
        self._button.close()
