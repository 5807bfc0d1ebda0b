"""A link whose other end is the program that measures: it puts frames in and takes frames out, and nothing of that is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.links.link import HELD_MAX, Link, Received
from usernat.waker import Waker

if TYPE_CHECKING:
    from usernat.stack.device import Capabilities, Frame


class Feed(Link):
    """incoming: what the gateway will receive. outgoing: what it has sent."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__(capabilities)
        self.incoming: list[Received] = []
        self.outgoing: list[Frame] = []
        self._bell = Waker()  # never rings: `pending` tells

    def fileno(self) -> int:
        return self._bell.fileno()

    def receive(self, limit: int) -> list[Received]:
        taken, self.incoming = self.incoming[:limit], self.incoming[limit:]
        return taken

    def send(self, frames: list[Frame]) -> None:
        self.outgoing += frames

    def flush(self) -> None:
        """Nothing is held."""

    def room(self) -> int:
        return HELD_MAX

    @property
    def held(self) -> int:
        return 0

    @property
    def pending(self) -> bool:
        return bool(self.incoming)

    def close(self) -> None:
        self._bell.close()
