"""The question and the answer.

Addresses are integers, ports and protocol numbers as on the wire. A verdict says why, in words for an audit, and whether the guest is told.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

ICMP = 1
TCP = 6
UDP = 17


class FlowRequest(NamedTuple):
    """A guest wants to open a flow.

    guest: its address. guest_mac: the sender's MAC address. protocol: 1 (ICMP echo), 6 (TCP) or 17 (UDP).
    destination, port: where to, as the guest sees it; port is 0 for ICMP. guest_port: where from, the identifier for ICMP.
    """

    guest: int
    guest_mac: bytes
    protocol: int
    destination: int
    port: int
    guest_port: int


class Verdict(NamedTuple):
    """The answer. allowed: the flow may be opened. reason: why, for people. silent: a denied guest is not told."""

    allowed: bool
    reason: str = ""
    silent: bool = False


ALLOWED = Verdict(True)


class Policy(Protocol):
    """Whatever decides. `decide` never raises and never blocks: the gateway's loop waits for it."""

    def decide(self, request: FlowRequest) -> Verdict:
        """Whether the flow may be opened."""
        ...
