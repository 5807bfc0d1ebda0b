"""TCP flows: an end that the host is known to have sent is read with what stands before it, and leaves with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nat.kit import MS, SECOND, Lab
from tests.nat.tcp_kit import connect, fetch, listening, nothing_remains
from usernat.fuzz.fakepeers import Peer
from usernat.nat.gateway import Hooks
from usernat.nat.tcp_flow import READ

if TYPE_CHECKING:
    from usernat.fuzz.fakesockets import FakeTcp
    from usernat.nat.audit import Record


class Answers(Peer):
    """Answers the first bytes with pieces, and ends its side behind them."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self._pieces = pieces

    def on_data(self, stream: FakeTcp, data: bytes) -> None:
        """See `Peer`."""
        super().on_data(stream, data)
        for piece in self._pieces:
            stream.push(piece)
        self._pieces = []
        stream.finish()


def exchange(pieces: list[bytes], *, tells_ends: bool) -> tuple[Any, ...]:
    """One question and its answer; what the guest got, what is left in counters and records; at last the frames to it that carry FIN or text."""
    records: list[Record] = []
    frames: list[tuple[bool, bool]] = []

    def see(frame: bytes, to_gateway: bool) -> bool:
        if not to_gateway and frame[12:14] == b"\x08\x00" and frame[23] == 6:
            headers = 34 + (frame[46] >> 4) * 4
            frames.append((len(frame) > headers, frame[47] & 1 != 0))
        return False

    lab = Lab(hooks=Hooks(audit=records.append), lose=see)
    lab.host.tells_ends = tells_ends
    peers = listening(lab, Answers, pieces)
    connection = connect(lab)
    connection.send(b"question")
    got = fetch(lab, connection)
    connection.shutdown()
    lab.run(SECOND)
    nothing_remains(lab)
    counters = {
        name: count for name, count in lab.gateway.counters().items() if name.startswith(("nat.", "flows."))
    }
    ends = [(record.event, record.up, record.down) for record in records]
    same = (got, bytes(peers[0].received), peers[0].was_reset, connection.error, counters, ends)
    return same, [each for each in frames if any(each)]


@given(st.lists(st.integers(1, 3 * READ), max_size=4))
@settings(max_examples=25, deadline=None)
def test_it_makes_no_difference_to_either_side_whether_the_end_is_known(sizes: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    told, _ = exchange(pieces, tells_ends=True)
    untold, _ = exchange(pieces, tells_ends=False)
    assert told == untold
    assert told[0] == b"".join(pieces)


@pytest.mark.parametrize(("tells_ends", "state"), [(True, "host-closed"), (False, "open")])
def test_an_end_that_is_known_is_read_in_the_same_turn(tells_ends: bool, state: str) -> None:
    lab = Lab()
    lab.host.tells_ends = tells_ends
    peers = listening(lab)
    connection = connect(lab)
    lab.run(10 * MS)
    (flow,) = lab.gateway._table._flows
    peers[0].stream.push(b"answer")
    peers[0].stream.finish()
    flow.on_host(readable=True, writable=False, now=lab.clock.now)  # type: ignore[attr-defined] # the only flow is of TCP
    assert [info.state for info in lab.gateway.flows()] == [state]
    assert fetch(lab, connection) == b"answer"


def test_a_short_answer_leaves_with_the_end() -> None:
    _, frames = exchange([b"answer"], tells_ends=True)
    assert frames == [(True, True)]


def test_an_end_that_comes_later_is_not_waited_for() -> None:
    lab = Lab()
    peers = listening(lab)
    connection = connect(lab)
    peers[0].stream.push(b"first")
    lab.run(10 * MS)
    assert connection.recv(100) == b"first"
    peers[0].stream.finish()
    lab.run(10 * MS)
    assert connection.at_eof
