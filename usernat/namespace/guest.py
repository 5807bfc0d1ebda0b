"""The gateway's side of a namespace guest: start its keeper, get the TAP, steer the command.

with NamespaceGuest(["curl", "http://10.0.2.2/"], Config(host_loopback=True)) as guest:
    with UserNat(guest.config, guest.link):
        guest.start()
        status = guest.wait()
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import usernat
from usernat.links.tap import TapLink
from usernat.namespace import MESSAGE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from usernat.config import Config
    from usernat.namespace.keeper import Order

# The keeper runs isolated (-I) from the PYTHON… variables meant for the command, and without what may be installed beside Python (-S), which
# takes longer to set up than all the keeper does. So it is told where to import from: last, the place where this package really is.
_PLACE = str(Path(usernat.__file__).parent.parent)
_BOOT = "import sys; sys.path[:] = {path!r}; from usernat.namespace.keeper import main; main(sys.argv[1:])"


class NamespaceError(Exception):
    """The guest's namespaces cannot be made; `str()` of it says why in one line."""


class NamespaceGuest:
    """A command that waits in its own namespaces until `start`. `link` is the TAP, for the gateway.

    blocked: the signals to be blocked in the command; those of this thread where not given. real_root: as root, make no user namespace, so
    that the command keeps root's power over the machine, and with it the power to leave its network. meanwhile: called while the keeper is at
    work, which takes some hundredths of a second. stdin, stdout, stderr: as in `subprocess`.
    Raises NamespaceError.
    """

    def __init__(
        self,
        command: Sequence[str],
        config: Config,
        *,
        blocked: Collection[int] | None = None,
        real_root: bool = False,
        meanwhile: Callable[[], object] = lambda: None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
    ) -> None:
        if blocked is None:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        order: Order = {
            "network": {
                "address": str(config.guest),
                "netmask": str(config.network.netmask),
                "gateway": str(config.gateway),
                "nameserver": str(config.nameserver),
                "mtu": config.mtu,
            },
            "blocked": [int(number) for number in blocked],
            "real_root": real_root,
        }
        self.config = config
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                theirs.set_inheritable(True)
                arguments = [str(theirs.fileno()), json.dumps(order), *command]
                # Descriptors that the caller meant to pass on go through to the command: Python's own are never inherited.
                self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-I", "-S", "-c", _BOOT.format(path=[*sys.path, _PLACE]), *arguments],
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    close_fds=False,
                )
        except OSError as error:
            self.close()
            raise NamespaceError(f"cannot start {sys.executable}: {error.strerror}") from error
        try:
            meanwhile()
            self.link = TapLink(self._receive_tap(), config.mtu)
        except BaseException:
            self.close()
            raise

    def _receive_tap(self) -> int:
        """The TAP's descriptor, made by the keeper."""
        message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_MAX, 1)
        if not descriptors:
            reason = json.loads(message)["error"] if message else "the guest's keeper process died"
            raise NamespaceError(reason)
        return descriptors[0]

    def start(self) -> None:
        """Execute the command. Call it when the gateway runs."""
        self._tell({"start": True})

    def send_signal(self, number: int) -> None:
        """Send the command a signal; nothing happens when it has ended."""
        self._tell({"signal": int(number)})

    def wait(self, timeout: float | None = None) -> int:
        """The command's exit status, 128 + N for signal N; `timeout` in seconds, then subprocess.TimeoutExpired."""
        return exit_status(self.process.wait(timeout))

    def poll(self) -> int | None:
        """The exit status, or None while the command runs."""
        code = self.process.poll()
        return None if code is None else exit_status(code)

    def close(self) -> None:
        """End the guest: the command and all that it started are killed, the TAP is given back."""
        self._control.close()
        if hasattr(self, "process"):
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
        if hasattr(self, "link"):
            self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _tell(self, message: dict[str, object]) -> None:
        try:
            self._control.send(json.dumps(message).encode())
        except OSError:
            return  # the keeper is gone, or this is closed: `wait` tells


def exit_status(code: int) -> int:
    """A shell's idea of the code that `subprocess` gives."""
    return code if code >= 0 else 128 - code


def usable() -> str | None:
    """None where namespaces and TAP devices can be used on this machine, else the reason why not, in one line."""
    from usernat.config import Config  # noqa: PLC0415 - see below

    if sys.platform != "linux" or not os.path.exists("/proc/self/ns/net"):  # noqa: PTH110
        return "network namespaces are a feature of Linux"
    try:
        NamespaceGuest(["true"], Config()).close()
    except NamespaceError as error:
        return str(error)
    return None
