"""The built-in policies: everything, and nothing."""

from __future__ import annotations

from typing import Self

from usernat.policy.decision import FlowRequest, Verdict


class NetworkPolicy:
    """One answer to every question."""

    __slots__ = ("_verdict",)

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    @classmethod
    def allow_all(cls) -> Self:
        """The guest may reach whatever the host can."""
        return cls(Verdict(True, "open policy"))

    @classmethod
    def deny_all(cls, *, silent: bool = False) -> Self:
        """The guest reaches nothing but the gateway. silent: it is not told, and has to time out."""
        return cls(Verdict(False, "closed policy", silent))

    def decide(self, request: FlowRequest) -> Verdict:  # noqa: ARG002 - one answer to every question
        """The one answer."""
        return self._verdict
