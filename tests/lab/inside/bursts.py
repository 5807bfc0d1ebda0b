"""UDP in bursts, and with the offloads of the guest's own kernel: what comes back is what was sent.

Not always in order: where a sender is moved to another processor in the middle of a burst, Linux lets what it sends there overtake what waits here.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct

from tests.lab.servers import peers
from tests.lab.servers.places import PEERS

PATIENCE = 5.0
TRIES = 10
WINDOW = 48  # datagrams on their way
BYTES = 100_000  # of payload on their way, and all queues hold more
UDP_SEGMENT, UDP_GRO = 103, 104
IP_MTU_DISCOVER = 10


def echoed(sizes: list[int], count: int, address: str = PEERS, port: int = peers.ECHO) -> list[str]:
    """Send so many datagrams of these sizes in turn to the echo, a window at once; the hashes of all that was sent, and of all that came back."""
    sent, came = hashlib.sha256(), hashlib.sha256()
    with _socket(address, port) as peer:
        number = 0
        while number < count:
            burst: list[bytes] = []
            while number < count and len(burst) < WINDOW and sum(map(len, burst)) <= BYTES:
                burst.append(_content(number, sizes[number % len(sizes)]))
                number += 1
            for data in burst:
                peer.send(data)
            for data in sorted(burst):
                sent.update(_framed(data))
            for data in sorted(peer.recv(65535) for _ in burst):
                came.update(_framed(data))
    return [sent.hexdigest(), came.hexdigest()]


def echoed_by_offload(
    size: int, number: int, rounds: int, address: str = PEERS, port: int = peers.ECHO
) -> tuple[bool, int]:
    """Have this kernel cut datagrams and put them together: whether all came back, and how many of them at once at most."""
    most = 0
    with _socket(address, port) as peer:
        peer.send(b"the first is for the decision")
        peer.recv(100)
        peer.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        for round_ in range(rounds):
            whole = bytes((round_,)) * (size * (number - 1) + size // 2)
            peer.sendmsg([whole], _cut_into(size))
            came = b""
            while len(came) < len(whole):
                data, ancillary, _, _ = peer.recvmsg(65535, 256)
                if together := _size_of_each(ancillary):
                    most = max(most, -(-len(data) // together))
                came += data
            if came != whole:
                return False, most
    return True, most


def echo_runs(port: int) -> None:
    """Serve until killed: send back what comes, at once what came at once. Says in a line that it is there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", port))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        server.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        print("ready", flush=True)  # noqa: T201 - whoever has started it waits for that
        while True:
            data, ancillary, _, client = server.recvmsg(65535, 256)
            size = _size_of_each(ancillary)
            server.sendmsg([data], _cut_into(size) if 0 < size < len(data) else [], 0, client)


def error_after_burst(address: str, port: int, count: int, size: int) -> str:
    """The error that bursts draw on a connected socket, or "none". A kernel tells of closed ports only so often a second, so there are several."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE / TRIES)
        peer.connect((address, port))
        for _ in range(TRIES):
            try:
                for _ in range(count):
                    peer.send(bytes(size))
                peer.recv(100)
            except TimeoutError:
                continue
            except OSError as error:
                return os.strerror(error.errno or 0)
    return "none"


def _cut_into(size: int) -> list[tuple[int, int, bytes]]:
    """The control messages that have the kernel make datagrams of so many bytes."""
    return [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))]


def _size_of_each(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Of the datagrams that came at once, by the kernel's control messages; 0 where it was one."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO):
            return int.from_bytes(value[:4], "little")
    return 0


def _socket(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    # What is too large is fragmented on the way, not lost
    made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 0)
    made.connect((address, port))
    return made


def _content(number: int, size: int) -> bytes:
    return (number.to_bytes(4, "big") * (size // 4 + 1))[:size]


def _framed(data: bytes) -> bytes:
    """With its length, so that the hash knows where a datagram ends."""
    return len(data).to_bytes(4, "big") + data
