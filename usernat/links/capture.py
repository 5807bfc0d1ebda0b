"""Every frame of a link in a pcap file, which Wireshark and tcpdump open.

    file header   24   magic a1b23c4d (times in nanoseconds), version 2.4, longest record, link type 1 (Ethernet)
    record        16   seconds, nanoseconds, bytes stored, bytes that the frame had
                       the frame

Each batch is written with one `writev`, at once: nothing waits in memory, and the file is whole whenever it is looked at. A frame that
the device is to segment stands there as the stack gave it, as a capture on a host with offloads shows it too: longer than the MTU, its
TCP checksum still that of the pseudo-header. But datagrams of UDP stand there one by one, for they mean something to those who read. A disk that fills up ends the capture with one warning, never the guest's network.
"""

from __future__ import annotations

import logging
import os
import time
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from construct import Int16ub, Int32ub, Struct

from usernat.config import ConfigError
from usernat.links.datagram_cut import cut
from usernat.links.scatter import IOV_MAX
from usernat.links.wrapper import LinkWrapper
from usernat.stack.device import UDP_CHECKSUM_OFFSET
from usernat.stack.wire import Codec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from usernat.links.link import Link, Received
    from usernat.stack.device import Buffer, Frame

log = logging.getLogger(__name__)

NANOSECOND_MAGIC = 0xA1B23C4D
LONGEST_RECORD = 262144  # bytes: what Wireshark takes, and more than any frame here has
LINKTYPE_ETHERNET = 1
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would otherwise turn every 0x0a into two bytes


class FileHeader(NamedTuple):
    """The file's header. zone and accuracy are 0 in practice."""

    magic: int
    major: int
    minor: int
    zone: int
    accuracy: int
    longest: int
    link_type: int


class RecordHeader(NamedTuple):
    """What precedes each frame. stored, length: bytes."""

    seconds: int
    nanoseconds: int
    stored: int
    length: int


FILE_HEADER = Codec(
    Struct(
        "magic" / Int32ub,
        "major" / Int16ub,
        "minor" / Int16ub,
        "zone" / Int32ub,
        "accuracy" / Int32ub,
        "longest" / Int32ub,
        "link_type" / Int32ub,
    ),
    FileHeader,
)
RECORD_HEADER = Codec(
    Struct("seconds" / Int32ub, "nanoseconds" / Int32ub, "stored" / Int32ub, "length" / Int32ub), RecordHeader
)


class PcapFile:
    """A capture file that is being written."""

    def __init__(self, path: Path | str) -> None:
        """Make the file; one that is there is overwritten. Raises ConfigError where that fails."""
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot write the capture file {path}: {error.strerror}") from error
        header = FileHeader(NANOSECOND_MAGIC, 2, 4, 0, 0, LONGEST_RECORD, LINKTYPE_ETHERNET)
        self._write([FILE_HEADER.write(header)])

    def record(self, frames: Iterable[tuple[list[Buffer], int]]) -> None:
        """Add frames, given as pieces and whole length in bytes, all with the time of now."""
        if self._descriptor < 0:
            return
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        pieces: list[Buffer] = []
        for parts, length in frames:
            pieces.append(RECORD_HEADER.write(RecordHeader(seconds, nanoseconds, length, length)))
            pieces += parts
        self._write(pieces)

    def close(self) -> None:
        """Close the file. Harmless when called again."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _write(self, pieces: list[Buffer]) -> None:
        try:
            for start in range(0, len(pieces), IOV_MAX):
                _write_all(self._descriptor, pieces[start : start + IOV_MAX])
        except OSError as error:
            log.warning("the capture ends here: %s", error.strerror)
            self.close()


class CaptureLink(LinkWrapper):
    """Records what crosses `inner`, before it is handed on. Closes the file with itself if it `owns` it."""

    def __init__(self, inner: Link, file: PcapFile, *, owns: bool = True) -> None:
        super().__init__(inner)
        self._file = file
        self._owns = owns

    def receive(self, limit: int) -> list[Received]:
        """Frames from the guest, recorded."""
        received = self.inner.receive(limit)
        if received:
            self._file.record(([frame], len(frame)) for frame, _ in received)
        return received

    def send(self, frames: list[Frame]) -> None:
        """Frames to the guest, recorded."""
        self._file.record(chain.from_iterable(map(_records, frames)))
        self.inner.send(frames)

    def close(self) -> None:
        """Close the inner link and, if owned, the file."""
        self.inner.close()
        if self._owns:
            self._file.close()


def _records(frame: Frame) -> Iterable[tuple[list[Buffer], int]]:
    """A frame as it is to be recorded: pieces and length, of each datagram where it holds a run."""
    if frame.gso_size and frame.csum_offset == UDP_CHECKSUM_OFFSET:
        datagrams = cut(bytes(frame), frame.gso_size)
        if datagrams is not None:
            return [([datagram], len(datagram)) for datagram in datagrams]
    return [(frame.parts, len(frame))]


def _write_all(descriptor: int, pieces: list[Buffer]) -> None:
    """One `writev` where the platform has it, and what that left over. Raises OSError."""
    written = os.writev(descriptor, pieces) if hasattr(os, "writev") else 0
    if written < sum(map(len, pieces)):
        rest = memoryview(b"".join(pieces))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
