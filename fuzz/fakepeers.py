"""The far ends of `FakeHost`'s TCP connections: small characters, each with one habit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.fuzz.fakesockets import FakeTcp


class Peer:
    """Takes everything, remembers it, and closes when the other side does. The base of the others."""

    def __init__(self) -> None:
        self.stream: FakeTcp | None = None
        self.received = bytearray()
        self.eof = False
        self.was_reset = False

    def on_open(self, stream: FakeTcp) -> None:
        """The connection stands."""
        self.stream = stream

    def on_data(self, stream: FakeTcp, data: bytes) -> None:  # noqa: ARG002 - others answer
        """Bytes have come."""
        self.received += data

    def on_eof(self, stream: FakeTcp) -> None:
        """The other side has sent all."""
        self.eof = True
        stream.finish()

    def on_reset(self, stream: FakeTcp) -> None:  # noqa: ARG002 - others could care
        """The other side has reset."""
        self.was_reset = True


class Echo(Peer):
    """Sends back what comes."""

    def on_data(self, stream: FakeTcp, data: bytes) -> None:
        """See `Peer`."""
        super().on_data(stream, data)
        stream.push(data)


class Source(Peer):
    """Sends `data` at once and closes its side; with `linger`, only once the other side has."""

    def __init__(self, data: bytes, *, linger: bool = False) -> None:
        super().__init__()
        self._data = data
        self._linger = linger

    def on_open(self, stream: FakeTcp) -> None:
        """See `Peer`."""
        super().on_open(stream)
        stream.push(self._data)
        if not self._linger:
            stream.finish()


class AnswersAtEof(Peer):
    """Waits for the whole of what is sent, then answers with `data`: what needs a half-closed connection."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def on_eof(self, stream: FakeTcp) -> None:
        """See `Peer`."""
        stream.push(self._data)
        super().on_eof(stream)


class NeverReads(Peer):
    """Takes nothing until it is told to with `stream.pause(paused=False)`."""

    def on_open(self, stream: FakeTcp) -> None:
        """See `Peer`."""
        super().on_open(stream)
        stream.pause()


class Resets(Peer):
    """Resets once it has received `after` bytes, and sends `answer` just before."""

    def __init__(self, after: int, answer: bytes = b"") -> None:
        super().__init__()
        self._after = after
        self._answer = answer

    def on_data(self, stream: FakeTcp, data: bytes) -> None:
        """See `Peer`."""
        super().on_data(stream, data)
        if len(self.received) >= self._after:
            stream.push(self._answer)
            stream.reset()
