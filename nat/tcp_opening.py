"""From a guest's SYN to two ends that can be spliced.

    begin ──> ADMITTED ───────────────────────────> dial ──> spliced       the SYN is held until the host has connected
          ──> ASK ──> told ──> ADMITTED ──────────> dial ──> spliced       held as well
          ──> READ ──> accepted ──> first bytes ──> dial ──> spliced       a rule speaks of names, so the guest must first say whom it wants

Whatever is not admitted ends here: a held SYN with RST or ICMP, an accepted connection with RST. Only where the first bytes have to be read does a
guest see a connection of which the host knows nothing yet; the bytes stay in the receive queue, and go to the host like all others once it has connected.

No host socket exists before the flow is admitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat import errors
from usernat.nat.admission import ADMITTED, ASK, NOBODY, READ, SILENT, Decision
from usernat.nat.host_tcp import stands
from usernat.nat.inspection import read_http_name, read_tls_name
from usernat.policy.decision import TLS_PORT, UNREADABLE
from usernat.stack.addr import is_loopback

if TYPE_CHECKING:
    from usernat.nat.host_datagram import ReportedError
    from usernat.nat.tcp_flow import TcpFlow
    from usernat.nat.tcp_nat import TcpNat
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.incoming import Incoming

PEEKED = 1 << 15  # bytes: more than either reader takes for a beginning
MOST_LOOKS = (
    64  # at the first bytes, which come in one or a few segments; each look reads them from the start
)


def turn_away(incoming: Incoming, outcome: int) -> None:
    """Answers a held SYN that is not admitted."""
    if outcome == SILENT:
        incoming.drop()
    elif outcome == NOBODY:
        incoming.unreachable(errors.HOST_UNREACHABLE)
    else:  # CLOSED, and DENIED: at once and without doubt
        incoming.refuse()


class GuestOpening:
    """One flow that a guest opens. `state` is for people."""

    __slots__ = ("_connection", "_decision", "_flow", "_incoming", "_looks", "_nat", "state")

    def __init__(self, nat: TcpNat, flow: TcpFlow, incoming: Incoming) -> None:
        self._nat = nat
        self._flow = flow
        self._incoming = incoming
        self._connection: Connection | None = None  # once the guest has been accepted
        self._decision: Decision
        self._looks = 0
        self.state = "connecting"

    def begin(self, decision: Decision, now: int) -> None:
        """Does what the decision asks for. Also called for those that follow from it."""
        self._decision = decision
        if decision.outcome == ADMITTED:
            self._flow.decision = decision
            self._nat.context.audit.opened(decision)
            self._dial(now)
        elif decision.outcome == ASK:
            self._ask(decision, now)
        elif decision.outcome == READ:
            self._accept(now)
        else:
            self._turn_away(decision.outcome)

    # -- what has to be known first -----------------------------------------------------------------------------------

    def _ask(self, decision: Decision, now: int) -> None:
        assert decision.request is not None
        assert decision.verdict is not None
        self.state = "asking"
        context = self._nat.context
        context.table.deadlines.set(self._flow, None)  # the asker has its own
        context.asker.ask(decision.request, decision.verdict, self._told, now)

    def _told(self, allowed: bool, now: int) -> None:
        if self._flow.opening is self:  # it may have ended meanwhile
            self.begin(self._nat.context.admission.told(self._decision, allowed), now)

    def _accept(self, now: int) -> None:
        self.state = "reading"
        self._connection = self._incoming.accept()
        self._connection.owner = self._flow
        self._nat.context.table.deadlines.set(self._flow, now + self._nat.first_bytes_us)

    def _look(self, connection: Connection, now: int) -> None:
        """Reads the name in the first bytes, as soon as they are all there."""
        if not connection.readable and not connection.peer_finished:
            return
        self._looks += 1
        data = b"".join(connection.peek(PEEKED))
        read = read_tls_name if self._incoming.local_port == TLS_PORT else read_http_name
        claimed = read(data)
        if claimed is not None:
            self._judge(claimed, now)
        elif connection.peer_finished or self._looks >= MOST_LOOKS:
            self._judge(UNREADABLE, now)

    def _judge(self, claimed: str, now: int) -> None:
        self.begin(self._nat.context.admission.judge(self._decision, claimed), now)

    # -- the host -----------------------------------------------------------------------------------------------------

    def _dial(self, now: int) -> None:
        nat, flow = self._nat, self._flow
        self.state = "connecting"
        try:
            sock = flow.sock = nat.connect(flow, self._decision.address, self._incoming)
        except OSError as error:
            self._failed_at_once(error.errno or 0)
            return
        # No network lies between this host and itself: Linux has the answer of its own loopback within the very call.
        if is_loopback(self._decision.address) and stands(sock):
            self.on_host(now)
            return
        nat.context.host.watch(sock, readable=False, writable=True)
        nat.context.table.deadlines.set(flow, now + nat.connect_us)

    def on_host(self, now: int) -> None:
        """The host's connect has an outcome."""
        nat, flow = self._nat, self._flow
        assert flow.sock is not None
        failure = nat.context.host.connect_error(flow.sock)
        if failure is not None:
            self._pass_on(failure)
            flow.remove()
            return
        nat.counters.connected += 1
        flow.spliced(self._connection or self._incoming.accept(), now)

    def _failed_at_once(self, number: int) -> None:
        if errors.is_resources(number):
            self._nat.counters.no_resources += 1
            self._unreachable(errors.NO_RESOURCES)  # RFC 6888 REQ-11
        elif errors.is_reset(number):
            self._nat.counters.refused += 1
            self._refuse()
        else:
            self._nat.counters.unreachable += 1
            self._unreachable(errors.unreachable_code(number))
        self._flow.remove()

    def _pass_on(self, failure: ReportedError) -> None:
        """RFC 5382 REQ-9: the guest hears what the host heard.

        An ICMP error ends the host's attempt to connect, as in every kernel, and with it this flow; but not the guest's, whose next SYN begins another.
        """
        counters = self._nat.counters
        if errors.is_reset(failure.errno) and not failure.icmp:
            counters.refused += 1
            self._refuse()
            return
        counters.unreachable += 1
        if self._connection is not None:
            self._connection.abort()
        elif failure.icmp:  # with its type, so that TTL probes over TCP find the routers on the way
            self._nat.context.translate(failure, self._incoming.packet.datagram)
            self._incoming.drop()
        elif errors.is_resources(failure.errno):
            self._incoming.unreachable(errors.NO_RESOURCES)
        else:
            self._incoming.unreachable(errors.unreachable_code(failure.errno))

    # -- the guest ----------------------------------------------------------------------------------------------------

    def serve(self, now: int) -> None:
        """The held SYN was cancelled, or the accepted connection has something new."""
        connection = self._connection
        if connection is None:
            if self._incoming.cancelled:
                self._cancelled()
        elif connection.error is not None or connection.closed:
            self._cancelled()
        elif self.state == "reading":
            self._look(connection, now)

    def _cancelled(self) -> None:
        self._nat.counters.cancelled += 1
        self._tell_if_undecided()
        self._flow.remove(reset=True)

    def on_expiry(self, now: int) -> None:
        """The guest has not said whom it wants, or the host has not connected."""
        if self.state == "reading":
            self._judge(UNREADABLE, now)
            return
        self._nat.counters.timed_out += 1
        self._unreachable(errors.HOST_UNREACHABLE)
        self._flow.remove(reset=True)

    def abandon(self) -> None:
        """End without ceremony."""
        self._tell_if_undecided()
        if self._connection is not None:
            self._connection.abort()
        else:
            self._incoming.drop()

    def _tell_if_undecided(self) -> None:
        if self._decision.outcome in {READ, ASK}:
            self._nat.context.audit.undecided(self._decision)

    def _turn_away(self, outcome: int) -> None:
        if self._connection is not None:
            self._connection.abort()
        else:
            turn_away(self._incoming, outcome)
        self._flow.remove()

    def _refuse(self) -> None:
        if self._connection is not None:
            self._connection.abort()
        else:
            self._incoming.refuse()

    def _unreachable(self, code: int) -> None:
        if self._connection is not None:
            self._connection.abort()  # nobody listens to ICMP about a connection that stands
        else:
            self._incoming.unreachable(code)
