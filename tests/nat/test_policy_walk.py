"""No way around: a guest that does what it likes, and a second, simple account of what each policy lets it do.

The guest asks for names, connects, claims names, sends datagrams and pings, in any order, while the resolver says whatever it likes about where names live. After
every step, all that the host was made to do must be in the account, which shares no code with the policy: it is written for the few policies
below, by hand, from what `docs/policy.md` promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import dns.message
import dns.rdatatype
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.inspection.oracles import python_hello
from tests.nat.kit import GATEWAY, MS, NAMESERVER, SECOND, SERVER, Lab
from tests.nat.tcp_kit import listening
from usernat.fuzz.fakepeers import Echo
from usernat.policy import NetworkPolicy
from usernat.stack.addr import format_ip, parse_ip

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ["good.test", "sub.good.test", "good.test.evil.test", "evil.test", "cdn.test", "notgood.test"]
SHARED, EVIL, CDN = parse_ip("198.51.100.1"), parse_ip("198.51.100.2"), parse_ip("198.51.100.3")
INSIDE = [
    parse_ip(text)
    for text in ("192.168.1.1", "10.9.9.9", "169.254.169.254", "127.0.0.1", "0.0.0.1", "100.64.0.1")
]
OWN = parse_ip("198.51.100.9")  # an address of the host
PUBLIC = [SHARED, EVIL, CDN]
ADDRESSES = [*PUBLIC, *INSIDE, OWN, GATEWAY]
PORTS = [443, 80, 22, 853]
FLOOR = 60 * SECOND


@dataclass
class Done:
    """What the guest has brought about. found: name -> address -> until when it is known to live there."""

    found: dict[str, dict[int, int]] = field(default_factory=dict)

    def knows(self, name: str, address: int, now: int) -> bool:
        return self.found.get(name, {}).get(address, 0) > now and address in PUBLIC


def below(name: str, parent: str) -> bool:
    return name.endswith("." + parent)


@dataclass(frozen=True)
class Account:
    """flow(done, protocol, address, port, claimed, now) and query(name): whether the policy lets the guest. claimed: None where nothing was claimed."""

    policy: NetworkPolicy
    flow: Callable[[Done, str, int, int, str | None, int], bool]
    query: Callable[[str], bool]


def by_name(allowed: Callable[[str], bool], ports: set[int] | None = None) -> Callable[..., bool]:
    """Rules that allow by name: what is claimed, where names are read; elsewhere whichever name led to the address."""

    def flow(done: Done, protocol: str, address: int, port: int, claimed: str | None, now: int) -> bool:
        if ports is not None and (protocol == "icmp" or port not in ports):
            return False
        if protocol == "udp" and port == 443:
            return False
        if protocol == "tcp" and port in {443, 80}:
            return claimed is not None and allowed(claimed) and done.knows(claimed, address, now)
        return any(allowed(name) and done.knows(name, address, now) for name in NAMES)

    return flow


def open_but(name: str) -> Callable[..., bool]:
    """Everything except one name, loopback and link-local."""

    def flow(_done: Done, protocol: str, address: int, port: int, claimed: str | None, _now: int) -> bool:
        if address in {parse_ip(text) for text in ("127.0.0.1", "169.254.169.254", "0.0.0.1")}:
            return False
        if protocol == "udp" and port == 443:
            return False  # QUIC cannot be read
        if protocol == "tcp" and port in {443, 80}:
            return claimed is not None and claimed != name
        return True

    return flow


ACCOUNTS = [
    Account(NetworkPolicy.deny_all(), lambda *_: False, lambda _: False),
    Account(NetworkPolicy.deny_all().allow_dns(), lambda *_: False, lambda _: True),
    Account(
        NetworkPolicy.deny_all().allow_domain("good.test"),
        by_name(lambda name: name == "good.test"),
        lambda name: name == "good.test",
    ),
    Account(
        NetworkPolicy.deny_all().allow_domain("*.good.test", port=443),
        by_name(lambda name: below(name, "good.test"), {443}),
        lambda name: below(name, "good.test"),
    ),
    Account(
        NetworkPolicy.deny_all().deny_domain("evil.test").allow_dns().allow_domain("*.test", port=80),
        by_name(lambda name: below(name, "test") and name != "evil.test", {80}),
        lambda name: name != "evil.test",
    ),
    Account(
        NetworkPolicy.deny_all().allow_ip("198.51.100.1", port=22),
        lambda _done, protocol, address, port, _claimed, _now: (
            (protocol, address, port) in {("tcp", SHARED, 22), ("udp", SHARED, 22)}
        ),
        lambda _: False,
    ),
    Account(
        NetworkPolicy.allow_all().deny_domain("evil.test"),
        open_but("evil.test"),
        lambda name: name != "evil.test",
    ),
]


class Whims:
    """What a guest does next: mostly what has a chance, for steps that are all drawn alike seldom fit together."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        # More for what the guest's own stack would not send to are in test_admission and with the hostile frames.
        self._targets = [address for address in ADDRESSES if address >> 24 not in {0, 127}]

    def steps(self, count: int) -> list[tuple[Any, ...]]:
        return [self._step() for _ in range(count)]

    def _step(self) -> tuple[Any, ...]:
        pick = self._rng.choice
        kind = self._rng.choices(
            ["policy", "resolve", "visit", "tcp", "udp", "icmp", "wait"], [1, 4, 8, 4, 2, 2, 2]
        )[0]
        if kind == "policy":
            return kind, pick(range(len(ACCOUNTS)))
        if kind == "resolve":
            return kind, self._answer()
        if kind == "visit":
            return kind, self._answer(), pick(PORTS), pick(NAMES)
        if kind == "tcp":
            return kind, self._target(), pick(PORTS), pick([*NAMES, None])
        if kind == "udp":
            return kind, self._target(), pick(PORTS)
        if kind == "icmp":
            return kind, self._target()
        return kind, pick([1, 45, 61, 1000])

    def _answer(self) -> tuple[str, list[int], str | None, int]:
        pick = self._rng.choice
        found = [
            pick(PUBLIC) if self._rng.random() < 0.7 else pick(ADDRESSES) for _ in range(pick([1, 1, 2]))
        ]
        return pick(NAMES), found, pick([None, None, None, *NAMES]), pick([0, 30, 7200])

    def _target(self) -> int:
        return self._rng.choice(PUBLIC if self._rng.random() < 0.7 else self._targets)


