"""Run in a namespace, one on each side of a router: opens a TCP connection to the other, which does the same at the same time.

inside_crossing.py ADDRESS PORT               as a flow does; prints the port that it comes from
inside_crossing.py ADDRESS PORT OWN_PORT      as anybody does

Then both send a word and print the one they get.
"""

from __future__ import annotations

import selectors
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from usernat.nat.host import HostSockets
from usernat.stack.addr import parse_ip

PATIENCE_S = 15.0


class Nobody:
    """An owner that looks for itself."""

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        pass


def said(text: object) -> None:
    print(text, flush=True)  # noqa: T201 - the test reads it


def as_a_flow(host: HostSockets, selector: selectors.BaseSelector, address: str, port: int) -> Any:
    sock = host.connect_tcp(parse_ip(address), port, Nobody(), mapping=1)
    said(sock.getsockname()[1])
    host.watch(sock, readable=False, writable=True)
    selector.select(PATIENCE_S)
    failure = host.connect_error(sock)
    assert failure is None, failure.errno
    host.watch(sock, readable=False, writable=False)
    sock.settimeout(PATIENCE_S)
    return sock


def as_anybody(address: str, port: int, own_port: int) -> socket.socket:
    sock = socket.socket()
    sock.bind(("", own_port))
    sock.settimeout(PATIENCE_S)
    sock.connect((address, port))
    return sock


def main() -> None:
    address, port = sys.argv[1], int(sys.argv[2])
    with selectors.DefaultSelector() as selector:
        host = HostSockets(selector)
        if len(sys.argv) > 3:
            sock = as_anybody(address, port, int(sys.argv[3]))
        else:
            sock = as_a_flow(host, selector, address, port)
        sock.sendall(b"far" if len(sys.argv) > 3 else b"near")
        said(sock.recv(100).decode())
        host.close_all()


main()
