"""The far end of every kind of link, so that one suite of tests can hold them all to the same promises."""

from __future__ import annotations

import contextlib
import gc
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from usernat.links.capture import CaptureLink, PcapFile
from usernat.links.datagram import DatagramLink
from usernat.links.link import LinkClosed
from usernat.links.memory import memory_pair
from usernat.links.qemu import FrameReader, QemuLink
from usernat.links.tap import TapLink, vnet_header
from usernat.stack.device import Capabilities, Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.links.link import Link

NO_OFFLOADS = Capabilities()


class Cable:
    """A link and the guest's end of it."""

    link: Link

    def put(self, frame: bytes) -> None:
        """The guest sends a frame."""
        raise NotImplementedError

    def take(self) -> list[bytes]:
        """What the guest finds on its end now."""
        raise NotImplementedError

    def unplug(self) -> None:
        """The guest goes away."""
        raise NotImplementedError

    def close(self) -> None:
        """Both ends."""
        self.unplug()
        self.link.close()


class SocketCable(Cable):
    """Over a socket pair; `header` precedes each frame."""

    def __init__(self, kind: int, make: Callable[[socket.socket], Link], header: bytes = b"") -> None:
        ours, self.guest = socket.socketpair(socket.AF_UNIX, kind)
        self.guest.setblocking(False)
        self.header = header
        self.link = make(ours)

    def put(self, frame: bytes) -> None:
        self.guest.send(self.header + frame)

    def take(self) -> list[bytes]:
        frames = []
        with contextlib.suppress(BlockingIOError):
            while data := self.guest.recv(1 << 17):
                frames.append(data[len(self.header) :])
        return frames

    def unplug(self) -> None:
        self.guest.close()


class StreamCable(SocketCable):
    """QEMU's framing."""

    def __init__(self) -> None:
        super().__init__(socket.SOCK_STREAM, QemuLink)
        self.reader = FrameReader()

    def put(self, frame: bytes) -> None:
        self.guest.sendall(len(frame).to_bytes(4, "big") + frame)

    def take(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            while data := self.guest.recv(1 << 17):
                self.reader.feed(data)
        return [bytes(frame) for frame, _ in self.reader.frames(1 << 20)]


class MemoryCable(Cable):
    """The other end is a link itself."""

    def __init__(self) -> None:
        self.link, self.guest = memory_pair(NO_OFFLOADS)

    def put(self, frame: bytes) -> None:
        self.guest.send([Frame([frame])])

    def take(self) -> list[bytes]:
        with contextlib.suppress(LinkClosed):
            return [bytes(frame) for frame, _ in self.guest.receive(1 << 20)]
        return []

    def unplug(self) -> None:
        self.guest.close()


class CaptureCable(StreamCable):
    """A wrapped link keeps the promises of what it wraps."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.link = CaptureLink(self.link, PcapFile(path))


def tap_from(sock: socket.socket) -> TapLink:
    """A TapLink on a socket: to the link, a descriptor that reads and writes whole packets is a TAP."""
    return TapLink(sock.detach())


def cables(path: Path) -> dict[str, Callable[[], Cable]]:
    """Every kind of link by its name."""
    return {
        "memory": MemoryCable,
        "datagram": lambda: SocketCable(socket.SOCK_DGRAM, DatagramLink),
        "seqpacket": lambda: SocketCable(socket.SOCK_SEQPACKET, DatagramLink),
        "tap": lambda: SocketCable(socket.SOCK_SEQPACKET, tap_from, vnet_header(0, 0, 0, 0)),
        "qemu": StreamCable,
        "capture": lambda: CaptureCable(path / "capture.pcap"),
    }


def descriptors() -> set[str]:
    """The open descriptors of this process with what they are, without the one that lists them."""
    gc.collect()  # what an earlier test left to the collector is no change of this one
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{path.name} {path.readlink()}")
    return found
