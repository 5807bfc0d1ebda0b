"""The keeper: makes the guest's namespaces, starts the command in them, and leaves nothing behind.

A fresh interpreter of one thread, as a user namespace demands, started by `guest.py` with the control socket's descriptor, a JSON object and
the command. On the control socket, a SOCK_SEQPACKET pair, go:

    keeper → gateway    {"tap": true} with the TAP's descriptor, or {"error": "…"}
    gateway → keeper    {"start": true}: the gateway runs, execute the command
                        {"signal": N}: send the command a signal (here, where the process id cannot have been reused)
    end of the socket   the gateway is gone

Its exit status is the command's, or 128 + N where signal N ended it; 126 and 127 as in a shell where it cannot be executed; 125 where
the namespaces cannot be made.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn, TypedDict

from usernat import linux
from usernat.namespace import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_OWN_FAILURE, network

MESSAGE_MAX = 4096  # bytes


class Order(TypedDict):
    """What `guest.py` asks for: the network, and the signals that were blocked before it blocked them."""

    network: network.NetworkSpec
    blocked: list[int]


def main(arguments: list[str]) -> NoReturn:
    """`arguments`: descriptor of the control socket, the Order as JSON, the command and its arguments."""
    signal.pthread_sigmask(
        signal.SIG_SETMASK, signal.valid_signals()
    )  # those of the terminal are for the command
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    order: Order = json.loads(arguments[1])
    try:
        linux.become_subreaper()
        network.enter_namespaces()
        tap = network.make_network(order["network"])
        network.set_resolver(order["network"]["nameserver"])
    except OSError as error:
        control.send(json.dumps({"error": error.strerror or str(error)}).encode())
        sys.exit(EXIT_OWN_FAILURE)
    socket.send_fds(control, [json.dumps({"tap": True}).encode()], [tap])
    os.close(tap)  # the gateway's copy is then the only one: the device ends with it
    if not control.recv(MESSAGE_MAX):
        sys.exit(EXIT_OWN_FAILURE)
    child = _start(arguments[2:], order["blocked"])
    status = _watch(child, control)
    sweep()
    sys.exit(status)


def _start(command: list[str], blocked: list[int]) -> int:
    """Fork and execute the command; its process id."""
    keeper = os.getpid()
    child = os.fork()
    if child:
        return child
    linux.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(EXIT_OWN_FAILURE)
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
    with contextlib.suppress(OSError):
        os.write(2, os.fsencode(f"usernat: {command}: {reason}\n"))
    os._exit(status)


def _watch(child: int, control: socket.socket) -> int:
    """Pass signals on until the command or the gateway ends; the exit status."""
    process = os.pidfd_open(child)
    poller = select.poll()
    poller.register(process, select.POLLIN)
    poller.register(control, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if process in ready:
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        message = control.recv(MESSAGE_MAX)
        if not message:
            return EXIT_OWN_FAILURE
        os.kill(child, json.loads(message)["signal"])


def sweep() -> None:
    """Kill and reap all that is left below this process.

    As the subreaper it becomes the parent of every orphan among them, so killing children until there are none reaches
    everything, also what has made itself a daemon.
    """
    while True:
        for child in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children(parent: int) -> list[int]:
    """The processes whose parent is `parent`, from /proc; not every kernel has `task/…/children`."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed of hundreds of entries
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # The command name, in parentheses, may hold anything; state and parent follow the last one.
                stat = Path("/proc", entry, "stat").read_bytes()
                if int(stat[stat.rindex(b")") + 2 :].split()[1]) == parent:
                    found.append(int(entry))
    return found
