"""TCP connections that are open and say nothing.

    python -m bench.load.idle serve ADDRESS PORT       says on which port, accepts and keeps
    python -m bench.load.idle hold ADDRESS PORT        opens, as many as each line of its input says in all; answers each with that number

All end with the process.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

AT_ONCE = 32  # connections on their way: far below what gateways allow
PATIENCE = 10.0  # seconds without one that opens


def serve(address: str, port: int) -> None:
    """For ever; those whose other end has gone are closed."""
    listening = socket.create_server((address, port), backlog=4096)
    print(listening.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                sock, _ = listening.accept()
                selector.register(sock, selectors.EVENT_READ)
            else:
                other = key.fileobj
                assert isinstance(other, socket.socket)
                selector.unregister(other)
                other.close()


def open_until(held: list[socket.socket], total: int, where: tuple[str, int]) -> None:
    """Have that many. Raises OSError where one is refused, or none opens for a while."""
    selector = selectors.DefaultSelector()
    opening = 0
    last = time.monotonic()
    while len(held) < total:
        while opening < AT_ONCE and len(held) + opening < total:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(where)
            selector.register(sock, selectors.EVENT_WRITE)
            opening += 1
        for key, _ in selector.select(PATIENCE):
            sock = key.fileobj  # type: ignore[assignment]  # it is what was registered
            if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, f"connection {len(held) + 1}")
            selector.unregister(sock)
            held.append(sock)
            opening -= 1
            last = time.monotonic()
        if time.monotonic() - last > PATIENCE:
            raise OSError(f"stuck at {len(held)} connections")


def hold(address: str, port: int) -> None:
    """Until the input ends."""
    held: list[socket.socket] = []
    for line in sys.stdin:
        try:
            open_until(held, int(line), (address, port))
        except OSError as error:
            print(f"{error} ({len(held)} are open)", flush=True)
        else:
            print(len(held), flush=True)


if __name__ == "__main__":
    {"serve": serve, "hold": hold}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
