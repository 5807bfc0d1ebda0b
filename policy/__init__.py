"""What a guest may reach. Pure: the same question gets the same answer; no packets, no sockets, no clock.

`nat` asks once per flow, before the host is touched: a `FlowRequest` goes in, a `Verdict` comes out.
"""

from usernat.policy.builtin import NetworkPolicy
from usernat.policy.decision import ALLOWED, FlowRequest, Policy, Verdict
from usernat.policy.groups import AddressGroups

__all__ = ["ALLOWED", "AddressGroups", "FlowRequest", "NetworkPolicy", "Policy", "Verdict"]
