"""Our TCP face to face with others': the stack itself on a link with faults, and at the other end the Linux kernel, libslirp, lwIP, iPXE."""
