"""Starting `usernat run` as a user does: as a process of its own, as root or as nobody."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import usernat
from tests.processes import outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(usernat.__file__).parents[1]
STAY = 'echo $$; trap "" HUP; while :; do sleep 0.05; done'
NOBODY = 65534
DEPENDENCIES = (
    "construct",
    "sortedcontainers",
    "dns",
    "idna",
    "click",
    "rich",
    "markdown_it",
    "mdurl",
    "pygments",
)


def environment(path: Path | str = REPOSITORY) -> dict[str, str]:
    """Of a child that is to import usernat from `path`."""
    return {**os.environ, "PYTHONPATH": str(path)}


def command(*arguments: str) -> list[str]:
    """`usernat run` with these arguments."""
    return [sys.executable, "-m", "usernat", "run", *arguments]


def run(*arguments: str, timeout: float = 30, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a guest to its end."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        check=False,
        **settings,
    )


@contextlib.contextmanager
def started(*arguments: str, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A guest whose standard output is read by the test; what is left of it is killed at the end."""
    settings = {"stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "env": environment(), **settings}
    process = subprocess.Popen(command(*arguments), text=True, **settings)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def eventually(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether a process with this id exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] != "Z"


def network_of(pid: int) -> str:
    """The network namespace of a process."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def members(namespace: str) -> list[int]:
    """The processes in a network namespace."""
    found = []
    for path in Path("/proc").iterdir():
        entry = path.name
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if network_of(int(entry)) == namespace and alive(int(entry)):
                    found.append(int(entry))
    return found


@contextlib.contextmanager
def readable_copy() -> Iterator[Path]:
    """A directory that any user can import usernat from: a test environment often is in a home, pytest's files are private.

    What is in it is pure Python, which loads in the system's interpreter as well.
    """
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(
            REPOSITORY / "usernat", Path(place, "usernat"), ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in DEPENDENCIES:
            source = Path(str(importlib.import_module(name).__file__)).parent
            shutil.copytree(source, Path(place, name), ignore=shutil.ignore_patterns("__pycache__"))
        Path(place).chmod(0o755)
        yield Path(place)


def said(process: subprocess.Popen[str]) -> str:
    """The next line of its output."""
    assert process.stdout is not None
    return process.stdout.readline()


def guest_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its command's process id, as we have it, and its network. The command printed first what it takes for its id."""
    pid = outside(process.pid, int(said(process)))
    namespace = network_of(pid)
    assert namespace != network_of(os.getpid())
    return pid, namespace
