"""What a guest may ask the gateway's resolver, and what it may be told: DNS as the policy sees it.

    query ──> policy: may the guest ask for this name? ──> forward
                │ no: NXDOMAIN, or silence                 ask: whoever runs the gateway says so, the client waits
    answer ──> policy: may the guest be told of this chain of names? of each address?
                │ no: NXDOMAIN            │ no: without the record
                └──> NameTable: this guest has found that name at these addresses

Nothing of a refused query leaves the host, so that names carry no data out (C35). An address inside (the host's own, private, loopback, link-local,
0/8) passes only where the policy would let the guest go there under that name, so that no name is rebound to it (C29). Which name leads where is
learnt from the question's own chain of CNAME records only (C30), and bound to the name that was asked for (C31): that is what rules speak of.

Only A records matter: the guests' network is IPv4 alone, so no flow could lead to what an AAAA record says, ::ffff:127.0.0.1 or not. Where the
policy reads names, two kinds of question are not transparent (RFC 5625 §4.3). SVCB and HTTPS records are withheld: with the ECH keys in them (RFC
9848) a guest would hide from us the name that it asks of the server, and be refused; without them, browsers just say it. Zone transfers are refused,
for they name much that nobody asked for. And what goes upstream is written anew, so that it carries nothing but the name that was judged (`clean.py`). Under other policies a transfer passes as it is, and binds nothing: no stub resolver takes addresses from one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from usernat.nat.audit import LIMITED
from usernat.nat.dns.answer import Answer, read_answer
from usernat.nat.dns.clean import can_be_clean
from usernat.nat.dns.message import (
    HTTPS,
    NOERROR,
    NXDOMAIN,
    RCODE,
    REFUSED,
    SERVFAIL,
    SVCB,
    TC,
    blocked_reply,
    error_reply,
    truncated_reply,
)
from usernat.nat.dns.records import labels_of
from usernat.nat.dns.resolvers import DNS_PORT
from usernat.nat.dns.rewriting import without
from usernat.nat.dns.screen import FORWARD, FORWARD_CLEAN, SILENCE
from usernat.policy.decision import ALLOW, ASK, DENY, DNS, MALFORMED, FlowRequest, Verdict
from usernat.policy.names import normalise
from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.nat.dns.exchange import Client
    from usernat.nat.dns.message import Query
    from usernat.nat.names import NameTable
    from usernat.policy.decision import Policy

MAX_JUDGED = (
    256  # addresses times the names that lead to them: some 10 ms, and far more than honest answers have
)
KNOWN_NAMES = 1024  # spelled for the query, they are not spelled again for the answer
SIGNED = "signed queries are refused where rules read names"
TRANSFERS = "zone transfers are refused where rules read names"
# RFC 1122 §3.2.1.3: never a destination; and to a policy, no destination is what makes a query
UNSPECIFIED = Verdict(DENY, "0.0.0.0 is nobody's address")


@dataclass(slots=True)
class ScreeningCounters(Counters):
    """Queries and answers by their outcome, and what was withheld."""

    forwarded: int = 0
    refused: int = 0
    refused_silently: int = 0
    asked: int = 0  # somebody was asked; counted again once that one has answered
    no_services: int = 0  # SVCB and HTTPS queries answered with nothing
    answers: int = 0
    unreadable: int = 0  # or too much to be judged
    chain_refused: int = 0  # the CNAME records lead over a name that is denied
    addresses_withheld: int = 0
    services_withheld: int = 0  # answers with SVCB or HTTPS records
    rewritten: int = 0
    not_rewritten: int = 0  # SERVFAIL: signed as a whole, or not what the types of its records say


class Screening:
    """The `Screen` of one gateway. It keeps nothing: names are in the table, clients that wait for somebody's word are with `ask`."""

    def __init__(
        self,
        policy_of: Callable[[], Policy],
        names: NameTable,
        is_own: Callable[[int], bool],
        audit: Callable[[FlowRequest, Verdict], None],
        ask: Callable[[FlowRequest, Verdict, Callable[[bool, int], None], int], None],
        used_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """policy_of: the policy that counts now. is_own: whether the host has an address. audit: told of queries that are decided, and of what
        answers are refused. ask(request, verdict, answered, now): has somebody decide, bounded; answered(allowed, now) comes at once or later.
        used_up: whether the guest's bytes for good are gone, and with them its queries: a name can carry bytes too.
        """
        self.counters = ScreeningCounters()
        self._policy_of = policy_of
        self._names = names
        self._is_own = is_own
        self._audit = audit
        self._ask = ask
        self._used_up = used_up

    # -- queries ------------------------------------------------------------------------------------------------------

    def query(self, client: Client, decided: Callable[[int, int], None], now: int) -> None:
        """See `Screen`."""
        policy = self._policy_of()
        request = _request(client, (spelled(client.query.name),))
        verdict = LIMITED if self._used_up() else _judged(policy, request, client.query)
        if verdict.action != ASK or _is_empty(policy, client.query):
            decided(self._settled(policy, client.query, request, verdict), now)
            return

        def answered(allowed: bool, now: int) -> None:
            current = self._policy_of()
            told = verdict
            if allowed and current is not policy:
                # C34: what is new goes by the new rules, and this is not decided yet. Where they ask as well, it has been answered
                told = _judged(current, request, client.query)
            if told.action == ASK or not allowed:
                told = told._replace(action=ALLOW if allowed else DENY)
            decided(self._settled(current, client.query, request, told), now)

        self.counters.asked += 1
        self._ask(request, verdict, answered, now)

    def _settled(self, policy: Policy, query: Query, request: FlowRequest, verdict: Verdict) -> int:
        if _is_empty(policy, query) and _passes(verdict):
            self.counters.no_services += 1
            if verdict.allowed:
                self._audit(request, verdict)
            return NOERROR
        self._audit(request, verdict)
        if verdict.allowed:
            self.counters.forwarded += 1
            return FORWARD_CLEAN if policy.reads_names else FORWARD
        if verdict.silent:
            self.counters.refused_silently += 1
            return SILENCE
        self.counters.refused += 1
        return REFUSED if verdict.reason is SIGNED else NXDOMAIN

    # -- answers ------------------------------------------------------------------------------------------------------

    def answer(self, client: Client, data: bytes, now: int) -> bytes | None:
        """See `Screen`."""
        policy = self._policy_of()
        query = client.query
        if query.is_transfer and not policy.reads_names:
            return data
        self.counters.answers += 1
        answer = read_answer(data)
        steps = None if answer is None else answer.chain(query.name)
        if answer is None or steps is None or len(steps) * len(answer.addresses) > MAX_JUDGED:
            self.counters.unreadable += 1
            return _unreadable(client, data)
        request = _request(client, tuple(map(spelled, steps)))
        if len(steps) > 1:
            verdict = policy.decide(request)
            if not _passes(verdict):
                self._audit(request, verdict)
                self.counters.chain_refused += 1
                return None if verdict.silent else blocked_reply(query)
        kept = self._kept(policy, client, request.names, answer)
        if _rcode(data) == NOERROR and request.names[0] != MALFORMED:
            for record in answer.records:
                if record.owner in steps and record.address in kept:
                    ttl = min(record.ttl, steps[record.owner])
                    self._names.bind(client.guest, record.address, request.names[0], ttl, now)
        return self._told(client, data, answer, kept, services=not policy.reads_names)

    def _kept(self, policy: Policy, client: Client, names: tuple[str, ...], answer: Answer) -> set[int]:
        """The addresses that the guest may be told of. Each is judged under the names asked for, wherever in the message it stands."""
        kept = set()
        for address in answer.addresses:
            host = policy.heeds_host and self._is_own(address)
            about = _request(client, names, address, host=host)
            verdict = policy.decide(about) if address else UNSPECIFIED
            if _passes(verdict):
                kept.add(address)
            else:
                self._audit(about, verdict)
                self.counters.addresses_withheld += 1
        return kept

    def _told(
        self, client: Client, data: bytes, answer: Answer, kept: set[int], *, services: bool
    ) -> bytes | None:
        withheld = answer.has_services and not services
        self.counters.services_withheld += withheld
        if not withheld and len(kept) == len(answer.addresses):
            return data
        told = without(data, kept, services=services)
        if told is None:
            self.counters.not_rewritten += 1
            return error_reply(client.query, SERVFAIL)
        self.counters.rewritten += 1
        return told


def _judged(policy: Policy, request: FlowRequest, query: Query) -> Verdict:
    """What the policy says of a query, and what its reading of names makes of that."""
    verdict = policy.decide(request)
    if policy.reads_names and _passes(verdict):
        if query.is_transfer:
            return Verdict(DENY, TRANSFERS, logged=verdict.logged)
        if not can_be_clean(query):
            return Verdict(DENY, SIGNED, logged=verdict.logged)
    return verdict


def _is_empty(policy: Policy, query: Query) -> bool:
    """Whether the answer is nothing, so that nobody needs to be asked."""
    return policy.reads_names and query.qtype in (HTTPS, SVCB)


@lru_cache(maxsize=KNOWN_NAMES)
def spelled(name: bytes) -> str:
    """A name, in the form of `name_at`, as policies know it; MALFORMED for what is no host name, so also where a label has a dot inside (C42)."""
    labels = labels_of(name)
    if b"." in name and any(b"." in label for label in labels):  # a length of 46 is a dot as well
        return MALFORMED
    return normalise(b".".join(labels).decode("latin-1")) or MALFORMED


def _passes(verdict: Verdict) -> bool:
    """Of an answer, ASK is a yes: somebody has allowed the question, and will be asked about the flow."""
    return verdict.action in (ALLOW, ASK)


def _request(client: Client, names: tuple[str, ...], address: int = 0, *, host: bool = False) -> FlowRequest:
    return FlowRequest(client.guest, b"", DNS, address, DNS_PORT, client.guest_port, names, host)


def _rcode(data: bytes) -> int:
    return data[3] & RCODE


def _unreadable(client: Client, data: bytes) -> bytes:
    """Fails closed whatever the policy: what cannot be read cannot be screened. Only one that was cut, as TC says, has a better one behind it, over TCP."""
    if int.from_bytes(data[2:4], "big") & TC:
        return truncated_reply(client.query, data)
    return error_reply(client.query, SERVFAIL)
