"""What is loaded when: a start is nearly all imports, so each of these names costs every `usernat run` its share of a second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import usernat

PLACE = str(Path(usernat.__file__).parent.parent)
TELL = "import atexit, sys; before = set(sys.modules); atexit.register(lambda: print(*(set(sys.modules) - before)))"

LARGE = {"asyncio", "attrs", "cattrs", "dns", "email", "idna", "pydoc", "rich", "ssl", "tomli_w", "tomllib"}
OTHER_COMMANDS = {
    "usernat.cli.demo",
    "usernat.cli.policy",
    "usernat.cli.serve",
    "usernat.demo",
    "usernat.links.listener",
}
NOT_FOR_THE_KEEPER = LARGE | {
    *("click", "construct", "dataclasses", "inspect", "logging", "subprocess"),
    *("usernat.config", "usernat.links", "usernat.nat", "usernat.policy", "usernat.stack", "usernat.usernat"),
}


def loaded(code: str, *options: str) -> set[str]:
    """The modules that a fresh interpreter has once `code` has run, without those that it begins with."""
    command = [sys.executable, *options, "-c", f"{TELL}; sys.path.append({PLACE!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "needed", "absent"),
    [
        (
            "import usernat",
            "usernat",
            LARGE | {"click", "construct", "logging", "socket", "usernat.config", "usernat.stack"},
        ),
        (
            "from usernat import Config",
            "usernat.config",
            LARGE | {"click", "construct", "usernat.stack.interface", "usernat.usernat"},
        ),
        (
            "from usernat import UserNat",
            "usernat.nat.gateway",
            LARGE | {"click", "subprocess", "usernat.cli"},
        ),
        (
            "from usernat.cli import main; main(['--version'])",
            "click",
            LARGE | OTHER_COMMANDS | {"construct", "usernat.cli.run"},
        ),
        # It need not get as far as a guest: where there can be none, all is loaded by then.
        (
            "from usernat.cli import main; main(['run', '--', 'true'])",
            "usernat.nat.gateway",
            LARGE | OTHER_COMMANDS,
        ),
    ],
    ids=["package", "config", "gateway", "version", "run"],
)
def test_loads_what_it_needs_and_no_more(code: str, needed: str, absent: set[str]) -> None:
    modules = loaded(code)
    assert needed in modules
    assert not modules & absent


def test_keeper_loads_next_to_nothing() -> None:
    """It runs like this (`namespace/guest.py`)."""
    modules = loaded("import usernat.namespace.keeper", "-I", "-S")
    assert "usernat.namespace.init" in modules
    assert not modules & NOT_FOR_THE_KEEPER
