"""The question and the answer.

Three kinds of question come through one door, so that there is one place where "no" is said:

    a flow       protocol ICMP, TCP or UDP, with its destination
    a query      protocol DNS, no destination: may the guest ask for this name?
    an answer    protocol DNS with a destination: may the guest be told that the name lives there?

Addresses are integers, ports and protocol numbers as on the wire. A verdict says why, in words for an audit, and whether the guest is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from usernat.policy.limits import UNLIMITED, GuestLimits

ICMP = 1
TCP = 6
UDP = 17
DNS = 256  # no protocol number of IP: a question to the gateway's own resolver

TLS_PORT = 443  # where the ClientHello names whom the guest wants
HTTP_PORT = 80  # where the Host header does

# What a verdict asks for
DENY = 0
ALLOW = 1
ASK = 2  # whoever runs the gateway decides (`Verdict.reason` says by which rule)
READ = 3  # the guest's first bytes decide: read the name that they claim, then ask again with `claimed`

UNREADABLE = ""  # `claimed`, where the first bytes name nobody, hide it (ECH) or cannot be read
MALFORMED = "?"  # in `names`, for a name on the wire that is no host name


class FlowRequest(NamedTuple):
    """What a guest wants.

    guest: its address. guest_mac: the sender's MAC address, b"" where it is not known. protocol: ICMP (echo), TCP, UDP or DNS.
    destination: the address that the flow leads to, so 127.0.0.1 for the gateway's where that stands for the host; 0 for a query.
    port: 0 for ICMP, 53 for DNS. guest_port: where from, the identifier for ICMP.
    names: those under which this guest has found the destination, lower case without a final dot; for DNS the name asked for, and for an
    answer behind it the names that its CNAME records lead over. host: the destination is an address of the host.
    opened: a switch of the gateway's configuration names the destination (`host_loopback`).
    claimed: the name in the guest's first bytes; None before they were read, UNREADABLE where they have none.
    """

    guest: int
    guest_mac: bytes
    protocol: int
    destination: int
    port: int
    guest_port: int
    names: tuple[str, ...] = ()
    host: bool = False
    opened: bool = False
    claimed: str | None = None


class Verdict(NamedTuple):
    """The answer. action: DENY, ALLOW, ASK or READ. reason: which rule, for people. silent: a denied guest is not told. logged: the rules
    that only log, and match.
    """

    action: int
    reason: str = ""
    silent: bool = False
    logged: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether it is a plain yes."""
        return self.action == ALLOW


ALLOWED = Verdict(ALLOW)
DENIED = Verdict(DENY)


class Policy(ABC):
    """Whatever decides."""

    limits: GuestLimits = UNLIMITED

    @abstractmethod
    def decide(self, request: FlowRequest) -> Verdict:
        """Whether the guest may. Never raises and never blocks: the gateway's loop waits for it. READ only for TCP to port 80 or 443 that is not `claimed` yet."""

    @property
    def reads_names(self) -> bool:
        """Whether any answer depends on a name: then nothing that leads around names may pass. False only where a policy knows better."""
        return True

    @property
    def heeds_host(self) -> bool:
        """Whether any answer depends on `FlowRequest.host`, which costs system calls to find out. False only where a policy knows better."""
        return True
