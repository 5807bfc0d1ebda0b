"""`usernat run`: a command in namespaces of its own, whose only way out is the gateway.

The main thread waits for signals, and for the guest's end, which is one too; the gateway has a thread of its own. A signal from the terminal
has reached the command already, which is in the same foreground process group; one that somebody sent to this process is passed on. So is
the end of the terminal itself, of which the kernel tells the leader of the session alone.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import click

import usernat
from usernat.cli.descriptors import raise_descriptor_limit
from usernat.cli.options import gateway_options, make_config
from usernat.cli.report import show_counters
from usernat.namespace import EXIT_OWN_FAILURE

PASSED_ON = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH")


EXAMPLES = """\b
Examples:
  usernat run -- curl https://example.com/
  usernat run --host-loopback -- psql -h 10.0.2.2
  usernat run --dns 192.0.2.53 --capture out.pcap -- make test
"""


class GuestFailure(click.ClickException):
    """The guest could not be made, so there is no status of its command."""

    exit_code = EXIT_OWN_FAILURE


@click.command(
    epilog=EXAMPLES, context_settings={"allow_interspersed_args": False}, options_metavar="[OPTIONS] --"
)
@gateway_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD [ARG]...")
def run(command: tuple[str, ...], verbose: bool, **options: Any) -> int:
    """Run CMD in a network of its own behind the gateway.

    CMD sees one interface, tap0 (10.0.2.15), a route by 10.0.2.2 and the resolver 10.0.2.3. No privileges are needed where
    the kernel allows user namespaces. What CMD leaves running when it ends is killed. The exit status is CMD's.
    """
    if sys.platform != "linux":
        raise click.ClickException("run needs Linux: it is made of namespaces and a TAP device")
    config = make_config(**options)
    # These load what exists on Linux only.
    from usernat import linux  # noqa: PLC0415
    from usernat.namespace.guest import NamespaceError, NamespaceGuest  # noqa: PLC0415
    from usernat.namespace.keeper import sweep  # noqa: PLC0415

    linux.become_subreaper()
    watched = {signal.SIGCHLD, *(getattr(signal, name) for name in PASSED_ON)}
    # Blocked until this process ends, in every thread from now on; the command gets back what was blocked before.
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        with NamespaceGuest(command, config, blocked=blocked_before) as guest:
            raise_descriptor_limit()  # of the gateway alone: the keeper, and so the command, has the old one
            with usernat.UserNat(config, guest.link) as nat:
                guest.start()
                status = _wait(guest, watched)
                counters = nat.counters()
    except NamespaceError as error:
        raise GuestFailure(f"cannot make the guest: {error}") from error
    sweep()  # only if the keeper was killed is there anything
    if verbose:
        show_counters(counters, f"usernat: {command[0]} ended with status {status}")
    return status


def _wait(guest: Any, watched: set[signal.Signals]) -> int:
    """The guest's exit status; until then, pass signals on."""
    while (status := guest.poll()) is None:
        arrived = signal.sigwaitinfo(watched)
        if arrived.si_signo != signal.SIGCHLD and not _command_has(arrived):
            guest.send_signal(arrived.si_signo)
    return int(status)


def _command_has(arrived: signal.struct_siginfo) -> bool:
    """Whether the command has been sent the same signal: by the terminal, to the whole foreground group."""
    # si_code is above 0 where the kernel speaks for the terminal, 0 or below where a process sent it (sigaction(2)).
    of_the_session = arrived.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()
    return arrived.si_code > 0 and not of_the_session
