"""Clients that choose their first bytes."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress

PATIENCE = 5.0
PAUSE = 0.01
RECORD, HANDSHAKE = 5, 4  # bytes of the two headers in front of a ClientHello (RFC 8446 §4, §5.1)
VERSION_AND_RANDOM = 34
ECH = 0xFE0D  # encrypted_client_hello (RFC 9849)
# Of an outer hello: HPKE suite, config id, an empty encapsulated key and some payload.
ECH_OUTER = bytes.fromhex("00 0001 0001 07 0000 0020") + bytes(32)


def plain_hello(address: str, port: int, name: str) -> list[object]:
    """Say a ClientHello for the name: see `said`."""
    return said(address, port, client_hello(name).hex())


def encrypted_hello(address: str, port: int, name: str) -> list[object]:
    """The same with the extension that hides another hello, and with it the true name."""
    return said(address, port, with_ech(client_hello(name)).hex())


def hello_in_pieces(address: str, port: int, name: str, count: int) -> list[object]:
    """The plain one in so many segments, with a pause between them."""
    hello = client_hello(name)
    size = -(-len(hello) // count)
    return said(address, port, *(hello[at : at + size].hex() for at in range(0, len(hello), size)))


def said(address: str, port: int, *first: str) -> list[object]:
    """Say these pieces (in hex) first: "reset", "end" or "silence", or the beginning of the answer in hex; and after how many seconds."""
    began = time.monotonic()
    try:
        with socket.create_connection((address, port), PATIENCE) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in first[:-1]:
                peer.sendall(bytes.fromhex(piece))
                time.sleep(PAUSE)
            peer.sendall(bytes.fromhex(first[-1]))
            outcome = peer.recv(100)[:3].hex() or "end"
    except ConnectionError:
        outcome = "reset"
    except TimeoutError:
        outcome = "silence"
    return [outcome, time.monotonic() - began]


def client_hello(name: str) -> bytes:
    """What Python's own TLS says first."""
    context = ssl.create_default_context()
    said = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), said, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


def with_ech(record: bytes) -> bytes:
    """The same ClientHello with one extension more, and all lengths around it as they must be then."""
    body = record[RECORD + HANDSHAKE :]
    at = VERSION_AND_RANDOM
    for size in (1, 2, 1):  # session id, cipher suites, compression methods
        at += size + int.from_bytes(body[at : at + size], "big")
    extensions = body[at + 2 :] + ECH.to_bytes(2, "big") + _with_length(ECH_OUTER, 2)
    hello = record[RECORD : RECORD + 1] + _with_length(body[:at] + _with_length(extensions, 2), 3)
    return record[:3] + _with_length(hello, 2)


def _with_length(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data
