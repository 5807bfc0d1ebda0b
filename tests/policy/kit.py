"""Requests in few words."""

from __future__ import annotations

from usernat.policy import FlowRequest
from usernat.policy.decision import DNS, ICMP, TCP, UDP
from usernat.stack.addr import parse_ip

GUEST = parse_ip("10.0.2.15")
PUBLIC = "45.1.2.3"
NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}


def flow(
    address: str,
    port: int = 22,
    *names: str,
    protocol: str = "tcp",
    claimed: str | None = None,
    host: bool = False,
    opened: bool = False,
) -> FlowRequest:
    return FlowRequest(
        GUEST, b"", NUMBERS[protocol], parse_ip(address), port, 40000, names, host, opened, claimed
    )


def ping(address: str, *names: str) -> FlowRequest:
    return flow(address, 0, *names, protocol="icmp")


def query(*names: str) -> FlowRequest:
    return FlowRequest(GUEST, b"", DNS, 0, 53, 40000, names)


def answer(address: str, *names: str, host: bool = False, opened: bool = False) -> FlowRequest:
    return FlowRequest(GUEST, b"", DNS, parse_ip(address), 53, 40000, names, host, opened)
