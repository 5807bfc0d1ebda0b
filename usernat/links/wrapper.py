"""A link around a link: capture, display and fault injection see every frame without the gateway or the device knowing.

A wrapper changes what it wants to by overriding `receive` or `send`, and leaves the rest to the link inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.links.link import Link, Received

if TYPE_CHECKING:
    from usernat.stack.device import Frame


class LinkWrapper(Link):
    """Passes everything through to `inner`, which it owns. The counters are those of `inner`."""

    def __init__(self, inner: Link) -> None:
        super().__init__(inner.capabilities)
        self.inner = inner
        self.counters = inner.counters

    def fileno(self) -> int:
        """The inner link's descriptor."""
        return self.inner.fileno()

    def receive(self, limit: int) -> list[Received]:
        """Frames from the inner link."""
        return self.inner.receive(limit)

    def send(self, frames: list[Frame]) -> None:
        """Frames to the inner link."""
        self.inner.send(frames)

    def flush(self) -> None:
        """Flush the inner link."""
        self.inner.flush()

    def room(self) -> int:
        """The inner link's room."""
        return self.inner.room()

    @property
    def held(self) -> int:
        """What the inner link holds."""
        return self.inner.held

    @property
    def wants_write(self) -> bool:
        """Whether the inner link waits for writability."""
        return self.inner.wants_write

    @property
    def pending(self) -> bool:
        """Whether frames wait in the inner link."""
        return self.inner.pending

    def poll_at(self) -> int | None:
        """The inner link's deadline."""
        return self.inner.poll_at()

    def close(self) -> None:
        """Close the inner link."""
        self.inner.close()
