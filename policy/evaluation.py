"""The decision: which rule comes first, and what bars it.

A walk goes through the rules in order and stops at the first that is true; where none is, at the default. Three things make it longer.

**Floors.** Loopback, link-local and their like are reached only where a rule or a switch names them: a rule that allows, or a default, does not
count there otherwise. And a rule with a domain in it does not count for addresses of this side (`groups.INSIDE`, the host's own) unless it
names the address too, so a name that is made to lead to 192.168.1.1 opens nothing (DNS rebinding).

**Names.** An address may have been found under several names, and which one the guest means does not show. On most ports each is judged alone,
as if the flow were for it, and one that allows is enough: so names that share an address neither grant nor revoke for each other.
Where the guest's first bytes name the host (TLS, HTTP), rules that inspect go by this name. Before it was read, the walk collects every
action that could yet come true; if they are all the same, there is nothing to read.

**What cannot be read.** A name that the guest hides makes rules that allow by name false and rules that deny by name true.

The walk over all rules (`Scan`) is the definition. An index only leaves out rules that are false anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from usernat.policy.book import LOG
from usernat.policy.decision import (
    ALLOW,
    ASK,
    DENY,
    DNS,
    HTTP_PORT,
    ICMP,
    MALFORMED,
    READ,
    TCP,
    TLS_PORT,
    UDP,
    UNREADABLE,
    FlowRequest,
    Verdict,
)
from usernat.policy.ground import NOWHERE, Ground
from usernat.policy.matchers import MAX_ADDRESS, MAX_PORT, Visitor
from usernat.policy.names import normalise
from usernat.policy.views import NAMED, TRUE, UNKNOWN, AnswerView, FlowView, QueryCloses, QueryOpens, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.policy.book import Book, Entry
    from usernat.policy.rules import Rule

_PREFERENCE = (0, 3, 1, 2)  # of DENY, ALLOW, ASK, READ, where one of several names is enough
_NOBODY = ("",)  # the name of an address that was found under none: no pattern has it
_OPENS = (ALLOW, ASK)


class Source(Protocol):
    """Where the walk takes its rules from: all, or in the same order at least those that are not false for such a request."""

    def named(self, address: int, port: int, names: tuple[str, ...]) -> Sequence[Entry]:
        """For a flow, every name that counts being among `names`."""

    def blind(self, address: int, port: int, names: tuple[str, ...]) -> Sequence[Entry]:
        """For a flow whose name was not or cannot be read, so rules that deny by name may be true whatever their name is."""

    def query(self, names: tuple[str, ...]) -> Sequence[Entry]:
        """For a query."""

    def answer(self, address: int, names: tuple[str, ...]) -> Sequence[Entry]:
        """For an answer."""


class Scan:
    """All rules, always."""

    def __init__(self, book: Book) -> None:
        self._entries = book.entries

    def named(self, address: int, port: int, names: tuple[str, ...]) -> Sequence[Entry]:  # noqa: ARG002
        """All."""
        return self._entries

    blind = named

    def query(self, names: tuple[str, ...]) -> Sequence[Entry]:  # noqa: ARG002
        """All."""
        return self._entries

    def answer(self, address: int, names: tuple[str, ...]) -> Sequence[Entry]:  # noqa: ARG002
        """All."""
        return self._entries


class Step(NamedTuple):
    """What one rule said, in words."""

    number: int
    rule: Rule
    outcome: str


class Explanation(NamedTuple):
    """A verdict, and what each rule up to it said; no rule was asked where the request itself is refused."""

    verdict: Verdict
    trail: tuple[Step, ...]


Views = tuple[Visitor[int], Visitor[int], Visitor[int], Visitor[int]]  # of rules that deny, allow, ask, log


class Question(NamedTuple):
    """least: the value from which a rule counts."""

    views: Views
    ground: Ground
    least: int = UNKNOWN


def judge(request: FlowRequest, book: Book, source: Source, trail: list[Step] | None = None) -> Verdict:
    """The verdict. What the rules said goes to `trail`."""
    if not 0 <= request.destination <= MAX_ADDRESS:
        return _no("the destination is no IPv4 address", book)
    if request.protocol == DNS:
        return _judge_question(request, book, source, trail)
    if request.protocol in {TCP, UDP}:
        if not 0 < request.port <= MAX_PORT:
            return _no("there is no such port", book)
    elif request.protocol != ICMP:
        return _no("there are no flows of this protocol", book)
    return _judge_flow(request, book, source, trail)


def explain(request: FlowRequest, book: Book, source: Source) -> Explanation:
    """The verdict and how it came about."""
    trail: list[Step] = []
    verdict = judge(request, book, source, trail)
    return Explanation(verdict, tuple(trail))


# ---- flows


def _judge_flow(request: FlowRequest, book: Book, source: Source, trail: list[Step] | None) -> Verdict:
    names = _normal(request.names) if book.has_domains else ()
    inspectable, claimed = _first_bytes(request)
    if inspectable and not claimed:
        entries = source.blind(request.destination, request.port, names)
    else:
        entries = source.named(request.destination, request.port, (*names, claimed) if claimed else names)
    looks = any(entry.looks for entry in entries)
    trusts = any(entry.trusts for entry in entries)
    if inspectable:
        judged_alone, readings = trusts, _readings(names, claimed)
    else:
        judged_alone, readings = looks or trusts, None
    ground = Ground.of(request)
    best: Verdict | None = None
    for name in (names if judged_alone else ()) or _NOBODY:
        views = _flow_views(request, book, Reading((name,)), readings if looks else None)
        steps: list[Step] = []
        verdict = _walk(entries, Question(views, ground), book, None if trail is None else steps)
        if best is None or _PREFERENCE[verdict.action] > _PREFERENCE[best.action]:
            best = verdict
            if trail is not None:
                trail[:] = steps
    assert best is not None
    return best


def _first_bytes(request: FlowRequest) -> tuple[bool, str | None]:
    """Whether rules that inspect go by the guest's first bytes, and the name in them: None where they were not read, UNREADABLE."""
    if request.protocol == TCP and request.port in {TLS_PORT, HTTP_PORT}:
        return True, request.claimed and (normalise(request.claimed) or UNREADABLE)
    # QUIC hides its ClientHello from whoever does not follow the whole handshake
    quic = request.protocol == UDP and request.port == TLS_PORT
    return quic, UNREADABLE if quic else None


