"""The QEMU guest: a kernel with no offload on a stream socket, with busybox's tools, served by `usernat serve`."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from tests.lab.guest import ADDRESS, GATEWAY, RESOLVER
from tests.lab.needs import need_commands
from tests.lab.netns import ENVIRONMENT
from tests.lab.servers import pattern
from tests.lab.servers.http import FRONT_PAGE
from tests.lab.world import UNREACHABLE, WWW

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.served import ServedGuest
    from tests.lab.world import World

ETHERNET_HEADER = 14
MTU = 1500


def test_usernat_dhcp(qemu: ServedGuest) -> None:
    assert f"inet {ADDRESS}/24" in qemu.run("ip -4 addr show eth0")
    assert f"default via {GATEWAY}" in qemu.run("ip route")
    assert qemu.run("cat /etc/resolv.conf") == f"nameserver {RESOLVER}\n"


def test_lease_is_renewed(qemu: ServedGuest) -> None:
    assert f"lease of {ADDRESS} obtained" in qemu.run("udhcpc -i eth0 -n -q -r 10.0.2.15")


def test_usernat_ping_gateway(qemu: ServedGuest) -> None:
    assert "3 packets transmitted, 3 packets received" in qemu.run(f"ping -c 3 -i 0.2 {GATEWAY}")
    qemu.refused("ping -c 1 -W 1 10.0.2.99")


def test_usernat_ping_external(qemu: ServedGuest) -> None:
    assert "3 packets transmitted, 3 packets received" in qemu.run(f"ping -c 3 -i 0.2 {WWW}")
    qemu.refused(f"ping -c 1 -W 1 {UNREACHABLE}")


def test_usernat_dns_lookup(qemu: ServedGuest, world: World) -> None:
    world.seen("dns")
    assert WWW in qemu.run("nslookup -type=a www.lab.test")
    assert "NXDOMAIN" in qemu.refused("nslookup -type=a nowhere.lab.test")
    assert [note["question"] for note in world.seen("dns")] == ["www.lab.test.", "nowhere.lab.test."]


def test_usernat_http_fetch(qemu: ServedGuest, world: World) -> None:
    world.seen("web")
    assert qemu.run("wget -q -O - http://www.lab.test/") == FRONT_PAGE
    assert world.seen("web") == [{"to": WWW, "port": 80, "host": "www.lab.test", "path": "/"}]
    qemu.refused(f"wget -q -O - http://{WWW}:81/")


def test_usernat_https_fetch(qemu: ServedGuest, world: World) -> None:
    """C14: busybox's TLS client verifies nothing, but its handshake takes the long certificate chain like any other."""
    world.seen("web")
    for _ in range(3):
        assert qemu.run("wget -q --no-check-certificate -O - https://www.lab.test/") == FRONT_PAGE
    assert [note["port"] for note in world.seen("web")] == [443] * 3
    qemu.refused(f"wget -q --no-check-certificate -O - https://{WWW}:444/")


def test_c15_large_download_in_frames_of_the_mtu(qemu: ServedGuest) -> None:
    """Byte-exact, and of all frames either way none is larger than the MTU allows: this link segments nothing for us."""
    need_commands("tcpdump")
    size = 30_000_000
    got = qemu.run(f"wget -q -O - http://{WWW}/bytes/{size} | sha256sum", 60)
    assert got.split()[0] == pattern.digest(size)
    time.sleep(0.5)  # the last frames reach the file
    assert _frames(qemu.capture, "ip") > size // MTU
    assert _frames(qemu.capture, f"greater {ETHERNET_HEADER + MTU + 1}") == 0


def test_upload(qemu: ServedGuest) -> None:
    """busybox posts a file of its own making; what the server hashed is what the guest hashes."""
    qemu.run("seq 1 50000 > /tmp/up")
    sent = qemu.run("sha256sum < /tmp/up").split()[0]
    assert qemu.run(f"wget -q -O - --post-file=/tmp/up http://{WWW}/upload") == sent


def test_refused_connection(qemu: ServedGuest) -> None:
    assert "refused" in qemu.refused(f"wget -q -O - http://{WWW}:81/")


def _frames(capture: Path, wanted: str) -> int:
    read = ["tcpdump", "-nr", str(capture), "--count", wanted]
    shown = subprocess.run(read, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    return int(shown.stdout.split()[0])
