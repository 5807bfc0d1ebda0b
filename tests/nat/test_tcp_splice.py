"""TCP flows, the middle: bytes both ways, back-pressure, rough weather."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nat.kit import (
    MS,
    SECOND,
    SERVER,
    Faults,
    Lab,
)
from tests.nat.tcp_kit import OFFLOAD, PORT, connect, fetch, listening, nothing_remains, send_all
from usernat.fuzz.fakepeers import AnswersAtEof, Echo, NeverReads, Source
from usernat.nat.tcp_flow import READ, READS_AN_EVENT
from usernat.stack.device import Capabilities


@pytest.mark.parametrize(
    "capabilities", [Capabilities(), OFFLOAD, Capabilities(mtu=65520), Capabilities(mtu=296)]
)
def test_bytes_both_ways_and_both_ends(capabilities: Capabilities) -> None:
    lab = Lab(capabilities=capabilities)
    (peers, data) = listening(lab, Echo), Random(5).randbytes(700_000)
    connection = connect(lab)
    got = bytearray()
    send_all(lab, connection, data, got)
    connection.shutdown()
    got += fetch(lab, connection)
    assert bytes(got) == data
    assert bytes(peers[0].received) == data
    assert peers[0].eof
    lab.run(SECOND)
    assert lab.count("nat.tcp.finished") == 1
    assert lab.host.record.resets == 0
    nothing_remains(lab)


@pytest.mark.rfc("5382", "REQ-2")
def test_c05_data_with_a_fin_reaches_the_host_before_its_end() -> None:
    lab = Lab()
    peers = listening(lab)
    connection = connect(lab)
    connection.send(b"all of it")
    connection.shutdown()
    lab.run(SECOND)
    assert (bytes(peers[0].received), peers[0].eof) == (b"all of it", True)
    assert (
        sum(frame[47] & 1 for frame in lab.wire.frames(to_b=True) if frame[23] == 6 and len(frame) > 60) == 1
    )


def test_what_the_host_has_sent_does_not_wait_for_the_guests_acknowledgement() -> None:
    """The peer has done its Nagle; a second one would hold every other short write for the guest's delayed ACK."""
    lab = Lab()
    peers = listening(lab, Echo)
    connection = connect(lab)
    lab.wire.delay_us = SECOND  # no acknowledgement comes in time
    for piece in (b"one", b"two", b"three"):
        peers[0].stream.push(piece)
        lab.run(5 * MS)
    lab.run(SECOND)
    assert connection.recv(100) == b"onetwothree"


@pytest.mark.rfc("5382", "REQ-2")
def test_c06_the_guest_shuts_down_writing_and_the_host_answers_a_megabyte_later() -> None:
    lab = Lab()
    listening(lab, AnswersAtEof, b"r" * 1_000_000)
    connection = connect(lab)
    connection.send(b"question")
    connection.shutdown()
    assert fetch(lab, connection) == b"r" * 1_000_000
    lab.run(SECOND)
    nothing_remains(lab)


@pytest.mark.rfc("5382", "REQ-2")
def test_c06_the_mirror_case_the_host_ends_first_and_the_guest_uploads() -> None:
    lab = Lab()
    peers = listening(lab, Source, b"greeting")
    connection = connect(lab)
    assert fetch(lab, connection) == b"greeting"
    assert [info.state for info in lab.gateway.flows()] == ["host-closed"]
    lab.run(10 * SECOND)
    send_all(lab, connection, b"u" * 1_000_000)
    connection.shutdown()
    lab.run(5 * SECOND)
    assert bytes(peers[0].received) == b"u" * 1_000_000
    assert peers[0].eof
    nothing_remains(lab)


def test_c07_the_guest_closes_after_a_download_and_nothing_is_stuck() -> None:
    lab = Lab()
    listening(lab, Source, b"d" * 200_000)
    connection = connect(lab)
    assert fetch(lab, connection) == b"d" * 200_000
    connection.close()
    lab.run(SECOND)
    assert connection.closed
    assert connection.error is None
    nothing_remains(lab)


@pytest.mark.parametrize("size", [300_000, 1_000_000])
def test_the_host_ends_while_its_peer_is_slow_to_take_the_rest_of_an_upload(size: int) -> None:
    """The FINs cross, the guest's connection may be over long before the host's, and all that the guest sent still arrives."""
    lab = Lab()
    peers = listening(lab, NeverReads)
    connection = connect(lab)
    data = Random(3).randbytes(size)
    send_all(lab, connection, data)
    connection.shutdown()
    peers[0].stream.finish()
    lab.run(5 * SECOND)
    assert connection.at_eof
    assert [info.state for info in lab.gateway.flows()] == ["host-closed"]
    peers[0].stream.pause(paused=False)
    lab.run(5 * SECOND)
    assert bytes(peers[0].received) == data
    nothing_remains(lab)


def test_c24_a_host_peer_that_never_reads_stops_its_own_flow_and_no_other() -> None:
    lab = Lab()
    stuck_peers = listening(lab, NeverReads)
    listening(lab, Echo, port=81)
    stuck = connect(lab)
    taken = 0
    for _ in range(200):
        taken += stuck.send(b"s" * 65536)
        lab.run(20 * MS)
    # The host's buffers, the gateway's queue and the guest's: all bounded
    assert taken < 4 << 20
    assert lab.interface.tcp.report()["memory"] <= 2 << 20
    others = [connect(lab, 81) for _ in range(100)]
    began = lab.clock.now
    for other in others:
        other.send(b"quick")
    lab.run(SECOND, stop=lambda: all(other.readable == 5 for other in others))
    assert all(other.recv(10) == b"quick" for other in others)
    assert lab.clock.now - began < 100 * MS
    stuck_peers[0].stream.pause(paused=False)
    lab.run(10 * SECOND)
    assert len(stuck_peers[0].received) == taken


