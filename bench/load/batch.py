"""Many datagrams in one system call: sendmmsg and recvmmsg, for which Python has no name.

So the load costs a microsecond or two a datagram, and what is measured is the gateway and not Python at both of its ends.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

MSG_WAITFORONE = 0x10000
_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


class Batch:
    """`count` buffers of `size` bytes for datagrams of a connected socket, whose calls then wait for at most `timeout` seconds."""

    def __init__(self, sock: socket.socket, size: int, count: int, timeout: float) -> None:
        sock.setblocking(True)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(
                socket.SOL_SOCKET, option, struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
            )
        self._descriptor = sock.fileno()
        self._count = count
        self._buffers = [ctypes.create_string_buffer(size) for _ in range(count)]
        self._vectors = [_Vector(ctypes.addressof(buffer), size) for buffer in self._buffers]
        self._messages = (_Message * count)()
        for message, vector in zip(self._messages, self._vectors, strict=True):
            message.header.vectors = ctypes.pointer(vector)
            message.header.vector_count = 1

    def send(self) -> None:
        """All of them, waiting for room. Raises OSError."""
        sent = 0
        while sent < self._count:
            rest = ctypes.byref(self._messages, sent * ctypes.sizeof(_Message))
            done = _libc.sendmmsg(self._descriptor, rest, self._count - sent, 0)
            if done < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            sent += done

    def receive(self) -> int:
        """How many have come, at least one. Raises OSError: BlockingIOError where none comes in time."""
        number = int(_libc.recvmmsg(self._descriptor, self._messages, self._count, MSG_WAITFORONE, None))
        if number < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return number

    def last(self, number: int) -> bytes:
        """The last of the datagrams that `receive` has brought."""
        return self._buffers[number - 1].raw[: self._messages[number - 1].length]
