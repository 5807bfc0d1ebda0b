"""What was decided, for whoever must be able to account for it: one record when a flow is decided, one when it ends.

The gateway keeps none of them (RFC 6888 REQ-12): a record goes to the sink that the embedder gave, or nowhere. Rules that only log are told to
Python's logging besides, as `usernat.policy`, so that they are heard without any sink.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from usernat.policy.decision import ALLOW, ASK, DENY, DNS, READ, FlowRequest, Verdict
from usernat.stack.addr import format_ip
from usernat.stack.counters import Counters
from usernat.stack.l3.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.nat.admission import Decision

log = logging.getLogger("usernat.policy")

REFUSALS_A_SECOND = 100
REFUSALS_AT_ONCE = 1000
LIMITED = Verdict(DENY, "a limit refuses it")
DECIDED = "decision"
ENDED = "end"
_WORDS = {DENY: "deny", ALLOW: "allow", ASK: "ask", READ: "read"}


class Record(NamedTuple):
    """event: DECIDED or ENDED. request: the question as the policy had it. verdict: the answer.

    up, down: payload bytes from the guest and to it, of a flow that has ended; 0 before. unrecorded: refusals before this record that were counted and
    not recorded, because there were too many.
    """

    event: str
    request: FlowRequest
    verdict: Verdict
    up: int = 0
    down: int = 0
    unrecorded: int = 0

    @property
    def word(self) -> str:
        """The verdict: allow, deny, ask or read."""
        return _WORDS[self.verdict.action]

    @property
    def name(self) -> str:
        """The name that the flow was judged by; empty where there is none, or where several share the address and none was read."""
        request = self.request
        if request.claimed is not None:
            return request.claimed
        return request.names[0] if request.protocol == DNS or len(request.names) == 1 else ""


@dataclass(slots=True)
class AuditCounters(Counters):
    """Of records."""

    recorded: int = 0
    unrecorded: int = 0  # refusals beyond the rate
    log_lines_left_out: int = 0  # the same of what rules log


class Audit:
    """Between those who decide and the sink, which must not raise or wait.

    What is allowed is always recorded: it is bounded by the limits on new flows. Refusals a guest gets as fast as it asks, so there is a rate
    for them, beyond which they are counted, and the next record says how many they were.
    """

    def __init__(self, sink: Callable[[Record], None] | None = None, now: int = 0) -> None:
        self.counters = AuditCounters()
        self.now = now  # of the step that decides, µs; kept up to date by the gateway
        self._sink = sink
        self._refusals = TokenBucket(REFUSALS_A_SECOND, REFUSALS_AT_ONCE, now)
        self._lines = TokenBucket(REFUSALS_A_SECOND, REFUSALS_AT_ONCE, now)
        self._unrecorded = 0

    def decided(self, request: FlowRequest, verdict: Verdict) -> None:
        """A decision has been made, for good: READ and ASK are told once their outcome is known."""
        for rule in verdict.logged:
            if self._lines.take(self.now):
                log.info("%s -> %s: %s", format_ip(request.guest), _whereto(request), rule)
            else:
                self.counters.log_lines_left_out += 1
        if self._sink is None:
            return
        if verdict.action != ALLOW and not self._refusals.take(self.now):
            self._unrecorded += 1
            self.counters.unrecorded += 1
            return
        self._record(Record(DECIDED, request, verdict, unrecorded=self._unrecorded))

    def opened(self, decision: Decision) -> None:
        """The policy and the limits have let it."""
        if decision.request is not None and decision.verdict is not None:
            self.decided(decision.request, decision.verdict)

    def limited(self, decision: Decision) -> None:
        """What the policy has allowed, a limit refuses."""
        if decision.request is not None:
            self.decided(decision.request, LIMITED)

    def undecided(self, decision: Decision) -> None:
        """The flow was over before it was decided."""
        if decision.request is not None:
            self.decided(decision.request, Verdict(DENY, "it was over before it was decided"))

    def ended(self, decision: Decision, up: int, down: int) -> None:
        """An allowed flow is over."""
        if self._sink is not None and decision.request is not None and decision.verdict is not None:
            self._record(Record(ENDED, decision.request, decision.verdict, up, down, self._unrecorded))

    def _record(self, record: Record) -> None:
        assert self._sink is not None
        self.counters.recorded += 1
        self._unrecorded = 0
        self._sink(record)


def _whereto(request: FlowRequest) -> str:
    name = request.claimed or ", ".join(request.names)
    if request.protocol == DNS:
        return name
    return f"{name + ' ' if name else ''}{format_ip(request.destination)}:{request.port}"
