"""The lease table under clients that do what they like: no address has two holders, no running lease changes hands."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.nat.dhcp.kit import FIRST, OURS, Net, S, ip, mac
from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.leases import BOUND, DECLINED, IDLE, OFFERED
from usernat.nat.dhcp.message import ACK, DECLINE, RELEASE, REQUEST

POOL = 6
clients = st.integers(0, 9)
addresses = st.integers(FIRST - 1, FIRST + POOL)


class Clients(RuleBasedStateMachine):
    """Ten clients, six addresses, any message in any order. `held` is what the clients were promised, and until when."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(first=FIRST, last=FIRST + POOL - 1, lease_s=100, hold_us=30 * S, quarantine_us=200 * S)
        self.held: dict[int, tuple[int, int]] = {}

    def acknowledged(self, client: int, sent: object) -> None:
        message = getattr(sent, "message", None)
        if message is None or message.type != ACK:
            return
        other, until = self.held.get(message.yiaddr, (client, 0))
        assert other == client or until <= self.net.now, "a running lease was stolen"
        lease_s = message.number(opt.LEASE_TIME)
        self.held = {address: lease for address, lease in self.held.items() if lease[0] != client}
        self.held[message.yiaddr] = (client, self.net.now + lease_s * S)

    @rule(client=clients, address=st.none() | addresses)
    def discover(self, client: int, address: int | None) -> None:
        sent = self.net.discover(client, {} if address is None else {50: ip(address)})
        if sent is not None:
            holder, until = self.held.get(sent.message.yiaddr, (client, 0))
            assert holder == client or until <= self.net.now, "a running lease was offered to another"

    @rule(client=clients, address=addresses)
    def select(self, client: int, address: int) -> None:
        self.acknowledged(client, self.net.select(client, address))

    @rule(client=clients, address=addresses)
    def reboot(self, client: int, address: int) -> None:
        self.acknowledged(client, self.net.say(REQUEST, client, {50: ip(address)}))

    @rule(client=clients, address=addresses)
    def renew(self, client: int, address: int) -> None:
        self.acknowledged(client, self.net.say(REQUEST, client, ciaddr=address))

    @rule(client=clients, address=addresses)
    def release(self, client: int, address: int) -> None:
        self.net.say(RELEASE, client, OURS, ciaddr=address)
        if self.held.get(address, (None,))[0] == client:
            del self.held[address]

    @rule(client=clients, address=addresses)
    def decline(self, client: int, address: int) -> None:
        self.net.say(DECLINE, client, {**OURS, 50: ip(address)})
        if self.held.get(address, (None,))[0] == client:
            del self.held[address]

    @rule(client=clients)
    def whole_dance(self, client: int) -> None:
        offer = self.net.discover(client)
        if offer is not None:
            self.acknowledged(client, self.net.select(client, offer.message.yiaddr))

    @rule(seconds=st.sampled_from((1, 31, 101, 201)))
    def time_passes(self, seconds: int) -> None:
        self.net.now += seconds * S
        self.net.server.on_time(self.net.now)

    @invariant()
    def one_record_an_address_and_a_client(self) -> None:
        records = list(self.net.server.leases)
        assert len(records) <= POOL
        assert all(record.address in self.net.server.leases.pool for record in records)
        named = [record.client for record in records if record.client]
        assert len(named) == len(set(named))
        assert {record.state for record in records} <= {IDLE, OFFERED, BOUND, DECLINED}
        for record in records:
            if record.client:
                assert self.net.server.leases.find(record.client) is record

    @invariant()
    def promises_are_kept(self) -> None:
        for address, (client, until) in self.held.items():
            if until > self.net.now:
                assert self.net.server.leases.owner(address) == mac(client)

    @invariant()
    def deadlines_never_lie(self) -> None:
        due = self.net.server.poll_at()
        assert due is None or due > self.net.now


Clients.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestClients = Clients.TestCase
