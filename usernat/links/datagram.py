"""A datagram socket as a guest link: one datagram is one Ethernet frame.

This is QEMU's `-netdev dgram`, and any socket pair between two programs. The peer is, in this order: the one that the socket is
connected to, the one named, or the first that sends; a frame from anybody else is dropped and counted, because
whoever may send here is on the guest's wire (RFC 1122 knows no defence below IP).

    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    link = DatagramLink(a)

A SEQPACKET pair is better where both ends allow it: it alone tells when the other side is gone, at once and always.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from usernat.links.link import MAX_FRAME, LinkClosed, PacketLink, Received, raise_if_gone
from usernat.links.scatter import send_datagram
from usernat.stack.device import Capabilities, Frame


class DatagramLink(PacketLink):
    """A link on a datagram or SEQPACKET socket, which it owns from now on. Addresses are as `socket` writes them."""

    def __init__(
        self, sock: socket.socket, capabilities: Capabilities | None = None, peer: Any = None
    ) -> None:
        super().__init__(capabilities or Capabilities())
        sock.setblocking(False)
        self._socket = sock
        self._connected = _has_peer(sock)
        self._ends = sock.type == socket.SOCK_SEQPACKET
        self._peer = peer

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def receive(self, limit: int) -> list[Received]:
        """Frames that came from the guest."""
        frames: list[Received] = []
        for _ in range(limit):
            try:
                data, sender = self._socket.recvfrom(MAX_FRAME)
            except BlockingIOError:
                break
            except OSError as error:
                self._on_receive_error(error)
                break
            if not data and self._ends:
                if frames:
                    break  # the end comes again with the next call
                raise LinkClosed("the guest closed its socket")
            if not self._is_guest(sender):
                self.counters.stranger += 1
                continue
            self.counters.bytes_in += len(data)
            frames.append((data, False))
        self.counters.frames_in += len(frames)
        return frames

    def close(self) -> None:
        """Close the socket."""
        self._held.clear()
        self._socket.close()

    def _is_guest(self, sender: Any) -> bool:
        """Whether this sender is the guest; the first sender is, where nothing else says who is."""
        if self._connected:
            return True
        if self._peer is None:
            self._peer = sender
        return bool(sender == self._peer)

    def _write(self, frame: Frame) -> int:
        if self._connected:
            return self._translate(frame, None)
        if self._peer is None:
            raise OSError(errno.EDESTADDRREQ, "no guest has sent a frame yet")
        return self._translate(frame, self._peer)

    def _translate(self, frame: Frame, peer: Any) -> int:
        """Send; a UNIX socket that refuses is one whose owner is gone, a UDP port that refuses may be open later."""
        try:
            return send_datagram(self._socket, frame.parts, peer)
        except ConnectionRefusedError as error:
            if self._connected and self._socket.family == getattr(socket, "AF_UNIX", None):
                raise LinkClosed("the guest closed its socket") from error
            raise

    def _on_receive_error(self, error: OSError) -> None:
        """An ICMP error that a UDP socket remembers is nothing to us; the other errors end the link."""
        if isinstance(error, ConnectionError) and self._socket.family == socket.AF_INET:
            self.counters.refused += 1
            return
        raise_if_gone(error)
        raise LinkClosed(f"the guest link failed: {error.strerror}") from error


def _has_peer(sock: socket.socket) -> bool:
    """Whether the socket is connected. An unnamed UNIX peer answers with an empty name, an absent one with an error."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
