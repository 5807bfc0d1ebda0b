"""The real host sockets behind a router, in namespaces of the test's own: TTL, path MTU, far errors."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.lab.netns import Namespace, join

if TYPE_CHECKING:
    from collections.abc import Iterator


NEAR, ROUTER, FAR, NOBODY = "198.51.100.1", "198.51.100.2", "203.0.113.9", "203.0.113.77"
PROBE, CROSSING = (Path(__file__).parent / name for name in ("inside_probe.py", "inside_crossing.py"))
SYN_SENT = " 02 "  # in /proc/net/tcp


class World(NamedTuple):
    """A place whose only way out is a router, behind which one host is."""

    near: Namespace
    router: Namespace
    far: Namespace


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    try:
        near = Namespace()
    except OSError as error:
        pytest.skip(f"needs network namespaces: {error}")
    with near, Namespace(near) as router, Namespace(near) as far:
        join(near, "out", router, "in")
        join(router, "out", far, "in", mtu=1400)
        near.ip(f"addr add {NEAR}/24 dev out")
        near.ip(f"route add default via {ROUTER}")
        router.ip(f"addr add {ROUTER}/24 dev in")
        router.ip("addr add 203.0.113.1/24 dev out")
        router.ip("neigh add 203.0.113.77 lladdr 02:00:00:00:00:77 dev out nud permanent")
        router.sysctl("net.ipv4.ip_forward", "1")
        far.ip(f"addr add {FAR}/24 dev in")
        far.ip("route add default via 203.0.113.1")
        near.sysctl("net.ipv4.ping_group_range", "0 0")
        yield World(near, router, far)


@pytest.fixture
def behind_router(world: World) -> Namespace:
    return world.near


def probe(place: Namespace, *arguments: str) -> dict[str, Any]:
    """What `inside_probe.py` found out in there."""
    done: subprocess.CompletedProcess[str] = place.run(sys.executable, str(PROBE), *arguments)
    result: dict[str, Any] = eval(done.stdout, {})
    return result


@pytest.mark.rfc("4787", "REQ-12a")
@pytest.mark.rfc("5508", "REQ-10a")
@pytest.mark.parametrize("kind", ["tcp", "udp", "echo", "raw-echo"])
def test_c44_a_ttl_that_runs_out_names_the_router(behind_router: Namespace, kind: str) -> None:
    found = probe(behind_router, kind, FAR, "1")
    assert found["error"] == {
        "type": 11,
        "code": 0,
        "offender": ROUTER,
        "address": FAR,
        "mtu": 0,
        "port": found["port"],
    }


@pytest.mark.rfc("4787", "REQ-13")
@pytest.mark.rfc("6864", "4.3-c")
@pytest.mark.parametrize("kind", ["udp", "echo", "raw-echo"])
def test_c44_too_big_with_df_tells_the_mtu(behind_router: Namespace, kind: str) -> None:
    """RFC 4787 REQ-13: the router's report first, then the host's own knowledge of the path."""
    behind_router.ip("route flush cache")
    first = probe(behind_router, kind, FAR, "64", "1440")
    assert first["error"] == {
        "type": 3,
        "code": 4,
        "offender": ROUTER,
        "address": FAR,
        "mtu": 1400,
        "port": first["port"],
    }
    second = probe(behind_router, kind, FAR, "64", "1440")
    assert (second["raised"], second["error"]["mtu"], second["error"]["code"]) == (errno.EMSGSIZE, 1400, 4)


@pytest.mark.parametrize("kind", ["echo", "raw-echo"])
def test_c45_a_ping_is_answered_by_who_exists_and_nobody_else(behind_router: Namespace, kind: str) -> None:
    assert probe(behind_router, kind, FAR, "64")["reply"] == (b"\x55" * 32, FAR, 63)
    silence = probe(behind_router, kind, NOBODY, "64")
    assert (silence["reply"], silence["error"]) == (None, None)


def test_unprivileged_echo_is_used_where_it_is_allowed(behind_router: Namespace) -> None:
    assert probe(behind_router, "echo", FAR, "64")["raw"] is False
    assert probe(behind_router, "raw-echo", FAR, "64")["raw"] is True


@pytest.mark.rfc("4787", "REQ-12b")
def test_a_port_that_a_far_host_has_closed_refuses_tcp_and_is_unreachable_by_udp(
    behind_router: Namespace,
) -> None:
    assert probe(behind_router, "tcp", FAR, "64")["raised"] == errno.ECONNREFUSED
    assert probe(behind_router, "udp", FAR, "64")["error"]["offender"] == FAR


@pytest.mark.rfc("5452", "9.2-d")
def test_ports_that_the_host_keeps_for_itself_are_never_used(behind_router: Namespace) -> None:
    behind_router.sysctl("net.ipv4.ip_local_port_range", "40000 40063")
    behind_router.sysctl("net.ipv4.ip_local_reserved_ports", "40000-40031,40033-40062")
    found = probe(behind_router, "ports", FAR, "2")
    behind_router.sysctl("net.ipv4.ip_local_reserved_ports", "")
    behind_router.sysctl("net.ipv4.ip_local_port_range", "32768 60999")
    assert sorted(found["ports"]) == [40032, 40063]


@pytest.mark.rfc("5382", "REQ-2a")
def test_two_that_call_each_other_at_once_are_connected(world: World) -> None:
    """The router loses the first SYNs, so that those of both sides are under way when it begins to let them pass."""
    world.router.sysctl("net.ipv4.ip_forward", "0")
    near = world.near.start(sys.executable, str(CROSSING), FAR, "7000", stdout=subprocess.PIPE)
    assert near.stdout is not None
    port = near.stdout.readline().decode().strip()
    far = world.far.start(sys.executable, str(CROSSING), NEAR, port, "7000", stdout=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while SYN_SENT not in world.far.run("cat", "/proc/net/tcp").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    world.router.sysctl("net.ipv4.ip_forward", "1")
    assert near.communicate(timeout=20)[0] == b"far\n"
    assert far.communicate(timeout=20)[0] == b"near\n"


ECHO = """
import socket
with socket.create_server(("", 33434)) as server:
    print("listening", flush=True)
    peer, _ = server.accept()
    peer.sendall(peer.recv(100))
