"""The inside of the guest's namespaces: one TAP device with an address, a route out, and a resolver.

Runs in the keeper, in the new namespaces (`spaces.py`), before the command.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import TypedDict

from usernat import linux, netdevice

RESOLV_CONF = "/etc/resolv.conf"
DEVICE = "tap0"

# Name services that would answer from outside the namespace, over a UNIX socket: covered, so that the C library asks the resolver.
_BYPASSES = ("/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket", "/var/run/nscd/socket")
_SCRATCH_PLACES = ("/tmp", "/run", "/mnt")  # noqa: S108 - a directory to mount over for a moment; no file is made in it


class NetworkSpec(TypedDict):
    """What the guest's network is to look like. Addresses in text, mtu in bytes."""

    address: str
    netmask: str
    gateway: str
    nameserver: str
    mtu: int


def make_network(spec: NetworkSpec) -> int:
    """Make and configure the only interface besides lo; the TAP's descriptor. Raises OSError."""
    descriptor = netdevice.open_tap(DEVICE)
    try:
        _set_sysctls()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            netdevice.bring_up("lo", control)
        address = netdevice.Address(spec["address"], spec["netmask"])
        netdevice.configure(DEVICE, address, gateway=spec["gateway"], mtu=spec["mtu"])
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _set_sysctls() -> None:
    """What is nice to have; a container that mounts /proc/sys read-only does without.

    The gateway speaks IPv4 only, so IPv6 would send router solicitations nobody answers. And everybody in here may ping.
    """
    group = os.getegid()
    settings = (
        (f"net/ipv6/conf/{DEVICE}/disable_ipv6", "1"),
        ("net/ipv4/ping_group_range", f"{group} {group}"),
        ("net/ipv4/ping_group_range", "0 2147483647"),  # only where every group is mapped
    )
    for name, value in settings:
        with contextlib.suppress(OSError):
            Path("/proc/sys", name).write_text(value, encoding="ascii")


def set_resolver(nameserver: str) -> None:
    """Have the C library ask `nameserver`, by a mount over resolv.conf that only this namespace sees. Raises OSError.

    The file lives on a tmpfs that is taken out of the tree again at once, so no file is ever made on the host. The target is held by
    descriptor, since a symbolic link may lead it to just the place where the tmpfs is mounted for that moment.
    """
    try:
        target = os.open(RESOLV_CONF, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"cannot set the guest's resolver: no {RESOLV_CONF} to cover") from error
    scratch = next(place for place in (*_SCRATCH_PLACES, "/") if Path(place).is_dir())
    try:
        linux.mount("usernat", scratch, "tmpfs", 0, "mode=0755,size=64k")
        try:
            source = Path(scratch, "resolv.conf")
            source.write_text(f"nameserver {nameserver}\n", encoding="ascii")
            source.chmod(0o644)
            linux.mount(str(source), f"/proc/self/fd/{target}", None, linux.MS_BIND)
        finally:
            linux.detach_mount(scratch)
    finally:
        os.close(target)
    _cover_bypasses()


def _cover_bypasses() -> None:
    """Cover the sockets with /dev/null: connecting is then refused, and the C library goes on to the resolver."""
    for path in _BYPASSES:
        try:
            linux.mount("/dev/null", path, None, linux.MS_BIND)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
