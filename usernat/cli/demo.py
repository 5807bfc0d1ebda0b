"""`usernat demo`: shows the main job on this machine."""

from __future__ import annotations

import click

EXAMPLES = """\b
Examples:
  usernat demo
  usernat demo | less -R
"""


@click.command(epilog=EXAMPLES)
def demo() -> int:
    """Show the main job end to end.

    A guest takes a DHCP lease, pings, resolves a name and downloads 10 MB through the gateway, packets shown.

    Needs no root, no TUN and no internet: the guest is made of usernat's own stack, the servers are on host loopback.
    Where namespaces and /dev/net/tun are usable, a real kernel guest does the same again. Exits 0 only if all of it worked.
    """
    # Not before it is called: `usernat --help` shows this command without them.
    from rich.console import Console  # noqa: PLC0415

    from usernat.demo.show import show  # noqa: PLC0415

    return 0 if show(Console(highlight=False)) else 1
