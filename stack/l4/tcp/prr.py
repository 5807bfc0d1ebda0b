"""Proportional rate reduction (RFC 6937, now RFC 9937): how cwnd falls to ssthresh during fast recovery.

Not at once, which would silence the sender for half a round trip and then let it burst, but by the arithmetic of what arrives: for each octet that the peer
got, ssthresh / RecoverFS octets may leave. Where losses have taken more out of the network than that, it is filled up again no faster
than octets arrive, and by one segment more an ACK where nothing else goes wrong.
"""

from __future__ import annotations


class Prr:
    """All in octets. recover_fs: what was in flight when recovery began. delivered, out: since then."""

    __slots__ = ("delivered", "out", "recover_fs")

    def __init__(self, recover_fs: int) -> None:
        self.recover_fs = max(1, recover_fs)
        self.delivered = 0
        self.out = 0

    def on_ack(self, delivered: int, pipe: int, ssthresh: int, smss: int, *, safe: bool) -> int:
        """The new cwnd after an ACK by which `delivered` octets arrived. safe: SND.UNA moved and no further loss was found."""
        self.delivered += delivered
        if pipe > ssthresh:  # RFC 6937 §3-a
            room = -(-self.delivered * ssthresh // self.recover_fs) - self.out
        else:  # §3-b, §3-c
            room = max(self.delivered - self.out, delivered) + (smss if safe else 0)
            room = min(ssthresh - pipe, room)
        if not self.out:
            room = max(room, smss)  # §3-d: the first retransmission leaves whatever the arithmetic says
        return pipe + max(0, room)
