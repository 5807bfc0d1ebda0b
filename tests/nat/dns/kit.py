"""A forwarder between a scripted guest and a scripted host, on a virtual clock."""

from __future__ import annotations

import errno
import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import dns.message
import dns.rrset

from usernat.nat.dns import DnsConfig, DnsForwarder
from usernat.nat.dns.message import QR, with_id
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from collections.abc import Callable

DNS = parse_ip("10.0.2.3")
GUEST = parse_ip("10.0.2.15")
ONE = (parse_ip("192.0.2.1"), 53)
TWO = (parse_ip("192.0.2.2"), 5353)
THREE = (parse_ip("192.0.2.3"), 53)
MS = 1_000
S = 1_000_000


def query(name: str = "www.example.", qtype: str = "A", id_: int = 7, **edns: Any) -> bytes:
    wire: bytes = dns.message.make_query(name, qtype, id=id_, **edns).to_wire(max_size=65535)
    return wire


def answer_to(wire: bytes, *records: str, flags: int = 0) -> bytes:
    """The answer of a server to a query, with A records of 192.0.2.x or none."""
    response = dns.message.make_response(dns.message.from_wire(wire), recursion_available=True)
    question = response.question[0]
    if records:
        response.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", "A", records))
    data: bytes = response.to_wire(max_size=65535)
    return data[:2] + (int.from_bytes(data[2:4], "big") | flags).to_bytes(2, "big") + data[4:]


def rcode(data: bytes) -> int:
    return data[3] & 15


class Upstream:
    """One host socket, UDP or TCP, as the resolver's side sees it."""

    def __init__(self, host: FakeHost, kind: str, address: int, port: int, owner: Any) -> None:
        self.host = host
        self.kind = kind
        self.peer = (address, port)
        self.owner = owner
        self.sent = bytearray()
        self.inbox: deque[bytes | OSError] = deque()
        self.readable = self.writable = False
        self.open = True
        self.connect_error: OSError | None = None
        self.room = 1 << 30

    def send(self, data: bytes) -> int:
        assert self.open
        if self.host.send_error is not None:
            raise self.host.send_error
        if not self.room:
            raise BlockingIOError
        taken = min(self.room, len(data))
        self.room -= taken
        self.sent += data[:taken]
        return taken

    def recv(self, limit: int) -> bytes:
        assert self.open
        if not self.inbox:
            raise BlockingIOError
        item = self.inbox.popleft()
        if isinstance(item, OSError):
            raise item
        if self.kind == "tcp" and len(item) > limit:
            self.inbox.appendleft(item[limit:])
        return item[:limit]

    # -- what the resolver does ----

    @property
    def question(self) -> bytes:
        """The datagram sent."""
        return bytes(self.sent)

    def take(self) -> list[bytes]:
        """The messages written to the stream, taken away."""
        messages = []
        while self.sent:
            length = int.from_bytes(self.sent[:2], "big")
            messages.append(bytes(self.sent[2 : 2 + length]))
            del self.sent[: 2 + length]
        return messages

    def gives(self, *items: bytes | OSError) -> None:
        self.inbox.extend(items)
        if self.readable and self.inbox:
            self.owner.on_host(True, False, self.host.now)
            self.host.settle()

    def answers(self, *records: str) -> None:
        self.gives(answer_to(self.question, *records))

    def fails(self, number: int = errno.ECONNREFUSED) -> None:
        self.gives(OSError(number, "scripted"))

    def connects(self, error: OSError | None = None) -> None:
        self.connect_error = error
        self.becomes_writable()

    def becomes_writable(self) -> None:
        if self.writable:
            self.owner.on_host(False, True, self.host.now)

    def says(self, *messages: bytes) -> None:
        self.gives(b"".join(len(message).to_bytes(2, "big") + message for message in messages))


class FakeHost:
    """Opens scripted sockets; `now` is the time of its events."""

    def __init__(self) -> None:
        self.now = 0
        self.settle: Callable[[], None] = lambda: None
        self.opened: list[Upstream] = []
        self.open_error: OSError | None = None
        self.send_error: OSError | None = None

    @property
    def live(self) -> list[Upstream]:
        return [sock for sock in self.opened if sock.open]

    def _open(self, kind: str, address: int, port: int, owner: Any) -> Upstream:
        if self.open_error is not None:
            raise self.open_error
        sock = Upstream(self, kind, address, port, owner)
        self.opened.append(sock)
        return sock

    def connect_udp(self, address: int, port: int, owner: Any) -> Upstream:
        return self._open("udp", address, port, owner)

    def connect_tcp(self, address: int, port: int, owner: Any) -> Upstream:
        return self._open("tcp", address, port, owner)

    def connect_error(self, sock: Upstream) -> OSError | None:
        return sock.connect_error

    def watch(self, sock: Upstream, readable: bool, writable: bool) -> None:
        assert sock.open
        sock.readable, sock.writable = readable, writable

    def close(self, sock: Upstream, *, reset: bool = False) -> None:
        sock.open = sock.readable = sock.writable = False


class _Datagram(NamedTuple):
    data: memoryview
    src: int
    src_port: int
    dst: int


class Answer(NamedTuple):
    data: bytes
    dst: int
    port: int


def only(answers: list[Answer]) -> bytes:
    """The one answer there is."""
    assert len(answers) == 1
    return answers[0].data


