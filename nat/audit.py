"""What was decided, for whoever must be able to account for it: one record when a flow is decided, one when it ends.

The gateway keeps none of them (RFC 6888 REQ-12): a record goes to the sink that the embedder gave, or nowhere. Rules that only log are told to
Python's logging besides, as `usernat.policy`, so that they are heard without any sink.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from usernat.policy.decision import ALLOW, ASK, DENY, DNS, READ, FlowRequest, Verdict
from usernat.stack.addr import format_ip

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.nat.admission import Decision

log = logging.getLogger("usernat.policy")

DECIDED = "decision"
ENDED = "end"
_WORDS = {DENY: "deny", ALLOW: "allow", ASK: "ask", READ: "read"}


class Record(NamedTuple):
    """event: DECIDED or ENDED. request: the question as the policy had it. verdict: the answer.

    up, down: payload bytes from the guest and to it, of a flow that has ended; 0 before.
    """

    event: str
    request: FlowRequest
    verdict: Verdict
    up: int = 0
    down: int = 0

    @property
    def word(self) -> str:
        """The verdict: allow, deny, ask or read."""
        return _WORDS[self.verdict.action]

    @property
    def name(self) -> str:
        """The name that the flow was judged by; empty where there is none, or where several share the address and none was read."""
        request = self.request
        if request.claimed:
            return request.claimed
        return request.names[0] if request.protocol == DNS or len(request.names) == 1 else ""


class Audit:
    """Between those who decide and the sink, which must not raise or wait."""

    __slots__ = ("_sink",)

    def __init__(self, sink: Callable[[Record], None] | None = None) -> None:
        self._sink = sink

    def decided(self, request: FlowRequest, verdict: Verdict) -> None:
        """A decision has been made, for good: READ and ASK are told once their outcome is known."""
        for rule in verdict.logged:
            log.info("%s -> %s: %s", format_ip(request.guest), _whereto(request), rule)
        if self._sink is not None:
            self._sink(Record(DECIDED, request, verdict))

    def ended(self, decision: Decision, up: int, down: int) -> None:
        """An allowed flow is over."""
        if self._sink is not None and decision.request is not None and decision.verdict is not None:
            self._sink(Record(ENDED, decision.request, decision.verdict, up, down))


def _whereto(request: FlowRequest) -> str:
    name = request.claimed or ", ".join(request.names)
    if request.protocol == DNS:
        return name
    return f"{name + ' ' if name else ''}{format_ip(request.destination)}:{request.port}"
