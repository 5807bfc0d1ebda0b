"""Honest TCP streams: what went in at one end, and what must come out at the other.

A byte is known by its place: `text(salt, start, size)` is the stream of that salt from `start` on, so that both ends are judged by what they got
alone, whatever was lost, doubled, split or held back between them. `Stream.check` holds at every moment; `Stream.finished` once all is quiet.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from usernat.fuzz.fakepeers import Peer
from usernat.stack.addr import format_ip
from usernat.stack.l4.tcp.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.fuzz.fakesockets import FakeTcp
    from usernat.fuzz.machines.world import World

SINK, ECHO, SOURCE, ANSWER = "sink", "echo", "source", "answer"  # what the far end does
REFUSING, UNREACHABLE, BLACK_HOLE, NO_ROUTE = "refusing", "unreachable", "black hole", "no route"
SERVING = (SINK, ECHO, SOURCE, ANSWER)
FAILING = (REFUSING, UNREACHABLE, BLACK_HOLE, NO_ROUTE)
MODULUS = 65_521  # a prime, so that no two offsets that a stack would confuse hold the same
_CYCLE = Random(9293).randbytes(MODULUS)  # noqa: S311 - the same in every run
READ = 1 << 20


def text(salt: int, start: int, size: int) -> bytes:
    """`size` bytes of the endless stream of that salt, from `start` on."""
    at = (start + salt * 7919) % MODULUS
    return (_CYCLE * ((at + size) // MODULUS + 1))[at : at + size]


class Reader:
    """Compares what arrives with what should. count: bytes that did."""

    def __init__(self, salt: int, who: str) -> None:
        self.count = 0
        self._salt = salt
        self._who = who

    def take(self, data: bytes) -> None:
        """AssertionError where the bytes are not the next ones of the stream."""
        assert data == text(self._salt, self.count, len(data)), (
            f"{self._who} got wrong bytes from {self.count} on"
        )
        self.count += len(data)


class FarEnd(Peer):
    """The peer of one connection. pushed: bytes of the downward stream that it has sent."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.pushed = 0
        self.done = False  # it has sent all
        self._of = stream
        self._reader = Reader(stream.up, f"the peer of {stream}")

    @property
    def count(self) -> int:
        """Bytes that it has got."""
        return self._reader.count

    def on_open(self, stream: FakeTcp) -> None:
        """See `Peer`."""
        super().on_open(stream)
        if self._of.kind == SOURCE:
            self.push(self._of.answer)
        if self._of.paused:
            stream.pause()

    def on_data(self, stream: FakeTcp, data: bytes) -> None:  # noqa: ARG002 - there is one
        """See `Peer`. What is right is not kept."""
        self._reader.take(data)
        if self._of.kind == ECHO:
            self.push(len(data))

    def on_eof(self, stream: FakeTcp) -> None:  # noqa: ARG002 - there is one
        """See `Peer`."""
        self.eof = True
        if self._of.kind == ANSWER:
            self.push(self._of.answer)
        self.finish()

    def push(self, size: int) -> None:
        """Send the next bytes of the downward stream; nothing once it has sent all."""
        if self.stream is not None and not self.done and size:
            self.stream.push(text(self._of.down, self.pushed, size))
            self.pushed += size

    def finish(self) -> None:
        """Send no more."""
        if self.stream is not None and not self.done:
            self.done = True
            self.stream.finish()


