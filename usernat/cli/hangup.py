"""SIGHUP to `usernat serve --policy FILE`: read the file again.

A thread of its own waits for the signal, which is blocked everywhere else. So the gateway's loop, which may be in the middle of anything,
is neither interrupted nor kept waiting while the file is read.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.cli.policy_source import PolicySource


def reload_on_hangup(source: PolicySource) -> None:
    """From now on SIGHUP reloads. To be called before other threads are started: those of later inherit what is blocked."""
    if sys.platform == "win32":  # no such signal
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    threading.Thread(target=_reload_forever, args=(source,), name="usernat-hangup", daemon=True).start()


def _reload_forever(source: PolicySource) -> None:
    while True:
        if _wait_for_hangup():
            source.reload()
        else:  # the terminal is gone, which ends a server as it would without a policy
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _wait_for_hangup() -> bool:
    """Whether it was meant for this process, rather than the end of its terminal."""
    if sys.platform != "linux":  # the others do not tell
        signal.sigwait({signal.SIGHUP})
        return True
    return sent_by_a_process(signal.sigwaitinfo({signal.SIGHUP}))


def sent_by_a_process(arrived: signal.struct_siginfo) -> bool:
    """Whether a signal comes from kill(2), rather than from the kernel on behalf of the terminal."""
    # si_code is above 0 where the kernel speaks for the terminal, 0 or below where a process sent it (sigaction(2)).
    return arrived.si_code <= 0
