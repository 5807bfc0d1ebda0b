"""All forwards of one gateway: what they share, and when they are due."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from usernat.nat.admission import ADMITTED, Decision
from usernat.nat.context import Context
from usernat.nat.flows import FlowInfo, FlowTable
from usernat.nat.forwards.tcp import TcpForward, TcpForwardCounters
from usernat.nat.forwards.udp import UdpForward, UdpForwardCounters
from usernat.nat.forwards.waiting import Waiting
from usernat.nat.quota import Quota
from usernat.policy.decision import ALLOW, TCP, FlowRequest, Verdict
from usernat.policy.limits import UNLIMITED
from usernat.stack.deadlines import Deadlines, earliest

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.nat.forward import Forward
    from usernat.nat.udp_flow import UdpNat

REST_US = 100_000  # of a listening socket from which nothing can be accepted

Published = TcpForward | UdpForward


class Forwards:
    """guest: the address that they lead to, asked anew for each connection and client. udp: takes what only came by a forward's port."""

    def __init__(self, context: Context, udp: UdpNat, guest: Callable[[], int], now: int) -> None:
        """context: the gateway's; the table of forwards is another one."""
        limits = context.config.limits
        caps = replace(
            limits,
            tcp=limits.forwarded_tcp,
            udp=limits.forwarded_udp,
            total=limits.forwarded_tcp + limits.forwarded_udp,
        )
        self._table = FlowTable(caps, Quota(UNLIMITED, now))
        self.context = Context(
            context.interface,
            context.host,
            context.config,
            self._table,
            context.admission,
            context.asker,
            context.audit,
            context.quota,
        )
        self.udp = udp
        self.guest = guest
        self.waiting = Waiting()
        self.tcp_counters = TcpForwardCounters()
        self.udp_counters = UdpForwardCounters()
        self._published: dict[Published, None] = {}
        self._resting: Deadlines[TcpForward] = Deadlines()
        self._polls = (self._table.deadlines.next, self._resting.next)

    def publish(self, forward: Forward) -> Published:
        """Begins a forward, whose `close` ends it. Raises HostError where the host does not let us have the port."""
        made = TcpForward(self, forward) if forward.protocol == TCP else UdpForward(self, forward)
        self._published[made] = None
        return made

    def admitted(self, forward: Forward, client: tuple[int, int], guest: int) -> Decision:
        """The decision that the owner has made by publishing, as the audit has it: the client's address and port stand for the far end."""
        request = FlowRequest(guest, b"", forward.protocol, *client, forward.guest_port)
        verdict = Verdict(ALLOW, f"published {forward.where} to port {forward.guest_port}")
        self.context.audit.decided(request, verdict)
        return Decision(ADMITTED, guest, request, verdict)

    def rest(self, forward: TcpForward, now: int) -> None:
        """Leaves its listening socket alone for a moment."""
        forward.listen(wanted=False)
        self._resting.set(forward, now + REST_US)

    def forget(self, forward: Published) -> None:
        """The forward is closed."""
        del self._published[forward]
        if isinstance(forward, TcpForward):
            self._resting.clear(forward)

    def poll_at(self) -> int | None:
        """When `on_time` is due, None for never."""
        return earliest(self._polls)

    def on_time(self, now: int) -> None:
        """Does all that is due by now."""
        self._table.expire(now)
        for forward in self._resting.expire(now):
            forward.listen(wanted=True)

    def abandon(self) -> None:
        """Ends what has come in; the forwards stay."""
        self._table.abandon()

    def close(self) -> None:
        """Ends all of it."""
        for forward in list(self._published):
            forward.close()
        self._table.abandon()

    def flows(self) -> list[FlowInfo]:
        """What has come in and lives, oldest first."""
        return [info._replace(inbound=True) for info in self._table.snapshot()]

    def counters(self) -> dict[str, int]:
        """Everything counted here, by name."""
        return {
            "forwards.published": len(self._published),
            "forwards.open": len(self._table),
            **self._table.counters.as_dict("forwards."),
            **self.tcp_counters.as_dict("forwards.tcp."),
            **self.udp_counters.as_dict("forwards.udp."),
        }
