"""Caps, rates, deadlines and the view of the flow table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.nat.config import Limits
from usernat.nat.flows import FlowInfo, FlowTable
from usernat.nat.quota import Quota
from usernat.policy import UNLIMITED
from usernat.policy.decision import ICMP, TCP, UDP

SECOND = 1_000_000


class StubFlow:
    """A flow that keeps what happens to it."""

    def __init__(self, protocol: int, guest: int, table: FlowTable) -> None:
        self.protocol = protocol
        self.guest = guest
        self.table = table
        self.expired_at: list[int] = []

    def info(self, expires_us: int | None) -> FlowInfo:
        return FlowInfo(self.protocol, self.guest, 0, 0, 0, "open", 0, expires_us)

    def on_expiry(self, now: int) -> None:
        self.expired_at.append(now)
        self.abandon()

    def abandon(self) -> None:
        self.table.remove(self)


def fill(table: FlowTable, protocol: int, guest: int, count: int, now: int = 0) -> list[StubFlow]:
    flows = []
    for _ in range(count):
        if table.admit(protocol, guest, now):
            flows.append(StubFlow(protocol, guest, table))
            table.add(flows[-1], now)
    return flows


@pytest.mark.rfc("6888", "REQ-4", "REQ-4b", "REQ-11")
@pytest.mark.parametrize(("protocol", "name"), [(TCP, "tcp"), (UDP, "udp"), (ICMP, "echo")])
def test_a_guests_cap_of_each_kind_refuses_the_new_and_keeps_the_old(protocol: int, name: str) -> None:
    """RFC 6888 REQ-4, REQ-4b, REQ-11."""
    table = FlowTable(Limits(tcp=3, udp=3, echo=3), Quota(UNLIMITED, 0))
    flows = fill(table, protocol, 1, 5)
    assert len(flows) == len(table) == 3
    assert table.full(protocol, 1)
    assert table.counters.as_dict()["refused_" + name] == 2
    assert table.counters.as_dict()["opened_" + name] == 3
    assert len(fill(table, protocol, 2, 1)) == 1  # another guest
    flows[0].abandon()
    assert not table.full(protocol, 1)
    assert len(fill(table, protocol, 1, 2)) == 1


def test_the_total_cap_counts_all_guests_and_kinds() -> None:
    table = FlowTable(Limits(total=4), Quota(UNLIMITED, 0))
    fill(table, TCP, 1, 2)
    fill(table, UDP, 2, 2)
    assert not table.admit(ICMP, 3, 0)
    assert table.full(ICMP, 3)
    assert table.counters.refused_total == 1


@pytest.mark.rfc("6888", "REQ-4c")
def test_a_guest_that_opens_flows_too_fast_is_slowed_down_and_no_other() -> None:
    """RFC 6888 REQ-4c."""
    table = FlowTable(Limits(new_per_second=10, total=10**6, tcp=10**6), Quota(UNLIMITED, 0))
    assert len(fill(table, TCP, 1, 100)) == 20
    assert table.counters.refused_rate == 80
    assert len(fill(table, TCP, 2, 5)) == 5
    assert len(fill(table, TCP, 1, 100, now=SECOND)) == 10


def test_c60_guests_without_flows_are_forgotten() -> None:
    table = FlowTable(Limits(), Quota(UNLIMITED, 0))
    kept = fill(table, UDP, 7, 1)
    for guest in range(100, 10_100):
        for flow in fill(table, UDP, guest, 1):
            flow.abandon()
    assert len(table._guests) <= 1025
    kept[0].abandon()
    assert len(table) == 0


def test_c60_many_guests_with_flows_are_not_looked_through_for_each_new_one() -> None:
    table = FlowTable(Limits(), Quota(UNLIMITED, 0))
    rebuilt = 0
    guests = table._guests
    for guest in range(8000):
        fill(table, UDP, guest, 1)
        rebuilt += table._guests is not guests
        guests = table._guests
    assert rebuilt <= 4


def test_deadlines_are_exact_and_removal_forgets_them() -> None:
    table = FlowTable(Limits(), Quota(UNLIMITED, 0))
    early, late, gone = fill(table, UDP, 1, 3)
    for flow, when in ((early, 100), (late, 200), (gone, 50)):
        table.deadlines.set(flow, when)
    gone.abandon()
    gone.abandon()
    assert table.deadlines.next() == 100
    assert [info.expires_us for info in table.snapshot()] == [100, 200]
    table.expire(150)
    assert (early.expired_at, late.expired_at, gone.expired_at) == ([150], [], [])
    assert table.deadlines.next() == 200
    table.abandon()
    assert len(table) == 0
    assert table.deadlines.next() is None


@given(st.lists(st.tuples(st.sampled_from([TCP, UDP, ICMP]), st.integers(1, 3), st.booleans()), max_size=80))
def test_the_table_counts_what_is_in_it(steps: list[tuple[int, int, bool]]) -> None:
    table = FlowTable(Limits(tcp=4, udp=3, echo=2, total=12), Quota(UNLIMITED, 0))
    model: list[StubFlow] = []
    for protocol, guest, close in steps:
        if close and model:
            model.pop(0).abandon()
            continue
        own = [flow for flow in model if (flow.protocol, flow.guest) == (protocol, guest)]
        fits = len(model) < 12 and len(own) < {TCP: 4, UDP: 3, ICMP: 2}[protocol]
        assert table.full(protocol, guest) is not fits
        assert table.admit(protocol, guest, 0) is fits
        if fits:
            model.append(StubFlow(protocol, guest, table))
            table.add(model[-1], 0)
    assert len(table) == len(model)
    assert [info.guest for info in table.snapshot()] == [flow.guest for flow in model]