class FakeUdp:
    """The UDP layer and its only socket."""

    def __init__(self) -> None:
        self.owner: Any = None
        self.inbox: deque[_Datagram] = deque()
        self.sent: list[Answer] = []
        self.bound: tuple[int | None, int | None] | None = None
        self.closed = False
        self.full = False

    def bind(self, address: int | None, port: int | None) -> FakeUdp:
        self.bound = (address, port)
        return self

    def recv(self) -> _Datagram | None:
        return self.inbox.popleft() if self.inbox else None

    def send(self, data: bytes, dst: int, port: int, *, src: int) -> bool:
        assert src == DNS
        self.sent.append(Answer(data, dst, port))
        return not self.full

    def close(self) -> None:
        self.closed = True


class FakeConnection:
    """A guest's TCP connection."""

    def __init__(self) -> None:
        self.owner: Any = None
        self.remote = GUEST
        self.remote_port = 4100
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.room = 1 << 30
        self.eof = False
        self.closed = self.aborted = self.finished = False
        self.error: object = None

    def recv(self, limit: int) -> bytes:
        data = bytes(self.inbox[:limit])
        del self.inbox[:limit]
        return data

    @property
    def at_eof(self) -> bool:
        return self.eof and not self.inbox

    def send(self, data: memoryview) -> int:
        assert (self.closed, self.aborted, self.finished) == (False, False, False)
        taken = min(self.room, len(data))
        self.room -= taken
        self.outbox += data[:taken]
        return taken

    def close(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def take(self) -> list[bytes]:
        """The answers, taken away."""
        messages = []
        while self.outbox:
            length = int.from_bytes(self.outbox[:2], "big")
            messages.append(bytes(self.outbox[2 : 2 + length]))
            del self.outbox[: 2 + length]
        return messages


class FakeTcp:
    """The TCP layer and its only listener."""

    def __init__(self) -> None:
        self.owner: Any = None
        self.backlog: deque[FakeConnection] = deque()
        self.bound: tuple[int | None, int | None] | None = None
        self.closed = False

    def listen(self, address: int | None, port: int | None) -> FakeTcp:
        self.bound = (address, port)
        return self

    def accept(self) -> FakeConnection | None:
        return self.backlog.popleft() if self.backlog else None

    def close(self) -> None:
        self.closed = True


class World:
    """Everything together. settles: whether the loop comes again at once for what a step has left undone."""

    def __init__(self, *, screen: Any = None, seed: int = 1, settles: bool = True, **changes: Any) -> None:
        self.host = FakeHost()
        if settles:
            self.host.settle = self.settle
        self.udp = FakeUdp()
        self.tcp = FakeTcp()
        config = DnsConfig(**{"address": DNS, "resolvers": (ONE,), **changes})
        layers: tuple[Any, Any, Any] = (self.udp, self.tcp, self.host)
        self.dns = DnsForwarder(*layers, config, random.Random(seed), screen=screen)

    @property
    def counters(self) -> Any:
        return self.dns.counters

    @property
    def now(self) -> int:
        return self.host.now

    def run_until(self, when: int) -> None:
        """Lets time pass, every deadline met on the spot."""
        while (due := self.dns.poll_at()) is not None and due <= when:
            self.host.now = max(due, self.host.now)
            self.dns.on_time(self.host.now)
            after = self.dns.poll_at()
            assert after is None or after > self.host.now
        self.host.now = when

    def step(self) -> bool:
        """The loop comes again, at the next moment; whether anything was left to do."""
        due = self.dns.turns.poll_at()
        if due is None:
            return False
        self.host.now = max(due, self.host.now)
        self.dns.on_time(self.host.now)
        for sock in self.host.live:
            sock.gives()
        return True

    def settle(self) -> None:
        """Until nothing is left."""
        while self.step():
            pass

    def ask(self, wire: bytes, port: int = 4000) -> list[Answer]:
        """The guest sends a datagram; what it gets at once."""
        self.udp.sent.clear()
        self.udp.inbox.append(_Datagram(memoryview(wire), GUEST, port, DNS))
        self.dns.serve(self.now)
        self.host.settle()
        return self.udp.sent

    @property
    def got(self) -> list[Answer]:
        return self.udp.sent

    def connect(self) -> FakeConnection:
        connection = FakeConnection()
        self.tcp.backlog.append(connection)
        self.dns.serve(self.now)
        return connection

    def writes(self, connection: FakeConnection, *messages: bytes) -> None:
        self.writes_raw(
            connection, b"".join(len(message).to_bytes(2, "big") + message for message in messages)
        )

    def writes_raw(self, connection: FakeConnection, data: bytes) -> None:
        connection.inbox += data
        connection.owner.serve(self.now)
        self.host.settle()


def asked(world: World, *names: str) -> tuple[FakeConnection, Upstream]:
    """A session with these questions, its upstream connection established and written to."""
    connection = world.connect()
    world.writes(
        connection, *[query(f"{name}.example.", id_=number) for number, name in enumerate(names, start=1)]
    )
    upstream = world.host.live[-1]
    upstream.connects()
    return connection, upstream


def plain_answer(wire: bytes, size: int) -> bytes:
    """An answer of just `size` bytes: the question, and filling that the forwarder must not care for."""
    head = (int.from_bytes(wire[2:4], "big") | QR).to_bytes(2, "big")
    return with_id(int.from_bytes(wire[:2], "big"), b"\0\0" + head + wire[4:].ljust(size - 4, b"\xaa"))
