"""The short ways and the long one come to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.stack.packets import DF, GUEST, GUEST_MAC, REMOTE
from tests.stack.twins import MS, SECOND, Twins
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.header import ACK, FIN, PSH, RST, SYN, URG

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER_MAC = bytes.fromhex("525400654321")

ODDITIES: list[dict[str, Any]] = [
    {},
    {"data": b""},
    {"data": b"", "back": 3000},
    {"data": b"x"},
    {"window": 0},
    {"window": 1},
    {"window": 0, "data": b""},
    {"spoil": 1},
    {"reserved": 1},
    {"reserved": 8},
    {"options": b""},
    {"options": b"\1" * 12},
    {"options": b"\x08\x0a\0\0\7\0\0\0\0\1\1\1"},
    {"options": b"", "data": b"\1\1\x08\x0a\0\0\x20\0\0\0\0\1 text that looks like time stamps"},
    {"options": b"\1\1\x08\x0a\0\0"},
    {"back": 1},
    {"back": -1},
    {"back": 100000},
    {"back": 1500},
    {"back": 3000},
    {"back": 3000, "window": 0},
    *(
        {"flags": flags}
        for flags in (ACK, PSH, 0, ACK | FIN, ACK | URG, ACK | SYN, ACK | 0x40, ACK | 0x80, RST)
    ),
    {"ttl": 1},
    {"ttl": 2},
    {"tos": 3},
    {"padding": 60},
    {"total_length": 51},
    {"data": bytes(70000 - 5000)},
]
sizes = st.sampled_from([0, 1, 100, 511, 512, 1448, 1448, 1448])
near = st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1, -1448, 1448, 5000, -70000])


class ShortAndLong(RuleBasedStateMachine):
    @initialize(
        stamped=st.booleans(),
        sack=st.booleans(),
        offload=st.booleans(),
        remote=st.booleans(),
        ecn=st.sampled_from([False, False, False, True]),
        buffer=st.sampled_from([3000, 65536]),
    )
    def begin(self, buffer: int, **options: bool) -> None:
        self.twins = Twins(**options, receive_buffer=buffer)
        self.steps = 0

    @rule(size=sizes, push=st.booleans(), padding=st.sampled_from([0, 0, 6]))
    def next_text(self, size: int, push: bool, padding: int) -> None:
        self.odd(flags=ACK | PSH * push, data=bytes(size), padding=padding)

    @rule(back=st.sampled_from([0, 0, 1, 1448, 3000]))
    def acknowledges(self, back: int) -> None:
        self.twins.sends(ACK, ack=self.twins.ack - back)

    @rule(
        flags=st.sampled_from(
            [
                ACK,
                ACK,
                ACK,
                ACK | PSH,
                ACK | FIN,
                ACK | URG,
                ACK | 0x40,
                ACK | 0x80,
                RST,
                RST | ACK,
                SYN,
                PSH,
                0,
            ]
        ),
        size=sizes,
        seq=near,
        ack=near,
        window=st.sampled_from([512, 512, 512, 0, 1, 65535]),
        options=st.sampled_from(
            [None, None, None, b"", b"\1" * 12, b"\1\1\5\x0a" + bytes(8), b"\x08\x0a\0\0\0\1\0\0\0\1\1\1"]
        ),
        reserved=st.sampled_from([0, 0, 0, 1, 8]),
        spoil=st.sampled_from([0, 0, 0, 0, 0, 1]),
    )
    def odd_segment(self, flags: int, size: int, seq: int, ack: int, **others: Any) -> None:
        twins = self.twins
        twins.sends(flags, bytes(size), seq=twins.seq + seq, ack=twins.ack + ack, **others)
        twins.seq = twins.conns[0].rcv.rcv_nxt

    @rule(
        ttl=st.sampled_from([64, 1, 2, 0]),
        flags=st.sampled_from([DF, 0, DF | 0x2000, 0x8000 | DF]),
        tos=st.sampled_from([0, 3, 0xB8]),
        spoil=st.sampled_from([0, 0, 1]),
        options=st.sampled_from([b"", b"", b"\1\1\1\1"]),
        ihl=st.sampled_from([None, None, 6]),
        total_length=st.sampled_from([None, None, 20, 39, 40, 2000]),
    )
    def odd_datagram(self, **header: Any) -> None:
        self.steps += 1
        self.twins.odd_frame(**header)

    @rule(oddity=st.sampled_from(ODDITIES))
    def one_thing_is_odd(self, oddity: dict[str, Any]) -> None:
        """All else is as it is with the segment that is waited for."""
        self.odd(**oddity)

    @rule(age=st.sampled_from([1, 5000, 1 << 31]))
    def old_time_stamp(self, age: int) -> None:
        self.odd(options=self.twins.stamps(age))

    @rule(size=st.sampled_from([1, 1448]), fin=st.booleans())
    def from_behind_a_gap(self, size: int, fin: bool) -> None:
        self.odd(ahead=size, flags=ACK | FIN * fin)

    @rule()
    def from_another_mac(self) -> None:
        self.odd(mac=OTHER_MAC)

    def odd(self, **segment: Any) -> None:
        self.steps += 1
        self.twins.odd(**segment)

    @rule(mac=st.sampled_from([GUEST_MAC, GUEST_MAC, OTHER_MAC]))
    def address_changes_hands(self, mac: bytes) -> None:
        self.twins.bindings.bindings[GUEST] = mac

    @rule(address=st.sampled_from([GUEST, REMOTE]))
    def our_address_comes_and_goes(self, address: int) -> None:
        for rig in self.twins.rigs:
            rig.interface.add_address(address, 24)
        self.twins.sends(ACK, b"whose")
        for rig in self.twins.rigs:
            rig.interface.remove_address(address)
        self.twins.seq = self.twins.conns[0].rcv.rcv_nxt

    @rule(count=st.sampled_from([1, 1000, 100000]))
    def reads(self, count: int) -> None:
        self.twins.each(lambda conn: conn.recv(count))
        self.twins.flush()

    @rule(count=st.sampled_from([1, 1000, 20000]))
    def writes(self, count: int) -> None:
        self.twins.each(lambda conn: conn.send(bytes(count)))
        self.twins.flush()

    @rule()
    def keeps_alive(self) -> None:
        self.twins.each(lambda conn: conn.keep_alive(enabled=True, idle_us=2 * SECOND))
        self.twins.flush()

    @precondition(lambda self: self.steps > 15)
    @rule(call=st.sampled_from(["shutdown", "close"]), first=st.sampled_from([0, 40000]))
    def ends(self, call: str, first: int) -> None:
        """Perhaps with more to be sent than may leave, so that the FIN waits."""
        self.twins.each(lambda conn: conn.send(bytes(first)))
        self.twins.each(lambda conn: getattr(conn, call)())
        self.twins.flush()
        self.odd(data=b"after the end")

    @rule(duration=st.sampled_from([1, MS, 45 * MS, 250 * MS, 3 * SECOND]))
    def time_goes_by(self, duration: int) -> None:
        self.twins.wait(duration)

    @invariant()
    def same(self) -> None:
        if hasattr(self, "twins"):
            self.twins.compare()


TestShortAndLong = ShortAndLong.TestCase
TestShortAndLong.settings = settings(stateful_step_count=40)


def outstanding(twins: Twins) -> None:
    twins.each(lambda conn: conn.send(bytes(3000)))
    twins.flush()


def probed(twins: Twins) -> None:
    """A round trip was measured, so a tail loss probe leaves soon."""
    outstanding(twins)
    twins.wait(MS)
    twins.sends(ACK)
    outstanding(twins)
    twins.wait(240 * MS)


def timed_out(twins: Twins) -> None:
    outstanding(twins)
    twins.wait(3 * SECOND)


def unanswered_keep_alive(twins: Twins) -> None:
    twins.each(lambda conn: conn.keep_alive(enabled=True, idle_us=SECOND))
    twins.flush()
    twins.wait(1500 * MS)


def their_window_closes(twins: Twins) -> None:
    twins.sends(ACK, window=0)


def their_window_closes_on_text(twins: Twins) -> None:
    outstanding(twins)
    twins.sends(ACK, ack=twins.ack - 3000, window=0)
    twins.wait(SECOND)


def fin_is_ahead(twins: Twins) -> None:
    twins.sends(ACK | FIN, bytes(100), seq=twins.seq + 1000)


def bare_fin_is_ahead(twins: Twins) -> None:
    twins.sends(ACK | FIN, seq=twins.seq + 1000)


def text_is_ahead(twins: Twins) -> None:
    """Which also speaks of the window."""
    twins.sends(ACK, bytes(100), seq=twins.seq + 2000, window=300)


def our_window_is_nearly_full(twins: Twins) -> None:
    while twins.conns[0].rcv.edge - twins.conns[0].rcv.rcv_nxt > 900:
        twins.sends(ACK, bytes(900))
        twins.seq = twins.conns[0].rcv.rcv_nxt


def our_window_is_full(twins: Twins) -> None:
    """And something is out, so that an acknowledgement would be news."""
    our_window_is_nearly_full(twins)
    rest = twins.conns[0].rcv.edge - twins.conns[0].rcv.rcv_nxt
    twins.sends(ACK, bytes(rest))
    twins.seq = twins.conns[0].rcv.rcv_nxt
    assert twins.conns[0].rcv.edge == twins.seq
    outstanding(twins)


def no_more_writing(twins: Twins) -> None:
    """But the FIN waits behind text that may not leave."""
    twins.each(lambda conn: conn.send(bytes(50000)))
    twins.each(Connection.shutdown)
    twins.flush()


def no_more_reading(twins: Twins) -> None:
    no_more_writing(twins)
    twins.each(Connection.close)


def suspected_black_hole(twins: Twins) -> None:
    """Large segments were lost until they were made smaller."""
    outstanding(twins)
    for _ in range(20):
        twins.wait(SECOND)
    twins.sends(ACK)
    outstanding(twins)
    assert twins.conns[0].black_hole is not None
    assert twins.conns[0].snd.recovery is None


def old_suspicion(twins: Twins) -> None:
    """With the next progress the full size is tried again."""
    suspected_black_hole(twins)
    twins.says_where_it_is()
    for _ in range(3):
        twins.sends(ACK)
    twins.wait(20 * SECOND)
    outstanding(twins)
    connection = twins.conns[0]
    assert connection.black_hole is not None
    assert connection.black_hole.until <= twins.short.now
    assert connection.black_hole.limit < connection.path_mtu
    assert (connection.unacknowledged, connection.snd.recovery) == (3000, None)


SITUATIONS: list[Callable[[Twins], object]] = [
    Twins.flush,
    outstanding,
    probed,
    timed_out,
    unanswered_keep_alive,
    their_window_closes,
    their_window_closes_on_text,
    fin_is_ahead,
    bare_fin_is_ahead,
    text_is_ahead,
    our_window_is_nearly_full,
    our_window_is_full,
    no_more_writing,
    no_more_reading,
    suspected_black_hole,
    old_suspicion,
]


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("sack", [False, True])
def test_one_thing_is_odd(situation: Callable[[Twins], object], stamped: bool, sack: bool) -> None:
    for oddity in ODDITIES:
        twins = Twins(stamped=stamped, sack=sack, offload=False, remote=False)
        situation(twins)
        twins.wait(7 * MS)
        twins.odd(**oddity)
        twins.odd()
        twins.sends(ACK)
        twins.wait(SECOND)


@pytest.mark.parametrize("tos", [0, 1, 2, 3])
@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | 0x40, ACK | 0x80])
def test_what_a_network_marks_is_echoed_where_ecn_was_agreed(tos: int, flags: int) -> None:
    twins = Twins(stamped=True, sack=True, offload=False, remote=False, ecn=True)
    assert twins.conns[0].ecn is not None
    for _ in range(3):
        twins.odd(tos=tos, flags=flags)
        outstanding(twins)
        twins.sends(ACK)


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("remote", [False, True])
def test_a_transfer_is_taken_in_early(stamped: bool, sack: bool, offload: bool, remote: bool) -> None:
    """Text, requests with their acknowledgements, acknowledgements alone: all of them, and none the long way.

    Where a device vouches for the checksums, nobody has made them.
    """
    twins = Twins(stamped=stamped, sack=sack, offload=offload, remote=remote)
    for _ in range(20):
        twins.sends(ACK | PSH, bytes(1000), spoil=int(offload))
        twins.seq += 1000
        twins.each(lambda conn: conn.recv(100000))
        twins.each(lambda conn: conn.send(bytes(300)))
        twins.flush()
    for _ in range(20):
        twins.each(lambda conn: conn.send(bytes(3000)))
        twins.flush()
        twins.sends(ACK, spoil=int(offload))
    assert twins.early == 40


def test_who_waits_for_room_hears_of_it_when_half_is_free() -> None:
    """And then again only when nothing is out any more."""
    twins = Twins(stamped=True, sack=True, offload=False, remote=False, send_buffer=8000)
    begin = twins.conns[0].snd.snd_una
    twins.each(lambda conn: conn.send(bytes(8000)))
    twins.flush()
    for acknowledged in (1448, 2896, 4344, 5792, 7240, 8000):
        twins.sends(ACK, ack=begin + acknowledged)
    assert twins.early == 6
