"""The listening sockets of `FakeHost`, and who calls them from outside: `FakeHost.call`."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

from usernat.fuzz.fakesockets import FakeSocket, FakeTcp

if TYPE_CHECKING:
    from usernat.fuzz.fakehost import FakeHost
    from usernat.fuzz.fakepeers import Peer
    from usernat.nat.host import Owner

BACKLOG = 128


class FakeListening(FakeSocket):
    """Holds calls until they are accepted. failures: errnos that `accept` meets first, one a call of it."""

    kind = "tcp"

    def __init__(self, host: FakeHost, owner: Owner, address: int, port: int) -> None:
        super().__init__(host, owner)
        self.address = address
        self.port = port
        self.failures: deque[int] = deque()
        self._waiting: deque[tuple[FakeTcp, int, int]] = deque()

    def readable(self) -> bool:
        """See `FakeSocket`. What is waiting goes on waiting where it cannot be accepted."""
        return bool(self._waiting)

    def call(self, peer: Peer, source: tuple[int, int]) -> FakeTcp | None:
        """The peer connects, and can write at once, as to a kernel; None where too many wait."""
        if len(self._waiting) >= BACKLOG:
            return None
        sock = FakeTcp(self.host, self.owner)
        sock.connected(peer)
        self._waiting.append((sock, *source))
        return sock

    def accept(self) -> tuple[FakeTcp, int, int] | None:
        """The call that has waited longest."""
        if self.failures:
            number = self.failures.popleft()
            raise OSError(number, errno.errorcode[number])
        return self._waiting.popleft() if self._waiting else None

    def closed_by_owner(self, *, reset: bool) -> None:  # noqa: ARG002 - who waits is reset either way
        """See `FakeSocket`."""
        for sock, _address, _port in self._waiting:
            sock.closed_by_owner(reset=True)
        self._waiting.clear()
