"""DNS messages on a stream: each behind its length in two bytes (RFC 1035 §4.2.2-a), cut wherever the stream likes."""

from __future__ import annotations


def framed(message: bytes) -> bytes:
    """The message with its length in front, as one piece, so that it leaves in one segment where it can (RFC 7766 §8-a)."""
    return len(message).to_bytes(2, "big") + message


class MessageBuffer:
    """Collects bytes, gives out whole messages. It never holds more than it was fed since the last `take` that gave None, plus one message."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0

    def __len__(self) -> int:
        """Bytes that wait."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Adds bytes of the stream."""
        del self._data[: self._at]
        self._at = 0
        self._data += data

    def take(self) -> bytes | None:
        """The next whole message, None while it is not complete."""
        start = self._at + 2
        if start > len(self._data):
            return None
        end = start + int.from_bytes(self._data[self._at : start], "big")
        if end > len(self._data):
            return None
        self._at = end
        return bytes(self._data[start:end])
