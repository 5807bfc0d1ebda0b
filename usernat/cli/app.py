"""The `usernat` command: its subcommands, and the one place where an error becomes one line and an exit status.

0    it worked; for `run`, the command's own status, whatever it is; for `policy explain`, the guest may
1    something failed while running; for `policy explain`, the guest may not
2    wrong usage, or a setting or a policy that cannot be
125  `run` could not make the guest's namespaces; 126, 127 as in a shell: the command cannot be executed, is not there
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from usernat import ConfigError, __version__
from usernat.policy.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_INTERRUPTED = 130
SUBCOMMANDS = ("demo", "policy", "run", "serve")

EXAMPLES = """\b
Examples:
  usernat demo
  usernat run -- curl http://example.com/
  usernat serve --qemu unix:/tmp/guest.sock
  usernat policy explain internet 192.168.1.1:22
"""


class _Subcommands(click.Group):
    """Each is loaded when it is asked for: `run` need not wait for what `serve` listens with."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- they are always the same
        return [*SUBCOMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- as above
        if cmd_name in SUBCOMMANDS:
            return _loaded(cmd_name)
        # There click looks for what was meant
        self.commands.update({name: _loaded(name) for name in SUBCOMMANDS})
        return None


def _loaded(name: str) -> click.Command:
    command: click.Command = getattr(import_module(f"usernat.cli.{name}"), name)
    return command


@click.group(
    cls=_Subcommands,
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="usernat", message="%(prog)s %(version)s")
def app() -> None:
    """The network for a guest without privileges: a TCP/IP stack and NAT in pure Python."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    logging.basicConfig(format="usernat: %(message)s", level=logging.WARNING)
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    """The exit status; errors are told on standard error, a line each."""
    try:
        return int(app.main(arguments, prog_name="usernat", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "usernat"
        _complain(f"{error.format_message()} (see {command} --help)")
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        return error.exit_code
    except (ConfigError, PolicyError) as error:
        _complain(str(error))
        return click.UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED


def _complain(message: str) -> None:
    click.echo(f"usernat: {' '.join(message.split())}", err=True)
