"""State machines that drive a whole gateway, and the parts to build others from.

    from usernat.fuzz.machines import GatewayMachine

    class MyMachine(GatewayMachine):
        def check(self) -> None:
            super().check()
            assert my_invariant(self.world)

    TestMine = MyMachine.TestCase

gateway.py       GatewayMachine, with the rules of the hostile guest
surroundings.py  rules of the host, the link and time;  honest.py: of the honest guest;  bursts.py: of one that sends much UDP;
                 outside.py: of those who come in;  base.py: what all share
world.py         guest, gateway and host on one virtual clock;  cable.py: what lies between
streams.py       TCP streams that know what they should hold;  services.py: names and expectations
hostile.py       floods and blows;  bounds.py: caps and sums;  ledger.py: every datagram of UDP, on both sides
run_sockets.py   a host whose sockets take and bring many datagrams at once
frame_check.py   an independent judge of emitted frames;  offload.py: a device that completes them
tcp_model.py     one connection by RFC 9293 §3.10.7, to hold any stack against;  tcp_tcb.py, tcp_model_calls.py: its records and calls
tcp_observer.py  a judge of TCP conversations on a wire
"""

from __future__ import annotations

from usernat.fuzz.machines.base import GatewayMachineBase
from usernat.fuzz.machines.frame_check import FrameChecker, FrameError
from usernat.fuzz.machines.gateway import GatewayMachine
from usernat.fuzz.machines.tcp_model import segment_arrives
from usernat.fuzz.machines.tcp_observer import TcpObserver
from usernat.fuzz.machines.tcp_tcb import Tcb
from usernat.fuzz.machines.world import TIGHT, Bounds, World

__all__ = [
    "TIGHT",
    "Bounds",
    "FrameChecker",
    "FrameError",
    "GatewayMachine",
    "GatewayMachineBase",
    "Tcb",
    "TcpObserver",
    "World",
    "segment_arrives",
]
