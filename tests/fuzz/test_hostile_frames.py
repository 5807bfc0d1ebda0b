"""Hostile frames into a whole interface: nothing raises, nothing senseless comes out, deadlines stay true.

And the strategies reach every named drop that they are there for: a fuzzer that reaches nothing finds nothing.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from usernat.fuzz.strategies import (
    SCENE,
    hostile_arp,
    hostile_dhcp,
    hostile_dns,
    hostile_ethernet,
    hostile_fragments,
    hostile_frames,
    hostile_icmp,
    hostile_ipv4,
    hostile_tcp,
    hostile_udp,
    valid_frames,
)
from usernat.stack.checksum import checksum
from usernat.stack.device import Capabilities
from usernat.stack.interface import Interface
from usernat.stack.l2.arp import ARP_CODEC
from usernat.stack.l2.ethernet import ETHERNET_CODEC, ETHERTYPE_ARP, ETHERTYPE_IPV4
from usernat.stack.l3.ipv4_header import IPV4

S = 1_000_000


def gateway(*, any_ip: bool = True) -> Interface:
    """An interface with somebody at every door."""
    interface = Interface(
        mac=SCENE.gateway_mac,
        capabilities=Capabilities(mtu=SCENE.mtu),
        rng=Random(1),
        now=0,
        addresses=[(address, SCENE.prefix) for address in (SCENE.gateway, *SCENE.services)],
        any_ip=any_ip,
    )
    interface.udp.bind(None, None if any_ip else 53)
    interface.echo.bind(None)
    interface.tcp.listen(None, None if any_ip else 80)
    return interface


def check_output(interface: Interface, now: int) -> None:
    """All that comes out is sound: from us, within the MTU, lengths and header checksums true."""
    for _ in range(100):
        frames = interface.transmit(now)
        if not frames:
            return
        for frame in frames:
            raw = bytes(frame)
            header = ETHERNET_CODEC.read(raw)
            assert header is not None
            assert header.src == SCENE.gateway_mac
            assert len(raw) <= ETHERNET_CODEC.size + SCENE.mtu
            if header.ethertype == ETHERTYPE_ARP:
                assert len(raw) == ETHERNET_CODEC.size + ARP_CODEC.size
                continue
            assert header.ethertype == ETHERTYPE_IPV4
            ip = IPV4.read(raw, ETHERNET_CODEC.size)
            assert ip is not None
            assert ip.total_length == len(raw) - ETHERNET_CODEC.size
            assert checksum(raw[ETHERNET_CODEC.size :][: 4 * ip.ihl]) == 0
    pytest.fail("an interface that never stops sending")


@pytest.mark.parametrize("any_ip", [True, False])
@given(
    frames=st.lists(st.one_of(hostile_frames(), valid_frames()), max_size=12),
    waits=st.lists(st.integers(0, 40 * S)),
)
def test_nothing_raises_and_deadlines_stay_true(any_ip: bool, frames: list[bytes], waits: list[int]) -> None:
    interface = gateway(any_ip=any_ip)
    now = 0
    for number, frame in enumerate(frames):
        interface.receive(frame, now)
        interface.ready()
        check_output(interface, now)
        until = now + (waits[number] if number < len(waits) else 0)
        while (due := interface.poll_at()) is not None and due <= until:
            now = max(now, due)
            interface.on_time(now)
            check_output(interface, now)
            later = interface.poll_at()
            assert later is None or later > now
        now = until


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(hostile_fragments())
def test_fragments_that_fit_badly_end_in_counters(frames: list[bytes]) -> None:
    interface = gateway()
    for frame in frames:
        interface.receive(frame, 0)
        check_output(interface, 0)
    interface.on_time(3600 * S)
    check_output(interface, 3600 * S)
    assert len(interface.ipv4.reassembly) == 0


def reached(frames: Any, totals: Counter[str], count: int = 1000, number: int = 0) -> None:
    """Adds the counters that so many draws of a strategy move. number: other draws than the numbers before."""

    @seed(number)
    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    @given(frames)
    def draw(drawn: bytes | list[bytes]) -> None:
        interface = gateway()
        for frame in drawn if isinstance(drawn, list) else [drawn]:
            interface.receive(frame, 0)
        totals.update({name: value for name, value in interface.counters().items() if value})

    draw()


ETHERNET_DROPS = "short jumbo vlan length_frame unknown_ethertype bad_source own_source not_for_us"
ARP_DROPS = "short bad_type spoofed_mac bad_sender conflicts"
IPV4_DROPS = (
    "truncated bad_version bad_header_length bad_total_length bad_checksum martian_source martian_destination "
    "source_route bad_options ttl_exceeded"
)
ICMP_DROPS = "truncated bad_checksum error_bad_quote unknown_type"
TCP_DROPS = "truncated bad_checksum bad_data_offset port_zero malformed_options stray_reset broadcast"
UDP_DROPS = "truncated bad_length bad_checksum port_zero"
REASSEMBLY_DROPS = "overlaps inconsistent oversize misaligned empty mixed_ecn"


@pytest.mark.parametrize(
    ("frames", "layer", "names"),
    [
        (hostile_ethernet(), "ethernet", ETHERNET_DROPS),
        (hostile_arp(), "arp", ARP_DROPS),
        (hostile_ipv4(), "ipv4", IPV4_DROPS),
        (hostile_fragments(), "reassembly", REASSEMBLY_DROPS),
        (hostile_icmp(), "icmp", ICMP_DROPS),
        (hostile_udp(), "udp", UDP_DROPS),
        (hostile_tcp(), "tcp", TCP_DROPS),
    ],
    ids=["ethernet", "arp", "ipv4", "fragments", "icmp", "udp", "tcp"],
)
def test_the_strategies_reach_every_drop_of_their_layer(frames: Any, layer: str, names: str) -> None:
    """The rare ones may take some thousands of draws: which modules are loaded colours them."""
    totals: Counter[str] = Counter()
    missed = names.split()
    for number in range(6):
        reached(frames, totals, number=number)
        missed = [name for name in missed if not totals[f"{layer}.{name}"]]
        if not missed:
            break
    assert not missed


@pytest.mark.parametrize("frames", [hostile_dhcp(), hostile_dns()], ids=["dhcp", "dns"])
def test_messages_reach_their_server(frames: Any) -> None:
    totals: Counter[str] = Counter()
    reached(frames, totals, 50)
    assert totals["udp.delivered"] >= 40
