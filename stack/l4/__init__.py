"""The transport layer: UDP, echo sockets and TCP. Knows no devices and no gateway."""
