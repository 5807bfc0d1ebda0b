"""How a TCP stream ends through the gateway: by halves, by reset, from either side."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.lab.servers import pattern, peers

if TYPE_CHECKING:
    from tests.lab.guest import Guest
    from tests.lab.world import World


@pytest.mark.parametrize("size", [1, 100_000, 5_000_000])
def test_c06_answer_after_the_guest_s_half_has_ended(guest: Guest, world: World, size: int) -> None:
    sent, came = guest.call("streams.half_close", size)
    assert world.last_seen("half-close")["sha256"] == sent
    assert came == pattern.digest(peers.ANSWER_SIZE)


def test_c06_guest_goes_on_after_the_peer_s_half_has_ended(guest: Guest, world: World) -> None:
    size = 3_000_000
    said = guest.call("streams.ended_first", size)
    assert said == peers.GREETING.decode()
    assert world.last_seen("ends-first") == {"sha256": pattern.digest(size)}


def test_c08_reset_at_once(guest: Guest) -> None:
    """Refused, where the gateway learns of the reset before it has told the guest of the connection."""
    came, error = guest.call("streams.reset_by_peer", peers.RESETS_AT_ONCE)
    assert came == 0
    assert error in ("ECONNRESET", "EPIPE", "ECONNREFUSED")


def test_c08_reset_after_data(guest: Guest) -> None:
    came, error = guest.call("streams.reset_by_peer", peers.RESETS_AFTER_DATA)
    assert error == "ECONNRESET"
    assert came in (0, 1000)  # a reset may overtake the data (RFC 9293 §3.10.7.4), never cut it short


def test_c08_reset_by_the_guest(guest: Guest, world: World) -> None:
    guest.call("streams.reset_peer")
    assert world.last_seen("reset") == {"ended": "reset"}


def test_c07_no_guest_connection_is_stuck_after_a_download(guest: Guest) -> None:
    guest.call("streams.half_close", 1)
    stuck = guest.run("ss", "-Htan", "state", "last-ack", "state", "closing", "state", "fin-wait-1").stdout
    assert stuck == ""


def test_empty_stream(guest: Guest) -> None:
    sent, came = guest.call("streams.half_close", 0)
    assert sent == hashlib.sha256(b"").hexdigest()
    assert came == pattern.digest(peers.ANSWER_SIZE)
