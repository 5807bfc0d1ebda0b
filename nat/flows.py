"""Every flow that lives, whose it is, when it is over, and how many there may be.

A flow is one TCP connection, one UDP mapping (a guest endpoint) or one echo binding. The table asks three things before it lets a
new one in: is there room in all, may this guest have one more of the kind, does it open them too fast; and then the guest's quota. A refusal is counted
by its reason and changes nothing for the flows that live (RFC 6888 REQ-11).

The table's deadlines belong to the flows: each sets its own as it goes, and `expire` tells those whose time has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from usernat.policy.decision import ICMP, TCP, UDP
from usernat.stack.counters import Counters
from usernat.stack.deadlines import Deadlines
from usernat.stack.l3.token_bucket import TokenBucket

if TYPE_CHECKING:
    from usernat.nat.config import Limits
    from usernat.nat.quota import Quota

_GUESTS_KEPT = 1024  # guests without flows whose rate is remembered


class FlowInfo(NamedTuple):
    """One flow, as the management view shows it (RFC 6888 REQ-10).

    protocol: 1 (echo), 6 or 17. guest, guest_port: the guest's endpoint (port: the identifier for echo). destination, port: of TCP;
    0 for the others, which have many. state: in words. started_us: when. expires_us: when silence ends it, None for never.
    inbound: it came from outside through a forward, and destination and port are those of the client.
    """

    protocol: int
    guest: int
    guest_port: int
    destination: int
    port: int
    state: str
    started_us: int
    expires_us: int | None
    inbound: bool = False


class Flow(Protocol):
    """What the table needs of a flow. Flows are told apart by identity."""

    @property
    def protocol(self) -> int:
        """1 (echo), 6 or 17."""
        ...

    @property
    def guest(self) -> int:
        """The guest's address."""
        ...

    def info(self, expires_us: int | None) -> FlowInfo:
        """A snapshot."""
        ...

    def on_expiry(self, now: int) -> None:
        """The deadline has come: end, or set another."""
        ...

    def abandon(self) -> None:
        """End at once, without ceremony: the gateway closes."""
        ...


@dataclass(slots=True)
class FlowCounters(Counters):
    """Of the table."""

    opened_tcp: int = 0
    opened_udp: int = 0
    opened_echo: int = 0
    expired: int = 0  # deadlines that came
    refused_total: int = 0  # the gateway's cap
    refused_tcp: int = 0  # the guest's caps
    refused_udp: int = 0
    refused_echo: int = 0
    refused_rate: int = 0  # the guest opened flows too fast


class _Guest:
    """What one guest address has open."""

    __slots__ = ("bucket", "open")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.open = {TCP: 0, UDP: 0, ICMP: 0}


_REFUSED = {TCP: "refused_tcp", UDP: "refused_udp", ICMP: "refused_echo"}


class FlowTable:
    """The flows of one gateway."""

    def __init__(self, limits: Limits, quota: Quota) -> None:
        self.counters = FlowCounters()
        self.deadlines: Deadlines[Flow] = Deadlines()
        self._limits = limits
        self._quota = quota
        self._caps = {TCP: limits.tcp, UDP: limits.udp, ICMP: limits.echo}
        self._flows: dict[Flow, None] = {}
        self._guests: dict[int, _Guest] = {}
        self._guests_room = _GUESTS_KEPT

    def __len__(self) -> int:
        return len(self._flows)

    def full(self, protocol: int, guest: int) -> bool:
        """Whether a cap stands in the way of one more flow."""
        record = self._guests.get(guest)
        return len(self._flows) >= self._limits.total or (
            record is not None and record.open[protocol] >= self._caps[protocol]
        )

    def admit(self, protocol: int, guest: int, now: int) -> bool:
        """Whether a new flow may be opened; counts why not."""
        counters = self.counters
        if len(self._flows) >= self._limits.total:
            counters.refused_total += 1
            return False
        record = self._guests.get(guest) or self._remember(guest, now)
        if record.open[protocol] >= self._caps[protocol]:  # RFC 6888 REQ-4, REQ-4b
            name = _REFUSED[protocol]
            setattr(counters, name, getattr(counters, name) + 1)
            return False
        if not record.bucket.take(now):  # RFC 6888 REQ-4c
            counters.refused_rate += 1
            return False
        return self._quota.admit(len(self._flows), now)

    def add(self, flow: Flow, now: int) -> None:
        """Takes in a flow that `admit` let pass."""
        self._flows[flow] = None
        protocol = flow.protocol
        record = self._guests.get(flow.guest) or self._remember(flow.guest, now)
        record.open[protocol] += 1
        if protocol == TCP:
            self.counters.opened_tcp += 1
        elif protocol == UDP:
            self.counters.opened_udp += 1
        else:
            self.counters.opened_echo += 1

    def remove(self, flow: Flow) -> bool:
        """Forgets a flow and its deadline. False for one that is not there."""
        if self._flows.pop(flow, False) is False:
            return False
        self._guests[flow.guest].open[flow.protocol] -= 1
        self.deadlines.clear(flow)
        return True

    def expire(self, now: int) -> None:
        """Tells every flow whose deadline has come."""
        for flow in self.deadlines.expire(now):
            self.counters.expired += 1
            flow.on_expiry(now)

    def snapshot(self) -> list[FlowInfo]:
        """Every flow, oldest first."""
        return [flow.info(self.deadlines.get(flow)) for flow in self._flows]

    def abandon(self) -> None:
        """Ends every flow."""
        for flow in list(self._flows):
            flow.abandon()

    def _remember(self, guest: int, now: int) -> _Guest:
        if len(self._guests) >= self._guests_room:
            self._guests = {
                address: record for address, record in self._guests.items() if any(record.open.values())
            }
            # Those with flows are bounded by the flows. As many again before all are looked at again.
            self._guests_room = max(_GUESTS_KEPT, 2 * len(self._guests))
        rate = self._limits.new_per_second
        record = self._guests[guest] = _Guest(TokenBucket(rate, 2 * rate, now))
        return record
