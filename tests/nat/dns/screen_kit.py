"""A forwarder whose messages are screened by a policy that the test writes down, and answers of any shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dns.edns
import dns.message
import dns.rcode
import dns.rrset

from tests.nat.dns.kit import GUEST, Answer, World, query
from usernat.nat.dns.message import Query, parse_query
from usernat.nat.dns.screening import Screening
from usernat.nat.names import NameTable
from usernat.policy.decision import ALLOW, ASK, DENY, FlowRequest, Policy, Verdict
from usernat.policy.groups import AddressGroups
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

INSIDE = {"this-network", "loopback", "link-local", "private", "shared"}
GROUPS = AddressGroups()


class Listed(Policy):
    """Names that are allowed (`*`: all), denied or asked about; addresses inside that may be told; whatever else is denied."""

    def __init__(
        self,
        *allowed: str,
        denied: Iterable[str] = (),
        asks: Iterable[str] = (),
        inside: Iterable[str] = (),
        silent: bool = False,
        reads_names: bool = True,
    ) -> None:
        self.allowed = set(allowed)
        self.denied = set(denied)
        self.asks = set(asks)
        self.inside = set(map(parse_ip, inside))
        self.silent = silent
        self._reads_names = reads_names
        self.requests: list[FlowRequest] = []

    @property
    def reads_names(self) -> bool:
        return self._reads_names

    def decide(self, request: FlowRequest) -> Verdict:
        self.requests.append(request)
        return Verdict(self._action(request), "as listed", self.silent)

    def _action(self, request: FlowRequest) -> int:
        name = request.names[0]
        if self.denied & set(request.names):
            return DENY
        if request.destination and (request.host or INSIDE & set(GROUPS.of(request.destination))):
            return ALLOW if request.destination in self.inside else DENY
        if name in self.asks:
            return ASK
        return ALLOW if name in self.allowed or "*" in self.allowed else DENY


class Always(Policy):
    """One verdict."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def decide(self, request: FlowRequest) -> Verdict:
        return self._verdict


class Waiter:
    """A client, without a forwarder."""

    def __init__(self, wire: bytes) -> None:
        parsed = parse_query(wire)
        assert isinstance(parsed, Query)
        self.query = parsed
        self.guest, self.guest_port = GUEST, 4000

    @property
    def identity(self) -> object:
        return self

    def deliver(self, data: bytes, now: int) -> None: ...

    def done(self, now: int) -> None: ...


class Screened(World):
    """With a screening, its table, what it told the audit, and the questions that wait for somebody's word."""

    def __init__(self, policy: Policy, *, own: Iterable[str] = (), **changes: Any) -> None:
        self.policy = policy
        self.names = NameTable()
        self.audit: list[tuple[FlowRequest, Verdict]] = []
        self.waiting: list[tuple[FlowRequest, Callable[[bool, int], None]]] = []
        addresses = set(map(parse_ip, own))
        self.screening = Screening(
            policy_of=lambda: self.policy,
            names=self.names,
            is_own=addresses.__contains__,
            audit=lambda request, verdict: self.audit.append((request, verdict)),
            ask=lambda request, _, answered, __: self.waiting.append((request, answered)),
        )
        super().__init__(screen=self.screening, **changes)

    def found(self, address: str, guest: int = GUEST) -> tuple[str, ...]:
        return self.names.names(guest, parse_ip(address), self.now)

    def resolves(
        self,
        wire: bytes,
        *answer: str,
        rcode: int = 0,
        authority: Iterable[str] = (),
        additional: Iterable[str] = (),
    ) -> list[Answer]:
        """The guest asks, the resolver answers with these records; what the guest gets."""
        assert self.ask(wire) == []
        sock = self.host.live[-1]
        sock.gives(records(sock.question, *answer, rcode=rcode, authority=authority, additional=additional))
        return self.got


def records(
    wire: bytes, *answer: str, rcode: int = 0, authority: Iterable[str] = (), additional: Iterable[str] = ()
) -> bytes:
    """The answer to a query with records written as `name ttl type rdata`, names without their final dot, in this order."""
    message = dns.message.make_response(dns.message.from_wire(wire), recursion_available=True)
    message.set_rcode(dns.rcode.Rcode.make(rcode))
    for section, lines in (
        (message.answer, answer),
        (message.authority, authority),
        (message.additional, additional),
    ):
        for line in lines:
            owner, ttl, kind, data = line.split(maxsplit=3)
            dotted = data + "." if kind in ("CNAME", "NS", "PTR", "DNAME") else data
            section.append(dns.rrset.from_text(owner + ".", int(ttl), "IN", kind, dotted))
    return message.to_wire(max_size=65535)


def told(data: bytes) -> dns.message.Message:
    return dns.message.from_wire(data)


def texts(data: bytes) -> list[str]:
    """The answer section's rdata."""
    return [rdata.to_text() for rrset in told(data).answer for rdata in rrset]


def codes(data: bytes) -> list[int]:
    """The extended errors of a message."""
    return [int(option.code) for option in told(data).options if isinstance(option, dns.edns.EDEOption)]


def a(name: str, **more: Any) -> bytes:
    return query(name + ".", **more)
