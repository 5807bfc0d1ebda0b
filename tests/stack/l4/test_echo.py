"""Echo sockets: pings of our own, and pings to others."""

from __future__ import annotations

import pytest

from tests.stack.packets import GATEWAY, GUEST, ICMP, REMOTE, echo, icmp, ipv4
from tests.stack.rig import Rig
from usernat.stack.l4.echo import MAX_DATA


@pytest.mark.rfc("1122", "3.2.2.6-b", "3.2.2.6-f")
def test_a_request_and_its_reply() -> None:
    rig = Rig()
    socket = rig.interface.echo.bind(7)
    assert socket.request(GUEST, 5, b"payload", ttl=9)
    (request,) = rig.sent()
    assert (request.src, request.dst, request.ttl, request.proto) == (GATEWAY, GUEST, 9, ICMP)
    assert request.payload == echo(7, 5, b"payload")
    rig.interface.ready()
    rig.receive(ipv4(echo(7, 5, b"payload", type_=0), proto=ICMP, ttl=33, tos=4))
    rig.receive(ipv4(echo(8, 5, b"payload", type_=0), proto=ICMP))
    assert rig.interface.ready() == [socket]
    message = socket.recv()
    assert message is not None
    assert (message.ident, message.seq, bytes(message.data), message.is_request) == (7, 5, b"payload", False)
    assert (message.src, message.dst, message.ttl, message.tos, message.df) == (GUEST, GATEWAY, 33, 4, True)
    assert socket.recv() is None
    assert rig.count("echo.no_listener") == 1


def test_the_transparent_socket_answers_for_others() -> None:
    """The owner decides when, and with what; our own address is answered below it."""
    rig = Rig(any_ip=True)
    socket = rig.interface.echo.bind(None)
    rig.receive(ipv4(echo(7, 5, b"data"), proto=ICMP, dst=REMOTE))
    rig.receive(ipv4(echo(7, 6, b"data"), proto=ICMP))
    assert [reply.src for reply in rig.sent()] == [GATEWAY]
    message = socket.recv()
    assert message is not None
    assert (message.dst, message.seq, message.is_request, message.packet.forwarded) == (REMOTE, 5, True, True)
    assert socket.recv() is None
    assert socket.reply(REMOTE, GUEST, 7, 5, b"data", ttl=50, tos=8)
    (reply,) = rig.sent()
    assert (reply.src, reply.dst, reply.ttl, reply.tos) == (REMOTE, GUEST, 50, 8)
    assert reply.payload == echo(7, 5, b"data", type_=0)


def test_c45_replies_to_others_answer_nothing_of_ours() -> None:
    rig = Rig(any_ip=True)
    own, everybody = rig.interface.echo.bind(7), rig.interface.echo.bind(None)
    rig.receive(ipv4(echo(7, 5, type_=0), proto=ICMP, dst=REMOTE))
    assert (own.recv(), everybody.recv()) == (None, None)
    assert rig.silent()


def test_c47_the_largest_ping() -> None:
    rig = Rig()
    socket = rig.interface.echo.bind(7)
    assert socket.request(GUEST, 1, bytes(MAX_DATA))
    assert len(rig.sent()) == 45
    with pytest.raises(ValueError, match="65507"):
        socket.request(GUEST, 1, bytes(MAX_DATA + 1))


@pytest.mark.rfc("1122", "3.2.2-d", "3.2.2.4-a")
def test_errors() -> None:
    """By the quoted identifier."""
    rig = Rig(any_ip=True)
    own, everybody = rig.interface.echo.bind(7), rig.interface.echo.bind(None)
    request = ipv4(echo(7), proto=ICMP, src=GATEWAY, dst=REMOTE)
    rig.receive(ipv4(icmp(11, 0, bytes(4), request), proto=ICMP))
    assert [(error.type, error.code, error.dst) for error in own.errors] == [(11, 0, REMOTE)]
    reply = ipv4(echo(7, type_=0), proto=ICMP, src=REMOTE, dst=GUEST)
    rig.receive(ipv4(icmp(3, 1, bytes(4), reply), proto=ICMP, dst=REMOTE))
    assert len(everybody.errors) == 1
    foreign = ipv4(echo(7), proto=ICMP, src=REMOTE, dst=GUEST)
    rig.receive(ipv4(icmp(3, 1, bytes(4), foreign), proto=ICMP, dst=REMOTE))
    assert rig.count("echo.errors_unmatched") == 1
    rig.receive(ipv4(icmp(3, 4, b"\0\0\x03\0", request), proto=ICMP))
    assert rig.interface.ipv4.path_mtu(REMOTE) == 768
    own.request(REMOTE, 1, b"")
    assert rig.silent()
    assert [(error.type, error.code) for error in own.errors][-1] == (3, 0)
    assert rig.count("echo.not_sent") == 1


def test_queues_are_bounded() -> None:
    rig = Rig(any_ip=True)
    socket = rig.interface.echo.bind(None)
    for _ in range(1030):
        rig.receive(ipv4(echo(), proto=ICMP, dst=REMOTE))
    assert rig.count("echo.queue_full") == 6
    sent = 0
    while socket.reply(REMOTE, GUEST, 1, 1, bytes(1000)):
        sent += 1
    assert (sent, socket.send_room) == (1024, 0)


def test_names_and_values_that_cannot_be() -> None:
    rig = Rig()
    layer = rig.interface.echo
    socket = layer.bind(7)
    layer.bind(None)
    for ident in (7, None, -1, 65536):
        with pytest.raises(ValueError, match=r"taken|65535"):
            layer.bind(ident)
    with pytest.raises(ValueError, match="no identifier"):
        Rig().interface.echo.bind(None).request(GUEST, 1, b"")
    with pytest.raises(ValueError, match="sequence"):
        socket.request(GUEST, 65536, b"")
    with pytest.raises(ValueError, match="TTL"):
        socket.request(GUEST, 1, b"", ttl=0)
    socket.request(GUEST, 1, b"")
    socket.close()
    socket.close()
    assert rig.silent()
    layer.bind(7)
