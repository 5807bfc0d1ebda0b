"""DHCP as busybox's client does it, on the namespace guest's own interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.guest import ADDRESS, GATEWAY, RESOLVER
from tests.lab.needs import need_commands

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.guest import Guest


def test_udhcpc_gets_a_lease(guest: Guest, tmp_path: Path) -> None:
    need_commands("busybox")
    told = tmp_path / "told"
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\n[ "$1" = bound ] && env > {told}\nexit 0\n')
    script.chmod(0o755)
    guest.run(
        "busybox", "udhcpc", "-i", tap(guest), "-n", "-q", "-f", "-t", "3", "-T", "1", "-s", str(script)
    )
    lease = dict(line.partition("=")[::2] for line in told.read_text().splitlines())
    assert lease["ip"] == ADDRESS
    assert lease["subnet"] == "255.255.255.0"
    assert lease["router"] == GATEWAY
    assert lease["dns"] == RESOLVER
    assert int(lease["lease"]) >= 60


def tap(guest: Guest) -> str:
    """The name of the guest's only interface besides lo."""
    names = [line.split(": ")[1] for line in guest.run("ip", "-o", "link").stdout.splitlines()]
    (name,) = (name for name in names if name != "lo")
    return name
