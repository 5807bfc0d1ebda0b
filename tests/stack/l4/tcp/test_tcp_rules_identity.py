"""What a connection is known by: its addresses, which stay, and its first numbers, which nobody can foretell (RFC 9293 §3.4.1, §3.9.1.1; RFC 6528)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import SECOND
from tests.stack.l4.tcp.states import in_established, in_syn_sent, in_time_wait
from tests.stack.packets import GATEWAY, GUEST, read_ipv4
from tests.stack.rig import Rig
from usernat.stack.addr import parse_ip
from usernat.stack.l4.tcp.isn import IsnGenerator

# -- numbers that nobody can foretell ---------------------------------------------------------------------------------


@pytest.mark.rfc("6528", "3-a")
@pytest.mark.rfc("7323", "7.1-a")
@pytest.mark.rfc("9293", "SHLD-1")
def test_the_first_number_depends_on_all_four_parts_of_the_tuple() -> None:
    isn = IsnGenerator(Random(1))
    tuples = [
        (GUEST, 40000, GATEWAY, 80),
        (GUEST + 1, 40000, GATEWAY, 80),
        (GUEST, 40001, GATEWAY, 80),
        (GUEST, 40000, GATEWAY + 1, 80),
        (GUEST, 40000, GATEWAY, 81),
    ]
    for _ in range(2):
        numbers = {isn.initial_sequence(*each, 0) for each in tuples * 2}
        offsets = {isn.timestamp_offset(*each) for each in tuples * 2}
        assert len(numbers) == len(offsets) == len(tuples)
        assert not numbers & offsets


@pytest.mark.rfc("7323", "7.1-a")
def test_time_stamps_begin_anywhere() -> None:
    """Ten connections of one moment have nothing in common."""
    rig = Rig()
    shown = []
    for port in range(41001, 41011):
        shown.append(Peer(rig=rig, port=port).is_called().syn.tsval)
        rig.interface.tcp.table.popitem()[1].abort()  # type: ignore[union-attr] # a connection; its port is the same for all
    assert len({value >> 16 for value in shown}) == 10


@pytest.mark.rfc("6528", "3-b", "3-d")
@pytest.mark.rfc("9293", "MUST-9")
def test_the_secret_is_long_and_drawn_anew() -> None:
    """At least 128 bits, from the randomness that the owner hands in; another stack has another."""

    class Noting(Random):
        drawn = 0

        def randbytes(self, n: int) -> bytes:
            self.drawn += n
            return super().randbytes(n)

    rng = Noting(1)
    numbers = [IsnGenerator(rng).initial_sequence(GUEST, 40000, GATEWAY, 80, 0) for _ in range(3)]
    assert rng.drawn >= 3 * 16
    assert len(set(numbers)) == 3


@pytest.mark.rfc("6528", "3-c")
@pytest.mark.rfc("9293", "MUST-8")
def test_connections_begin_where_the_clock_stands() -> None:
    """4 µs a tick, also for the SYN that really leaves: the same tuple a second later."""
    peer = in_syn_sent()
    first = peer.conn.snd.iss
    peer.conn.abort()
    peer.wait(SECOND)
    peer.raw(peer.segment("A", src_port=1))  # the layer hears what time it is
    again = peer.layer.connect(GUEST, peer.port, local_port=49152)
    assert (again.snd.iss - first) & 0xFFFFFFFF == 250_000


# -- addresses --------------------------------------------------------------------------------------------------------


def syns(peer: Peer) -> list[Any]:
    return [read_ipv4(bytes(frame)[14:]) for frame in peer.rig.frames() if bytes(frame)[12:14] == b"\x08\x00"]


@pytest.mark.rfc("9293", "MUST-43", "MUST-44")
def test_the_local_address_is_given_or_chosen_by_ip() -> None:
    peer = Peer()
    other = parse_ip("10.0.2.3")
    peer.rig.interface.add_address(other, 24)
    chosen, given = peer.layer.connect(GUEST, 80), peer.layer.connect(GUEST, 80, local=other)
    assert (chosen.local, given.local) == (GATEWAY, other)
    assert [ip.src for ip in syns(peer)] == [GATEWAY, other]
    far = parse_ip("192.168.7.1")
    peer.rig.interface.add_address(far, 24)
    assert peer.layer.connect(far + 1, 80).local == far, "the address on that link"


@pytest.mark.rfc("9293", "MUST-45")
def test_the_local_address_stays() -> None:
    """Though IP would choose another by now."""
    peer = in_established()
    peer.rig.interface.add_address(parse_ip("10.0.2.3"), 24)
    peer.rig.interface.remove_address(GATEWAY)
    assert peer.rig.interface.ipv4.source_for(GUEST) != GATEWAY
    peer.rig.interface.add_address(GATEWAY, 24)
    assert peer.rig.interface.ipv4.source_for(GUEST) != GATEWAY
    peer.rig.frames()
    peer.conn.send(b"x")
    (ip,) = syns(peer)
    assert ip.src == GATEWAY
    assert peer.conn.local == GATEWAY


def test_time_wait_keeps_the_address_too() -> None:
    peer = in_time_wait()
    peer.raw(peer.segment("FA", seq=1, ack=2))
    (ip,) = syns(peer)
    assert (ip.src, ip.dst) == (GATEWAY, GUEST)
