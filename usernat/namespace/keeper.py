"""The keeper: makes the guest's namespaces, forks the first process of its PID namespace (`init.py`), and ends with its status.

A fresh interpreter of one thread, as a user namespace demands, started by `guest.py` with the control socket's descriptor, a JSON object and
the command. On the control socket, a SOCK_SEQPACKET pair, go:

    keeper → gateway    {"tap": true} with the TAP's descriptor, or {"error": "…"}
    gateway → init      {"start": true}: the gateway runs, execute the command
                        {"signal": N}: send the command a signal (there, where the process id cannot have been reused)
    end of the socket   the gateway is gone

Its exit status is the command's, or 128 + N where signal N ended it; 126 and 127 as in a shell where it cannot be executed; 125 where
the namespaces cannot be made.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import NoReturn, TypedDict

from usernat.namespace import EXIT_OWN_FAILURE, init, network, spaces
from usernat.namespace.terminal import Terminal


class Order(TypedDict):
    """What `guest.py` asks for: the network, the signals that were blocked before it blocked them, and no user namespace if `real_root`."""

    network: network.NetworkSpec
    blocked: list[int]
    real_root: bool


def main(arguments: list[str]) -> NoReturn:
    """`arguments`: descriptor of the control socket, the Order as JSON, the command and its arguments."""
    signal.pthread_sigmask(
        signal.SIG_SETMASK, signal.valid_signals()
    )  # those of the terminal are for the command
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    order: Order = json.loads(arguments[1])
    terminal = Terminal()
    try:
        spaces.enter_namespaces(real_root=order["real_root"])
        tap = network.make_network(order["network"])
        network.set_resolver(order["network"]["nameserver"])
        first = os.fork()
    except OSError as error:
        control.send(json.dumps({"error": error.strerror or str(error)}).encode())
        sys.exit(EXIT_OWN_FAILURE)
    if first == 0:
        os.close(tap)
        # At a terminal, job control wants the command in our process group, which it can send signals to as a whole. Elsewhere it need not.
        init.main(arguments[2:], control, blocked=order["blocked"], own_group=not terminal)
    socket.send_fds(control, [json.dumps({"tap": True}).encode()], [tap])
    os.close(tap)  # the gateway's copy is then the only one: the device ends with it
    control.close()
    _, status = os.waitpid(first, 0)
    terminal.take_back()
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)
