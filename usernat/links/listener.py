"""Where QEMU connects: a listening socket that hands out guests one after the other.

One guest is served at a time. Others that connect wait in the listen queue and are taken when the one before leaves.
A UNIX path that a dead process left over is replaced; one that somebody listens on is an error, as is any other file there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from usernat.config import ConfigError
from usernat.links.qemu import QemuLink

_BACKLOG = 8


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen: a UNIX path, or an IPv4 host and TCP port."""

    path: str | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `unix:PATH` or `tcp:HOST:PORT`. Raises ConfigError."""
        kind, _, rest = text.partition(":")
        if kind == "unix" and rest:
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        if kind == "tcp" and host and port.isascii() and port.isdigit() and int(port) <= 65535:
            return cls(host=host, port=int(port))
        raise ConfigError(f"not an address to listen on: {text!r} (unix:PATH or tcp:HOST:PORT)")

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else f"tcp:{self.host}:{self.port}"


class GuestListener:
    """Listens at `endpoint` until closed. Raises ConfigError where that cannot be done."""

    def __init__(self, endpoint: Endpoint) -> None:
        try:
            self._socket = _listen_unix(endpoint.path) if endpoint.path is not None else _listen_tcp(endpoint)
        except OSError as error:
            raise ConfigError(f"cannot listen on {endpoint}: {error.strerror or error}") from error
        self._path = endpoint.path
        name = self._socket.getsockname()
        self.endpoint = endpoint if endpoint.path is not None else Endpoint(host=name[0], port=name[1])

    def accept(self, mtu: int = 1500) -> QemuLink:
        """Wait for the next guest. Raises OSError once the listener is closed."""
        sock, _ = self._socket.accept()
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
        )  # a QEMU whose host died must not hold the place
        return QemuLink(sock, mtu)

    def close(self) -> None:
        """Stop listening and remove the UNIX path."""
        self._socket.close()
        if self._path is not None:
            path, self._path = self._path, None
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _listen_tcp(endpoint: Endpoint) -> socket.socket:
    return socket.create_server((endpoint.host, endpoint.port), backlog=_BACKLOG)


def _listen_unix(path: str) -> socket.socket:
    _remove_leftover(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Whoever connects is the guest and reaches all that the gateway reaches: the owner alone may.
        mask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_leftover(path: str) -> None:
    """Remove a socket that nobody listens on. Raises ConfigError for one in use and for any other file."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"cannot listen on unix:{path}: the path exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    raise ConfigError(f"cannot listen on unix:{path}: another process listens there")
