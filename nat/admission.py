"""May this flow be opened, and where does it lead? Asked once per flow, before the host is touched.

The destination decides first. The gateway's own addresses serve what their sockets serve and are closed otherwise, except that
the gateway's address stands for the host's loopback where that is switched on or a rule of the policy names it; it is the only way there
(whatever the policy says, a guest's 127/8 goes nowhere). Other addresses of the guest's network belong to nobody. Everything else is a question
for the policy, which can switch translation off for any destination and port (RFC 6888 REQ-6), with an answer or without (RFC 1812
§5.2.7.1-b, RFC 5508 REQ-9). A resolver or an authoritative server beyond the gateway is a destination like all others, over UDP and TCP (RFC
5625 §3-b, RFC 9210 §3-d).

    ask ──> ADMITTED, CLOSED, DENIED, SILENT, NOBODY      decided
        ──> READ   the guest's first bytes ──> judge ──> decided, or
        ──> ASK    somebody is asked       ──> told  ──> decided
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.policy import decision as policy_words
from usernat.policy.decision import ALLOW, DENY, UNREADABLE, FlowRequest, Verdict
from usernat.stack.addr import is_loopback, is_unicast
from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.nat.audit import Audit
    from usernat.nat.config import GatewayConfig
    from usernat.policy.decision import Policy
    from usernat.stack.l3.packet import Packet

LOOPBACK = 0x7F000001

# Outcomes
ADMITTED = 0
CLOSED = 1  # an address of the gateway at which nothing listens
DENIED = 2  # the policy says no
SILENT = 3  # no, and no answer is due
NOBODY = 4  # no host has this address
READ = 5  # the guest's first bytes have to be read
ASK = 6  # somebody has to be asked


class Decision:
    """What became of one question.

    outcome: see above. address: the host's, where the flow leads. request, verdict: as the policy had and gave them, None where it was not asked.
    """

    __slots__ = ("address", "outcome", "request", "verdict")

    def __init__(
        self,
        outcome: int,
        address: int = 0,
        request: FlowRequest | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        self.outcome = outcome
        self.address = address
        self.request = request
        self.verdict = verdict


_CLOSED, _SILENT, _NOBODY = Decision(CLOSED), Decision(SILENT), Decision(NOBODY)


@dataclass(slots=True)
class AdmissionCounters(Counters):
    """Questions by their outcome."""

    allowed: int = 0
    denied: int = 0
    denied_silently: int = 0
    read: int = 0  # for which the guest's first bytes were wanted
    asked: int = 0  # for which somebody was asked
    closed: int = 0  # to an address of the gateway at which nothing listens
    nobody: int = 0  # to an address of the guest's network that is not the gateway's
    bad_destination: int = 0  # broadcast, multicast, 0/8, 127/8, class E: never forwarded
    bad_source: int = 0  # not an address that a guest of this network may bear


class Admission:
    """Answers for one gateway. policy: may be replaced at any time, and decides what is new from then on."""

    def __init__(
        self,
        config: GatewayConfig,
        policy: Policy,
        audit: Audit,
        names: Callable[[int, int, int], tuple[str, ...]],
        is_own: Callable[[int], bool],
    ) -> None:
        """names(guest, address, now): under which names the guest has found the address. is_own(address): whether the host has it."""
        self.counters = AdmissionCounters()
        self.policy = policy
        self._audit = audit
        self._config = config
        self._names = names
        self._is_own = is_own
        self._loopback = config.host_loopback  # whether a guest may see that there is one

    def host_address(self, destination: int) -> int:
        """The host's address for what the guest calls `destination`."""
        return LOOPBACK if destination == self._config.gateway else destination

    def guest_address(self, address: int) -> int | None:
        """What the guest calls the host's `address`; None for one it may not see (C56: never 127/8).

        The host may have neighbours whose addresses lie in the guest's network: they must not pass for its gateway or nameserver.
        """
        if not is_loopback(address):
            return None if self._config.on_link(address) else address
        return self._config.gateway if address == LOOPBACK and self._loopback else None

    def ask(self, packet: Packet, port: int, guest_port: int, now: int) -> Decision:
        """Whether the flow of `packet` may be opened."""
        counters = self.counters
        destination = packet.dst
        if packet.broadcast or not is_unicast(destination) or is_loopback(destination):
            counters.bad_destination += 1
            return _SILENT  # RFC 1812 §5.3.7-b
        if not self._config.is_guest(packet.src):
            counters.bad_source += 1
            return _SILENT  # RFC 1812 §5.3.7-a, §5.3.8-a
        to_gateway = destination == self._config.gateway
        if self._config.on_link(destination) and not to_gateway:
            return self._own_network(destination)
        address = self.host_address(destination)
        return self._judge(
            FlowRequest(
                packet.src,
                packet.link_source,
                packet.proto,
                address,
                port,
                guest_port,
                names=self._names(packet.src, address, now),
                host=not to_gateway and self.policy.heeds_host and self._is_own(address),
                opened=to_gateway and self._config.host_loopback,
            )
        )

    def judge(self, decision: Decision, claimed: str) -> Decision:
        """Decides what was READ: the guest's first bytes claim that name, or are UNREADABLE."""
        assert decision.request is not None
        return self._judge(decision.request._replace(claimed=claimed))

    def told(self, decision: Decision, allowed: bool) -> Decision:
        """Decides what was ASKed. The policy that counts now may not even ask any more: then it decides."""
        assert decision.request is not None
        verdict = self.policy.decide(decision.request)
        if verdict.action == policy_words.ASK:
            verdict = verdict._replace(action=ALLOW if allowed else DENY)
        return self._settled(decision.request, verdict)

    def _judge(self, request: FlowRequest) -> Decision:
        verdict = self.policy.decide(request)
        if verdict.action == policy_words.READ and request.claimed is None:
            self.counters.read += 1
            return Decision(READ, request.destination, request, verdict)
        if verdict.action == policy_words.ASK:
            self.counters.asked += 1
            return Decision(ASK, request.destination, request, verdict)
        return self._settled(request, verdict)

    def _settled(self, request: FlowRequest, verdict: Verdict) -> Decision:
        if verdict.action == ALLOW:  # recorded once the limits have let it too
            self.counters.allowed += 1
            self._loopback = self._loopback or request.destination == LOOPBACK
            return Decision(ADMITTED, request.destination, request, verdict)
        if request.claimed == UNREADABLE:
            verdict = verdict._replace(reason=f"{verdict.reason} (the guest's first bytes name nobody)")
        self._audit.decided(request, verdict)
        if request.destination == LOOPBACK and not request.opened:
            self.counters.closed += 1  # as if nothing listened there: nobody has opened it
            outcome = CLOSED
        elif verdict.silent:
            self.counters.denied_silently += 1
            outcome = SILENT
        else:
            self.counters.denied += 1
            outcome = DENIED
        return Decision(outcome, request.destination, request, verdict)

    def _own_network(self, destination: int) -> Decision:
        if destination == self._config.dns:
            self.counters.closed += 1
            return _CLOSED
        self.counters.nobody += 1
        return _NOBODY
