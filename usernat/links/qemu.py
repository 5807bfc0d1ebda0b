"""QEMU's `-netdev stream`: Ethernet frames on a stream socket, each behind its length in 4 bytes, big-endian.

    +--------+--------+--------+--------+------------------------- - -
    |        length of the frame        |  the frame, without FCS
    +--------+--------+--------+--------+------------------------- - -

The stream may be cut anywhere. Each frame is copied out of the buffer, which costs no more than a view of it would (a
tenth of a microsecond), and so a frame that the stack keeps never keeps the 128 KiB around it alive. A length that
cannot be means that the two sides no longer agree where frames begin; nothing after it can be trusted, so the link
closes and says so.
"""

from __future__ import annotations

import socket
import struct
from collections import deque

from usernat.links.link import HELD_MAX, MAX_FRAME, Link, LinkClosed, Received, raise_if_gone
from usernat.links.scatter import send_some
from usernat.stack.device import Buffer, Capabilities, Frame

LENGTH_SIZE = 4  # bytes
_length = struct.Struct(">I").unpack_from
_RECV_SIZE = 128 * 1024  # bytes a system call


class FrameReader:
    """Cuts a byte stream into frames. Holds less than one frame more than what was fed and not yet taken."""

    def __init__(self) -> None:
        self._buffer = b""
        self._offset = 0
        self.failure: str | None = None

    @property
    def buffered(self) -> int:
        """Bytes not yet handed out."""
        return len(self._buffer) - self._offset

    @property
    def ready(self) -> bool:
        """Whether a whole frame, or a failure, is there already."""
        if self.failure is not None:
            return True
        start = self._offset + LENGTH_SIZE
        if start > len(self._buffer):
            return False
        (length,) = _length(self._buffer, self._offset)
        return not 0 < length <= MAX_FRAME or start + length <= len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._buffer = self._buffer[self._offset :] + data
        self._offset = 0

    def frames(self, limit: int) -> list[Received]:
        """At most `limit` complete frames; sets `failure` at a length that cannot be."""
        frames: list[Received] = []
        buffer, offset = self._buffer, self._offset
        whole = len(buffer) - LENGTH_SIZE
        while len(frames) < limit and offset <= whole and self.failure is None:
            (length,) = _length(buffer, offset)
            if not 0 < length <= MAX_FRAME:
                self.failure = (
                    f"the guest announced a frame of {length} bytes (1 to {MAX_FRAME} are possible)"
                )
                break
            start = offset + LENGTH_SIZE
            if start + length > len(buffer):
                break
            offset = start + length
            frames.append((buffer[start:offset], False))
        self._offset = offset
        return frames


class QemuLink(Link):
    """One guest on a connected stream socket, which the link owns. Without offloads: QEMU passes none on this way."""

    def __init__(self, sock: socket.socket, mtu: int = 1500) -> None:
        super().__init__(Capabilities(mtu=mtu))
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._reader = FrameReader()
        self._held: deque[Buffer] = (
            deque()
        )  # what the socket did not take yet; may begin in the middle of a frame
        self._wants_write = False

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def receive(self, limit: int) -> list[Received]:
        """Frames that came from the guest; LinkClosed once the stream has ended or lost its framing."""
        frames = self._reader.frames(limit)
        ended = False
        if len(frames) < limit and self._reader.failure is None:
            ended = not self._read()
            frames += self._reader.frames(limit - len(frames))
        if not frames and self._reader.failure is not None:
            raise LinkClosed(self._reader.failure)
        if not frames and ended:
            cut = (
                f" in the middle of a frame ({self._reader.buffered} bytes)" if self._reader.buffered else ""
            )
            raise LinkClosed("the guest closed the stream" + cut)
        self.counters.frames_in += len(frames)
        self.counters.bytes_in += sum(len(frame) for frame, _ in frames)
        return frames

    def send(self, frames: list[Frame]) -> None:
        """Write the frames with as few system calls as may be; hold what the socket does not take."""
        if self._held:
            self.counters.overflow += len(frames)
            return
        pieces: deque[Buffer] = deque()
        for frame in frames[:HELD_MAX]:
            length = len(frame)
            first, *others = frame.parts
            pieces.append(length.to_bytes(LENGTH_SIZE, "big") + first)
            pieces += others
            self.counters.frames_out += 1
            self.counters.bytes_out += length
        self.counters.overflow += max(0, len(frames) - HELD_MAX)
        self._held = pieces
        self.flush()

    def flush(self) -> None:
        """Write what is held until the socket takes no more."""
        self._wants_write = False
        while self._held:
            try:
                written = send_some(self._socket, list(self._held))
            except BlockingIOError:
                self.counters.blocked += 1
                self._wants_write = True
                return
            except OSError as error:
                raise_if_gone(error)
                raise LinkClosed(f"the guest link failed: {error.strerror}") from error
            _drop_front(self._held, written)

    def room(self) -> int:
        """All or nothing: while the socket takes nothing, new frames are better not made."""
        return 0 if self._held else HELD_MAX

    @property
    def held(self) -> int:
        """Pieces of frames that wait."""
        return len(self._held)

    @property
    def wants_write(self) -> bool:
        """Whether the socket's buffer is full."""
        return self._wants_write

    @property
    def pending(self) -> bool:
        """Whether a whole frame (or the news that the framing is lost) waits in the buffer."""
        return self._reader.ready

    def close(self) -> None:
        """Close the stream."""
        self._held.clear()
        self._socket.close()

    def _read(self) -> bool:
        """One `recv`. False when the stream has ended."""
        try:
            data = self._socket.recv(_RECV_SIZE)
        except BlockingIOError:
            return True
        except OSError as error:
            if isinstance(error, ConnectionError):
                return False
            raise_if_gone(error)
            raise LinkClosed(f"the guest link failed: {error.strerror}") from error
        if data:
            self._reader.feed(data)
        return bool(data)


def _drop_front(pieces: deque[Buffer], written: int) -> None:
    """Remove the bytes that were written from the front of the pieces."""
    while written:
        first = pieces.popleft()
        if len(first) > written:
            pieces.appendleft(memoryview(first)[written:])
            return
        written -= len(first)
