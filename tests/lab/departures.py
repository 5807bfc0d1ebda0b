"""What leaves a place, seen on all its interfaces, so that "nothing has left" is a fact about packets and not about answers that did not come.

`python -m tests.lab.departures`, run in that place, listens to packets; each line that it reads draws one line of JSON: what has left since
the line before. Of TCP only SYNs count: what stood before may end at any time. The kernel hands a packet over before it sends it, so whatever a gateway had sent by the time of the question is in the answer.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.netns import end

if TYPE_CHECKING:
    from tests.lab.netns import Place

ETH_P_ALL, ETH_P_IP = 3, 0x0800  # linux/if_ether.h
PACKET_OUTGOING = 4  # linux/if_packet.h
SYN, SYN_ACK = 0x02, 0x12
WITH_PORTS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
ROOM = 1 << 24  # bytes of packets that wait to be looked at
MOST = 10_000
START_SECONDS = 10.0


class Departure(NamedTuple):
    """protocol: its number in IP. port: 0 where there is none."""

    destination: str
    protocol: int
    port: int


class Departures:
    """Those of one place, since this was made."""

    def __init__(self, place: Place, python: str = sys.executable) -> None:
        self._watcher = place.start(
            python, "-m", "tests.lab.departures", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.taken()

    def taken(self) -> set[Departure]:
        """Those since the last call."""
        stdin, stdout = self._watcher.stdin, self._watcher.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(b"\n")
        stdin.flush()
        return {Departure(*found) for found in json.loads(stdout.readline())}

    def to(self, *addresses: str) -> set[Departure]:
        """Of those since the last call the ones to these addresses."""
        return {departure for departure in self.taken() if departure.destination in addresses}

    def close(self) -> None:
        """Watch no longer."""
        end(self._watcher)


def main() -> None:
    """Watch, and answer, until standard input ends."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    packets.setblocking(False)
    waiting = selectors.DefaultSelector()
    waiting.register(packets, selectors.EVENT_READ)
    waiting.register(sys.stdin, selectors.EVENT_READ)
    seen: set[Departure] = set()
    while True:
        ready = [key.fileobj for key, _ in waiting.select()]
        _drain(packets, seen)
        if sys.stdin in ready:
            if not sys.stdin.readline():
                return
            sys.stdout.write(json.dumps(sorted(seen)) + "\n")
            sys.stdout.flush()
            seen.clear()


def _drain(packets: socket.socket, seen: set[Departure]) -> None:
    while True:
        try:
            packet, (_, ethertype, kind, *_) = packets.recvfrom(100)
        except BlockingIOError:
            return
        if kind == PACKET_OUTGOING and ethertype == ETH_P_IP and len(seen) < MOST:
            departure, counts = _departure(packet)
            if counts:
                seen.add(departure)


def _departure(packet: bytes) -> tuple[Departure, bool]:
    """Of an IPv4 header and what follows (RFC 791 §3.1), and whether it begins something."""
    header = (packet[0] & 15) * 4
    protocol = packet[9]
    first = not int.from_bytes(packet[6:8], "big") & 0x1FFF
    port, begins = 0, True
    if protocol in WITH_PORTS and first and len(packet) >= header + 4:
        (port,) = struct.unpack_from("!H", packet, header + 2)
        begins = protocol != socket.IPPROTO_TCP or packet[header + 13] & SYN_ACK == SYN
    return Departure(socket.inet_ntoa(packet[16:20]), protocol, port), begins


if __name__ == "__main__":
    main()
