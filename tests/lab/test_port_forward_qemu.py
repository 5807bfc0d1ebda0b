"""Ports of the host that lead to the QEMU guest: a client there talks with a server in here, both ways, while the guest goes on as before."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import GATEWAY
from tests.lab.policed import wait_for
from tests.lab.served import (
    ECHO,
    GUEST_ECHO,
    GUEST_HTTP,
    GUEST_UDP_ECHO,
    HTTP,
    OUTSIDE,
    OUTSIDE_HTTP,
    UDP_ECHO,
    ServedGuest,
)
from tests.lab.servers.http import FRONT_PAGE
from tests.lab.world import WWW
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Place
    from tests.lab.world import World

LOCAL = "127.0.0.1"
CURL_CANNOT_CONNECT = 7
PAGE = "a page of the guest's own\n"
CLIENT_ADDRESS = "#!/bin/sh\necho\necho $REMOTE_ADDR\n"
# busybox has no UDP server. AF_INET, SOCK_DGRAM and IPPROTO_UDP are 2, 2 and 17 on Linux.
UDP_ECHO_SERVER = (
    f'socket(S,2,2,17);bind(S,pack("Sna4x8",2,{GUEST_UDP_ECHO},"\\0"x4));'
    "while($a=recv(S,$b,65535,0)){send(S,uc $b,0,$a)}"
)


@pytest.fixture(scope="module")
def _servers(qemu_served: ServedGuest) -> Iterator[None]:
    """In the guest: a web server that tells a client its address, a TCP echo, and a UDP one that shouts."""
    run = qemu_served.run
    run("mkdir -p /tmp/www/cgi-bin")
    run(f"printf %s {shlex.quote(PAGE)} > /tmp/www/index.html")
    run(
        f"printf %s {shlex.quote(CLIENT_ADDRESS)} > /tmp/www/cgi-bin/client; chmod +x /tmp/www/cgi-bin/client"
    )
    for number, server in enumerate(
        (
            f"httpd -f -p {GUEST_HTTP} -h /tmp/www",
            f"nc -ll -p {GUEST_ECHO} -e cat",
            f"perl -e '{UDP_ECHO_SERVER}'",
        )
    ):
        run(f"{server} </dev/null >/dev/null & echo $! > /tmp/server{number}")
    for kind, port in (("t", GUEST_HTTP), ("t", GUEST_ECHO), ("u", GUEST_UDP_ECHO)):
        wait_for(partial(_listens, qemu_served, kind, port))
    yield
    run("kill $(cat /tmp/server?)")


def _listens(served: ServedGuest, kind: str, port: int) -> bool | None:
    return not served.attempt(f"netstat -ln{kind} | grep :{port}").status or None


pytestmark = pytest.mark.usefixtures("_servers")


def test_port_forward_tcp(qemu: ServedGuest, world: World) -> None:
    """200 kB go through the guest's echo and come back as they went, to the end that the client set; nothing listens on other ports."""
    assert world.host.call("clients.tcp_echo", LOCAL, ECHO, 200_000) is True
    assert world.host.run("curl", "-sS", f"http://{LOCAL}:{HTTP}/").stdout == PAGE
    assert refuses(world.host, LOCAL, ECHO + 100)


def test_port_forward_udp(qemu: ServedGuest, world: World) -> None:
    """Each of several clients gets the answers to its own datagrams."""
    assert world.host.call("clients.udp_shouts", LOCAL, UDP_ECHO, 5, 20) == 100
    assert world.host.call("clients.udp_error", LOCAL, UDP_ECHO + 100) == "ECONNREFUSED"


def test_port_forward_multiple(qemu: ServedGuest, world: World) -> None:
    """All forwards at the same time; each is bound to its address, 127.0.0.1 where none was told, and to no other."""
    with ThreadPoolExecutor() as pool:
        stream = pool.submit(world.host.call, "clients.tcp_echo", LOCAL, ECHO, 1_000_000)
        datagrams = pool.submit(world.host.call, "clients.udp_shouts", LOCAL, UDP_ECHO, 2, 50)
        pages = [
            pool.submit(place.run, "curl", "-sS", f"http://{address}:{port}/")
            for place, address, port in (
                (world.host, LOCAL, HTTP),
                (world.world, OUTSIDE, OUTSIDE_HTTP),
                (world.host, LOCAL, HTTP),
            )
        ]
        assert stream.result() is True
        assert datagrams.result() == 100
        assert [page.result().stdout for page in pages] == [PAGE] * 3
    assert refuses(world.world, OUTSIDE, HTTP)
    assert refuses(world.host, LOCAL, OUTSIDE_HTTP)


def test_port_forward_with_policy(qemu: ServedGuest, world: World) -> None:
    """A policy that denies all denies what the guest begins; who was let in by a forward is answered."""
    qemu.gateway.obey(NetworkPolicy.deny_all())
    world.seen("web")
    qemu.refused(f"wget -q -O - http://{WWW}/")
    assert world.host.call("clients.tcp_echo", LOCAL, ECHO, 200_000) is True
    assert world.host.call("clients.udp_shouts", LOCAL, UDP_ECHO, 1, 20) == 20
    assert world.host.run("curl", "-sS", f"http://{LOCAL}:{HTTP}/").stdout == PAGE
    qemu.refused(f"wget -q -O - http://{WWW}/")
    assert world.seen("web") == []


def test_c55_a_forward_takes_nothing_from_the_guest(qemu: ServedGuest, world: World) -> None:
    """With forwards of TCP and UDP in use the guest pings the gateway, resolves names and fetches pages."""
    assert world.host.call("clients.tcp_echo", LOCAL, ECHO, 1000) is True
    assert "1 packets received" in qemu.run(f"ping -c 1 {GATEWAY}")
    assert WWW in qemu.run("nslookup -type=a www.lab.test")
    assert qemu.run("wget -q -O - http://www.lab.test/") == FRONT_PAGE
    assert world.host.call("clients.udp_shouts", LOCAL, UDP_ECHO, 1, 3) == 3


def test_c56_a_forwarded_client_is_no_loopback(qemu: ServedGuest, world: World) -> None:
    """The guest's own web server takes the gateway for its client, be that on the host or far away."""
    far = world.world.run("curl", "-sS", f"http://{OUTSIDE}:{OUTSIDE_HTTP}/cgi-bin/client").stdout
    near = world.host.run("curl", "-sS", f"http://{LOCAL}:{HTTP}/cgi-bin/client").stdout
    assert [line.strip("[]\n").removeprefix("::ffff:") for line in (far, near)] == [GATEWAY, GATEWAY]


def refuses(place: Place, address: str, port: int) -> bool:
    done = place.run("curl", "-sS", "--max-time", "2", f"http://{address}:{port}/", check=False)
    return done.returncode == CURL_CANNOT_CONNECT
