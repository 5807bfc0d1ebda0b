"""`usernat policy`: is this file a policy, and what would it say?

`explain` asks the policy as the gateway would, question by question, so what it prints is what will happen. A name takes two: may the guest
look it up, and may the flow be opened that follows? The address that it will find is not known here, so a public one is taken that no rule
speaks of. Nothing is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from usernat.cli.policy_source import described, policy_named
from usernat.cli.question import Destination, Question, questions
from usernat.policy.decision import ALLOW, ASK, DENY, READ
from usernat.policy.errors import PolicyError
from usernat.policy.matchers import PROTOCOLS

if TYPE_CHECKING:
    from usernat.policy import NetworkPolicy

_WORDS = {
    DENY: "denied",
    ALLOW: "allowed",
    ASK: "asked, which is no yet",
    READ: "decided by the guest's first bytes",
}

EXAMPLES = """\b
Examples:
  usernat policy check tools.toml
  usernat policy explain tools.toml pypi.org:443
  usernat policy explain tools.toml 151.101.0.223:443 --name pypi.org
  usernat policy explain internet 169.254.169.254:80
"""


@click.group(epilog=EXAMPLES, no_args_is_help=True)
def policy() -> None:
    """Look at what a policy says. FILE is a TOML file, or a preset: open, internet, offline."""


@policy.command(epilog=EXAMPLES)
@click.argument("file")
def check(file: str) -> int:
    """Read FILE and tell every mistake in it, a line each. Exits 0 if there is none, else 2."""
    try:
        found = policy_named(file)
    except PolicyError as error:
        for mistake in getattr(error, "mistakes", (str(error),)):
            click.echo(f"usernat: {mistake}", err=True)
        return click.UsageError.exit_code
    click.echo(f"{file}: {described(found)}")
    return 0


@policy.command(epilog=EXAMPLES)
@click.argument("file")
@click.argument("destination", metavar="DEST[:PORT]")
@click.option("--proto", "protocol", type=click.Choice(list(PROTOCOLS)), default="tcp", show_default=True)
@click.option("--name", metavar="NAME", help="The name under which the guest has found the address DEST.")
def explain(file: str, destination: str, protocol: str, name: str | None) -> int:
    """Show which rule decides whether a guest may reach DEST, and why.

    DEST is a name or an IPv4 address; 10.0.2.2 is this host's loopback, as it is for guests. PORT is 443 where not given. Of a name, both the
    query and the flow are judged, on the assumption that it leads to a public address. Where names are read (TCP to 443 and 80), the guest
    is taken to say the name that it means. --proto dns judges the query alone, with --name the answer that NAME lives at DEST.

    Exits 0 if the guest may, 1 if it may not (or is asked about), 2 for a mistake.
    """
    found = policy_named(file)
    asked = questions(found, Destination.parse(destination), protocol, name)
    return max(_show(found, question) for question in asked)


def _show(policy: NetworkPolicy, question: Question) -> int:
    """Print the answer and how it came about; 0 for a yes."""
    explanation = policy.explain(question.request)
    verdict = explanation.verdict
    if verdict.action == READ and question.claims is not None:
        explanation = policy.explain(question.request._replace(claimed=question.claims))
        verdict = explanation.verdict
    click.echo(f"{question.words}: {_WORDS[verdict.action]} ({verdict.reason})")
    for note in question.notes:
        click.echo(f"    {note}")
    for step in explanation.trail:
        rule = f"rule {step.number}: {step.rule}: "
        click.echo(f"    {rule}{step.outcome.removeprefix(rule)}")
    return 0 if verdict.allowed else 1
