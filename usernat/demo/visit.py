"""What a guest does with its network: ping the gateway, resolve a name, fetch a file. Run by a kernel guest as a script.

    python visit.py GATEWAY URL

Everything goes through the guest kernel and its C library. It prints one JSON object, the `Visit`; the standard library alone is used, since
nothing else needs to be importable in the guest.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import sys
import time
from typing import TypedDict
from urllib.parse import urlsplit
from urllib.request import urlopen

PINGS = 3
TIMEOUT = 5.0  # seconds


class Visit(TypedDict):
    """What the guest saw. rtt_ms: the best ping; seconds: of the transfer; size: bytes."""

    address: str
    lease_seconds: int | None
    rtt_ms: float
    resolved: str
    size: int
    sha256: str
    seconds: float


def main(gateway: str, url: str) -> None:
    """Do all of it and print the Visit."""
    rtt_ms = min(ping(gateway, sequence) for sequence in range(1, PINGS + 1))
    resolved = socket.gethostbyname(urlsplit(url).hostname or "")
    started = time.monotonic()
    digest, size = fetch(url)
    visit: Visit = {
        "address": own_address(gateway),
        "lease_seconds": None,
        "rtt_ms": rtt_ms,
        "resolved": resolved,
        "size": size,
        "sha256": digest,
        "seconds": time.monotonic() - started,
    }
    print(json.dumps(visit))  # noqa: T201 - it is the script's result


def ping(address: str, sequence: int) -> float:
    """Round-trip time of one echo request in milliseconds. The kernel fills in identifier and checksum."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(TIMEOUT)
        started = time.perf_counter()
        sock.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, sequence) + b"usernat demo", (address, 0))
        sock.recv(1500)
        return (time.perf_counter() - started) * 1e3


def fetch(url: str) -> tuple[str, int]:
    """The sha256 in hex, and the size in bytes, of what is there."""
    digest, size = hashlib.sha256(), 0
    with urlopen(url, timeout=TIMEOUT) as response:  # noqa: S310 - the demo's own http URL
        while chunk := response.read(1 << 16):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def own_address(gateway: str) -> str:
    """Of the interface that leads to the gateway."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((gateway, 9))
        address: str = sock.getsockname()[0]
        return address


if __name__ == "__main__":
    main(*sys.argv[1:])
