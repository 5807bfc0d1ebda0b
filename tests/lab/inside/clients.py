"""Clients of a server that gives back what it gets: a TCP one to the end of the stream, a UDP one in capitals."""

from __future__ import annotations

import errno
import socket
import threading

from tests.lab.servers import pattern

PATIENCE = 5.0
CHUNK = 1 << 16


def tcp_echo(address: str, port: int, size: int) -> bool:
    """Whether all that was sent came back as it went, and the stream ended after this side had ended."""
    sent = pattern.content(size)
    came = bytearray()
    with socket.create_connection((address, port), PATIENCE) as peer:
        peer.settimeout(4 * PATIENCE)
        writer = threading.Thread(target=_send_all, args=(peer, sent))
        writer.start()
        while piece := peer.recv(CHUNK):
            came += piece
        writer.join()
    return bytes(came) == sent


def udp_shouts(address: str, port: int, clients: int, count: int) -> int:
    """How many datagrams of all clients were answered right, and from where they had been sent to; one of each client at a time is on its way."""
    peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(clients)]
    good = 0
    for number in range(count):
        said = [f"client {client}, datagram {number}".encode() for client in range(clients)]
        for peer, words in zip(peers, said, strict=True):
            peer.settimeout(PATIENCE)
            peer.sendto(words, (address, port))
        for peer, words in zip(peers, said, strict=True):
            good += peer.recvfrom(CHUNK) == (words.upper(), (address, port))
    for peer in peers:
        peer.close()
    return good


def udp_error(address: str, port: int) -> str:
    """The name of the error that a datagram draws, "" for an answer or none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(2.0)
        peer.connect((address, port))
        peer.send(b"anyone?")
        try:
            peer.recv(CHUNK)
        except TimeoutError:
            return ""
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return ""


def connections_held(address: str, port: int, count: int) -> int:
    """How many of so many connections, tried one after the other and then held, came to stand and echo at last."""
    tried = [socket.socket() for _ in range(count)]
    held = [peer for peer in tried if peer.connect_ex((address, port)) == 0]
    for peer in held:
        peer.settimeout(PATIENCE)
        peer.sendall(b"still there?")
        assert peer.recv(CHUNK) == b"still there?"
    for peer in tried:
        peer.close()
    return len(held)


def _send_all(peer: socket.socket, data: bytes) -> None:
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
