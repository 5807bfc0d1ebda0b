"""UDP forwards where something fails, and where somebody ends them in the middle of it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.nat.forward_kit import ABROAD, CLIENT, INSIDE, OUTSIDE, come, publish_udp, sent, visited
from tests.nat.kit import GUEST, LOOPBACK, MS, SECOND, SECOND_GUEST
from tests.nat.run_kit import RunLab
from tests.nat.udp_kit import only_host_socket
from usernat.fuzz.fakehost import Failing
from usernat.nat.audit import ENDED, Record
from usernat.nat.context import Context
from usernat.nat.gateway import Hooks
from usernat.nat.host_datagram import ReportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.nat.forwards.udp import UdpForward


# -- what fails -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4787", "REQ-13")
@pytest.mark.parametrize("runs", [True, False])
def test_an_mtu_that_is_learnt_behind_the_complaint_of_an_earlier_answer_is_told(runs: bool) -> None:
    """The first call brings the earlier error and with it, from the queue, the MTU; the second fails by size."""
    lab, sock, client = visited(runs=runs)
    host = only_host_socket(lab)
    lab.host.watch(host, readable=False, writable=False)  # so that the sending meets it first
    host.fail_later(ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=ABROAD), *CLIENT)
    host.fail_later(ReportedError(errno.EMSGSIZE, icmp=True, code=4, mtu=1000), ABROAD, 0)
    lab.host.udp[CLIENT] = Failing(ReportedError(errno.EMSGSIZE), None)
    sock.send(bytes(1200), *client, df=True)
    lab.run(SECOND)
    assert [(error.code, error.mtu) for error in sock.errors] == [(3, 0), (4, 1000)]
    assert (lab.count("forwards.udp.host_failed"), lab.count("forwards.udp.errors_translated")) == (1, 1)


def test_complaints_that_come_faster_than_they_are_read_are_no_failure_of_the_answer() -> None:
    """Of the answer itself nothing is known, so the guest is told nothing of it."""
    lab, sock, client = visited()
    host = only_host_socket(lab)
    lab.host.watch(host, readable=False, writable=False)
    for _ in range(60):  # more than are read at once
        host.fail_later(ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=ABROAD), *CLIENT)
    complain = host.errors

    def ever_more() -> list[ReportedError]:
        found = complain()
        for _ in range(32):
            host.fail_later(ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=ABROAD), *CLIENT)
        return found

    host.errors = ever_more  # type: ignore[method-assign] # of this one socket
    sock.send(b"answer", *client)
    lab.run(10 * MS)
    assert (lab.count("forwards.udp.host_full"), lab.count("forwards.udp.host_failed")) == (1, 0)
    assert {error.code for error in sock.errors} == {3}, "port unreachable, of the earlier ones"


def test_an_error_about_a_run_reaches_the_guest_and_the_rest_goes_on() -> None:
    lab, sock, client = visited()
    gone = ReportedError(errno.ECONNREFUSED, icmp=True, type=3, code=3, offender=ABROAD)
    lab.host.udp[CLIENT] = Failing(gone)
    for _ in range(3):
        for _ in range(20):
            sock.send(bytes(100), *client)
        lab.run(50 * MS)
    assert len(sent(lab)) == 60
    assert {(error.type, error.code, error.source) for error in sock.errors} == {(3, 3, ABROAD)}


def test_a_run_that_the_host_refuses_is_counted_datagram_by_datagram() -> None:
    lab, sock, client = visited()
    for number, counter in ((errno.EAGAIN, "host_full"), (errno.ENETUNREACH, "host_failed")):
        lab.host.udp[CLIENT] = Failing(ReportedError(number), None)  # from the call itself
        for _ in range(20):
            sock.send(bytes(100), *client)
        lab.run(50 * MS)
        assert lab.count(f"forwards.udp.{counter}") == 20
    assert lab.count("forwards.udp.answered") == 0
    assert len(sock.errors) == 20


def test_what_the_host_says_without_icmp_is_not_told() -> None:
    lab, sock, _ = visited()
    only_host_socket(lab).fail_later(ReportedError(errno.EHOSTUNREACH), *CLIENT)
    lab.run(SECOND)
    assert not sock.errors
    assert lab.count("forwards.udp.errors_unmatched") == 1


def test_an_error_that_is_held_back_by_a_limit_is_about_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither passed on nor about nobody, and whoever holds it back counts it."""
    monkeypatch.setattr(Context, "translate", lambda *_: False)
    lab, _, _ = visited()
    gone = ReportedError(errno.ECONNREFUSED, icmp=True, type=3, code=3, offender=ABROAD)
    only_host_socket(lab).fail_later(gone, *CLIENT)
    lab.run(SECOND)
    assert lab.count("forwards.udp.errors_unmatched") == lab.count("forwards.udp.errors_translated") == 0


