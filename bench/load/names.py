"""DNS queries in a closed loop, and a resolver that answers everything at once.

    python -m bench.load.names serve ADDRESS PORT
    python -m bench.load.names ask ADDRESS SECONDS

The asker keeps 32 queries on their way, each for another name, so that no cache has the answer. What is not answered within a second is lost
and counted, and another takes its place.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

from bench.load.datagrams import bound

OUTSTANDING = 32
PATIENCE = 1.0  # seconds
HEADER = struct.Struct("!6H")
QUESTION = b"\5bench\4test\0\0\1\0\1"  # behind a label that counts: type A, class IN
ANSWER = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6\x33\x64\x01"  # the name asked for, A, IN, 60 s, 198.51.100.1 (RFC 5737)
QR_RD_RA = 0x8180


def serve(sock: socket.socket) -> None:
    """For ever."""
    while True:
        query, client = sock.recvfrom(2048)
        question_end = query.index(b"\0", HEADER.size) + 5
        head = query[:2] + HEADER.pack(0, QR_RD_RA, 1, 1, 0, 0)[2:]
        sock.sendto(head + query[HEADER.size : question_end] + ANSWER, client)


def query(number: int) -> bytes:
    label = b"%09d" % number
    return HEADER.pack(number & 0xFFFF, 0x0100, 1, 0, 0, 0) + bytes((len(label),)) + label + QUESTION


def ask(address: str, seconds: float) -> dict[str, float]:
    """Answers and losses within that time."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, 53))
    sock.settimeout(PATIENCE)
    waiting: set[int] = set()
    number = answers = lost = 0
    begin = time.perf_counter()
    while (now := time.perf_counter()) - begin < seconds:
        while len(waiting) < OUTSTANDING:
            number += 1
            waiting.add(number & 0xFFFF)
            sock.send(query(number))
        try:
            answer = sock.recv(2048)
        except TimeoutError:
            lost += len(waiting)
            waiting.clear()
            continue
        ident, flags, _, count, _, _ = HEADER.unpack_from(answer)
        if ident in waiting:
            waiting.remove(ident)
            if flags & 0xF or not count:
                raise OSError(f"an answer with code {flags & 0xF} and {count} records")
            answers += 1
    return {"answers": answers, "lost": lost, "seconds": now - begin}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(bound(sys.argv[2], int(sys.argv[3])))
    else:
        print(json.dumps(ask(sys.argv[2], float(sys.argv[3]))))
