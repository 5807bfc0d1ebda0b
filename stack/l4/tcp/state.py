"""The states of a connection (RFC 9293 §3.3.2), and how one ends badly.

The order of the numbers is of use: up to SYN-RECEIVED a connection is being opened; from CLOSE-WAIT on the peer has sent its FIN.

    CLOSED ─ active open ─> SYN-SENT ──┐                       ┌─ close ─> FIN-WAIT-1 ──> FIN-WAIT-2 ──┐
    LISTEN ─── SYN ───> SYN-RECEIVED ──┴──────> ESTABLISHED ──┤               └──> CLOSING ──────────┴──> TIME-WAIT
                                                               └─ FIN ──> CLOSE-WAIT ──> LAST-ACK ──> CLOSED
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """RFC 9293 §3.3.2. A listener is its own object, so no connection is ever in LISTEN; the name is kept for completeness."""

    CLOSED = 0
    LISTEN = 1
    SYN_SENT = 2
    SYN_RECEIVED = 3
    ESTABLISHED = 4
    FIN_WAIT_1 = 5
    FIN_WAIT_2 = 6
    CLOSE_WAIT = 7
    CLOSING = 8
    LAST_ACK = 9
    TIME_WAIT = 10


# Module names, because a look-up on an enum class costs several times one in a module.
CLOSED = State.CLOSED
LISTEN = State.LISTEN
SYN_SENT = State.SYN_SENT
SYN_RECEIVED = State.SYN_RECEIVED
ESTABLISHED = State.ESTABLISHED
FIN_WAIT_1 = State.FIN_WAIT_1
FIN_WAIT_2 = State.FIN_WAIT_2
CLOSE_WAIT = State.CLOSE_WAIT
CLOSING = State.CLOSING
LAST_ACK = State.LAST_ACK
TIME_WAIT = State.TIME_WAIT

# RFC 9293 §3.10.4: our own FIN in each state from which it can leave, and the state it leads to.
AFTER_OUR_FIN = {ESTABLISHED: FIN_WAIT_1, CLOSE_WAIT: LAST_ACK}
# RFC 9293 §3.10.7.4, fifth check: our FIN is acknowledged. TIME_WAIT and CLOSED end the record.
AFTER_OUR_FIN_ACKED = {FIN_WAIT_1: FIN_WAIT_2, CLOSING: TIME_WAIT, LAST_ACK: CLOSED}
# RFC 9293 §3.10.7.4, eighth check: the peer's FIN has been taken in (after the fifth check has seen to ours).
AFTER_PEER_FIN = {
    SYN_RECEIVED: CLOSE_WAIT,
    ESTABLISHED: CLOSE_WAIT,
    FIN_WAIT_1: CLOSING,
    FIN_WAIT_2: TIME_WAIT,
}


class TcpError(IntEnum):
    """Why a connection ended badly (RFC 9293 §3.6 MUST-12: told apart from a normal close)."""

    RESET = 1  # the peer sent a valid RST
    REFUSED = 2  # the peer answered our SYN with RST, or its host said that nobody listens
    TIMED_OUT = 3  # nothing came back for the user time-out (RFC 9293 §3.8.3 R2), or keep-alive probes went unanswered
    UNREACHABLE = 4  # a hard ICMP error before the connection stood, or no way to the peer
    EVICTED = 5  # half open, and pushed out by newer ones
