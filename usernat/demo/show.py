"""The order of events, and what is said about them.

The servers stand on host loopback; each guest reaches them through a gateway of its own, sees the same name, the same file, and is
checked against what the servers really have. A guest that fails is told with its reason, and the demo's exit status says so too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from usernat import Config, UserNat
from usernat.demo import visit as visit_script
from usernat.demo.exchange import ExchangeLink
from usernat.demo.inprocess import VisitError, visit_in_process
from usernat.demo.servers import FILE_SIZE, NAME, DemoServers
from usernat.links.memory import memory_pair

if TYPE_CHECKING:
    from rich.console import Console

    from usernat.demo.visit import Visit

_KERNEL_SECONDS = 10.0


def show(console: Console) -> bool:
    """Run the demo; whether all of it worked."""
    with DemoServers(str(Config().gateway)) as servers:
        config = Config(host_loopback=True, dns=[f"127.0.0.1:{servers.dns_port}"])
        worked = _show_in_process(console, config, servers)
        reason = _kernel_guest_unusable()
        if reason is None:
            worked = _show_kernel(console, config, servers) and worked
        else:
            console.print(f"[bold]No kernel guest on this machine:[/] {reason}.")
    verdict = "[bold green]All of it worked.[/]" if worked else "[bold red]Something failed, see above.[/]"
    console.print(verdict)
    return worked


def _show_in_process(console: Console, config: Config, servers: DemoServers) -> bool:
    """A guest made of our own stack, in this process."""
    _headline(console, "A guest made of usernat's own stack: no root, no TUN, no namespace")
    ours, theirs = memory_pair()
    link = ExchangeLink(ours, console)
    with UserNat(config, link) as nat:
        try:
            visit = visit_in_process(theirs, config, servers.url)
        except VisitError as error:
            console.print(f"[bold red]The guest failed:[/] {error}")
            return False
        finally:
            theirs.close()
    link.finish()
    return _judge(console, visit, servers, config, nat)


def _show_kernel(console: Console, config: Config, servers: DemoServers) -> bool:
    """A Linux kernel in a namespace, behind a TAP device; its address is set, not leased, as by `usernat run`."""
    from usernat.namespace.guest import NamespaceGuest  # noqa: PLC0415 - Linux only

    _headline(console, "A Linux kernel as the guest: a network namespace behind a TAP device")
    command = [sys.executable, "-I", str(Path(visit_script.__file__)), str(config.gateway), servers.url]
    with NamespaceGuest(command, config, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest:
        link = ExchangeLink(guest.link, console)
        with UserNat(config, link) as nat:
            guest.start()
            try:
                output, errors = guest.process.communicate(timeout=_KERNEL_SECONDS)
            except subprocess.TimeoutExpired:
                output, errors = b"", b"it took too long"
        link.finish()
    if not output:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        console.print(Text.assemble(("The guest failed: ", "bold red"), *last))
        return False
    return _judge(console, json.loads(output), servers, config, nat)


def _kernel_guest_unusable() -> str | None:
    """Why there can be no kernel guest, None where there can."""
    if sys.platform != "linux":
        return "network namespaces are a feature of Linux"
    from usernat.namespace.guest import usable  # noqa: PLC0415 - Linux only

    return usable()


def _headline(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/]")
    console.print("      ms   ▶ from the guest, ◀ to the guest", style="dim")


def _judge(console: Console, visit: Visit, servers: DemoServers, config: Config, nat: UserNat) -> bool:
    """Compare what the guest saw with what is there, and show both."""
    lease = visit["lease_seconds"]
    speed = visit["size"] / visit["seconds"] / 1e6
    counters = nat.link.counters
    checks = [
        (
            "address",
            f"{visit['address']}" + (f", leased for {lease:,} s" if lease else ", set with the namespace"),
            True,
        ),
        ("ping", f"{config.gateway} answers in {visit['rtt_ms']:.2f} ms", True),
        ("DNS", f"{NAME} is {visit['resolved']}", visit["resolved"] == str(config.gateway)),
        (
            "HTTP",
            f"{visit['size']:,} bytes in {visit['seconds']:.2f} s, {speed:.0f} MB/s",
            visit["size"] == FILE_SIZE,
        ),
        ("sha256", f"{visit['sha256'][:32]}…", visit["sha256"] == servers.sha256),
        ("frames", f"{counters.frames_in:,} from the guest, {counters.frames_out:,} to it", True),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, text, right in checks:
        mark = Text("✓", style="green") if right else Text("✗", style="bold red")
        table.add_row(mark, Text(name, style="bold"), text)
    console.print(table)
    return all(right for _, _, right in checks)
