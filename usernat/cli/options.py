"""The options that `run` and `serve` share, and what they make together: a `Config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from usernat.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS = (
    click.option("--subnet", metavar="NETWORK", default="10.0.2.0/24", show_default=True, help="The guest's network: gateway .2, DNS .3, leases from .15."),
    click.option("--mtu", default=1500, show_default=True, metavar="N", help="MTU of the guest's link in bytes, 68 to 65520."),
    click.option("--host-loopback", is_flag=True, help="The gateway's address reaches services on this host's 127.0.0.1."),
    click.option("--dns", multiple=True, metavar="ADDR[:PORT]", help="Resolver to forward to instead of the host's; may be repeated."),
    click.option("-p", "--publish", multiple=True, metavar="[ADDR:]HOST:GUEST[/udp]", help="Have a port of this host, on 127.0.0.1 or ADDR, lead to the guest; may be repeated."),
    click.option("--policy", metavar="NAME|FILE", help="What the guest may reach: open, internet (public addresses only), offline, or a TOML file."),
    click.option("--audit", type=click.Path(dir_okay=False), metavar="FILE.jsonl", help="Append every decision, and the end of every flow, to a file as JSON lines."),
    click.option("--capture", type=click.Path(dir_okay=False), metavar="FILE.pcap", help="Write every frame to a file for Wireshark."),
    click.option("-v", "verbose", is_flag=True, help="At the end, show what happened in numbers."),
)  # fmt: skip


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_config(
    *,
    subnet: str,
    mtu: int,
    host_loopback: bool,
    dns: tuple[str, ...],
    publish: tuple[str, ...],
    capture: str | None,
) -> Config:
    """The Config of these options. Raises ConfigError."""
    return Config(
        subnet=subnet, mtu=mtu, host_loopback=host_loopback, dns=dns, publish=publish, capture=capture
    )
