"""A link inside one process: what one end sends, the other receives.

For a guest made of our own stack, and for tests. Each direction is a bounded mailbox with a bell that makes the receiver's descriptor
readable, so that a `memory_pair` runs in any event loop and across two threads like a real device. `deque` operations are
atomic, and a bell is rung after the frame is queued, so no frame is ever overlooked; a bell without a frame is possible and harmless.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from usernat.links.link import HELD_MAX, Link, LinkClosed, Received
from usernat.stack.device import Capabilities
from usernat.waker import Waker

if TYPE_CHECKING:
    from usernat.stack.device import Frame


class Mailbox:
    """One direction. starved: the sender found no room and waits for some; closed: one of the ends is."""

    __slots__ = ("bell", "closed", "frames", "starved")

    def __init__(self) -> None:
        self.frames: deque[Received] = deque()
        self.bell = Waker()
        self.starved = False
        self.closed = False


def memory_pair(capabilities: Capabilities | None = None) -> tuple[MemoryLink, MemoryLink]:
    """Two ends, wired together. With segmentation offload in `capabilities` a large segment crosses whole."""
    one_way, other_way = Mailbox(), Mailbox()
    capabilities = capabilities or Capabilities()
    return MemoryLink(capabilities, one_way, other_way), MemoryLink(capabilities, other_way, one_way)


class MemoryLink(Link):
    """One end of a `memory_pair`."""

    def __init__(self, capabilities: Capabilities, inbox: Mailbox, outbox: Mailbox) -> None:
        super().__init__(capabilities)
        self._inbox = inbox
        self._outbox = outbox

    def fileno(self) -> int:
        """Readable when the other end has rung."""
        return self._inbox.bell.fileno()

    def receive(self, limit: int) -> list[Received]:
        """Frames that the other end sent; LinkClosed once it is closed and all were taken."""
        inbox = self._inbox
        inbox.bell.clear()
        frames = [inbox.frames.popleft() for _ in range(min(limit, len(inbox.frames)))]
        if not frames and inbox.closed:
            raise LinkClosed("the other end of the memory link was closed")
        if frames and inbox.starved:
            inbox.starved = False
            self._outbox.bell.wake()
        self.counters.frames_in += len(frames)
        self.counters.bytes_in += sum(len(frame) for frame, _ in frames)
        return frames

    def send(self, frames: list[Frame]) -> None:
        """Queue the frames at the other end, as one piece each; those beyond its room are dropped."""
        outbox = self._outbox
        if outbox.closed:
            raise LinkClosed("the other end of the memory link was closed")
        room = HELD_MAX - len(outbox.frames)
        for frame in frames[:room]:
            data = bytes(frame)
            # A checksum that is left to the device never leaves this process: nothing can damage it on the way.
            outbox.frames.append((data, frame.csum_start > 0))
            self.counters.frames_out += 1
            self.counters.bytes_out += len(data)
        self.counters.overflow += max(0, len(frames) - room)
        outbox.bell.wake()

    def flush(self) -> None:
        """Nothing is held at this end."""

    def room(self) -> int:
        """What the other end's mailbox has left; where that is nothing, this end is rung as soon as it is more."""
        outbox = self._outbox
        outbox.starved = True  # before looking: room that is made in between rings too
        room = max(0, HELD_MAX - len(outbox.frames))
        outbox.starved = room == 0
        return room

    @property
    def held(self) -> int:
        """Always none: what was sent is at the other end."""
        return 0

    @property
    def pending(self) -> bool:
        """Whether frames, or the news that the other end is closed, wait whose bell was already heard."""
        return bool(self._inbox.frames) or self._inbox.closed

    def close(self) -> None:
        """Close this end; the other gets LinkClosed after the frames that are on their way."""
        self._inbox.closed = self._outbox.closed = True
        self._outbox.bell.wake()
        self._inbox.bell.close()
