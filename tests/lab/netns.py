"""Network namespaces as test places, held by processes and not by names.

A namespace lives as long as a process is in it. Each one here is kept by a `cat` that reads a pipe of ours: when the
test session ends in whatever way, kill -9 included, the pipe closes, the `cat` ends and the kernel takes the namespace
and its interfaces down. Nothing is written to /run/netns.

Commands enter by `nsenter` and are tied to this process by PR_SET_PDEATHSIG, so none outlives it. Root makes the namespaces
directly; an ordinary user makes one user namespace first, which owns all the others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Self

REPOSITORY = Path(__file__).resolve().parents[2]
ENTER_SECONDS = 10.0
TOOLS = ("unshare", "nsenter", "setpriv", "ip")

ENVIRONMENT = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


class Place:
    """The namespaces of a living process: commands can be run in there.

    pid: that process. netns: whether its network is another than ours is the caller's business.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._children: list[subprocess.Popen[bytes]] = []

    def command(self, *argv: str) -> list[str]:
        """The argument vector that runs argv in this place, in the repository's directory."""
        enter = ["nsenter", "--target", str(self.pid), "--net", "--mount"]
        if not _same_namespace("user", self.pid):
            enter += ["--user", "--preserve-credentials"]
        if not _same_namespace("pid", self.pid):
            # nsenter then stays as the parent: what kills it kills argv too, by PR_SET_PDEATHSIG.
            enter.append("--pid")
        return [*enter, "setpriv", "--pdeathsig", "KILL", "env", "-C", str(REPOSITORY), *argv]

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start argv here; it is killed with `close()` at the latest."""
        child: subprocess.Popen[bytes] = subprocess.Popen(
            self.command(*argv), **{"env": ENVIRONMENT, **options}
        )
        self._children.append(child)
        return child

    def run(
        self, *argv: str, timeout: float = 30.0, check: bool = True, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run argv here to its end; stdout and stderr are captured as text. AssertionError with both where check fails."""
        child = self.start(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            child.kill()
            out, err = child.communicate()
            raise AssertionError(
                f"{' '.join(argv)}: not done in {timeout} s\n{_text(out)}\n{_text(err)}"
            ) from late
        finally:
            self._children.remove(child)
        done = subprocess.CompletedProcess(list(argv), child.returncode, _text(out), _text(err))
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def call(self, name: str, *arguments: object, timeout: float = 60.0) -> Any:
        """Call a function of tests/lab/inside here ("module.function") and return what it returned, by way of JSON."""
        done = self.run(
            sys.executable, "-m", "tests.lab.inside", name, json.dumps(arguments), timeout=timeout
        )
        return json.loads(done.stdout)

    def ip(self, arguments: str) -> None:
        """Run `ip` with these arguments, split at blanks."""
        self.run("ip", *arguments.split())

    def sysctl(self, name: str, value: str) -> None:
        """Write one value under /proc/sys (a net.* one is this place's own)."""
        path = "/proc/sys/" + name.replace(".", "/")
        self.run("sh", "-c", f"echo '{value}' > {path}")

    def close(self) -> None:
        """Kill what was started here and is still alive."""
        for child in reversed(self._children):
            end(child)
        self._children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Namespace(Place):
    """A new network and mount namespace. within: one made before, whose user namespace (if any) owns this one too."""

    def __init__(self, within: Place | None = None) -> None:
        new = ["unshare", "--net", "--mount"]
        if within is not None:
            argv = within.command(*new)
        elif os.geteuid() == 0:
            argv = new
        else:
            argv = [*new, "--user", "--map-root-user"]
        self._keeper = subprocess.Popen(
            [*argv, "sh", "-c", "echo $$; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        answer = _pipe(self._keeper.stdout).readline()
        if not answer.strip():
            end(self._keeper)
            raise OSError(f"no new network namespace: {' '.join(argv)} failed")
        super().__init__(int(answer))
        self.ip("link set lo up")

    def replace_file(self, path: str, content: Path) -> None:
        """Show content in place of path, in this namespace only."""
        self.run("mount", "--bind", str(content), path)

    def close(self) -> None:
        super().close()
        end(self._keeper)


def join(one: Place, one_name: str, other: Place, other_name: str, *, mtu: int = 1500) -> None:
    """A veth pair between two places, both ends up."""
    one.ip(f"link add {one_name} mtu {mtu} type veth peer name {other_name} mtu {mtu} netns {other.pid}")
    one.ip(f"link set {one_name} up")
    other.ip(f"link set {other_name} up")


def missing() -> str:
    """What this machine lacks for namespaces and a TAP, in words; empty where nothing is missing."""
    path = ENVIRONMENT["PATH"]
    absent = [tool for tool in TOOLS if not shutil.which(tool, path=path)]
    if absent:
        return "commands " + ", ".join(absent)
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun, readable and writable"
    try:
        with Namespace() as place:
            place.ip("link add one type veth peer name two")
            place.ip("tuntap add name tap0 mode tap")
    except (OSError, AssertionError) as error:
        return f"network namespaces with veth and TAP ({str(error).strip().splitlines()[0]})"
    return ""


def _same_namespace(kind: str, pid: int) -> bool:
    return Path(f"/proc/self/ns/{kind}").readlink() == Path(f"/proc/{pid}/ns/{kind}").readlink()


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill one process of ours, reap it, close its pipes."""
    child.kill()
    child.wait(ENTER_SECONDS)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
