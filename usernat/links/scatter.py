"""Scatter output: one system call for many pieces, without joining them.

The kernel takes at most IOV_MAX pieces a call, and some platforms have no `sendmsg` at all; both are dealt with here, once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from usernat.stack.device import Buffer


def _iov_max() -> int:
    """The platform's limit of pieces a call; POSIX promises at least 16."""
    if not hasattr(os, "sysconf") or "SC_IOV_MAX" not in os.sysconf_names:
        return 16
    limit = os.sysconf("SC_IOV_MAX")
    return limit if limit > 0 else 1024


IOV_MAX = _iov_max()


def at_most(parts: Sequence[Buffer], limit: int) -> Sequence[Buffer]:
    """The same bytes in at most `limit` pieces: joined where there are more, which only a flow of tiny writes makes."""
    return parts if len(parts) <= limit else [b"".join(parts)]


def send_datagram(sock: socket.socket, parts: Sequence[Buffer], peer: Any = None) -> int:
    """Send the pieces as one datagram, to `peer` where the socket is not connected. Returns bytes; raises OSError."""
    parts = at_most(parts, IOV_MAX)
    if hasattr(sock, "sendmsg"):
        return sock.sendmsg(parts) if peer is None else sock.sendmsg(parts, (), 0, peer)
    whole = b"".join(parts)
    return sock.send(whole) if peer is None else sock.sendto(whole, peer)


def send_some(sock: socket.socket, parts: Sequence[Buffer]) -> int:
    """Send as much of the pieces as a stream socket takes in one call. Returns bytes; raises OSError."""
    parts = parts[:IOV_MAX]
    return sock.sendmsg(parts) if hasattr(sock, "sendmsg") else sock.send(b"".join(parts))
