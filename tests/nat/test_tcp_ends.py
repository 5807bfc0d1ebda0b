"""TCP flows, the end: resets and time-outs."""

from __future__ import annotations

import errno
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.nat.kit import (
    GUEST,
    MS,
    SECOND,
    SERVER,
    Lab,
)
from tests.nat.tcp_kit import PORT, connect, drain, fetch, listening, nothing_remains, send_all
from usernat.fuzz.fakepeers import AnswersAtEof, Echo, NeverReads, Peer, Resets, Source
from usernat.nat.config import Timeouts
from usernat.stack.l4.tcp.state import TcpError

if TYPE_CHECKING:
    from usernat.fuzz.fakesockets import FakeTcp


class Greets(Peer):
    """Sends at once, and stays."""

    def __init__(self, greeting: bytes) -> None:
        super().__init__()
        self._greeting = greeting

    def on_open(self, stream: FakeTcp) -> None:
        super().on_open(stream)
        stream.push(self._greeting)


@pytest.mark.rfc("7857", "2.2-a")
@pytest.mark.rfc("5382", "REQ-2")
def test_c08_a_reset_of_the_host_reaches_the_guest() -> None:
    lab = Lab()
    listening(lab, Resets, 5)
    connection = connect(lab)
    connection.send(b"12345")
    lab.run(SECOND)
    assert connection.error == TcpError.RESET
    assert (lab.count("nat.tcp.reset_by_host"), lab.count("nat.tcp.finished")) == (1, 0)
    nothing_remains(lab)


@pytest.mark.rfc("7857", "2.2-a")
@pytest.mark.rfc("5382", "REQ-2")
def test_c08_the_mirror_case_a_reset_of_the_guest_reaches_the_host() -> None:
    """RFC 7857 2.2-a."""
    lab = Lab()
    peers = listening(lab)
    connection = connect(lab)
    connection.send(b"x")
    lab.run(100 * MS)
    connection.abort()
    lab.run(100 * MS)
    assert peers[0].was_reset
    assert lab.host.record.resets == 1
    assert lab.count("nat.tcp.reset_by_guest") == 1
    nothing_remains(lab)


def test_c08_a_reset_after_the_hosts_fin_is_noticed_though_nothing_is_sent() -> None:
    lab = Lab()
    peers = listening(lab, Source, b"bye")
    connection = connect(lab)
    assert fetch(lab, connection) == b"bye"
    peers[0].stream.reset()
    lab.run(3 * SECOND)
    assert connection.error == TcpError.RESET
    nothing_remains(lab)


def test_c08_a_reset_while_the_guest_is_half_closed() -> None:
    lab = Lab()
    peers = listening(lab, NeverReads)
    connection = connect(lab)
    connection.send(b"question")
    connection.shutdown()
    lab.run(100 * MS)
    peers[0].stream.reset()
    lab.run(100 * MS)
    assert connection.error == TcpError.RESET
    nothing_remains(lab)


@pytest.mark.parametrize("size", [1, 50_000, 400_000])
def test_c08_what_the_host_sent_before_it_reset_an_upload_reaches_the_guest_first(size: int) -> None:
    """As a server does that answers 413 and closes with the upload unread. The end is a reset all the same (C11)."""
    lab = Lab()
    answer = Random(4).randbytes(size)
    listening(lab, Resets, 100_000, answer)
    connection = connect(lab)
    got = bytearray()

    def upload() -> bool:
        connection.send(b"u" * 65536)
        drain(connection, got)
        return connection.closed

    assert lab.run(5 * SECOND, stop=upload)
    assert bytes(got) == answer
    assert connection.error == TcpError.RESET
    assert not connection.at_eof
    assert lab.count("nat.tcp.reset_by_host") == 1
    nothing_remains(lab)


def test_c08_an_answer_is_found_though_the_reset_is_met_in_writing() -> None:
    lab = Lab()
    peers = listening(lab)
    connection = connect(lab)
    (sock,) = lab.host.sockets
    lab.host.watch(sock, readable=False, writable=False)  # the guest's data comes first
    peers[0].stream.push(b"413")
    peers[0].stream.reset()
    connection.send(b"more")
    lab.run(100 * MS)
    assert connection.error == TcpError.RESET
    assert connection.readable or b"413" in b"".join(lab.wire.frames(to_b=False))
    nothing_remains(lab)


def test_a_guest_that_does_not_take_what_came_before_a_reset_is_reset_within_a_second() -> None:
    """It may be waiting for its own writing to fail before it reads."""
    lab = Lab()
    peers = listening(lab, Greets, b"r" * 900_000)
    connection = connect(lab)
    lab.run(SECOND)
    peers[0].stream.reset()
    lab.run(900 * MS)
    assert [info.state for info in lab.gateway.flows()] == ["closing"]
    assert not lab.host.sockets
    lab.run(200 * MS)
    assert connection.error == TcpError.RESET
    nothing_remains(lab)