# -- ends -------------------------------------------------------------------------------------------------------------


def closing(when: Callable[[Record], bool], forwards: list[UdpForward]) -> Hooks:
    """An audit that closes the forward."""

    def audit(record: Record) -> None:
        if when(record):
            forwards[0].close()

    return Hooks(audit=audit)


def test_an_audit_that_closes_the_forward_ends_it_between_two_runs() -> None:
    forwards: list[UdpForward] = []
    lab = RunLab(hooks=closing(lambda _record: True, forwards))
    forwards.append(publish_udp(lab))
    for port in range(1, 5):
        for _ in range(5):
            lab.host.post(LOOPBACK, OUTSIDE, b"x", (ABROAD, port))
    lab.run(SECOND)
    assert lab.count("forwards.udp.clients") == 1
    assert lab.count("forwards.udp.delivered") == lab.count("forwards.udp.no_resources") == 0
    assert (lab.gateway.flows(), lab.host.sockets) == ([], {})


def test_an_audit_that_closes_the_forward_as_its_guest_moves_leaves_no_client() -> None:
    forwards: list[UdpForward] = []
    lab = RunLab(hooks=closing(lambda record: record.event == ENDED, forwards))
    forwards.append(publish_udp(lab))
    lab.host.post(LOOPBACK, OUTSIDE, b"x", CLIENT)
    lab.run(SECOND)
    leases, mac = lab.gateway.dhcp.leases, b"\2\0\0\0\0\1"
    lease = leases.offer(mac, mac, SECOND_GUEST, lab.clock.now)
    assert lease is not None
    leases.bind(lease, mac, 3600, lab.clock.now)
    lab.host.post(LOOPBACK, OUTSIDE, b"y", CLIENT)
    lab.run(SECOND)
    assert lab.count("forwards.published") == 0
    assert (lab.gateway.flows(), forwards[0]._clients) == ([], {})


def test_what_waits_behind_what_closed_the_forward_is_dropped() -> None:
    """The guest sends to a client's port first what is not about the forward, which is decided and audited, and then an answer."""
    forwards: list[UdpForward] = []
    lab = RunLab(
        host_loopback=True,
        hooks=closing(
            lambda record: record.request is not None and record.request.port != CLIENT[1], forwards
        ),
    )
    forwards.append(publish_udp(lab))
    server, other = lab.guest.udp.bind(GUEST, INSIDE), lab.guest.udp.bind(GUEST, 5000)
    lab.host.post(LOOPBACK, OUTSIDE, b"hello", CLIENT)
    ((_, address, port),) = come(lab, server)
    other.send(b"about something else", address, port)
    server.send(b"answer", address, port)
    lab.run(SECOND)
    assert (b"answer", *CLIENT) not in sent(lab)
    assert (lab.count("forwards.udp.host_failed"), lab.count("forwards.udp.passed_over")) == (0, 1)
    assert not server.errors
    assert lab.count("forwards.open") == 0
    assert len(lab.gateway._forwards._table.deadlines) == 0