class Walk:
    """The lab, and what was done in it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.done = Done()
        self.lab = Lab(policy=account.policy)
        self.lab.host.own.add(OWN)
        self.answer: Any = None
        self.lab.host.udp[SERVER, 53] = self._resolver
        for address in (*ADDRESSES, parse_ip("127.0.0.1")):
            for port in PORTS:
                self.lab.host.tcp[address, port] = self._listening(port)
        self.lab.host.echo_hosts.update(ADDRESSES)
        self.asked: list[str] = []
        self.seen = (0, 0)

    def _listening(self, port: int) -> Any:
        listening(self.lab, Echo, port=port)
        return self.lab.host.tcp.pop((SERVER, port))

    def _resolver(self, data: bytes) -> list[bytes]:
        query = dns.message.from_wire(data)
        self.asked.append(query.question[0].name.to_text(omit_final_dot=True))
        reply = dns.message.make_response(query)
        reply.answer = self.answer
        return [reply.to_wire()]

    @property
    def now(self) -> int:
        return self.lab.clock.now

    def policy(self, number: int) -> None:
        self.account = ACCOUNTS[number]
        self.lab.gateway.policy = self.account.policy

    def visit(self, answer: tuple[str, list[int], str | None, int], port: int, claim: str) -> None:
        """What a program does: ask, and connect to what comes, whatever it then claims to want."""
        self.resolve(answer)
        for address in answer[1]:
            if address >> 24 not in {0, 127}:
                self.tcp(address, port, claim)
                self.tcp(address, port, answer[0])
                self.udp(address, port)

    def resolve(self, answer: tuple[str, list[int], str | None, int]) -> None:
        name, found, alias, ttl = answer
        owner = alias or name
        self.answer = []
        if alias is not None:
            self.answer.append(dns.rrset.from_text(name + ".", ttl, "IN", "CNAME", alias + "."))
        if found:
            self.answer.append(dns.rrset.from_text(owner + ".", ttl, "IN", "A", *map(format_ip, found)))
        if "good.test" not in {
            name,
            owner,
        }:  # what is not on the way from the question to its address says nothing (C30)
            self.answer.append(dns.rrset.from_text("good.test.", ttl, "IN", "A", format_ip(EVIL)))
        before = len(self.asked)
        sock = self.lab.guest.udp.bind(None, 0)
        sock.send(dns.message.make_query(name, dns.rdatatype.A).to_wire(), NAMESERVER, 53)
        self.lab.run(100 * MS)
        if len(self.asked) > before:
            assert self.account.query(name), "a query left the host"
            known = self.done.found.setdefault(name, {})
            for address in found:
                known[address] = max(known.get(address, 0), self.now + max(ttl * SECOND, FLOOR))
        reply = sock.recv()
        if reply is not None:
            told = {
                parse_ip(record.to_text())
                for rrset in dns.message.from_wire(bytes(reply.data)).answer
                if rrset.rdtype == dns.rdatatype.A
                for record in rrset
            }
            if self.account.policy.default == "deny":
                assert told <= set(PUBLIC), "an address of this side was told"
        sock.close()

    def tcp(self, address: int, port: int, claim: str | None) -> None:
        connection = self.lab.guest.tcp.connect(address, port)
        self.lab.run(50 * MS)
        if claim is None:
            connection.send(b"SSH-2.0-x\r\n")
        elif port == 443:
            connection.send(python_hello(claim))
        else:
            connection.send(f"GET / HTTP/1.1\r\nHost: {claim}\r\n\r\n".encode())
        self.lab.run(50 * MS)
        self.check("tcp", address, port, claim)
        connection.abort()
        self.lab.run(10 * MS)

    def udp(self, address: int, port: int) -> None:
        sock = self.lab.guest.udp.bind(None, 0)
        sock.send(b"datagram", address, port)
        self.lab.run(10 * MS)
        self.check("udp", address, port, None)
        sock.close()

    def icmp(self, address: int) -> None:
        sock = self.lab.guest.echo.bind(Random(self.now).getrandbits(16))
        sock.request(address, 1, b"ping")
        self.lab.run(10 * MS)
        self.check("icmp", address, 0, None)
        sock.close()

    def wait(self, seconds: int) -> None:
        self.lab.run(seconds * SECOND)

    def check(self, protocol: str, address: int, port: int, claimed: str | None) -> None:
        """Whatever the host has done since the last look is in the account."""
        record = self.lab.host.record
        datagrams = [sent for sent in record.datagrams if sent[:2] != (SERVER, 53)]
        acted = len(record.connects) > self.seen[0] or len(datagrams) > self.seen[1]
        self.seen = (len(record.connects), len(datagrams))
        if acted:
            assert address != GATEWAY, "the host's loopback"
            allowed = self.account.flow(self.done, protocol, address, port, claimed, self.now - 100 * MS)
            assert allowed, (protocol, format_ip(address), port, claimed)


@given(first=st.sampled_from(range(len(ACCOUNTS))), seed=st.integers(0, 2**32 - 1))
def test_whatever_the_guest_does_the_host_does_no_more_than_the_policy_says(first: int, seed: int) -> None:
    world = Walk(ACCOUNTS[first])
    for name, *arguments in Whims(seed).steps(40):
        getattr(world, name)(*arguments)


def test_the_account_is_not_empty_and_what_it_allows_happens() -> None:
    world = Walk(ACCOUNTS[2])
    world.resolve(("good.test", [SHARED, INSIDE[0]], None, 60))
    for port, claim in ((443, "good.test"), (80, "good.test"), (22, None)):
        before = len(world.lab.host.record.connects)
        world.tcp(SHARED, port, claim)
        assert len(world.lab.host.record.connects) == before + 1
    world.udp(SHARED, 22)
    world.icmp(SHARED)
    assert len(world.lab.host.record.datagrams) == 3  # the query, the datagram, the ping
