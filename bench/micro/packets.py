"""A packet through the gateway: from a frame to the host's socket, and from the host's socket to a frame."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from bench.micro.guest import datagram
from bench.micro.rig import BUFFER, LOCAL, PATIENCE, Rig, make_rig
from bench.micro.row import MicroRow
from bench.results import OURS, Line

if TYPE_CHECKING:
    from bench.micro.guest import Stream

MSS = 1448  # bytes: 1500 without 20 of IP, 20 of TCP and 12 of timestamps
LARGE = 45 * MSS  # the largest segment that a device segments for us at that MSS
BATCH = 32  # frames of an MSS: what fits into the first window
ROUNDS_FIRST = 20  # batches that open windows and warm caches, before those that count
BATCHES = 150
DATAGRAM = b"x" * 64
CHUNK = 1 << 18  # bytes that the server sends at a time
MICROSECOND = 1000  # ns
UP, DOWN = "receive", "transmit"


class Packets(MicroRow):
    """kind: tcp, tcp-offload (segments of up to 64 KiB, without checksums) or udp. way: UP or DOWN."""

    def __init__(self, way: str, kind: str, what: str) -> None:
        name = f"{way}-{kind}"
        words = "frame to host socket" if way == UP else "host socket to frame"
        super().__init__(name, {"cost": Line(name, f"{words}, {what}", "µs a packet", less=True)}, (OURS,))
        self.way = way
        self.kind = kind

    def measure(self, variant: str, seconds: float) -> dict[str, float]:  # noqa: ARG002  # one variant, of a length of its own
        with make_rig(offload=self.kind == "tcp-offload") as rig:
            if self.kind == "udp":
                return {"cost": udp_cost(rig, self.way)}
            stream, server = rig.connect()
            with server:
                return {"cost": tcp_cost(rig, stream, server, self.way)}


def tcp_cost(rig: Rig, stream: Stream, server: socket.socket, way: str, batches: int = BATCHES) -> float:
    """µs a segment of the guest's size, or of ours, on a connection that has it all to itself."""
    run = _receive if way == UP else _transmit
    for _ in range(ROUNDS_FIRST):
        run(rig, stream, server)
    rig.spent = packets = 0
    for _ in range(batches):
        packets += run(rig, stream, server)
    return rig.spent / packets / MICROSECOND


def _receive(rig: Rig, stream: Stream, server: socket.socket) -> int:
    """The guest sends a batch; how many segments."""
    size, number = (LARGE, 1) if rig.offload else (MSS, BATCH)
    payload = bytes(size)
    rig.feed(*(stream.data(payload) for _ in range(number)))
    left = size * number
    deadline = time.monotonic() + PATIENCE
    while left or stream.acknowledged != stream.sequence:
        for frame in rig.process():
            stream.arrived(frame)
        left -= _drain(server)
        _check(deadline)
    return number


def _transmit(rig: Rig, stream: Stream, server: socket.socket) -> int:
    """The server sends, and the guest acknowledges each batch; how many segments came."""
    left = server.send(bytes(CHUNK))
    segments = 0
    deadline = time.monotonic() + PATIENCE
    while left:
        arrived = 0
        for frame in rig.process():
            payload = stream.arrived(frame)
            arrived += payload
            segments += payload > 0
        if arrived:
            left -= arrived
            rig.feed(stream.ack())
        _check(deadline)
    rig.process()
    return segments


def udp_cost(rig: Rig, way: str, batches: int = BATCHES) -> float:
    """µs a small datagram of one flow."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        server.bind((LOCAL, 0))
        frame = datagram(30000, server.getsockname()[1], DATAGRAM)
        rig.feed(frame)
        rig.process()
        server.settimeout(PATIENCE)
        _, mapping = server.recvfrom(2048)
        spent = packets = 0
        for number in range(ROUNDS_FIRST + batches):
            rig.spent = done = 0
            if way == UP:
                rig.feed(*[frame] * BATCH)
                rig.process()
                while done < BATCH:
                    server.recvfrom(2048)
                    done += 1
            else:
                for _ in range(BATCH):
                    server.sendto(DATAGRAM, mapping)
                deadline = time.monotonic() + PATIENCE
                while done < BATCH:
                    done += len(rig.process())
                    _check(deadline)
            if number >= ROUNDS_FIRST:
                spent += rig.spent
                packets += done
    return spent / packets / MICROSECOND


def _drain(server: socket.socket) -> int:
    """How many bytes have come."""
    taken = 0
    while True:
        try:
            data = server.recv(CHUNK)
        except BlockingIOError:
            return taken
        if not data:
            return taken
        taken += len(data)


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise OSError("the gateway has come to a halt")
