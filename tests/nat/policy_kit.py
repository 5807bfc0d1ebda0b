"""What the tests of policies on the gateway share: a lab with hooks, and what guests say first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.nat.kit import GUEST, SECOND, SERVER, Lab
from tests.nat.tcp_kit import drain, listening
from usernat.fuzz.fakepeers import Echo
from usernat.nat.audit import DECIDED, Record
from usernat.nat.gateway import Hooks
from usernat.policy import NetworkPolicy
from usernat.policy.matchers import Any as Anything

if TYPE_CHECKING:
    from usernat.nat.asking import Question
    from usernat.stack.l4.tcp.connection import Connection

TLS, HTTP, GIT = 443, 80, 9418
ASKING = NetworkPolicy.deny_all().rule("ask", Anything())
GOOD = NetworkPolicy.deny_all().allow_domain("good.test").allow_domain("*.good.test", port=443)


class PolicyLab(Lab):
    """A lab with hooks; `found` says under which names the guest has found the server."""

    def __init__(self, policy: NetworkPolicy = GOOD, *found: str, **options: Any) -> None:
        self.records: list[Record] = []
        self.questions: list[Question] = []
        hooks = Hooks(audit=self.records.append, ask=self.questions.append)
        super().__init__(policy=policy, hooks=hooks, **options)
        for name in found:
            self.gateway.names.bind(GUEST, SERVER, name, 3600, self.clock.now)
        self.peers = [listening(self, Echo, port=port) for port in (TLS, HTTP, GIT)]

    def decided(self) -> list[tuple[str, str, str]]:
        return [
            (record.word, record.name, record.verdict.reason)
            for record in self.records
            if record.event == DECIDED
        ]


def http(host: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def say(lab: Lab, connection: Connection, data: bytes) -> bytes:
    """Sends it, and whatever comes back within a second."""
    got = bytearray()
    connection.send(data)

    def step() -> bool:
        drain(connection, got)
        return len(got) >= len(data) or connection.closed

    lab.run(SECOND, stop=step)
    return bytes(got)


def opened(lab: Lab) -> int:
    return len(lab.host.record.connects)
