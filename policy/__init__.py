"""What a guest may reach. Pure: the same question gets the same answer; no packets, no sockets, no clock.

`nat` asks once per flow, before the host is touched: a `FlowRequest` goes in, a `Verdict` comes out.
"""

from usernat.policy.decision import ALLOWED, DENIED, FlowRequest, Policy, Verdict
from usernat.policy.errors import PolicyError
from usernat.policy.evaluation import Explanation
from usernat.policy.groups import AddressGroups
from usernat.policy.limits import UNLIMITED, GuestLimits
from usernat.policy.network_policy import NetworkPolicy
from usernat.policy.rules import Rule

__all__ = [
    "ALLOWED",
    "DENIED",
    "UNLIMITED",
    "AddressGroups",
    "Explanation",
    "FlowRequest",
    "GuestLimits",
    "NetworkPolicy",
    "Policy",
    "PolicyError",
    "Rule",
    "Verdict",
]
