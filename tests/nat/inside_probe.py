"""Run in a namespace: sends one probe through `HostSockets` and prints what came of it, as a Python literal.

inside_probe.py tcp|udp|echo|raw-echo ADDRESS TTL [BYTES]      with BYTES, DF is set
inside_probe.py ports ADDRESS COUNT                            the ports of so many DNS questions
inside_probe.py stands ADDRESS TTL                             a connection that is told of steps on stdin: it sends, it gets an echo
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from usernat.nat.host import HostSockets
from usernat.nat.host_datagram import HostEcho, ReportedError
from usernat.nat.host_tcp import stands as host_stands
from usernat.stack.addr import format_ip, parse_ip

PORT = 33434
PATIENCE_S = 0.5


class Nobody:
    """An owner that looks for itself."""

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        pass


def described(report: ReportedError | None) -> dict[str, Any] | None:
    """An ICMP error in words that a test reads."""
    if report is None or not report.icmp:
        return None
    return {
        "type": report.type,
        "code": report.code,
        "offender": None if report.offender is None else format_ip(report.offender),
        "address": format_ip(report.address),
        "port": report.port,
        "mtu": report.mtu,
    }


def tcp(host: HostSockets, selector: selectors.BaseSelector, address: int, ttl: int) -> dict[str, Any]:
    sock = host.connect_tcp(address, PORT, Nobody(), ttl=ttl)
    host.watch(sock, readable=False, writable=True)
    selector.select(5)
    failure = host.connect_error(sock)
    return {"port": PORT, "error": described(failure), "raised": failure and failure.errno}


def datagram(host: HostSockets, kind: str, address: int, ttl: int, size: int | None) -> dict[str, Any]:
    if kind == "raw-echo":
        sock: Any = HostEcho(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), 0x1234)
        sock._socket.setblocking(False)
    else:
        sock = host.open_echo(Nobody()) if kind == "echo" else host.open_udp(Nobody())
    found: dict[str, Any] = {
        "port": PORT,
        "error": None,
        "reply": None,
        "raised": None,
        "raw": isinstance(sock, HostEcho) and sock.raw_ident is not None,
    }
    try:
        sock.send(b"\x55" * (size or 32), address, PORT, ttl, df=size is not None)
    except OSError as error:
        found["raised"] = error.errno
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and found["error"] is None and found["reply"] is None:
        try:
            reply = sock.receive()
        except OSError:
            reply = None
        if reply is not None:
            (data,), (answerer, _port, answered_ttl, _called) = reply
            found["reply"] = bytes(data), format_ip(answerer), answered_ttl
        for report in sock.errors():
            found["error"] = described(report)
        time.sleep(0.002)
    return found


def ports(host: HostSockets, address: int, count: int) -> dict[str, Any]:
    return {"ports": [host.connect_udp(address, 53, Nobody()).getsockname()[1] for _ in range(count)]}


def stands(host: HostSockets, selector: selectors.BaseSelector, address: int) -> dict[str, Any]:
    sock: Any = host.connect_tcp(address, PORT, Nobody(), mapping=1)
    host.watch(sock, readable=False, writable=True)
    selector.select(5)
    assert host.connect_error(sock) is None
    host.watch(sock, readable=False, writable=False)
    print("connected", flush=True)  # noqa: T201 - the test reads it
    sys.stdin.readline()
    sock.send(b"through trouble")
    time.sleep(PATIENCE_S)
    found = {
        "SO_ERROR": sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        "stands": host_stands(sock),
    }
    print("sent", flush=True)  # noqa: T201
    sys.stdin.readline()
    sock.settimeout(20)
    return {**found, "echo": sock.recv(100)}


def main() -> None:
    kind, address, ttl = sys.argv[1], parse_ip(sys.argv[2]), int(sys.argv[3])
    size = int(sys.argv[4]) if len(sys.argv) > 4 else None
    with selectors.DefaultSelector() as selector:
        host = HostSockets(selector)
        if kind == "ports":
            found = ports(host, address, ttl)
        elif kind == "stands":
            found = stands(host, selector, address)
        elif kind == "tcp":
            found = tcp(host, selector, address, ttl)
        else:
            found = datagram(host, kind, address, ttl, size)
        print(found)  # noqa: T201 - the test reads it
        host.close_all()


main()