def test_c11_the_host_fails_after_data_was_acknowledged_and_the_guest_is_not_told_a_clean_end() -> None:
    lab = Lab()
    peers = listening(lab, NeverReads)
    connection = connect(lab)
    send_all(lab, connection, b"a" * 300_000)
    lab.run(SECOND)
    assert len(connection.snd.queue) == 0  # everything was acknowledged
    peers[0].stream.reset(errno.EPIPE)
    lab.run(3 * SECOND)
    assert connection.error == TcpError.RESET
    assert not connection.at_eof
    nothing_remains(lab)


@pytest.mark.rfc("5382", "REQ-10")
def test_a_soft_icmp_error_ends_nothing() -> None:
    """RFC 5382 REQ-10."""
    lab = Lab()
    listening(lab, Echo)
    connection = connect(lab)
    (flow,) = lab.gateway._table._flows
    port = connection.local_port
    quote = lab.interface.udp.quote(SERVER, PORT, GUEST, port, 8)
    lab.guest.icmp.error(3, 1, quote[:9] + b"\x06" + quote[10:], source=GUEST)
    lab.run(100 * MS)
    connection.send(b"still here")
    lab.run(100 * MS)
    assert connection.recv(100) == b"still here"
    assert flow in lab.gateway._table._flows


@pytest.mark.rfc("5382", "REQ-10")
def test_icmp_errors_about_a_half_closed_connection_end_nothing() -> None:
    """Linux hands them out as pending errors, to who asks."""
    lab = Lab()
    peers = listening(lab, Source, b"bye")
    connection = connect(lab)
    assert fetch(lab, connection) == b"bye"
    peers[0].stream.error = errno.EHOSTUNREACH
    lab.run(10 * SECOND)
    assert not connection.closed
    peers[0].stream.error = 0
    connection.send(b"still here")
    lab.run(100 * MS)
    assert bytes(peers[0].received) == b"still here"


@pytest.mark.rfc("5382", "REQ-5")
def test_an_idle_connection_lives_for_two_hours_and_four_minutes() -> None:
    """RFC 5382 REQ-5: still there at 2 h 3 min, gone after 2 h 4 min, both ends told."""
    lab = Lab()
    peers = listening(lab, Echo)
    connection = connect(lab)
    lab.run((2 * 3600 + 3 * 60) * SECOND)
    connection.send(b"x")
    lab.run(SECOND)
    assert connection.recv(10) == b"x"
    lab.run((2 * 3600 + 3 * 60) * SECOND)
    assert len(lab.gateway.flows()) == 1
    lab.run(61 * SECOND)
    assert peers[0].was_reset
    assert connection.error == TcpError.RESET
    assert lab.count("nat.tcp.idle") == 1
    nothing_remains(lab)


@pytest.mark.rfc("7857", "2-a")
def test_a_half_closed_connection_has_the_long_time_out_too() -> None:
    """RFC 7857 2-a: one FIN does not make it transitory."""
    lab = Lab()
    listening(lab, Source, b"x")
    connection = connect(lab)
    assert fetch(lab, connection) == b"x"
    lab.run(3600 * SECOND)
    assert not connection.closed
    lab.run(4000 * SECOND)
    assert connection.error == TcpError.RESET
    nothing_remains(lab)


def test_what_a_guest_leaves_unread_at_the_end_does_not_hang_for_ever() -> None:
    """RFC 5382 REQ-5: both directions have ended, the guest has vanished."""
    lab = Lab(timeouts=Timeouts(tcp_transitory=240))
    listening(lab, AnswersAtEof, b"r" * 500_000)
    connection = connect(lab)
    connection.shutdown()
    lab.run(SECOND)
    lab.wire.lose = lambda _frame, _to_b: True
    lab.run(400 * SECOND)
    nothing_remains(lab)


def test_a_guest_that_is_slow_to_take_the_rest_but_alive_gets_all_of_it() -> None:
    """The transitory time-out is of silence: zero-window probes are answered all the time."""
    lab = Lab()
    listening(lab, AnswersAtEof, b"r" * 900_000)
    connection = connect(lab)
    connection.shutdown()
    lab.run(1000 * SECOND)
    assert [info.state for info in lab.gateway.flows()] == ["closing"]
    assert fetch(lab, connection) == b"r" * 900_000
    lab.run(SECOND)
    nothing_remains(lab)
