"""Running a command in namespaces of its own, behind a TAP device into the gateway.

Three processes share the work. The gateway stays where it is, in the host's network. The *keeper* (`keeper.py`) makes the namespaces
(`spaces.py`) and what is in them (`network.py`), and passes the TAP's descriptor to the gateway over a socket. *Init* (`init.py`) is
the first process of the new PID namespace: it starts the command, and nothing of the guest outlives it.

    gateway ── keeper ── init ── command ── whatever the command starts
       ├── control socket ──┘
       └── TAP descriptor, made by the keeper

* The command ends: init ends with its status, the kernel kills what is left in the PID namespace, and the keeper hands the status on.
* The gateway dies, even by SIGKILL: the control socket ends, and init with it.
* The keeper dies by SIGKILL: the kernel kills init, and all the rest; `usernat run` is the subreaper of what remains (`leavings.py`).
* The namespaces, the mounts and the TAP have no name in any file system: they end with the last process in them.

The command sees the processes of its own PID namespace and can signal no others, but for one way: at a terminal it is in the process group of
the gateway, for job control's sake, and a signal to the whole group reaches the gateway too (`terminal.py`).

`guest.py` is the gateway's side. This package is Linux only, and its modules are imported by name.
"""

EXIT_OWN_FAILURE = 125  # the guest could not be made: as `env`, `timeout` and `chroot` have it
EXIT_NOT_EXECUTABLE = 126  # as in a shell
EXIT_NOT_FOUND = 127

MESSAGE_MAX = 4096  # bytes, on the control socket
