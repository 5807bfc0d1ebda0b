"""What else the honest guest asks for, and what it should get: names, echoes, and things that must have come by some time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from usernat.fuzz.fakepeers import Peer
from usernat.nat.dns.framing import MessageBuffer, framed
from usernat.stack.addr import format_ip

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.fuzz.fakesockets import FakeTcp

GOOD, TRUNCATING, SILENT, GARBAGE, FORGING, FAILING, DROPPING = RESOLVER_MODES = (
    "good",
    "truncating",  # over UDP, so that TCP must be used
    "silent",
    "garbage",
    "forging",  # answers under another id, to another question, and then the true one
    "failing",  # SERVFAIL
    "dropping",  # resets TCP connections
)
SERVING_MODES = (GOOD, TRUNCATING, FORGING)
LARGE = 1200  # bytes of TXT beside the address


@dataclass(slots=True)
class Expectation:
    """`met()` should be true by `deadline`, µs, unless something disturbs it after `since`. what: in words.

    anyway: only what makes it impossible is an excuse, not what slows it down.
    """

    what: str
    met: Callable[[], bool]
    since: int
    deadline: int
    anyway: bool


def address_of(name: str) -> int:
    """What the resolver says of a name: 203.0.113.0/24, by its bytes."""
    return 0xCB007100 | zlib.crc32(name.lower().rstrip(".").encode()) & 0xFF


class Resolver:
    """A DNS server for `FakeHost`: `udp` answers datagrams, `peer` makes TCP connections. mode: one of RESOLVER_MODES."""

    def __init__(self) -> None:
        self.mode = GOOD

    def udp(self, question: bytes) -> list[bytes]:
        """The datagrams that answer one; to what cannot be read there is no answer."""
        try:
            return self._answers(question)
        except dns.exception.DNSException:
            return []

    def _answers(self, question: bytes) -> list[bytes]:
        if self.mode in (SILENT, DROPPING):
            return []
        if self.mode == GARBAGE:
            return [question[:1], question[:2] + b"\xc0\x0c" * 20, question[::-1], b""]
        answer = self._answer(question)
        if self.mode == FORGING:
            stranger = dns.message.make_query("evil.test.", "A", id=int.from_bytes(question[:2], "big"))
            other_id = bytes((question[0] ^ 1, question[1])) + answer[2:]
            return [other_id, self._answer(stranger.to_wire()), answer]
        if self.mode == TRUNCATING:
            cut = dns.message.make_response(dns.message.from_wire(question))
            cut.flags |= dns.flags.TC
            return [cut.to_wire()]
        return [answer]

    def tcp(self, stream: FakeTcp, question: bytes) -> None:
        """Answer one message of a connection."""
        if self.mode == DROPPING:
            stream.reset()
        elif self.mode == GARBAGE:
            stream.push(b"\xff\xff" + question)
        elif self.mode != SILENT:
            answer = framed(self._answer(question))
            stream.push(answer[:1])
            stream.push(answer[1:])

    def peer(self) -> Peer:
        """The server's end of a TCP connection."""
        return _Session(self)

    def _answer(self, question: bytes) -> bytes:
        asked = dns.message.from_wire(question)
        answer = dns.message.make_response(asked)
        if self.mode == FAILING:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif asked.question:
            name = asked.question[0].name
            text = format_ip(address_of(name.to_text()))
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", text))
        return answer.to_wire()


class _Session(Peer):
    """One TCP connection of the forwarder's."""

    def __init__(self, resolver: Resolver) -> None:
        super().__init__()
        self._resolver = resolver
        self._buffer = MessageBuffer()

    def on_data(self, stream: FakeTcp, data: bytes) -> None:
        """See `Peer`."""
        self._buffer.feed(data)
        while (message := self._buffer.take()) is not None:
            try:
                self._resolver.tcp(stream, message)
            except dns.exception.DNSException:
                stream.reset()
