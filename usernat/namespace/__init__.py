"""Running a command in namespaces of its own, behind a TAP device into the gateway.

Two processes share the work. The gateway stays where it is, in the host's network. The *keeper* (`keeper.py`) is a
small process between it and the command: it makes the namespaces (`network.py`), passes the TAP's descriptor to the gateway over a
socket, starts the command, and sees to it that nothing outlives the guest:

    gateway ── control socket ── keeper ── command ── whatever the command starts
       └──── TAP descriptor ──────┘ (closed there once it is passed on)

* The command ends: the keeper kills what it left running, and exits with the command's status.
* The gateway dies, even by SIGKILL: the control socket ends, and the keeper kills everything below it.
* The keeper dies by SIGKILL: the kernel kills the command with it; `usernat run` is the subreaper of what remains.
* The namespaces, the mounts and the TAP have no name in any file system: they end with the last process in them.

`guest.py` is the gateway's side. This package is Linux only, and its modules are imported by name.
"""

EXIT_OWN_FAILURE = 125  # the guest could not be made: as `env`, `timeout` and `chroot` have it
EXIT_NOT_EXECUTABLE = 126  # as in a shell
EXIT_NOT_FOUND = 127
