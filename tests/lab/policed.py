"""A gateway whose policy a test replaces while it runs, the way users do: the file is rewritten and SIGHUP sent. And the guest that has to live with it."""

from __future__ import annotations

import json
import signal
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from tests.lab.guest import namespace_guest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lab.guest import Guest
    from tests.lab.netns import Place
    from usernat.policy import NetworkPolicy

PATIENCE = 5.0  # seconds
REFUSED_SECONDS = 2.0  # within which every refusal must have come
LOOK_SECONDS = 0.005
READ, KEPT = "read again", "the policy stays as it was"

Record = dict[str, Any]
Found = TypeVar("Found")


class PolicedGateway:
    """folder: where its policy, its audit and its standard error are; of no other gateway. It begins with a policy that denies all."""

    def __init__(self, folder: Path) -> None:
        self.policy = folder / "policy.toml"
        self.audit = folder / "audit.jsonl"
        self._errors = folder / "stderr"
        self.policy.write_text("")
        self.options = ("--policy", str(self.policy), "--audit", str(self.audit))
        self._process: subprocess.Popen[bytes] | None = None
        self._told = 0
        self._audited = 0

    def stderr(self) -> IO[bytes]:
        """Where the gateway's process is to write its errors."""
        return self._errors.open("wb")

    def runs_as(self, process: subprocess.Popen[bytes]) -> None:
        """This is the process, started with `options`."""
        self._process = process

    def said(self) -> str:
        """All of its standard error up to now."""
        return self._errors.read_text()

    def obey(self, policy: NetworkPolicy | str) -> str:
        """Have a policy (or the text of a policy file) read; what the gateway says about it. New flows go by it, and the audit begins anew."""
        self.policy.write_text(policy if isinstance(policy, str) else policy.to_toml())
        self._told = len(self.said())
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        answer = wait_for(self._acknowledged)
        self.audited()
        return answer

    def decisions(self) -> list[Record]:
        """Those of the records since the last call, or since the policy, that are decisions. Flows of other tests may end at any time."""
        return [record for record in self.audited() if record["event"] == "decision"]

    def audited(self) -> list[Record]:
        """All records since the last call, or since the policy."""
        with self.audit.open("rb") as file:
            file.seek(self._audited)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._audited += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def audited_until(self, wanted: Callable[[Record], bool]) -> list[Record]:
        """The same, but as soon as one of them is as wanted, which is the last: a flow ends a moment after the guest thinks so."""
        records: list[Record] = []

        def found() -> list[Record] | None:
            records.extend(self.audited())
            return records if any(map(wanted, records)) else None

        return wait_for(found, lambda: f"no such record among {records}")

    def _acknowledged(self) -> str | None:
        lines = self.said()[self._told :].splitlines(keepends=True)
        return next((line for line in lines if line.endswith("\n") and (READ in line or KEPT in line)), None)


class Attempt(NamedTuple):
    """output: of the command, errors included. status: its exit status. seconds: how long it took."""

    output: str
    status: int
    seconds: float


class Subject(ABC):
    """A guest behind such a gateway, of whatever kind."""

    def __init__(self, gateway: PolicedGateway) -> None:
        self.gateway = gateway

    @abstractmethod
    def shell(self, command: str, timeout: float) -> tuple[str, int]:
        """Run a command in a shell of the guest: what it prints, and its exit status."""

    def attempt(self, command: str, timeout: float = 20.0) -> Attempt:
        """Run a command that may fail."""
        began = time.monotonic()
        output, status = self.shell(f"{{ {command}\n}} 2>&1", timeout)
        return Attempt(output, status, time.monotonic() - began)

    def run(self, command: str, timeout: float = 20.0) -> str:
        """What a command prints that must succeed."""
        output, status, _ = self.attempt(command, timeout)
        assert status == 0, f"{command}: status {status}\n{output}"
        return output

    def refused(self, command: str) -> str:
        """What a command prints that must fail, and soon."""
        output, status, seconds = self.attempt(command)
        assert status != 0, f"{command} worked:\n{output}"
        assert seconds < REFUSED_SECONDS, f"{command}: refused only after {seconds:.1f} s\n{output}"
        return output


class Suspect(Subject):
    """A guest of `usernat run`: a real kernel with all the tools of the host, and with root's powers in its own network."""

    def __init__(self, guest: Guest, gateway: PolicedGateway) -> None:
        super().__init__(gateway)
        self.guest = guest

    def shell(self, command: str, timeout: float) -> tuple[str, int]:
        done = self.guest.run("sh", "-c", command, timeout=timeout, check=False)
        return done.stdout, done.returncode


@contextmanager
def suspect(host: Place, folder: Path, *options: str) -> Iterator[Suspect]:
    """One of them, under a policy that denies all. folder: for its gateway's files. options: more of them for `usernat run`."""
    gateway = PolicedGateway(folder)
    with (
        gateway.stderr() as stderr,
        namespace_guest(host, *gateway.options, *options, stderr=stderr) as guest,
    ):
        gateway.runs_as(guest.gateway)
        yield Suspect(guest, gateway)


def wait_for(look: Callable[[], Found | None], complaint: Callable[[], str] = str) -> Found:
    """What `look` returns, once it returns something. AssertionError with the complaint where it does not for five seconds."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < deadline, complaint()
        time.sleep(LOOK_SECONDS)
    return found
