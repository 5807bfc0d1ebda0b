"""Port forwards: the way in. An address and port of the host that lead to a port of the guest, TCP or UDP.

    host client ──> TcpForward ──> HostOpening ──> TcpFlow ──> guest       a connection for a connection, spliced as those that go out are
    host client ──> UdpForward ──> UdpClient ────────────────> guest       a socket of the stack for each client, so that each gets its own answers

The guest sees the gateway's address and a port that the stack has drawn, never the client's (C56). Such a port belongs to the forward only as far as
the guest's published port at the other end goes: all else that guests send to the gateway goes where it always went (C55).

To publish is the owner's decision, and no question for the guest's policy. Forwards have flow caps of their own; the bytes that they carry count against
the guest's quota.
"""

from usernat.nat.forwards.forwards import Forwards, Published

__all__ = ["Forwards", "Published"]
