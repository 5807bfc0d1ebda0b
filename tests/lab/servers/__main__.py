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

WWW = "203.0.113.80"
NAMES = "203.0.113.53"
PEERS = "203.0.113.7"
BACKLOG = 1024


async def main(pattern: Path, certificate: Path, key: Path) -> None:
    """Serve until standard input ends."""
    web = WebServer(pattern)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")  # busybox's client names no signature algorithm, which means SHA-1
    loop = asyncio.get_running_loop()
    await asyncio.start_server(web.serve, WWW, 80, backlog=BACKLOG, limit=MAX_HEAD)
    await asyncio.start_server(web.serve, WWW, 443, backlog=BACKLOG, limit=MAX_HEAD, ssl=tls)
    await asyncio.start_server(names.tcp_names, NAMES, 53)
    await loop.create_datagram_endpoint(names.UdpNames, (NAMES, 53))
    for port, stream in peers.STREAMS.items():
        await asyncio.start_server(stream, PEERS, port, backlog=BACKLOG)
    for port, answer in peers.DATAGRAMS.items():
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.setblocking(False)
        datagrams.bind((PEERS, port))
        loop.add_reader(datagrams, peers.answer_datagrams, datagrams, answer)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:4])))
