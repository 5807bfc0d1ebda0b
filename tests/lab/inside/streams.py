"""TCP clients that end, stall and fill their connections in every order."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import select
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

from tests.lab.servers import pattern, peers
from tests.lab.servers.places import PEERS, WWW

CHUNK = 1 << 18
PATIENCE = 30.0
STALLED_SECONDS = 0.5


def echoes(count: int, size: int) -> int:
    """How many of count concurrent echoes of size bytes came back as they went."""

    def one(number: int) -> bool:
        sent = number.to_bytes(4, "big") * (size // 4)
        with _connect(peers.ECHO) as peer:
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            return _read_to_end(peer) == sent

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(one, range(count)))


def half_close(size: int) -> list[str]:
    """Send size bytes, end that half, then read the answer: SHA-256 of what was sent and of what came."""
    with _connect(peers.ANSWERS_AT_END) as peer:
        peer.sendall(pattern.content(size))
        peer.shutdown(socket.SHUT_WR)
        return [pattern.digest(size), hashlib.sha256(_read_to_end(peer)).hexdigest()]


def ended_first(size: int) -> str:
    """Read the peer's half to its end, then send size bytes: what the peer had said."""
    with _connect(peers.ENDS_FIRST) as peer:
        said = _read_to_end(peer)
        time.sleep(0.2)  # the half-closed state lasts
        peer.sendall(pattern.content(size))
        return said.decode()


def reset_by_peer(port: int) -> list[object]:
    """Read until a peer that resets has done so: bytes that came before, and the error's name."""
    came = 0
    try:
        with _connect(port) as peer:
            peer.sendall(b"x")
            while piece := peer.recv(CHUNK):
                came += len(piece)
    except OSError as error:
        return [came, errno.errorcode[error.errno or 0]]
    return [came, "end of stream"]


def reset_peer() -> None:
    """Connect, say something, and reset."""
    with _connect(peers.NOTES_RESET) as peer:
        peer.sendall(b"said")
        time.sleep(0.2)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def error_of_connect(address: str, port: int) -> list[object]:
    """Name of the error that connect draws, and after how many seconds."""
    began = time.monotonic()
    with socket.socket() as peer:
        peer.settimeout(PATIENCE)
        code = peer.connect_ex((address, port))
    return [errno.errorcode.get(code, str(code)), time.monotonic() - began]


def both_full() -> list[object]:
    """Write FULL_SIZE to a peer that does the same, neither reading before it must: bytes stuck at first, SHA-256 of what came."""
    sent = memoryview(pattern.content(peers.FULL_SIZE))
    made = hashlib.sha256()
    with _connect(peers.WRITES_BEFORE_READING) as peer:
        peer.setblocking(False)
        taken = _send_until_stalled(peer, sent)
        stuck = len(sent) - taken
        reading = writing = True
        while reading or writing:
            able = select.select([peer] if reading else [], [peer] if writing else [], [], PATIENCE)
            if not able[0] and not able[1]:
                raise TimeoutError(f"deadlock after {taken} bytes out")
            if able[1] and taken < len(sent):
                taken += peer.send(sent[taken : taken + CHUNK])
            elif able[1]:
                peer.shutdown(socket.SHUT_WR)
                writing = False
            if able[0]:
                piece = peer.recv(CHUNK)
                made.update(piece)
                reading = bool(piece)
    return [stuck, made.hexdigest()]


def downloads_beside_a_stuck_upload(count: int, size: int) -> list[float]:
    """Seconds for count downloads, first alone and then beside an upload that nobody reads."""
    alone = _downloads(count, size)
    with _connect(peers.NEVER_READS) as peer:
        peer.setblocking(False)
        _send_until_stalled(peer, memoryview(pattern.content(50_000_000)))
        return [alone, _downloads(count, size)]


def connects_in_progress(address: str, count: int, seconds: float) -> int:
    """Keep count connects under way for some seconds: how many of them were still so at the end."""
    tried = [socket.socket() for _ in range(count)]
    for number, peer in enumerate(tried):
        peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            peer.connect((address, 1 + number))
    time.sleep(seconds)
    ended = select.poll()
    for peer in tried:
        ended.register(peer, select.POLLOUT)
    pending = count - len(ended.poll(0))
    for peer in tried:
        peer.close()
    return pending


def _downloads(count: int, size: int) -> float:
    wanted = pattern.digest(size)

    def one(_: int) -> None:
        with socket.create_connection((WWW, 80), PATIENCE) as web:
            web.sendall(f"GET /bytes/{size} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            body = _read_to_end(web).partition(b"\r\n\r\n")[2]
        assert hashlib.sha256(body).hexdigest() == wanted

    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(one, range(count)))
    return time.monotonic() - began


def _connect(port: int) -> socket.socket:
    return socket.create_connection((PEERS, port), PATIENCE)


def _read_to_end(peer: socket.socket) -> bytes:
    came = bytearray()
    while piece := peer.recv(CHUNK):
        came += piece
    return bytes(came)


def _send_until_stalled(peer: socket.socket, sent: memoryview) -> int:
    taken = 0
    while taken < len(sent) and select.select([], [peer], [], STALLED_SECONDS)[1]:
        taken += peer.send(sent[taken : taken + CHUNK])
    return taken
