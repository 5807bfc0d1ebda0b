"""ICMP errors between guests that reach each other by their outside addresses (RFC 5508 REQ-7, RFC 7857 §12-a).

    guest A ── A's socket ──> an address of the host, port of B's socket ──> guest B
    guest A <── the same type and code, about what A has sent, from the host's address ── here <── guest B's error

An error of a guest cannot leave through a host socket, but one about a datagram of another guest of ours need not leave. The two flows
know each other by the ports of their sockets: B's error quotes A's, and A has sent to B's. That is the map from outside to inside.

A socket's port costs a system call, so it is asked for only once an error has come, and once for each flow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.nat.context import Context
    from usernat.nat.datagram_flow import DatagramFlow
    from usernat.stack.l3.icmp_message import IcmpError


class Hairpin:
    """The UDP flows of one gateway by the host's port."""

    __slots__ = ("_flows", "_ports", "_unknown")

    def __init__(self) -> None:
        self._flows: dict[int, DatagramFlow] = {}  # by port
        self._ports: dict[DatagramFlow, int] = {}
        self._unknown: dict[DatagramFlow, None] = {}  # flows whose port has not been asked for

    def opened(self, flow: DatagramFlow) -> None:
        """There is a new flow."""
        self._unknown[flow] = None

    def closed(self, flow: DatagramFlow) -> None:
        """A flow is over."""
        self._unknown.pop(flow, None)
        self._flows.pop(self._ports.pop(flow, 0), None)

    def pass_on(self, context: Context, receiver: DatagramFlow, error: IcmpError) -> bool:
        """Takes the error of the guest behind `receiver` to the guest whose datagram it quotes; False where that is none of ours."""
        sender = self._flow(int.from_bytes(error.payload[:2], "big"))
        if sender is None:
            return False
        # RFC 5508 REQ-4a: about the datagram as its guest sent it, which is where the error goes (REQ-7a), from the outside address
        quote = sender.destinations.header(error.src << 16 | self._port(receiver))
        return quote is not None and context.icmp.error(
            error.type, error.code, quote, source=error.src, mtu=error.mtu, pointer=error.pointer
        )

    def _flow(self, port: int) -> DatagramFlow | None:
        for flow in list(self._unknown):
            self._port(flow)
        return self._flows.get(port)

    def _port(self, flow: DatagramFlow) -> int:
        port = self._ports.get(flow)
        if port is None:
            self._unknown.pop(flow)
            port = self._ports[flow] = flow.sock.port
            if port:
                self._flows[port] = flow
        return port
