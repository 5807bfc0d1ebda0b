"""UDP and ICMP clients that count what comes back."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import time

from tests.lab.inside.half_open import rfc1071
from tests.lab.servers import pattern, peers
from tests.lab.servers.places import PEERS

PATIENCE = 5.0
TRIES = 5
WINDOW = 64
ECHO_REQUEST, ECHO_REPLY = 8, 0


def echoes(count: int, size: int) -> int:
    """How many of count UDP echoes of size bytes came back as they went, at most 64 at a time on the way."""
    waiting: set[int] = set()
    good = 0
    with _socket() as peer:
        for number in range(count):
            peer.sendto(number.to_bytes(4, "big") * (size // 4), (PEERS, peers.ECHO))
            waiting.add(number)
            while len(waiting) >= WINDOW or (number == count - 1 and waiting):
                if not select.select([peer], [], [], PATIENCE)[0]:
                    return good
                data, source = peer.recvfrom(65535)
                came = int.from_bytes(data[:4], "big")
                if data == came.to_bytes(4, "big") * (size // 4) and source == (PEERS, peers.ECHO):
                    good += came in waiting
                    waiting.discard(came)
    return good


def big_echo(size: int) -> bool:
    """Whether a datagram of size bytes came back as it went.

    Where the guest's MTU is above the path's the first one is lost to path MTU discovery (RFC 1191): it is sent again.
    """
    sent = pattern.content(size)
    with _socket() as peer:
        for _ in range(TRIES):
            peer.sendto(sent, (PEERS, peers.ECHO))
            if select.select([peer], [], [], PATIENCE / TRIES)[0]:
                return peer.recv(65535) == sent
    return False


def big_source(size: int) -> bool:
    """Whether a datagram of size bytes came whole in answer to a small one."""
    with _socket() as peer:
        peer.sendto(str(size).encode(), (PEERS, peers.UDP_SOURCE))
        return hashlib.sha256(peer.recv(65535)).hexdigest() == pattern.digest(size)


def pings_of_many_identifiers(idents: int) -> list[int]:
    """Ping once with each of so many identifiers, all at once: the identifiers whose own data came back."""
    answered: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.connect((PEERS, 0))
        for ident in range(1, idents + 1):
            raw.send(_echo(ident))
        deadline = time.monotonic() + 2.0
        while (left := deadline - time.monotonic()) > 0 and len(answered) < idents:
            if select.select([raw], [], [], left)[0]:
                message = raw.recv(65535)[20:]
                kind, _code, _sum, ident, seq = struct.unpack_from("!BBHHH", message)
                if kind == ECHO_REPLY and seq == ident and message[8:] == _data(ident):
                    answered.append(ident)
    return sorted(answered)


def answers_from_elsewhere(count: int) -> list[str]:
    """From which addresses so many questions to a peer that answers from others were answered, in order."""
    answered = []
    with _socket() as peer:
        for _ in range(count):
            peer.sendto(b"anyone?", (PEERS, peers.ELSEWHERE))
            said, source = peer.recvfrom(100)
            assert said.decode() == "{}:{}".format(*source)
            answered.append(source[0])
    return answered


def error_after_sending(address: str, port: int) -> str:
    """The error that a datagram's ICMP answer draws on a connected socket, or "none"."""
    with _socket() as peer:
        peer.settimeout(2.0)
        peer.connect((address, port))
        peer.send(b"anyone?")
        try:
            peer.recv(100)
        except TimeoutError:
            return "none"
        except OSError as error:
            return os.strerror(error.errno or 0)
    return "answered"


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return made


def _data(ident: int) -> bytes:
    return f"data of {ident}".encode()


def _echo(ident: int) -> bytes:
    """An echo request whose sequence number is its identifier (RFC 792)."""
    data = _data(ident)
    bare = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, ident, ident) + data
    check = rfc1071(bare + bytes(len(bare) % 2))
    return bare[:2] + check + bare[4:]
