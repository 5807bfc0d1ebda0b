"""Peers that end, stall and answer in every way that a TCP or UDP peer can, each on a port of its own.

Names in capitals are ports; the same address serves them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
from typing import TYPE_CHECKING

from tests.lab.servers import pattern
from tests.lab.servers.notes import note

if TYPE_CHECKING:
    from collections.abc import Callable

ECHO = 7  # TCP and UDP: what comes goes back
NEVER_READS = 9  # accepts, then reads nothing for ever
ELSEWHERE = (
    18  # a datagram draws one from another address, and then one from another port of the same address
)
UDP_SOURCE = 19  # a decimal number N in a datagram draws N bytes of the pattern from the same port
RESETS_AT_ONCE = 1001  # accepts, then RST
RESETS_AFTER_DATA = 1002  # 1,000 bytes, then RST once a byte has come
ANSWERS_AT_END = 1003  # reads to the end of the stream, then answers 1 MB and ends
ENDS_FIRST = 1004  # greets, ends its own half, reads to the end and notes the hash under "ends-first"
WRITES_BEFORE_READING = 1005  # writes FULL_SIZE, then reads to the end; notes the hash under "both-full"
NOTES_RESET = 1006  # reads; notes under "reset" whether the stream ended cleanly or by RST

ANSWER_SIZE = 1_000_000
FULL_SIZE = (
    80_000_000  # more than all the buffers on the way may grow to: two of 32 MB where a kernel lets them
)
GREETING = b"goodbye from this side\n"
CHUNK = 1 << 18

_stuck: list[asyncio.StreamWriter] = []

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


async def echo(reader: Reader, writer: Writer) -> None:
    """RFC 862 on TCP."""
    while piece := await reader.read(CHUNK):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def never_reads(_reader: Reader, writer: Writer) -> None:
    """Stop reading at once: what asyncio took before does not matter, the window closes."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # typeshed: StreamWriter.transport lacks the reading half
    _stuck.append(writer)  # a paused connection hangs on nothing else, and would be collected


async def resets_at_once(_reader: Reader, writer: Writer) -> None:
    """A RST is all that the client gets."""
    _reset(writer)


async def resets_after_data(reader: Reader, writer: Writer) -> None:
    """Some data, then a RST as soon as the client has shown that it is there."""
    writer.write(pattern.content(1000))
    await reader.read(1)
    _reset(writer)


async def answers_at_end(reader: Reader, writer: Writer) -> None:
    """The reply belongs to a stream whose other half has ended."""
    made = await _hash_to_end(reader)
    note("half-close", sha256=made)
    writer.write(pattern.content(ANSWER_SIZE))
    await writer.drain()
    writer.close()


async def ends_first(reader: Reader, writer: Writer) -> None:
    """The mirror case: this side's half ends first and the client goes on."""
    writer.write(GREETING)
    writer.write_eof()
    note("ends-first", sha256=await _hash_to_end(reader))
    writer.close()


async def writes_before_reading(reader: Reader, writer: Writer) -> None:
    """Reading starts only once everything is written and gone to the kernel."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
    writer.transport.set_write_buffer_limits(0)  # so that drain() waits until the kernel has it all
    writer.write(pattern.content(FULL_SIZE))
    writer.write_eof()
    await writer.drain()
    writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
    note("both-full", sha256=await _hash_to_end(reader))
    writer.close()


async def notes_reset(reader: Reader, writer: Writer) -> None:
    """How a stream that the client ends looks from here."""
    try:
        await _hash_to_end(reader)
        note("reset", ended="cleanly")
    except ConnectionResetError:
        note("reset", ended="reset")
    writer.close()


def udp_echo(data: bytes) -> bytes:
    """RFC 862 on UDP."""
    return data


def udp_source(data: bytes) -> bytes:
    """As many bytes as were asked for."""
    return pattern.content(int(data))


def answer_datagrams(server: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    """Answer what has come on a non-blocking socket (asyncio's own datagram transport cannot send an empty one)."""
    with contextlib.suppress(BlockingIOError):
        while True:
            data, source = server.recvfrom(65535)
            server.sendto(answer(data), source)


def answer_from_elsewhere(server: socket.socket, others: list[socket.socket]) -> None:
    """Have each of the others answer in its own name, in this order."""
    _, source = server.recvfrom(65535)
    for other in others:
        other.sendto("{}:{}".format(*other.getsockname()).encode(), source)


STREAMS = {
    ECHO: echo,
    NEVER_READS: never_reads,
    RESETS_AT_ONCE: resets_at_once,
    RESETS_AFTER_DATA: resets_after_data,
    ANSWERS_AT_END: answers_at_end,
    ENDS_FIRST: ends_first,
    WRITES_BEFORE_READING: writes_before_reading,
    NOTES_RESET: notes_reset,
}
DATAGRAMS = {ECHO: udp_echo, UDP_SOURCE: udp_source}


async def _hash_to_end(reader: Reader) -> str:
    made = hashlib.sha256()
    while piece := await reader.read(CHUNK):
        made.update(piece)
    return made.hexdigest()


def _reset(writer: Writer) -> None:
    """Close with a RST: no lingering for what is queued (SO_LINGER, 0 seconds)."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
