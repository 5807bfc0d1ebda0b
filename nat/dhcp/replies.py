"""What the server's messages contain (RFC 2131 table 3), and which options go in where not all fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import (
    ACK,
    BOOTREPLY,
    HEADER,
    INFINITE,
    IP_UDP_HEADERS,
    MAX_MESSAGE,
    NAK,
    OFFER,
    Message,
    build_message,
)

if TYPE_CHECKING:
    from usernat.nat.dhcp.config import DhcpConfig

MIN_DATAGRAM = 576  # bytes: what every client takes (RFC 2131 §2-c)
Options = list[tuple[int, bytes]]


def offer(config: DhcpConfig, request: Message, address: int, lease_s: int) -> bytes:
    """The DHCPOFFER of `address` for `lease_s` seconds."""
    return _reply(config, request, OFFER, _lease_times(lease_s), yiaddr=address)


def ack(config: DhcpConfig, request: Message, address: int, lease_s: int) -> bytes:
    """The DHCPACK to a REQUEST: `address` is leased for `lease_s` seconds."""
    return _reply(config, request, ACK, _lease_times(lease_s), yiaddr=address, ciaddr=request.ciaddr)


def ack_inform(config: DhcpConfig, request: Message) -> bytes:
    """The DHCPACK to an INFORM: parameters only, no lease time, no yiaddr (RFC 2131 §3.4-a)."""
    return _reply(config, request, ACK, [], ciaddr=request.ciaddr)


def nak(config: DhcpConfig, request: Message, why: str) -> bytes:
    """The DHCPNAK: server identifier and a message, no parameters (RFC 2131 §4.3.1-e, RFC 2132 §9.9-a)."""
    rows = [*_identity(config, request), (opt.MESSAGE, why.encode("ascii"))]
    return build_message(_head(request, NAK), rows)


def _lease_times(lease_s: int) -> Options:
    """Lease time, T1 and T2 (RFC 2131 §4.3.1-d, §4.4.5-a). An infinite lease is never renewed: its T1 and T2 are infinite too."""
    infinite = lease_s == INFINITE
    t1 = INFINITE if infinite else lease_s // 2
    t2 = INFINITE if infinite else lease_s * 7 // 8
    rows = ((opt.LEASE_TIME, lease_s), (opt.RENEWAL_TIME, t1), (opt.REBINDING_TIME, t2))
    return [(tag, seconds.to_bytes(4, "big")) for tag, seconds in rows]  # RFC 2132 §9.2-a


def _identity(config: DhcpConfig, request: Message) -> Options:
    """Who answers whom."""
    rows = [(opt.SERVER_IDENTIFIER, opt.address_list(config.server))]  # RFC 2131 §4.1-b, RFC 2132 §9.7-a
    identifier = request.options.get(opt.CLIENT_IDENTIFIER)
    if identifier:  # RFC 6842 §3 echoes it, where RFC 2131 §4.3.1-f did not
        rows.append((opt.CLIENT_IDENTIFIER, identifier))
    return rows


def _head(request: Message, kind: int, *, yiaddr: int = 0, ciaddr: int = 0) -> Message:
    """The fixed fields (RFC 2131 §4.1-h): xid, flags and chaddr are the client's, secs and hops 0."""
    return Message(
        op=BOOTREPLY,
        type=kind,
        xid=request.xid,
        chaddr=request.chaddr,
        flags=request.flags,
        ciaddr=ciaddr,
        yiaddr=yiaddr,
    )


def _reply(
    config: DhcpConfig, request: Message, kind: int, times: Options, *, yiaddr: int = 0, ciaddr: int = 0
) -> bytes:
    rows = [*_identity(config, request), *times]
    room = _option_room(request) - sum(len(opt.encoded(tag, data)) for tag, data in rows)
    for tag in _wanted(config, request):
        data = config.parameters[tag]
        size = len(opt.encoded(tag, data))
        if size <= room:  # RFC 2131 §3.5-b; everything in the options field, so that no overload is needed
            rows.append((tag, data))
            room -= size
    return build_message(_head(request, kind, yiaddr=yiaddr, ciaddr=ciaddr), rows)


def _option_room(request: Message) -> int:
    """Bytes for options besides message type and end, within what the client takes (RFC 2131 §2-c, §3.5-b)."""
    asked = request.number(opt.MAXIMUM_MESSAGE_SIZE) or 0
    datagram = max(MIN_DATAGRAM, asked)  # RFC 2132 §9.10-a: smaller values are not legal, and ignored
    return (
        min(datagram - IP_UDP_HEADERS, MAX_MESSAGE)
        - HEADER.size
        - len(opt.encoded(opt.MESSAGE_TYPE, b"\0"))
        - 1
    )


def _wanted(config: DhcpConfig, request: Message) -> list[int]:
    """The tags of the configured parameters to send, in order.

    What the client asks for comes in its own order, each once (RFC 2131 §4.3.1-c, RFC 2132 §9.8-a), with the mask moved before the
    router (RFC 2132 §3.3-a). A client without a list gets everything; one with a list also gets an unusual MTU, which it must know to work.
    """
    asked = request.options.get(opt.PARAMETER_REQUEST_LIST)
    if asked is None:
        return list(config.parameters)
    wanted = [tag for tag in dict.fromkeys((*asked, opt.INTERFACE_MTU)) if tag in config.parameters]
    if opt.SUBNET_MASK in wanted and opt.ROUTER in wanted:
        mask, router = wanted.index(opt.SUBNET_MASK), wanted.index(opt.ROUTER)
        if router < mask:
            wanted.insert(router, wanted.pop(mask))
    return wanted
