"""What every kind of flow works with: one record, made by the gateway, so that a flow has one reference and not ten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat import errors

if TYPE_CHECKING:
    from usernat.nat.admission import Admission
    from usernat.nat.asking import Asker
    from usernat.nat.audit import Audit
    from usernat.nat.config import GatewayConfig
    from usernat.nat.flows import FlowTable
    from usernat.nat.host import Host
    from usernat.nat.host_datagram import ReportedError
    from usernat.nat.quota import Quota
    from usernat.stack.interface import Interface
    from usernat.stack.l3.packet import Packet

SECOND_US = 1_000_000


class Context:
    """The gateway's parts, as flows see them."""

    __slots__ = ("admission", "asker", "audit", "config", "host", "icmp", "interface", "quota", "table")

    def __init__(
        self,
        interface: Interface,
        host: Host,
        config: GatewayConfig,
        table: FlowTable,
        admission: Admission,
        asker: Asker,
        audit: Audit,
        quota: Quota,
    ) -> None:
        self.interface = interface
        self.icmp = interface.icmp
        self.host = host
        self.config = config
        self.table = table
        self.admission = admission
        self.asker = asker
        self.audit = audit
        self.quota = quota

    def translate(self, report: ReportedError, quote: bytes | memoryview) -> bool:
        """Passes an ICMP error of the host on to the guest. quote: the guest's datagram as it sent it.

        Type and code stay (RFC 5508 REQ-4b), and so does who reports it, as long as the guest may see that address (RFC 4787 REQ-12a). It goes to
        the source of what it quotes, which is the guest's own address there (RFC 5508 REQ-4c).
        """
        source = None
        if report.offender is not None:
            source = self.admission.guest_address(report.offender)
        return self.icmp.error(report.type, report.code, quote, source=source, mtu=report.mtu)

    def host_failed(self, packet: Packet, number: int, mtu: int = 0) -> None:
        """Tells the guest, by ICMP, of the errno with which the host refused what `packet` asked for.

        mtu: of the next hop or the path, with EMSGSIZE: a datagram with DF that would have to be fragmented (RFC 4787 REQ-13, RFC 792 du-b, RFC
        1812 §5.2.7.1-c).
        """
        code = errors.NO_RESOURCES if errors.is_resources(number) else errors.unreachable_code(number)
        self.icmp.unreachable(packet, code, mtu)


def microseconds(seconds: float) -> int:
    """Configured seconds, as the stack counts time."""
    return int(seconds * SECOND_US)


def ttl_beyond(ttl: int) -> int:
    """RFC 1812 §5.3.1-a, -c: less by one, and by no more. The last hop is in here, the host's loopback or the guest's link, and a host takes what is for it whatever the TTL."""
    return max(ttl - 1, 1)
