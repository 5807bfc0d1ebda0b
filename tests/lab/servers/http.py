"""A small HTTP/1.1 server: generated downloads, hashed uploads. Every request is noted under "web", with the address that it came to.

GET  /bytes/N     the first N bytes of the pattern
GET  /seen/NAME   what the other servers noted under that name since it was last asked for, JSON
GET  /to/NAME     a redirect to the front page of that host
PUT  /upload      any body with a Content-Length; answers its SHA-256 in hex
GET  /            a line of text
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

from tests.lab.servers.notes import note, take

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 1 << 18
MAX_HEAD = 1 << 16
FRONT_PAGE = "the pretend internet\n"


class WebServer:
    """One instance serves plain and TLS listeners alike. pattern: a file that holds the start of the pattern."""

    def __init__(self, pattern: Path) -> None:
        self._pattern = pattern

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All requests of one connection."""
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away: its business
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _version = head[0].split(" ")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        address, port = writer.get_extra_info("sockname")
        if not path.startswith("/seen/"):
            note("web", to=address, port=port, host=fields.get("host", ""), path=path)
        if method in ("PUT", "POST"):
            if fields.get("expect") == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await _answer(writer, await _hash(reader, int(fields["content-length"])))
        elif path.startswith("/bytes/"):
            await self._send_pattern(writer, int(path.removeprefix("/bytes/")))
        elif path.startswith("/seen/"):
            await _answer(writer, json.dumps(take(path.removeprefix("/seen/"))))
        elif path.startswith("/to/"):
            await _answer(writer, "", f"302 Found\r\nLocation: http://{path.removeprefix('/to/')}/")
        else:
            await _answer(writer, FRONT_PAGE)
        return fields.get("connection", "").lower() != "close"

    async def _send_pattern(self, writer: asyncio.StreamWriter, length: int) -> None:
        writer.write(_head(length))
        await writer.drain()
        with self._pattern.open("rb") as file:
            if length:
                await asyncio.get_running_loop().sendfile(writer.transport, file, 0, length)


async def _hash(reader: asyncio.StreamReader, length: int) -> str:
    made = hashlib.sha256()
    while length:
        piece = await reader.read(min(length, CHUNK))
        if not piece:
            raise ConnectionResetError
        made.update(piece)
        length -= len(piece)
    return made.hexdigest()


async def _answer(writer: asyncio.StreamWriter, text: str, status: str = "200 OK") -> None:
    body = text.encode()
    writer.write(_head(len(body), status) + body)
    await writer.drain()


def _head(length: int, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n".encode()