class Stream:
    """One connection of the honest guest to one far end of its own.

    kind: what the far end does. answer: bytes that a source or an answering end sends. excuse: why the stream may break, None: it must not.
    touched: when bytes last went in at either end, µs. secured: it has been seen standing on both sides. peer: its far end, once it is. sent: bytes that the guest's stack has taken.
    """

    def __init__(self, world: World, number: int, kind: str, address: int, port: int, answer: int) -> None:
        self.kind = kind
        self.answer = answer
        self.up, self.down = 2 * number, 2 * number + (kind != ECHO)
        self.peers: list[FarEnd] = []
        self.excuse: str | None = None
        self.peer: FarEnd | None = None
        self.paused = False
        self.sent = 0
        self.touched = world.now
        self.blocked_us = 0  # how long the link has let nothing through in its life
        self.connection = world.guest.tcp.connect(address, port)
        self._world = world
        self._reader = Reader(self.down, f"{self}")

    def __repr__(self) -> str:
        c = self.connection
        return f"<{self.kind} stream {c.local_port} to {format_ip(c.remote)}:{c.remote_port}>"

    @property
    def received(self) -> int:
        """Bytes that the guest has read."""
        return self._reader.count

    @property
    def secured(self) -> bool:
        """Whether it has been seen standing on both sides: from then on nothing may break it."""
        return self.peer is not None

    @property
    def standing(self) -> bool:
        """Whether both sides have it now."""
        other = self.gateway_side()
        return self.secured and other is not None and other.established

    @property
    def open(self) -> bool:
        """Whether the guest may still send."""
        return not self.connection.closed and not self.connection.snd.fin_queued

    def far_end(self) -> FarEnd:
        """Another peer: the first, unless an attempt came to nothing or an old SYN is replayed."""
        self.peers.append(FarEnd(self))
        return self.peers[-1]

    def send(self, size: int) -> None:
        """As much of the next `size` bytes as the guest's stack takes."""
        taken = self.connection.send(text(self.up, self.sent, size)) if self.open else 0
        if taken:
            self.sent += taken
            self.touched = self._world.now

    def recv(self, limit: int = READ) -> None:
        """Read, and compare."""
        self._reader.take(self.connection.recv(limit))

    def for_each_peer(self, action: Callable[[FarEnd], None]) -> None:
        """Have the far ends do something."""
        for peer in self.peers:
            action(peer)

    def far_send(self, size: int) -> None:
        """The far ends that still may send so many bytes."""
        before = sum(peer.pushed for peer in self.peers)
        self.for_each_peer(lambda peer: peer.push(size))
        if sum(peer.pushed for peer in self.peers) > before:
            self.touched = self._world.now

    def far_reset(self) -> bool:
        """The far ends reset what stands. Whether any did."""
        standing = [peer.stream for peer in self.peers if peer.stream is not None]
        for stream in standing:
            stream.reset()
        return bool(standing)

    def pause(self, *, paused: bool) -> None:
        """The far ends stop reading, or go on."""
        self.paused = paused
        self.for_each_peer(lambda peer: peer.stream.pause(paused=paused) if peer.stream is not None else None)

    def gateway_side(self) -> Connection | None:
        """The gateway's end of the guest's connection, while it is in the gateway's table."""
        remote, remote_port, local, local_port = self.connection.key
        entry = self._world.interface.tcp.table.get((local, local_port, remote, remote_port))
        return entry if isinstance(entry, Connection) else None

    # -- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """At every moment: nobody has more than was sent, and a stream that stood has not broken."""
        most = sum(peer.pushed for peer in self.peers)
        assert self.received + self.connection.readable <= most, f"{self} got more than was sent"
        for peer in self.peers:
            assert peer.count <= self.sent, f"the peer of {self} got more than was sent"
        if self.kind in FAILING:
            assert not self.connection.established, f"{self} stands, though nobody is there"
            return
        if self.peer is None and self.peers and self._stands():
            self.peer = self.peers[-1]
        if self.peer is not None and self.excuse is None:
            assert self.connection.error is None, f"{self} was lost: {self.connection.error!r}"
            assert not self.peer.was_reset, f"the peer of {self} was reset"

    def _stands(self) -> bool:
        """Both sides have it, or have had it: it has come to a good end already."""
        ended = self.connection.closed and self.connection.error is None and self.excuse is None
        other = self.gateway_side()
        return ended or (other is not None and other.established and self.connection.established)

    def delivered(self) -> bool:
        """Whether all that was sent has arrived, on both sides, without either having to end; or it never will."""
        if self.peer is None or self.excuse is not None:
            return self.connection.closed or self.excuse is not None
        return self.peer.count == self.sent and self.received == self.peer.pushed

    def settled(self) -> bool:
        """Whether nothing more is to come."""
        return self.connection.closed and not self.connection.readable

    def finished(self) -> None:
        """Once all is quiet: both ends have everything, in order, and the end of it; or the stream had an excuse."""
        assert self.settled(), f"{self} does not end: {self.connection!r}"
        if self.excuse is not None or self.kind in FAILING:
            return
        peer = self.peer
        if peer is None:
            assert self.connection.error is not None, f"{self} ended well, but never stood"
            return
        assert peer.count == self.sent, f"the peer of {self} got {peer.count} of {self.sent} bytes"
        assert peer.eof, f"the peer of {self} never saw the end"
        assert self.received == peer.pushed, f"{self} got {self.received} of {peer.pushed} bytes"
        assert self.connection.at_eof, f"{self} never saw the end"
