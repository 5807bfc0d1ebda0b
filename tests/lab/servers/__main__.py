"""All servers of the pretend internet in one process: `python -m tests.lab.servers PATTERN CERTIFICATE KEY`.

The addresses must be there. Prints "ready" once everything listens; ends when standard input does.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path

from tests.lab.servers import names, peers
from tests.lab.servers.http import MAX_HEAD, WebServer
from tests.lab.servers.places import ALTERNATIVE_PORT, NAMES, PEERS, WEB, WWW

BACKLOG = 1024


async def main(pattern: Path, certificate: Path, key: Path) -> None:
    """Serve until standard input ends."""
    web = WebServer(pattern)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")  # busybox's client names no signature algorithm, which means SHA-1
    loop = asyncio.get_running_loop()
    for port in (80, ALTERNATIVE_PORT):
        await asyncio.start_server(web.serve, WEB, port, backlog=BACKLOG, limit=MAX_HEAD)
    await asyncio.start_server(web.serve, WEB, 443, backlog=BACKLOG, limit=MAX_HEAD, ssl=tls)
    await asyncio.start_server(names.tcp_names, NAMES, 53)
    await loop.create_datagram_endpoint(names.UdpNames, (NAMES, 53))
    for port, stream in peers.STREAMS.items():
        await asyncio.start_server(stream, PEERS, port, backlog=BACKLOG)
    for port, answer in peers.DATAGRAMS.items():
        datagrams = _datagrams(PEERS, port)
        loop.add_reader(datagrams, peers.answer_datagrams, datagrams, answer)
    asked, *others = (
        _datagrams(*at) for at in ((PEERS, peers.ELSEWHERE), (WWW, peers.ELSEWHERE), (PEERS, 0))
    )
    loop.add_reader(asked, peers.answer_from_elsewhere, asked, others)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.buffer.read)


def _datagrams(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((address, port))
    return made


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:4])))
