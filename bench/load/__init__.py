"""Programs that make load, in the guest and on the host. Each is run as a module, and tells its result as a line of JSON."""
