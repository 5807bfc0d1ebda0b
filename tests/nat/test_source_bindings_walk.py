"""The guard under clients that do what they like: what one has, another's words never change."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.nat.dhcp.kit import FIRST, OURS, S, ip, mac
from tests.nat.test_source_bindings import Guarded
from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import DECLINE, RELEASE, REQUEST

POOL = 4
STATIC = (FIRST, FIRST + POOL + 1)
clients = st.integers(0, 5)
addresses = st.integers(FIRST - 1, FIRST + POOL + 2)
identifiers = st.sampled_from([{}, {opt.CLIENT_IDENTIFIER: b"\0one"}, {opt.CLIENT_IDENTIFIER: b"\0two"}])


class Walk(RuleBasedStateMachine):
    """Six MAC addresses and three identifiers, any message and any packet in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Guarded(
            *STATIC, first=FIRST, last=FIRST + POOL - 1, lease_s=100, hold_us=30 * S, quarantine_us=200 * S
        )
        self.before: dict[int, bytes] = {}
        self.actor: bytes | None = None  # None: time

    def by(self, client: int) -> None:
        self.actor = mac(client)
        self.before = dict(self.net.guard.bindings)

    @rule(client=clients, options=identifiers, address=st.none() | addresses)
    def discover(self, client: int, options: dict[int, bytes], address: int | None) -> None:
        self.by(client)
        self.net.discover(client, options if address is None else {**options, 50: ip(address)})

    @rule(client=clients, options=identifiers, address=addresses, selecting=st.booleans())
    def request(self, client: int, options: dict[int, bytes], address: int, selecting: bool) -> None:
        self.by(client)
        self.net.say(REQUEST, client, {**options, **(OURS if selecting else {}), 50: ip(address)})

    @rule(client=clients, options=identifiers)
    def whole_dance(self, client: int, options: dict[int, bytes]) -> None:
        self.by(client)
        offer = self.net.discover(client, options)
        if offer is not None:
            self.net.say(REQUEST, client, {**options, **OURS, 50: ip(offer.message.yiaddr)})
            assert self.net.uses(client, offer.message.yiaddr)

    @rule(client=clients, options=identifiers, address=addresses)
    def renew(self, client: int, options: dict[int, bytes], address: int) -> None:
        self.by(client)
        self.net.say(REQUEST, client, options, ciaddr=address)

    @rule(client=clients, options=identifiers, address=addresses)
    def release(self, client: int, options: dict[int, bytes], address: int) -> None:
        self.by(client)
        self.net.say(RELEASE, client, {**options, **OURS}, ciaddr=address)

    @rule(client=clients, options=identifiers, address=addresses)
    def decline(self, client: int, options: dict[int, bytes], address: int) -> None:
        self.by(client)
        self.net.say(DECLINE, client, {**options, **OURS, 50: ip(address)})

    @rule(client=clients, address=addresses)
    def packet(self, client: int, address: int) -> None:
        self.by(client)
        used = self.net.uses(client, address)
        assert not used or address in STATIC or self.net.server.leases.owner(address) == mac(client)
        assert not used or self.before.get(address) in (None, mac(client))

    @rule(seconds=st.sampled_from((1, 31, 101, 201)))
    def time_passes(self, seconds: int) -> None:
        self.actor, self.before = None, dict(self.net.guard.bindings)
        self.net.now += seconds * S
        self.net.server.on_time(self.net.now)

    @invariant()
    def only_the_holder_or_time_takes_an_address_away(self) -> None:
        after = self.net.guard.bindings
        for address, holder in self.before.items():
            if self.actor not in (None, holder):
                assert after.get(address) == holder
            elif self.actor is None:
                assert after.get(address) in (None, holder)

    @invariant()
    def who_got_one_asked_for_it(self) -> None:
        for address, holder in self.net.guard.bindings.items():
            assert address in self.before or holder == self.actor

    @invariant()
    def leases_and_bindings_agree(self) -> None:
        leases = self.net.server.leases
        held = {
            lease.address: owner for lease in leases if (owner := leases.owner(lease.address)) is not None
        }
        assert held.items() <= self.net.guard.bindings.items()
        assert self.net.guard.bindings.keys() <= held.keys() | set(STATIC)
        assert len(leases) <= POOL + len(STATIC)


Walk.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWalk = Walk.TestCase
