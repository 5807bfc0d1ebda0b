"""The world of the demo: a DNS server and an HTTP server on the host's loopback, each in a thread.

The DNS server knows one name and answers with the gateway's address, which with `host_loopback` leads back to the HTTP server.
"""

from __future__ import annotations

import hashlib
import random
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from types import TracebackType

NAME = "files.demo.test"  # RFC 6761 §6.2: .test never exists in the real world
PATH = "/big.bin"
FILE_SIZE = 10_000_000  # bytes
_LOOPBACK = "127.0.0.1"
_TTL = 60  # seconds


class DemoServers:
    """Both servers, from `with` to its end. `address` is what the name resolves to."""

    def __init__(self, address: str) -> None:
        self.file = random.Random(1).randbytes(FILE_SIZE)  # noqa: S311 - the same at every run, and incompressible
        self.sha256 = hashlib.sha256(self.file).hexdigest()
        self._dns = _DnsServer((_LOOPBACK, 0), _DnsHandler)
        self._dns.address = address
        self._http = _FileServer((_LOOPBACK, 0), _FileHandler)
        self._http.file = self.file
        self.dns_port: int = self._dns.server_address[1]
        self.http_port: int = self._http.server_address[1]
        self._threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            for server in (self._dns, self._http)
        ]

    @property
    def url(self) -> str:
        """Of the file, by name."""
        return f"http://{NAME}:{self.http_port}{PATH}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server, thread in zip((self._dns, self._http), self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class _DnsServer(socketserver.UDPServer):
    address: str


class _DnsHandler(socketserver.BaseRequestHandler):
    """One question, one answer."""

    server: _DnsServer

    def handle(self) -> None:
        data, sock = self.request
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return
        answer = dns.message.make_response(query, recursion_available=True)
        question = query.question[0] if query.question else None
        if question is None or question.name.to_text(omit_final_dot=True).lower() != NAME:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A:
            answer.answer.append(dns.rrset.from_text(question.name, _TTL, "IN", "A", self.server.address))
        sock.sendto(answer.to_wire(), self.client_address)


class _FileServer(ThreadingHTTPServer):
    file: bytes


class _FileHandler(BaseHTTPRequestHandler):
    """Serves the one file."""

    server: _FileServer

    def do_GET(self) -> None:
        if self.path != PATH:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(self.server.file)))
        self.end_headers()
        self.wfile.write(self.server.file)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature of http.server
        """The demo shows packets, not requests."""
