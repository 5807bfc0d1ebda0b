"""What a guest link is: the place where Ethernet frames come from and go to.

A link never blocks and never buffers without bound. It has these ways to say how it stands:

* `fileno()` is readable when frames wait in the kernel; `pending` is true when frames wait inside the link itself;
* `room()` is how many frames `send` will take now. A gateway asks it before it makes frames, because a frame that was
  never made is not lost: TCP still has it;
* `poll_at()`: a moment at which the link has something to do though no descriptor will tell; only links made for tests have one;
* `wants_write`: the last write met a full queue, so watch the descriptor for writing and call `flush`. `held` without
  `wants_write` means that the kernel ran short of memory, of which no descriptor tells: call `flush` a little later.

Frames beyond the room are dropped and counted, as on a wire. The one exception a link raises is `LinkClosed`.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from usernat.stack.device import Capabilities, Frame

MAX_FRAME = 65535 + 18  # the largest IPv4 datagram behind an Ethernet header with one VLAN tag
HELD_MAX = 256  # frames that wait inside a link while the other side takes none

Received = tuple[memoryview | bytes, bool]
"""A frame from the guest, and whether the device vouches for its TCP or UDP checksum."""

_OUT_OF_MEMORY = frozenset({errno.ENOBUFS, errno.ENOMEM})
_GONE = frozenset(
    {errno.EBADF, errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ENXIO, errno.ENODEV, errno.ESHUTDOWN}
    | {getattr(errno, "EBADFD", errno.EBADF)},  # Linux only: the TAP device of this descriptor was deleted
)


class LinkClosed(Exception):  # noqa: N818 - an end, not an error: most links close because their guest is done
    """The guest is gone, or broke the link's framing; `str()` of it says which in one line."""


@dataclass(slots=True)
class LinkCounters(Counters):
    """Frames and bytes carried, and every reason for which a link drops a frame."""

    frames_in: int = 0
    bytes_in: int = 0
    frames_out: int = 0
    bytes_out: int = 0
    blocked: int = 0  # times that a write met a full queue
    overflow: int = 0  # dropped: sent beyond the room
    refused: int = 0  # dropped: the device would not take this frame (down, too long, malformed)
    truncated: int = 0  # dropped: shorter than the link's own header
    unknown_offload: int = 0  # dropped: asks for a segmentation that we never offered
    stranger: int = 0  # dropped: came from an address that is not the guest's


class Link(ABC):
    """One guest link. `capabilities` is what the stack may rely on; `counters` is what has happened."""

    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self.counters = LinkCounters()

    @abstractmethod
    def fileno(self) -> int:
        """The descriptor to watch: readable when frames wait, writable when `flush` is worth a call."""

    @abstractmethod
    def receive(self, limit: int) -> list[Received]:
        """At most `limit` frames that have come, oldest first. Raises LinkClosed when none will come any more."""

    @abstractmethod
    def send(self, frames: list[Frame]) -> None:
        """Hand frames to the guest, in order. Raises LinkClosed, nothing else."""

    @abstractmethod
    def flush(self) -> None:
        """Try again what is held. Raises LinkClosed, nothing else."""

    @abstractmethod
    def room(self) -> int:
        """How many frames `send` takes now without dropping any."""

    @property
    @abstractmethod
    def held(self) -> int:
        """Frames (or pieces of them) that wait for the other side to take them."""

    @property
    def wants_write(self) -> bool:
        """Whether writability of the descriptor is worth watching."""
        return False

    @property
    def pending(self) -> bool:
        """Whether `receive` would bring frames although the descriptor may not be readable."""
        return False

    def poll_at(self) -> int | None:
        """When `held` or `pending` comes true by itself, in µs of `time.monotonic()`; None: never."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Give back the descriptor. Harmless when called again."""


class PacketLink(Link):
    """A link on which one write is one frame: keeps the order, holds what is not taken, drops what is refused."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__(capabilities)
        self._held: deque[Frame] = deque()
        self._wants_write = False

    @abstractmethod
    def _write(self, frame: Frame) -> int:
        """Write one frame, return its bytes, or raise OSError."""

    def send(self, frames: list[Frame]) -> None:
        """Write the frames, or hold them behind those that already wait."""
        taken = 0
        if not self._held:
            for frame in frames:
                if not self._put(frame):
                    break
                taken += 1
        if taken < len(frames):
            room = HELD_MAX - len(self._held)
            self._held.extend(frames[taken : taken + room])
            self.counters.overflow += max(0, len(frames) - taken - room)

    def flush(self) -> None:
        """Write what is held until the device has no room again."""
        while self._held and self._put(self._held[0]):
            self._held.popleft()

    def room(self) -> int:
        """All or nothing: while frames are held, new ones are better not made."""
        return 0 if self._held else HELD_MAX

    @property
    def held(self) -> int:
        """Frames that wait."""
        return len(self._held)

    @property
    def wants_write(self) -> bool:
        """Whether the device said that its queue is full."""
        return self._wants_write

    def _put(self, frame: Frame) -> bool:
        """Write one frame; False when it must wait. A frame that can never be written counts as done."""
        self._wants_write = False
        try:
            written = self._write(frame)
        except BlockingIOError:
            self.counters.blocked += 1
            self._wants_write = True
            return False
        except OSError as error:
            if error.errno in _OUT_OF_MEMORY:
                self.counters.blocked += 1
                return False
            raise_if_gone(error)
            self.counters.refused += 1
            return True
        self.counters.frames_out += 1
        self.counters.bytes_out += written
        return True


def raise_if_gone(error: OSError) -> None:
    """Raise LinkClosed when the error says that the other side, or the device, does not exist any more."""
    if error.errno in _GONE:
        raise LinkClosed(f"the guest link is gone: {error.strerror}") from error
