"""The web through the gateway with curl: plain and TLS, large both ways, many at once; every byte by SHA-256."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.servers import pattern
from tests.lab.world import BIG, BLACK_HOLE, PROHIBITED, UNREACHABLE, WWW, World

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.guest import Guest

CURL_CANNOT_CONNECT, CURL_TIMED_OUT = 7, 28


def test_https_with_the_lab_s_authority(guest: Guest, world: World) -> None:
    assert (
        guest.curl("--cacert", str(world.authority.root), "https://www.lab.test/") == "the pretend internet\n"
    )


def test_c14_tls_with_a_long_certificate_chain(guest: Guest, world: World) -> None:
    """ServerHello and Certificate take three segments; the handshake completes, again and again, on both TLS versions."""
    shown = guest.run(
        "sh", "-c", f"openssl s_client -connect {WWW}:443 -msg -CAfile {world.authority.root} </dev/null 2>&1"
    ).stdout
    assert "Verify return code: 0 (ok)" in shown
    sizes = dict(re.findall(r"<<<.*\[length ([0-9a-f]{4})\], (\w+)\n", shown))
    by_name = {name: int(size, 16) for size, name in sizes.items()}
    assert 3700 <= by_name["ServerHello"] + by_name["Certificate"] <= 4100
    for version in ("1.2", "1.3"):
        for _ in range(5):
            got = guest.curl(
                "--cacert",
                str(world.authority.root),
                "--tls-max",
                version,
                "https://www.lab.test/bytes/20000",
                "-o-",
            )
            assert got


def test_https_large_download(guest: Guest, world: World) -> None:
    size = 20_000_000
    ca = world.authority.root
    got = guest.run(
        "sh", "-c", f"curl -sS --cacert {ca} https://www.lab.test/bytes/{size} | sha256sum"
    ).stdout
    assert got.split()[0] == pattern.digest(size)


def test_200_mb_down(guest_of_mtu: Guest) -> None:
    got = guest_of_mtu.run("sh", "-c", f"curl -sS http://{WWW}/bytes/{BIG} | sha256sum", timeout=100).stdout
    assert got.split()[0] == pattern.digest(BIG)


def test_200_mb_up(guest_of_mtu: Guest, world: World) -> None:
    got = guest_of_mtu.curl("-T", str(world.pattern), f"http://{WWW}/upload", timeout=100)
    assert got == pattern.digest(BIG)


def test_200_parallel_downloads(guest: Guest, tmp_path: Path) -> None:
    sizes = range(100_001, 100_201)
    guest.curl(
        *("--parallel", "--parallel-immediate", "--parallel-max", "200"),
        *("-o", f"{tmp_path}/#1", f"http://{WWW}/bytes/[{sizes[0]}-{sizes[-1]}]"),
    )
    wrong = [size for size in sizes if (tmp_path / str(size)).read_bytes() != pattern.content(size)]
    assert wrong == []


def test_c01_parallel_downloads_of_60_kb(guest: Guest, tmp_path: Path) -> None:
    for turn in range(3):
        guest.curl(
            *("--parallel", "--parallel-immediate", "--parallel-max", "8"),
            *("-o", f"{tmp_path}/{turn}-#1", f"http://{WWW}/bytes/[60000-60007]"),
        )
    files = list(tmp_path.iterdir())
    assert len(files) == 24
    assert all(file.read_bytes() == pattern.content(int(file.name.partition("-")[2])) for file in files)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"{WWW}:81", CURL_CANNOT_CONNECT),
        (UNREACHABLE, CURL_CANNOT_CONNECT),
        (PROHIBITED, CURL_CANNOT_CONNECT),
    ],
    ids=["refused", "unreachable", "prohibited"],
)
def test_errors_reach_the_guest_at_once(guest: Guest, address: str, status: int) -> None:
    done = guest.run("curl", "-sS", "--max-time", "5", f"http://{address}/", check=False)
    assert done.returncode == status, done.stderr


def test_silence_stays_silence(guest: Guest) -> None:
    done = guest.run("curl", "-sS", "--max-time", "2", f"http://{BLACK_HOLE}/", check=False)
    assert done.returncode == CURL_TIMED_OUT, done.stderr