"""


@pytest.mark.rfc("5382", "REQ-10")
def test_an_established_connection_outlives_icmp_errors(world: World) -> None:
    """The router says "host unreachable" for a while, about every segment."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    far = world.far.start(sys.executable, "-c", ECHO, **pipes)
    assert far.stdout is not None
    assert far.stdout.readline() == b"listening\n"
    near = world.near.start(sys.executable, str(PROBE), "stands", FAR, "64", **pipes)
    assert near.stdin is not None
    assert near.stdout is not None
    assert near.stdout.readline() == b"connected\n"
    told = unreachables(world.near)
    world.router.ip(f"route add unreachable {FAR}/32")
    near.stdin.write(b"\n")
    near.stdin.flush()
    assert near.stdout.readline() == b"sent\n"
    assert unreachables(world.near) > told
    world.router.ip(f"route del unreachable {FAR}/32")
    found = eval(near.communicate(b"\n", timeout=25)[0], {})
    assert found["SO_ERROR"] == errno.EHOSTUNREACH  # Linux tells so of what is no end: nobody must ask it
    assert (found["stands"], found["echo"]) == (True, b"through trouble")
    far.communicate(timeout=10)


def unreachables(place: Namespace) -> int:
    """ICMP Destination Unreachable that came in, so far."""
    names, numbers = (
        line.split()
        for line in place.run("cat", "/proc/net/snmp").stdout.splitlines()
        if line.startswith("Icmp: ")
    )
    return int(numbers[names.index("InDestUnreachs")])
