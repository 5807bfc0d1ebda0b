"""lwIP as an echo server or client: `python -m tests.lab.interop.lwip DEVICE ADDRESS listen PORT` or `… call REMOTE PORT`.

Debian's liblwip.so holds the whole stack, with its BSD-like calls and a driver for a TAP, DEVICE, which must exist; so a few foreign calls
are all that is needed. Prints "ready", then takes or makes one connection after the other, sends back what comes, ends its half
when the other side has ended, and prints the number of bytes.

That library writes beyond its receive buffers when a frame has more than some 600 bytes (they are made for an MSS of 536; its driver
believes in 1,460), so whoever talks to it keeps to an MTU of 576.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from typing import Any, NoReturn

LIBRARY = "liblwip.so.0"
MTU = 576
NETIF_ROOM = 4096  # bytes for a struct netif, which takes 400
CHUNK = 4096


def start(device: str, address: str) -> Any:
    """The stack, with this address in a /24."""
    os.environ["PRECONFIGURED_TAPIF"] = device
    lwip = ctypes.CDLL(LIBRARY)
    lwip.lwip_recv.restype = lwip.lwip_send.restype = ctypes.c_ssize_t
    lwip.lwip_recv.argtypes = lwip.lwip_send.argtypes = (
        *(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t),
        ctypes.c_int,
    )
    lwip.tcpip_init(None, None)
    netif = start.netif = ctypes.create_string_buffer(NETIF_ROOM)  # type: ignore[attr-defined]  # lives as long as the stack
    numbers = [ctypes.byref(_number(text)) for text in (address, "255.255.255.0", "0.0.0.0")]
    lwip.sys_lock_tcpip_core()
    lwip.netif_add(netif, *numbers, None, lwip.tapif_init, lwip.tcpip_input)
    for step in (lwip.netif_set_default, lwip.netif_set_up, lwip.netif_set_link_up):
        step(netif)
    lwip.sys_unlock_tcpip_core()
    return lwip


def echo(lwip: Any, connection: int) -> int:
    """Send back what comes until the peer has ended; how much it was. Negative: the connection broke."""
    buffer = ctypes.create_string_buffer(CHUNK)
    total = 0
    while (count := lwip.lwip_recv(connection, buffer, CHUNK, 0)) > 0:
        total += count
        if lwip.lwip_send(connection, buffer, count, 0) != count:
            count = -1
            break
    lwip.lwip_close(connection)
    return -1 if count < 0 else total


def main(device: str, address: str, what: str, *where: str) -> NoReturn:
    """Echo for ever."""
    lwip = start(device, address)
    if what == "listen":
        listening = lwip.lwip_socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        lwip.lwip_bind(listening, _sockaddr("0.0.0.0", where[0]), 16)
        lwip.lwip_listen(listening, 5)
    _say("ready")
    while True:
        if what == "listen":
            connection = lwip.lwip_accept(listening, None, None)
        else:
            sys.stdin.readline()
            connection = lwip.lwip_socket(socket.AF_INET, socket.SOCK_STREAM, 0)
            lwip.lwip_connect(connection, _sockaddr(*where), 16)
        _say(str(echo(lwip, connection)))


def _number(address: str) -> ctypes.c_uint32:
    return ctypes.c_uint32(int.from_bytes(socket.inet_aton(address), sys.byteorder))


def _sockaddr(address: str, port: str) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, socket.htons(int(port)), socket.inet_aton(address))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
