"""UDP in a closed loop: as fast as it goes without loss.

    python -m bench.load.datagrams serve ADDRESS PORT
    python -m bench.load.datagrams up|down ADDRESS PORT SIZE WINDOW SECONDS

The sender never has more than `window` datagrams on their way: for each quarter of a window that has come the receiver sends a receipt, with the
number of all that have. So the slowest part sets the pace, no queue overflows that holds a window, and the rate is the highest that is free
of loss, found in one run. A datagram that is lost stops the loop, and the run is void: it is told as lost, and the caller tries
a smaller window.

A session has a port of its own on the host, so nothing late from an earlier one is counted:

    guest → PORT    {"way": "up", …}       PORT → guest    the session's port
    guest → port    "hello", until something comes back: "go", or the datagrams
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from typing import Any

from bench.load.batch import Batch

PATIENCE = 0.3  # seconds without a datagram: it is lost, or the session over
HELLO, GO, END = b"hello", b"go", b"end"
RECEIPT = struct.Struct("!Q")
REPORT_BYTES = 160  # of the sender's report, which is of no datagram's size
TRIES = 10


def pump(sock: socket.socket, size: int, window: int, seconds: float) -> dict[str, float]:
    """Send for that long. How many datagrams arrived and were lost, and the seconds until the last receipt."""
    quarter = window // 4
    batch = Batch(sock, size, quarter, PATIENCE)
    sent = arrived = 0
    begin = time.perf_counter()
    at = begin
    try:
        while at - begin < seconds or arrived < sent:
            if at - begin < seconds and sent + quarter - arrived <= window:
                batch.send()
                sent += quarter
            else:
                arrived = max(arrived, _receipt(sock.recv(2048)))
                at = time.perf_counter()
    except OSError:  # no receipt: something is lost
        pass
    return {"arrived": arrived, "lost": sent - arrived, "seconds": at - begin}


def _receipt(data: bytes) -> int:
    return int(RECEIPT.unpack(data)[0]) if len(data) == RECEIPT.size else 0


def drain(sock: socket.socket, size: int, window: int) -> bytes:
    """Receive and send receipts, until the sender ends it; what it said in the end, empty where nothing more came."""
    quarter = window // 4
    batch = Batch(sock, max(size, REPORT_BYTES), window, PATIENCE * 4)
    arrived = receipted = 0
    try:
        while True:
            number = batch.receive()
            arrived += number
            last = batch.last(number)
            if len(last) != size:
                return last
            if arrived - receipted >= quarter:
                receipted = arrived - arrived % quarter
                sock.send(RECEIPT.pack(arrived))
    except OSError:
        return b""


def bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


def serve(door: socket.socket) -> None:
    """Sessions, for ever."""
    while True:
        asked, client = door.recvfrom(2048)
        sock = bound(door.getsockname()[0], 0)
        # A request that is repeated makes a session more, which ends by itself since nobody says hello to it.
        threading.Thread(target=_session, args=(sock, json.loads(asked)), daemon=True).start()
        door.sendto(str(sock.getsockname()[1]).encode(), client)


def _session(sock: socket.socket, asked: dict[str, Any]) -> None:
    size, window = asked["size"], asked["window"]
    with sock:
        sock.settimeout(5)
        try:
            sock.connect(sock.recvfrom(64)[1])
            if asked["way"] == "up":
                sock.send(GO)
                drain(sock, size, window)
                return
            report = json.dumps(pump(sock, size, window, asked["seconds"])).encode().ljust(REPORT_BYTES)
            for _ in range(5):
                sock.send(report)
                time.sleep(0.02)
        except OSError:
            return


def ask(way: str, address: str, port: int, size: int, window: int, seconds: float) -> dict[str, float]:
    """A session from the guest's side; its report. Raises OSError where nothing answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.connect((address, port))
        asked = {"way": way, "size": size, "window": window, "seconds": seconds}
        session = int(_until_answered(door, json.dumps(asked).encode()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, session))
        _until_answered(sock, HELLO)
        if way == "up":
            result = pump(sock, size, window, seconds)
            sock.send(END)
            return result
        report = drain(sock, size, window)
        return json.loads(report) if report else {"arrived": 0, "lost": 1, "seconds": seconds}


def _until_answered(sock: socket.socket, question: bytes) -> bytes:
    """Ask until something comes. An answer that is a datagram of the load stays in its queue."""
    sock.settimeout(PATIENCE)
    for _ in range(TRIES):
        sock.send(question)
        try:
            answer = sock.recv(2048, socket.MSG_PEEK)
        except TimeoutError:
            continue
        return sock.recv(2048) if answer == GO or answer.isdigit() else answer
    raise OSError("no answer")


if __name__ == "__main__":
    what, address, port, *rest = sys.argv[1:]
    if what == "serve":
        serve(bound(address, int(port)))
    else:
        size, window, seconds = rest
        print(json.dumps(ask(what, address, int(port), int(size), int(window), float(seconds))))