def _readings(names: tuple[str, ...], claimed: str | None) -> tuple[Reading, Reading, Reading]:
    """How rules that deny, allow (or ask) and log read their inspected leaves. A name that the guest claims opens what it was found under."""
    if claimed is None:
        return Reading((), miss=UNKNOWN), Reading(names, hit=UNKNOWN), Reading(names)
    if claimed == UNREADABLE:
        return Reading((), miss=TRUE), Reading(()), Reading(names)
    said = Reading((claimed,))
    return said, said if claimed in names else Reading(()), said


def _flow_views(
    request: FlowRequest, book: Book, plain: Reading, inspected: tuple[Reading, Reading, Reading] | None
) -> Views:
    def view(reading: Reading) -> FlowView:
        _, _, protocol, address, port, *_ = request
        return FlowView(book.groups, address, port, protocol, reading, plain, host=request.host)

    if inspected is None:
        one = view(plain)
        return one, one, one, one
    closes, opens, logs = map(view, inspected)
    return closes, opens, opens, logs


# ---- queries and answers


def _judge_question(request: FlowRequest, book: Book, source: Source, trail: list[Step] | None) -> Verdict:
    if not request.names:
        return _no("a question without a name", book)
    names = tuple(normalise(name) or MALFORMED for name in request.names)
    if MALFORMED in names and book.has_domains:
        return _no("a malformed name, where rules go by names", book)
    ground = Ground.of(request)
    if request.destination and (ground.inside or ground.guarded):
        entries = source.answer(request.destination, names)
        question = Question(_answer_views(request, book, names), ground)
    else:
        entries = source.query(names)
        question = Question(_query_views(names), NOWHERE, least=TRUE)
    verdict = _walk(entries, question, book, trail)
    # Whoever runs the gateway was asked about the query, and will be about the flow
    return verdict._replace(action=ALLOW) if request.destination and verdict.action == ASK else verdict


def _query_views(names: tuple[str, ...]) -> Views:
    opens = QueryOpens(Reading(names[:1], hit=NAMED))
    return QueryCloses(Reading(names)), opens, opens, opens


def _answer_views(request: FlowRequest, book: Book, names: tuple[str, ...]) -> Views:
    address, host = request.destination, request.host
    closes = AnswerView(book.groups, address, Reading(names), host=host, closes=True)
    opens = AnswerView(book.groups, address, Reading(names[:1]), host=host, closes=False)
    return closes, opens, opens, opens


# ---- the walk


def _walk(entries: Sequence[Entry], question: Question, book: Book, trail: list[Step] | None) -> Verdict:
    views, ground, least = question
    possible = 0  # a bit an action that may come true
    logged: list[str] = []
    barred = ""
    decider: Entry | None = None
    for entry in entries:
        code = entry.code
        value = entry.matcher.fold(views[code])
        bar = ""
        if value >= least and code in _OPENS:
            value = ground.left(entry, book.groups, views[code], value)
            bar = "" if value >= least else ground.why(entry)
        counts = value >= least
        if trail is not None:
            trail.append(Step(entry.number, entry.rule, bar or _words(value, least)))
        if bar:
            barred = barred or bar
        elif counts and code == LOG:
            logged.append(str(entry))
        elif counts:
            possible |= 1 << code
            if value >= TRUE:
                decider = entry
                break
    if decider is None:
        code, reason = _default(ground, book, barred)
        possible |= 1 << code
    else:
        reason = str(decider)
    if possible & (possible - 1):
        return Verdict(READ, "the name in the guest's first bytes decides")
    return Verdict(code, reason, code == DENY and book.silent, tuple(logged))


def _default(ground: Ground, book: Book, barred: str) -> tuple[int, str]:
    if book.default == ALLOW and not ground.guarded:
        return ALLOW, "default: allow"
    return DENY, barred or ground.words if book.default == ALLOW or barred else "default: deny"


def _words(value: int, least: int) -> str:
    if value >= TRUE:
        return "matches"
    if value == UNKNOWN:
        return "depends on the name in the guest's first bytes" if least == UNKNOWN else "needs no name"
    return "does not match"


def _normal(names: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, without those that are no host names."""
    return tuple(dict.fromkeys(filter(None, map(normalise, names))))


def _no(reason: str, book: Book) -> Verdict:
    return Verdict(DENY, reason, book.silent)
