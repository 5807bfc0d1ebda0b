"""`usernat serve`: QEMU guests over `-netdev stream`, one after the other."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

import usernat
from usernat.cli.accounts import Accounts
from usernat.cli.descriptors import raise_descriptor_limit
from usernat.cli.hangup import reload_on_hangup
from usernat.cli.memory import keep_freed_memory, spare_what_stays
from usernat.cli.options import gateway_options, make_config
from usernat.cli.own_door import with_own_door_closed
from usernat.cli.policy_source import PolicySource
from usernat.links.capture import CaptureLink, PcapFile
from usernat.links.listener import Endpoint, GuestListener
from usernat.publish import try_forwards

if TYPE_CHECKING:
    from usernat.config import Config


EXAMPLES = """\b
Examples:
  usernat serve --qemu unix:/tmp/guest.sock
    qemu-system-x86_64 ... -device virtio-net-pci,netdev=n0 \\
      -netdev stream,id=n0,server=off,addr.type=unix,addr.path=/tmp/guest.sock
  usernat serve --qemu tcp:127.0.0.1:5555 --host-loopback -v
    qemu-system-x86_64 ... -device virtio-net-pci,netdev=n0 \\
      -netdev stream,id=n0,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=5555
  usernat serve --qemu unix:/tmp/guest.sock --policy locked-down.toml
"""


@click.command(epilog=EXAMPLES)
@click.option("--qemu", required=True, metavar="unix:PATH|tcp:HOST:PORT", help="Where to listen for QEMU.")
@click.option(
    "--boot-file",
    default="",
    metavar="URL",
    help="What a guest that boots from the network is to load (iPXE takes http://...).",
)
@click.option(
    "--static",
    multiple=True,
    metavar="ADDR",
    help="An address that a guest may have without a lease, besides the first one leased; may be repeated.",
)
@gateway_options
def serve(
    qemu: str,
    boot_file: str,
    static: tuple[str, ...],
    verbose: bool,
    policy: str | None,
    audit: str | None,
    **options: Any,
) -> int:
    """Serve QEMU's `-netdev stream`, guest after guest.

    A guest that connects while another is served waits for its turn. Ends with Ctrl-C or SIGTERM.

    With --policy FILE, SIGHUP has the file read again, for new flows of the present guest and for later guests. A mistake in it is told,
    and the policy stays as it was.
    """
    endpoint = Endpoint.parse(qemu)
    config = replace(make_config(**options), boot_file=boot_file, static=static)
    source = PolicySource(policy)
    raise_descriptor_limit()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            listener = stack.enter_context(GuestListener(endpoint))
            try_forwards(config.forwards)  # each guest has them anew; a mistake is better told now
            capture = None if config.capture is None else PcapFile(config.capture)
            if capture is not None:
                stack.callback(capture.close)
            accounts = Accounts(audit, summary=verbose)
            stack.callback(accounts.close)
            source.fence(lambda policy: with_own_door_closed(policy, listener.endpoint))
            if source.is_file:
                reload_on_hangup(source)
            click.echo(f"usernat: listening on {listener.endpoint}", err=True)
            import_module("usernat.usernat")
            spare_what_stays()  # not again for each guest: what the last one's gateway was made of is to be found
            while True:
                _serve_guest(listener, config, capture, source, accounts)
    except KeyboardInterrupt:
        return 0


def _serve_guest(
    listener: GuestListener,
    config: Config,
    capture: PcapFile | None,
    source: PolicySource,
    accounts: Accounts,
) -> None:
    """Wait for one guest and serve it until it leaves."""
    link = listener.accept(config.mtu)
    tapped = link if capture is None else CaptureLink(link, capture, owns=False)
    nat = usernat.UserNat(replace(config, capture=None), tapped, policy=source.policy, audit=accounts)
    try:
        source.serve(nat)
        nat.serve_forever()
    finally:
        source.serve(None)
        nat.stop()
    click.echo(f"usernat: {nat.ended}", err=True)
    if accounts.summary is not None:
        from usernat.cli.report import show_counters, show_summary  # noqa: PLC0415 - tables take rich, which is large

        show_counters(nat.counters(), "usernat: one guest")
        show_summary(accounts.summary)
