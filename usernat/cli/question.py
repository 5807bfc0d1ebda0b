"""From what a user types, `pypi.org:443`, to what a gateway would ask its policy."""

from __future__ import annotations

import re
import selectors
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, NamedTuple

import click

from usernat.config import Config
from usernat.nat.admission import LOOPBACK
from usernat.nat.host import HostSockets
from usernat.policy.book import leaves
from usernat.policy.decision import DNS, ICMP, TLS_PORT, UNREADABLE, FlowRequest
from usernat.policy.errors import PolicyError
from usernat.policy.groups import PUBLIC, AddressGroups
from usernat.policy.matchers import PROTOCOLS, Address, Network, check_port
from usernat.policy.names import normalise
from usernat.stack.addr import format_ip, is_loopback

if TYPE_CHECKING:
    from usernat.policy import NetworkPolicy

DNS_PORT = 53
_GUEST = Config()  # where things stand in its network, unless it is told otherwise
_EVERYWHERE = Network("0.0.0.0/0")
_STRIDE = 0x9E3779B1  # near the golden ratio of 2**32: steps of this length come everywhere soon
_TRIES = 1000


class Destination(NamedTuple):
    """DEST[:PORT]. name: "" for an address. address: 0 for a name. port: None where it was not given."""

    name: str
    address: int
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Raises click.UsageError."""
        host, colon, port_text = text.partition(":")
        port = None
        if colon:
            port = int(port_text) if re.fullmatch("[0-9]{1,5}", port_text) else 0
            try:
                check_port(port)
            except PolicyError:
                raise click.UsageError(f"not a destination: {text!r} (the port must be 1 to 65535)") from None
        try:
            return cls("", int(IPv4Address(host)), port)
        except AddressValueError:
            return cls(_name(host, f"not a destination: {text!r} (a host name or an IPv4 address)"), 0, port)


class Question(NamedTuple):
    """words: the question for people. claims: what the guest's first bytes say, None where nobody reads them. notes: what was assumed."""

    words: str
    request: FlowRequest
    claims: str | None = None
    notes: tuple[str, ...] = ()


def questions(
    policy: NetworkPolicy, destination: Destination, protocol: str, name: str | None
) -> list[Question]:
    """What the gateway would ask. Raises click.UsageError for what makes no sense together."""
    known_as = "" if name is None else _name(name, f"not a host name: {name!r}")
    if destination.name and known_as:
        raise click.UsageError("--name goes with an address")
    if protocol in {"dns", "icmp"} and destination.port is not None:
        raise click.UsageError(f"--proto {protocol} has no port")
    if protocol == "dns":
        return [_answer(destination.address, known_as) if destination.address else _query(destination.name)]
    if destination.name:
        return [_query(destination.name), _flow_to_name(policy, destination, protocol)]
    return [_flow(policy, destination, protocol, known_as)]


def _name(text: str, complaint: str) -> str:
    """The name in the form in which policies compare them. Raises click.UsageError for what is none, or looks like an address."""
    found = normalise(text)
    if not found or found.rpartition(".")[2].isdigit():
        raise click.UsageError(complaint)
    return found


def _query(name: str) -> Question:
    return Question(f"query for {name}", _request(DNS, 0, DNS_PORT, names=(name,)))


def _answer(address: int, name: str) -> Question:
    if not name:
        raise click.UsageError("--proto dns takes a name, or an address and --name")
    request = _request(DNS, address, DNS_PORT, names=(name,), host=_is_own(address))
    return Question(f"answer that {name} is {format_ip(address)}", request)


def _flow(policy: NetworkPolicy, destination: Destination, protocol: str, name: str) -> Question:
    """A flow to an address, found as `name` if that is not empty."""
    address, notes = _where_it_leads(destination.address)
    port = _port(destination, protocol)
    to_gateway = IPv4Address(destination.address) == _GUEST.gateway
    request = _request(
        PROTOCOLS[protocol],
        address,
        port,
        names=(name,) if name else (),
        host=not to_gateway and _is_own(address),
    )
    if not name and policy.reads_names:
        notes = (*notes, "taken: no name is known for it, and the guest says none (--name NAME to say one)")
    words = f"{protocol} to {format_ip(destination.address)}{f':{port}' if port else ''}"
    return Question(words + (f", found as {name}" if name else ""), request, name or UNREADABLE, notes)


def _flow_to_name(policy: NetworkPolicy, destination: Destination, protocol: str) -> Question:
    port, name = _port(destination, protocol), destination.name
    request = _request(PROTOCOLS[protocol], _public_address(policy), port, names=(name,))
    note = (
        "taken: it has a public address of which no rule speaks, and the guest says the name where it is read"
    )
    return Question(f"{protocol} to {name}{f':{port}' if port else ''}", request, name, (note,))


def _where_it_leads(address: int) -> tuple[int, tuple[str, ...]]:
    """The host's address, and what is to be said about it."""
    if IPv4Address(address) == _GUEST.gateway:
        return LOOPBACK, (f"{_GUEST.gateway} is this host's 127.0.0.1 (--host-loopback opens it as well)",)
    if is_loopback(address):
        return address, (f"guests reach this host's 127.0.0.1 by {_GUEST.gateway} only",)
    if IPv4Address(address) in _GUEST.network:
        return address, (f"{_GUEST.network} is the guests' own network: nothing there leads out",)
    return address, ()


def _port(destination: Destination, protocol: str) -> int:
    return 0 if PROTOCOLS[protocol] == ICMP else destination.port or TLS_PORT


def _request(
    protocol: int, address: int, port: int, *, names: tuple[str, ...], host: bool = False
) -> FlowRequest:
    return FlowRequest(int(_GUEST.guest), b"", protocol, address, port, 0, names=names, host=host)


def _public_address(policy: NetworkPolicy) -> int:
    """One of which no rule speaks; any public one where rules speak of nearly all."""
    defined = [Network(network) for networks in policy.groups.values() for network in networks]
    named = [leaf for rule in policy.rules for leaf in leaves(rule.matcher)]
    spoken_of = [
        leaf for leaf in (*defined, *named) if isinstance(leaf, Address | Network) and leaf != _EVERYWHERE
    ]
    groups = AddressGroups()
    tried = (number * _STRIDE % 2**32 for number in range(_TRIES))
    public = [address for address in tried if groups.contains(PUBLIC, address)]
    return next((each for each in public if not any(leaf.holds(each) for leaf in spoken_of)), public[0])


def _is_own(address: int) -> bool:
    with selectors.DefaultSelector() as selector:
        return HostSockets(selector).is_own(address)