def test_a_guest_that_never_reads_stops_the_reading_of_its_host_socket() -> None:
    lab = Lab()
    listening(lab, Source, b"d" * 8_000_000)
    connection = connect(lab)
    lab.run(20 * SECOND)
    report = lab.interface.tcp.report()
    assert report["memory"] <= 2 << 20
    (sock,) = lab.host.sockets
    assert not sock.watch_read
    assert fetch(lab, connection) == b"d" * 8_000_000
    # Reading went on from the guest's acknowledgements, not from a timer.
    assert lab.count("flows.expired") == 0


def test_c25_both_ends_write_before_reading() -> None:
    """Neither side loses anything, and reading resumes both ways."""
    lab = Lab()
    peers = listening(lab, NeverReads)
    connection = connect(lab)
    up, down = Random(1).randbytes(10_000_000), Random(2).randbytes(10_000_000)
    peers[0].stream.push(down)
    peers[0].stream.finish()
    rest = memoryview(up)
    for _ in range(50):
        rest = rest[connection.send(rest) :]
        lab.run(20 * MS)
    assert rest
    peers[0].stream.pause(paused=False)
    got = bytearray()
    send_all(lab, connection, bytes(rest), got)
    connection.shutdown()
    got += fetch(lab, connection)
    lab.run(5 * SECOND)
    assert bytes(got) == down
    assert bytes(peers[0].received) == up
    nothing_remains(lab)


def test_short_memory_slows_flows_down_and_stops_none() -> None:
    """Room that comes back through other connections is found without an event."""
    lab = Lab()
    lab.interface.tcp.memory.limit = 64 * 1024
    lab.interface.tcp.memory._pressure_at = 32 * 1024
    listening(lab, Source, b"m" * 300_000)
    connections = [connect(lab) for _ in range(8)]
    for connection in connections:
        assert fetch(lab, connection) == b"m" * 300_000
        connection.close()
    lab.run(5 * SECOND)
    nothing_remains(lab)


def test_c01_fifty_small_echoes_at_once_and_parallel_downloads() -> None:
    lab = Lab()
    listening(lab, Echo)
    listening(lab, Source, b"f" * 60_000, port=81)
    echoes = [lab.guest.tcp.connect(SERVER, PORT) for _ in range(50)]
    for connection in echoes:
        connection.send(b"e" * 100)
    downloads = [lab.guest.tcp.connect(SERVER, 81) for _ in range(24)]
    assert all(fetch(lab, connection) == b"f" * 60_000 for connection in downloads)
    lab.run(SECOND)
    assert all(connection.recv(200) == b"e" * 100 for connection in echoes)


def test_c02_loss_reordering_and_duplicates_on_the_link() -> None:
    lab = Lab(faults=Faults(loss=0.05, duplicate=0.05, reorder=0.05))
    peers = listening(lab, Echo)
    connection = connect(lab, wait=30 * SECOND)
    data, got = Random(9).randbytes(300_000), bytearray()
    send_all(lab, connection, data, got, 300 * SECOND)
    connection.shutdown()
    got += fetch(lab, connection, 300 * SECOND)
    assert bytes(got) == data == bytes(peers[0].received)
    connection.close()
    lab.run(300 * SECOND)
    nothing_remains(lab)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), short=st.floats(0, 0.9), again=st.floats(0, 0.9))
def test_a_flaky_host_loses_no_byte(seed: int, short: float, again: float) -> None:
    """Short writes and EAGAIN out of turn, at any rate."""
    lab = Lab(seed=seed)
    peers = listening(lab, Echo)
    lab.host.faults.short, lab.host.faults.again = short, again
    connection = connect(lab)
    data, got = Random(seed).randbytes(50_000), bytearray()
    send_all(lab, connection, data, got)
    connection.shutdown()
    got += fetch(lab, connection)
    assert bytes(got) == data == bytes(peers[0].received)
    lab.run(5 * SECOND)
    nothing_remains(lab)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_resets_out_of_nowhere_never_look_like_an_end(seed: int) -> None:
    """C11: what the guest reads is a prefix of what was sent, and an end of stream means all of it."""
    lab = Lab(seed=seed)
    data = Random(seed).randbytes(2_000_000)
    listening(lab, Source, data)
    lab.host.faults.reset = 0.1
    connection = connect(lab)
    got = fetch(lab, connection)
    assert data.startswith(got)
    assert connection.error is not None or got == data
    connection.close()
    lab.run(5 * SECOND)
    nothing_remains(lab)


def test_one_flow_does_not_keep_the_others_from_their_turn() -> None:
    """C24: what one event reads is bounded, however much there is: by a turn, and by what a step has to spare for all of them."""
    lab = Lab()
    peers = listening(lab)
    for _ in range(2):
        connect(lab)
    flows = list(lab.gateway._table._flows)
    lab.host.spare_reads = 3
    for flow, peer, more in zip(flows, peers, (3, 0), strict=True):
        for _ in range(2 * READS_AN_EVENT):
            peer.stream.push(bytes(READ))
        flow.on_host(readable=True, writable=False, now=lab.clock.now)  # type: ignore[attr-defined] # both are of TCP
        left = sum(map(len, peer.stream._in))
        assert left == (READS_AN_EVENT - more) * READ
