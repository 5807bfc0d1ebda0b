"""What real servers make of the same bytes, and what real clients send.

OpenSSL, through Python's `ssl` on memory; `http.server`, on memory; nginx, on a loopback socket. Each says which name it has read.
"""

from __future__ import annotations

import io
import shutil
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from tests.lab.needs import lacking
from tests.lab.netns import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NOT_READ = "(refused)"  # no legal name
NAMELESS = "(none)"
MARK = b"<end>"


def python_hello(name: str | None, **settings: Any) -> bytes:
    """The ClientHello of Python's ssl. settings: `minimum_version` and others of the context; alpn: protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(settings.pop("alpn", []))
    for key, value in settings.items():
        setattr(context, key, value)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with _waiting():
        client.do_handshake()
    return outgoing.read()


@contextmanager
def _waiting() -> Iterator[None]:
    """The client waits for an answer."""
    try:
        yield
    except ssl.SSLWantReadError:
        return
    raise AssertionError("a handshake without an answer")


class OpenSslServer:
    """A TLS server on memory. `read(stream)` is the name that it takes from a hello, NAMELESS or NOT_READ."""

    def __init__(self) -> None:
        self._seen: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.sni_callback = self._named

    def _named(self, _socket: Any, name: str | None, _context: Any) -> None:
        self._seen.append(name)

    def read(self, stream: bytes) -> str:
        """It has no certificate, so the handshake fails in any case, but only after the hello was read."""
        self._seen.clear()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        incoming.write(stream)
        server = self._context.wrap_bio(incoming, outgoing, server_side=True)
        hook, sys.unraisablehook = (
            sys.unraisablehook,
            lambda _: None,
        )  # Python cannot tell of a name beyond ASCII
        try:
            server.do_handshake()
        except ssl.SSLError:
            pass
        finally:
            sys.unraisablehook = hook
        if not self._seen:
            return NOT_READ
        return NAMELESS if self._seen[-1] is None else self._seen[-1]


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, stream: bytes) -> None:  # in memory; the base class wants a socket
        self.rfile = io.BufferedReader(io.BytesIO(stream))
        self.raw_requestline = self.rfile.readline(65537)
        self.wfile = io.BytesIO()
        self.requestline = ""
        self.request_version = "HTTP/0.9"
        self.command = ""
        self.client_address = ("", 0)

    def log_message(self, *args: Any) -> None: ...


def http_server_host(stream: bytes) -> str | None:
    """The Host that Python's http.server reports of a request, None where it refuses it or needs more."""
    handler = _Handler(stream + MARK)
    if b"\n" not in handler.raw_requestline or not handler.parse_request():
        return None
    if not handler.rfile.read().endswith(MARK):
        return None  # the head is not at its end yet
    return handler.headers.get("Host")


class Nginx:
    """nginx on a loopback port. `host(stream)` is its $host for a request, None where it answers with an error or not at all."""

    def __init__(self, folder: Path) -> None:
        command = shutil.which("nginx", path=ENVIRONMENT["PATH"]) or ""
        if not command:
            lacking("nginx (Debian: nginx-light)")
        self.port = _free_port()
        conf = folder / "nginx.conf"
        conf.write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            "events { worker_connections 64; }\n"
            "http { access_log off; client_body_temp_path " + f"{folder}/a; proxy_temp_path {folder}/b;\n"
            f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n"
            f'server {{ listen 127.0.0.1:{self.port}; server_name default.invalid; return 200 "host=$host;"; }} }}\n'
        )
        self._process = subprocess.Popen([command, "-c", str(conf), "-e", str(folder / "early.log")])
        self._await()

    def _await(self) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.close()
        lacking("an nginx that starts")

    def host(self, stream: bytes) -> str | None:
        """What it says to these bytes followed by the end of the stream."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            answer = b""
            try:
                sock.sendall(stream)
                sock.shutdown(socket.SHUT_WR)
                while piece := sock.recv(65536):
                    answer += piece
            except ConnectionError:
                pass  # it has answered, and did not read all
        head, _, rest = answer.partition(b"host=")
        if b" 200 " not in head and not answer.startswith(b"host="):  # HTTP/0.9 has no head
            return None
        return rest.partition(b";")[0].decode("latin-1")

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(20)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def first_bytes_of(command: Sequence[str], enough: bytes | None = None) -> bytes:
    """What a client sends first to a server that says nothing. PORT in the command stands for the server's port.

    enough: what ends it; else the length in the record headers says so.
    """
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        port = str(server.getsockname()[1])
        client = subprocess.Popen(
            [word.replace("PORT", port) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            sock, _ = server.accept()
            with sock:
                sock.settimeout(1 if enough is None else 20)
                _drain(sock, received, enough)
        finally:
            client.kill()
            client.wait()
    return bytes(received)


def _drain(sock: socket.socket, received: bytearray, enough: bytes | None) -> None:
    while enough is None or enough not in received:
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            return
        if not piece:
            return
        received += piece
        if (
            enough is None
            and len(received) >= 5
            and len(received) >= 5 + int.from_bytes(received[3:5], "big")
        ):
            sock.settimeout(0.2)  # further records follow at once
