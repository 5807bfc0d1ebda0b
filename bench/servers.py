"""What listens on the host's loopback: iperf3, nginx, the other end of the datagrams, a resolver, and one that accepts and says nothing."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.host import DNS_PORT
from bench.peers import NAMESPACES, QEMU, RAW
from bench.peers.peer import READY_SECONDS, SILENT
from tests.lab.netns import end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Place

LOCAL = "127.0.0.1"
HTTP_PORT, DATAGRAM_PORT, IDLE_PORT = 8080, 5300, 5400
IPERF_PORT = (
    5201  # of the first server: each peer has one, for a client that has gone badly leaves it occupied
)
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log /dev/null; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; default_type text/plain;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen {address}:{port} backlog=4096; location / {{ return 200 "{body}"; }} }}
}}
"""
BODY = 128  # bytes
NAMES = tuple(dict.fromkeys(peer.name for peer in (RAW, *NAMESPACES, *QEMU)))


def iperf_port(name: str) -> int:
    """Of the server that a peer's guests use."""
    return IPERF_PORT + NAMES.index(name)


@contextmanager
def servers(host: Place) -> Iterator[None]:
    """All of them. Raises OSError where one does not start."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        settings = Path(folder, "nginx.conf")
        settings.write_text(NGINX.format(folder=folder, address=LOCAL, port=HTTP_PORT, body="x" * BODY))
        commands = {
            **{
                f"tcp {port}": ("iperf3", "-s", "-B", LOCAL, "-p", str(port))
                for port in map(iperf_port, NAMES)
            },
            f"tcp {HTTP_PORT}": ("nginx", "-e", "stderr", "-c", str(settings)),
            f"udp {DATAGRAM_PORT}": load("datagrams", "serve", LOCAL, DATAGRAM_PORT),
            f"udp {DNS_PORT}": load("names", "serve", LOCAL, DNS_PORT),
            f"tcp {IDLE_PORT}": load("idle", "serve", LOCAL, IDLE_PORT),
        }
        for where, command in commands.items():
            process = host.start(*command, **SILENT)
            stack.callback(end, process)
            wait_for_server(host, where, command[0])
        yield


def load(module: str, *arguments: object) -> tuple[str, ...]:
    """The command that runs a program of bench/load, with the same interpreter."""
    return (sys.executable, "-m", f"bench.load.{module}", *map(str, arguments))


def wait_for_server(host: Place, where: str, name: str) -> None:
    """Until something is bound there. Raises OSError where nothing comes."""
    kind, port = where.split()
    deadline = time.monotonic() + READY_SECONDS
    while not host.run("ss", "-Hln" + kind[0], "sport", "=", f":{port}").stdout:
        if time.monotonic() > deadline:
            raise OSError(f"{name} does not listen on {where}")
        time.sleep(0.02)
