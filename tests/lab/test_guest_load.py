"""Flows that stall, fill up or never open, and what they may not do to the others."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.lab.guest import GATEWAY, pings
from tests.lab.needs import need_commands
from tests.lab.servers import pattern, peers
from tests.lab.world import BLACK_HOLE, PEERS, WWW

if TYPE_CHECKING:
    from tests.lab.guest import Guest
    from tests.lab.world import World

CALM_MS = 50.0


def test_c01_50_concurrent_echoes(guest: Guest) -> None:
    assert guest.call("streams.echoes", 50, 100) == 50


def test_c22_black_hole_delays_no_ping(guest: Guest) -> None:
    need_commands("ping")
    with ThreadPoolExecutor() as pool:
        connecting = pool.submit(guest.call, "streams.connects_in_progress", BLACK_HOLE, 20, 3.0)
        sent, received, longest = pings(guest.run("ping", "-c", "250", "-i", "0.01", "-q", GATEWAY).stdout)
        assert connecting.result() == 20
    assert received == sent
    assert longest < CALM_MS


def test_c24_stuck_upload_slows_nobody(guest: Guest) -> None:
    alone, beside = guest.call("streams.downloads_beside_a_stuck_upload", 100, 60_000)
    assert beside < 3 * alone + 1.0


def test_c25_both_directions_full(guest: Guest, world: World) -> None:
    """Neither side reads at first, so both directions fill; once the guest reads, all of it arrives both ways."""
    stuck, came = guest.call("streams.both_full")
    assert stuck > 0
    assert came == pattern.digest(peers.FULL_SIZE)
    assert world.last_seen("both-full") == {"sha256": pattern.digest(peers.FULL_SIZE)}


def test_c21_syns_then_resets_leave_room(guest: Guest) -> None:
    """The guest's kernel answers each SYN-ACK of a connection that it never made with RST."""
    _syns(guest, PEERS)
    assert guest.curl("--max-time", "2", f"http://{WWW}/")


def test_c21_syns_never_completed_leave_room(guest: Guest) -> None:
    """With no route back the guest's kernel drops each SYN-ACK in silence."""
    guest.ip(f"route add blackhole {PEERS}")
    try:
        _syns(guest, PEERS)
        assert guest.curl("--max-time", "2", f"http://{WWW}/")
    finally:
        guest.ip(f"route del blackhole {PEERS}")


def test_c21_syns_into_a_black_hole_leave_room(guest: Guest) -> None:
    _syns(guest, BLACK_HOLE)
    assert guest.curl("--max-time", "2", f"http://{WWW}/")


def _syns(guest: Guest, peer: str) -> None:
    guest.run("ping", "-c", "1", GATEWAY)
    neighbour = guest.run("ip", "neigh", "show", GATEWAY).stdout
    found = re.search(r"dev (\S+) lladdr (\S+)", neighbour)
    assert found, neighbour
    guest.call("half_open.syns", found[1], found[2], peer, peers.ECHO, 1000)
