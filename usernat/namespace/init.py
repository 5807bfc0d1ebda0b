"""The first process of the guest's PID namespace: starts the command, passes signals on, reaps, and takes everything with it.

It is forked off the keeper, and goes on in the same interpreter. The kernel gives it every orphan of the namespace as a child, delivers no
signal from inside to it, and when it ends kills all that is left in there. So it ends with the command, with the gateway (the control
socket's end) or with the keeper (its parent's death signal), and nothing stays behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
from typing import NoReturn

from usernat import linux
from usernat.namespace import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_OWN_FAILURE, MESSAGE_MAX
from usernat.namespace.spaces import show_own_processes


def main(command: list[str], control: socket.socket, *, blocked: list[int], own_group: bool) -> NoReturn:
    """Run the command once the gateway says so, and end with its status.

    blocked: the signals to be blocked in it. own_group: give it a process group of its own.
    """
    status = EXIT_OWN_FAILURE
    try:
        # Should the keeper have died before this line, then the gateway closes the control socket, which is waited for below.
        linux.set_parent_death_signal(signal.SIGKILL)
        show_own_processes()
        if control.recv(MESSAGE_MAX):
            status = _watch(_start(command, blocked, own_group=own_group), control)
    except OSError as error:  # no process more, no descriptor more
        _tell(command[0], error.strerror or str(error))
    finally:
        os._exit(status)


def _start(command: list[str], blocked: list[int], *, own_group: bool) -> int:
    """Fork and execute the command; its process id."""
    child = os.fork()
    if child:
        return child
    if own_group:
        os.setpgid(0, 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by the interpreter, and that would outlive exec
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        if not command[0]:
            raise FileNotFoundError  # as a shell has it; exec itself calls it a wrong argument
        os.execvp(command[0], command)  # noqa: S606 - running the user's command, without a shell, is the purpose
    except FileNotFoundError:
        _refuse(command[0], "command not found", EXIT_NOT_FOUND)
    except (OSError, ValueError) as error:
        named_in_path = "/" not in command[0]
        if isinstance(error, PermissionError) and named_in_path and shutil.which(command[0], os.F_OK) is None:
            _refuse(
                command[0], "command not found", EXIT_NOT_FOUND
            )  # it was a folder of PATH that forbade a look
        _refuse(command[0], getattr(error, "strerror", None) or str(error), EXIT_NOT_EXECUTABLE)


def _refuse(command: str, reason: str, status: int) -> NoReturn:
    """Say why the command cannot be executed, and end the child."""
    _tell(command, reason)
    os._exit(status)


def _tell(command: str, reason: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, os.fsencode(f"usernat: {command}: {reason}\n"))


def _watch(command: int, control: socket.socket) -> int:
    """Pass signals on and reap orphans until the command or the gateway ends; the exit status."""
    bell = _ring_at_a_childs_end()
    poller = select.poll()
    poller.register(bell, select.POLLIN)
    poller.register(control, select.POLLIN)
    while (status := _reap(command)) is None:
        ready = dict(poller.poll())
        if bell.fileno() in ready:
            bell.recv(MESSAGE_MAX)
        if control.fileno() in ready:
            message = control.recv(MESSAGE_MAX)
            if not message:
                return EXIT_OWN_FAILURE
            os.kill(command, json.loads(message)["signal"])  # it is not reaped: the id is still its own
    return status


def _ring_at_a_childs_end() -> socket.socket:
    """A socket that becomes readable when a child has ended."""
    bell, rope = socket.socketpair()
    bell.setblocking(False)
    rope.setblocking(False)
    signal.signal(
        signal.SIGCHLD, lambda *_: None
    )  # any handler will do: the interpreter writes to the descriptor
    signal.set_wakeup_fd(rope.detach(), warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    return bell


def _reap(command: int) -> int | None:
    """Reap all that has ended; the command's exit status if it is among them."""
    while True:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == command:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if child == 0:
            return None
