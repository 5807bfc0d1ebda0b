"""A shell behind a terminal, driven like a function: `exec(cmd, timeout)` returns output and exit status.

The other side sees a terminal: it echoes what is typed, wraps it at 80 columns, redraws it, and turns "\\n" into "\\r\\n". So the end
of a command is found by a marker that no echo can contain: it is typed in two quoted halves, and only printf joins them. An
echo may gain characters by wrapping, but never loses the quotes and the blank between the halves. Each command has a random
token of its own, so that nothing printed late by an earlier one is taken for its end. A marker before the command cuts its
echo off. The command itself is typed into a variable, piece by piece, since terminals and shells cut long lines.

What has been read and not yet asked for is kept in a bounded buffer: of more, the newest bytes stay and `dropped` counts the others.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import shlex
import time
from typing import NamedTuple

PIECE = 120  # characters typed at a time; quoted at most five times as long, below the 1,023 of a line that busybox edits
BUFFER_LIMIT = 1 << 20
INTERRUPT = b"\x03"
RECOVERY_SECONDS = 5.0
TAIL = 500  # bytes searched again when more has come, and shown of what came in vain
CHUNK = 1 << 16


class Result(NamedTuple):
    """output: text with "\\n" line ends; bytes that are not UTF-8 are kept as surrogate escapes. status: of the command."""

    output: str
    status: int


class ConsoleTimeoutError(TimeoutError):
    """What was waited for did not come in time; the message ends with what did."""


class ConsoleClosedError(EOFError):
    """The other side has gone."""


class GuestConsole:
    """read_fd, write_fd: of the terminal's near end (the same, for a pty). limit: bytes kept of unread output."""

    def __init__(self, read_fd: int, write_fd: int, *, limit: int = BUFFER_LIMIT) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._limit = limit
        self._buffer = bytearray()
        self.dropped = 0

    def exec(self, command: str, timeout: float) -> Result:
        """Run one command, of any length, in the shell, in the state that earlier ones left.

        A command that reads its input finds none, and waits. Raises ConsoleTimeoutError after timeout seconds (the command is then
        interrupted, and the console fit for the next), ConsoleClosedError.
        """
        deadline = time.monotonic() + timeout
        token = secrets.token_hex(8)
        try:
            self._type("typed=", deadline)
            for start in range(0, len(command), PIECE):
                self._type(f'typed="$typed"{shlex.quote(command[start : start + PIECE])}', deadline)
            # `command` takes away from eval what POSIX gives a special built-in: that its syntax errors end the line
            self.send(
                f"printf %s%s '<{token}' ':'; command eval \"$typed\"; printf '%s%s %s\\n' ':{token}' '>' $?\n"
            )
            self._until(f"<{token}:", deadline)
            self.dropped = 0
            output, (_, status) = self._until(rf":{token}> (\d+)\r*\n", deadline)
        except ConsoleTimeoutError:
            self.recover()
            raise
        text = output.decode(errors="surrogateescape")
        return Result(re.sub("\r+\n", "\n", text), int(status))

    def expect(self, pattern: str, timeout: float) -> bytes:
        """Wait for a regular expression (a prompt without newline, for example) of at most 500 bytes; all that came up to its end."""
        before, (found, *_) = self._until(pattern, time.monotonic() + timeout)
        return before + found

    def send(self, text: str) -> None:
        """Type text as it is; a line ends with "\\n"."""
        left = memoryview(text.encode())
        while left:
            left = left[os.write(self._write_fd, left) :]

    def recover(self) -> None:
        """Interrupt what runs and wait until the shell answers again. Raises ConsoleTimeoutError where it does not."""
        os.write(self._write_fd, INTERRUPT)
        self._type("", time.monotonic() + RECOVERY_SECONDS)

    def _type(self, line: str, deadline: float) -> None:
        """Type one line that prints nothing, and wait until the shell has run it: nothing is typed ahead."""
        token = secrets.token_hex(8)
        self.send(f"{line}\nprintf '%s%s\\n' '<{token}' ':'\n")
        self._until(f"<{token}:", deadline)

    def _until(self, pattern: str, deadline: float) -> tuple[bytes, tuple[bytes, ...]]:
        """What came before the first match, and the match with its groups; both leave the buffer."""
        wanted = re.compile(pattern.encode())
        start = 0
        while not (found := wanted.search(self._buffer, start)):
            new = self._read(deadline, pattern)
            start = max(0, len(self._buffer) - new - TAIL)
        taken = (bytes(self._buffer[: found.start()]), (found[0], *found.groups()))
        rest = self._buffer[found.end() :]
        self._buffer = rest  # not cut in place: the match still refers to it
        return taken

    def _read(self, deadline: float, pattern: str) -> int:
        """Read what there is, waiting for it; how many bytes came."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._read_fd], [], [], left)[0]:
            tail = bytes(self._buffer[-TAIL:])
            raise ConsoleTimeoutError(f"no {pattern!r} in time; the end of what came: {tail!r}")
        try:
            piece = os.read(self._read_fd, CHUNK)
        except OSError as error:  # EIO: nobody holds the other side of a pty any more
            raise ConsoleClosedError("the console's other side has gone") from error
        if not piece:
            raise ConsoleClosedError("the console's other side has gone")
        self._buffer += piece
        if (over := len(self._buffer) - self._limit) > 0:
            del self._buffer[:over]
            self.dropped += over
        return len(piece)
