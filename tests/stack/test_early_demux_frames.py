"""The short way in takes nothing that the layers below TCP would not have let pass."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.stack.packets import DF, GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, REMOTE, TCP, ipv4
from tests.stack.rig import Rig
from tests.stack.twins import SECOND, Twins
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.header import ACK, FIN
from usernat.stack.l4.tcp.state import TIME_WAIT

OTHER_MAC = bytes.fromhex("525400654321")
ODD_FRAMES: list[dict[str, Any]] = [
    {},
    *({"ttl": ttl} for ttl in (0, 1, 2)),
    *({"flags": flags} for flags in (0, 0x2000, DF | 0x2000, 0x8000, 0x8000 | DF)),
    *({"offset": 8, "flags": flags} for flags in (0, DF)),
    *({"tos": tos} for tos in (3, 0xB8)),
    {"spoil": 1},
    {"options": b"\1\1\1\1"},
    *({"ihl": ihl} for ihl in (0, 4, 6, 15)),
    *({"version": version} for version in (0, 5, 6)),
    *({"proto": proto} for proto in (1, 17, 255)),
    *({"total_length": length} for length in (0, 20, 39, 40, 41, 69, 70, 71, 72, 2000)),
    *({"src": src} for src in (0, GATEWAY, 0x7F000001, 0xE0000001, 0xFFFFFFFF, REMOTE)),
    *({"dst": dst} for dst in (GUEST, REMOTE, GATEWAY, 0x0A0002FF, 0xFFFFFFFF)),
    *(
        {"link": link}
        for link in (
            b"\xff" * 6 + GUEST_MAC + b"\x08\x00",
            OTHER_MAC + GUEST_MAC + b"\x08\x00",
            GATEWAY_MAC + OTHER_MAC + b"\x08\x00",
            GATEWAY_MAC + bytes(6) + b"\x08\x00",
            GATEWAY_MAC + GATEWAY_MAC + b"\x08\x00",
            GATEWAY_MAC + b"\xff" * 6 + b"\x08\x00",
            GATEWAY_MAC + GUEST_MAC + b"\x08\x06",
            GATEWAY_MAC + GUEST_MAC + b"\x86\xdd",
            GATEWAY_MAC + GUEST_MAC,
        )
    ),
    *({"length": length} for length in (*range(30, 56), 83, 84, 85, 1513, 1514, 1515, 1516, 2000)),
]


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("address", ["bound to it", "bound to another", "bound to all"])
def test_one_thing_of_the_headers_is_odd(remote: bool, known: bool, address: str) -> None:
    """known: the same MAC address was found sound before. address: to whom it belongs; to all: nobody validates sources."""
    for odd in ODD_FRAMES:
        twins = Twins(stamped=False, sack=False, offload=True, remote=remote)
        if known:
            twins.odd()
        twins.each(lambda conn: conn.send(bytes(3000)))  # which an odd frame may acknowledge
        twins.flush()
        if address == "bound to another":
            twins.bindings.bindings[GUEST] = OTHER_MAC
        elif address == "bound to all":
            for rig in twins.rigs:
                rig.interface.validate_sources(None)
        twins.odd_frame(**odd)
        twins.odd()


@pytest.mark.parametrize("address", [GUEST, REMOTE])
@pytest.mark.parametrize("remote", [False, True])
def test_what_was_found_sound_is_judged_anew_when_an_address_comes_or_goes(
    address: int, remote: bool
) -> None:
    """A sender's address that is ours is nobody's, and what is not for us any more is nobody's business."""
    twins = Twins(stamped=True, sack=True, offload=False, remote=remote)
    for _ in range(2):
        twins.odd()
        for rig in twins.rigs:
            rig.interface.add_address(address, 24)
        twins.odd()
        twins.odd()
        for rig in twins.rigs:
            rig.interface.remove_address(address)
        twins.odd()


def test_a_connection_does_not_outlive_our_address() -> None:
    twins = Twins(stamped=True, sack=True, offload=False, remote=False)
    twins.odd()
    for rig in twins.rigs:
        rig.interface.add_address(REMOTE, 24)
        rig.interface.remove_address(GATEWAY)
    twins.odd()
    twins.odd_frame()


def test_one_that_has_ended_is_left_to_the_long_way() -> None:
    """Of which there is a record in the same table still."""
    twins = Twins(stamped=False, sack=False, offload=False, remote=False)
    twins.odd()
    twins.each(lambda conn: conn.recv(10_000))
    twins.each(Connection.shutdown)
    twins.flush()
    twins.sends(ACK | FIN)
    assert [conn.state for conn in twins.conns] == [TIME_WAIT, TIME_WAIT]
    assert len(twins.short.interface.tcp.table) == 1
    standing = twins.another()
    for rig in twins.rigs:
        rig.interface.add_address(REMOTE, 24)
    standing.sends(ACK, b"text of one that stands")
    for back in (0, 1):
        twins.sends(ACK, b"text", seq=twins.seq - back)
        twins.sends(ACK | FIN, seq=twins.seq - back)
        twins.odd_frame()


def test_what_is_done_upon_a_segment_is_done_at_its_time() -> None:
    """The reset that an application's end leads to has the time of the text that it has not read."""
    twins = Twins(stamped=True, sack=False, offload=False, remote=False)
    twins.odd()
    for rig in twins.rigs:
        rig.now += SECOND
    flush, twins.flush = twins.flush, lambda budget=0: None  # type: ignore[method-assign] # later
    twins.odd()
    twins.each(Connection.close)
    flush()


@pytest.mark.parametrize("any_ip", [False, True])
def test_addresses_are_sound_where_the_long_way_lets_them_pass(any_ip: bool) -> None:
    rig = Rig(any_ip=any_ip)
    ipv4_layer = rig.interface.ipv4
    addresses = (
        0,
        1,
        GATEWAY,
        GUEST,
        REMOTE,
        0x0A0002FF,
        0x0A000200,
        0x7F000001,
        0xE0000001,
        0xF0000001,
        0xFFFFFFFF,
    )
    for src, dst in product(addresses, addresses):
        datagram = memoryview(ipv4(bytes(40), src=src, dst=dst, proto=TCP))
        packet = ipv4_layer.receive(datagram, False, rig.now, True, GUEST_MAC)
        passes = packet is not None and not packet.broadcast
        assert ipv4_layer.is_sound(src, dst) == passes, (hex(src), hex(dst))
