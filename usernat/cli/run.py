"""`usernat run`: a command in namespaces of its own, whose only way out is the gateway.

The main thread waits for signals, and for the guest's end, which is one too; the gateway has a thread of its own. A signal from the terminal
has reached the command already, which is in the same foreground process group; one that somebody sent to this process is passed on. So is
the end of the terminal itself, of which the kernel tells the leader of the session alone. With a policy file, a SIGHUP that a process sent is
meant for the gateway, which reads the file again, and not for the command.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

import usernat
from usernat.cli.accounts import Accounts
from usernat.cli.descriptors import raise_descriptor_limit
from usernat.cli.hangup import sent_by_a_process
from usernat.cli.memory import keep_freed_memory, spare_what_stays
from usernat.cli.options import gateway_options, make_config
from usernat.cli.policy_source import PolicySource
from usernat.namespace import EXIT_OWN_FAILURE

PASSED_ON = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH")


EXAMPLES = """\b
Examples:
  usernat run -- curl https://example.com/
  usernat run --host-loopback -- psql -h 10.0.2.2
  usernat run --dns 192.0.2.53 --capture out.pcap -- make test
  usernat run --policy internet -- npm install
  usernat run --policy tools.toml -- agent       (see usernat policy --help)
"""


class GuestFailure(click.ClickException):
    """The guest could not be made, so there is no status of its command."""

    exit_code = EXIT_OWN_FAILURE


@click.command(
    epilog=EXAMPLES, context_settings={"allow_interspersed_args": False}, options_metavar="[OPTIONS] --"
)
@gateway_options
@click.option(
    "--real-root",
    is_flag=True,
    help="As root: leave CMD root's power over the machine (mounts, devices, modules). It can then leave its network.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD [ARG]...")
def run(
    command: tuple[str, ...],
    verbose: bool,
    policy: str | None,
    audit: str | None,
    real_root: bool,
    **options: Any,
) -> int:
    """Run CMD in a network of its own behind the gateway.

    CMD sees one interface, tap0 (10.0.2.15), a route by 10.0.2.2 and the resolver 10.0.2.3, and no processes but its own. No privileges
    are needed where the kernel allows user namespaces. What CMD leaves running when it ends is killed. The exit status is CMD's.

    CMD keeps your files, and so the UNIX sockets among them: Docker's or D-Bus's would start a program outside for it. As root it keeps
    root's files, devices among them, but no power over the rest of the machine. Run untrusted commands as an ordinary user.

    With --policy FILE, a SIGHUP that is sent to usernat is not passed on to CMD: the file is read again, for new flows. A mistake in it
    is told, and the policy stays as it was. Keep the file where CMD cannot write.
    """
    if sys.platform != "linux":
        raise click.ClickException("run needs Linux: it is made of namespaces and a TAP device")
    config = make_config(**options)
    source = PolicySource(policy)
    accounts = Accounts(audit, summary=verbose)
    # These load what exists on Linux only.
    from usernat import linux  # noqa: PLC0415
    from usernat.namespace.guest import NamespaceError, NamespaceGuest  # noqa: PLC0415
    from usernat.namespace.leavings import sweep  # noqa: PLC0415

    linux.become_subreaper()
    watched = {signal.SIGCHLD, *(getattr(signal, name) for name in PASSED_ON)}
    # Blocked until this process ends, in every thread from now on; the command gets back what was blocked before.
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        with NamespaceGuest(
            command, config, blocked=blocked_before, real_root=real_root, meanwhile=_load_gateway
        ) as guest:
            keep_freed_memory()
            raise_descriptor_limit()  # of the gateway alone: the keeper, and so the command, has the old one
            with usernat.UserNat(config, guest.link, policy=source.policy, audit=accounts) as nat:
                spare_what_stays()
                source.serve(nat)
                guest.start()
                status = _wait(guest, watched, source)
                counters = nat.counters()
    except NamespaceError as error:
        raise GuestFailure(f"cannot make the guest: {error}") from error
    finally:
        accounts.close()
    sweep()  # only if the keeper was killed is there anything
    if verbose:
        from usernat.cli.report import show_counters, show_summary  # noqa: PLC0415 - tables take rich, which is large

        show_counters(counters, f"usernat: {command[0]} ended with status {status}")
        show_summary(accounts.summary)
    return status


def _load_gateway() -> None:
    """It is as large as all the rest together, and nothing needs it before the guest's network is there."""
    import_module("usernat.usernat")


def _wait(guest: Any, watched: set[signal.Signals], source: PolicySource) -> int:
    """The guest's exit status; until then, pass signals on, but for the one that asks for the policy to be read again."""
    while (status := guest.poll()) is None:
        arrived = signal.sigwaitinfo(watched)
        if source.is_file and arrived.si_signo == signal.SIGHUP and sent_by_a_process(arrived):
            source.reload()
        elif arrived.si_signo != signal.SIGCHLD and not _command_has(arrived):
            guest.send_signal(arrived.si_signo)
    return int(status)


def _command_has(arrived: signal.struct_siginfo) -> bool:
    """Whether the command has been sent the same signal: by the terminal, to the whole foreground group."""
    of_the_session = arrived.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()
    return not sent_by_a_process(arrived) and not of_the_session
