"""A policy as people write it: rules in order and a default, with a builder in which a rule reads like a sentence.

    policy = NetworkPolicy.deny_all().allow_dns().log_domain("*.example.com").allow_domain("pypi.org", port=443)

The first rule that matches wins, then the default; `log` only notes the match. A policy never changes: each method returns a new one, with the
rule at the end. So one policy can be shared by gateways and by threads. How it decides stands in `evaluation.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, get_args

from usernat.policy.book import Book
from usernat.policy.decision import FlowRequest, Policy, Verdict
from usernat.policy.errors import PolicyError
from usernat.policy.evaluation import Explanation, Scan, explain, judge
from usernat.policy.groups import AddressGroups
from usernat.policy.index import Index
from usernat.policy.limits import UNLIMITED, GuestLimits
from usernat.policy.matchers import (
    Address,
    Domain,
    Group,
    Matcher,
    Network,
    Port,
    PortRange,
    Protocol,
    all_of,
    groups_in,
)
from usernat.policy.presets import preset
from usernat.policy.rules import Action, Default, OnDeny, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Address, IPv4Network


class NetworkPolicy(Policy):
    """Rules and a default.

    rules: the first that matches wins. default: what is done where none does. on_deny: whether a denied guest is told ("reject") or hears
    nothing ("drop"). limits: how much a guest may have. groups: networks by the names that rules have for them.

    Raises PolicyError for what cannot be meant, as does every method that adds something.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        default: Default = "deny",
        on_deny: OnDeny = "reject",
        limits: GuestLimits = UNLIMITED,
        groups: Mapping[str, Iterable[str | IPv4Network]] | None = None,
    ) -> None:
        for value, choice, word in ((default, Default, "default"), (on_deny, OnDeny, "on_deny")):
            if value not in get_args(choice):
                raise PolicyError(f"{word} is one of {', '.join(get_args(choice))}, not {value!r}")
        self.rules = tuple(rules)
        self.default: Default = default
        self.on_deny: OnDeny = on_deny
        self.limits = limits
        self._groups = AddressGroups(groups)
        self._check(self.rules)

    # ---- where policies come from

    @classmethod
    def allow_all(cls) -> Self:
        """Whatever the host reaches; loopback and link-local only where a rule or a switch names them."""
        return cls(default="allow")

    @classmethod
    def deny_all(cls) -> Self:
        """Nothing but the gateway's own DHCP and echo."""
        return cls()

    @classmethod
    def preset(cls, name: str) -> Self:
        """open, internet or offline (`presets.py`)."""
        rules, default = preset(name)
        return cls(rules, default=default)

    @classmethod
    def load(cls, path: str | Path) -> NetworkPolicy:
        """The policy of a TOML file. Raises PolicyError with the file, the key and the reason."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise PolicyError(f"cannot be read: {reason}", where=str(path)) from None
        return cls.loads(text, str(path))

    @classmethod
    def loads(cls, text: str, source: str = "policy") -> NetworkPolicy:
        """The policy of a TOML text; source is what errors call it. Raises PolicyError."""
        from usernat.policy import document  # noqa: PLC0415  # documents are made of policies, and not every program has one

        return document.parse(text, source)

    def to_toml(self) -> str:
        """A TOML text of which `loads` makes an equal policy."""
        from usernat.policy import document  # noqa: PLC0415  # as above

        return document.write(self)

    # ---- rules

    def rule(self, action: Action, matcher: Matcher) -> Self:
        """One more rule, after the others."""
        made = Rule(action, matcher)
        self._check((made,))
        return self._with(rules=(*self.rules, made))

    def in_front(self, action: Action, matcher: Matcher) -> Self:
        """One more rule, before all others."""
        made = Rule(action, matcher)
        self._check((made,))
        return self._with(rules=(made, *self.rules))

    def allow_ip(
        self, address: str | int | IPv4Address, *, port: int | None = None, protocol: str | None = None
    ) -> Self:
        """Flows to one address."""
        return self.rule("allow", _flow(Address(address), port, protocol))

    def deny_ip(
        self, address: str | int | IPv4Address, *, port: int | None = None, protocol: str | None = None
    ) -> Self:
        """No flows to one address."""
        return self.rule("deny", _flow(Address(address), port, protocol))

    def allow_ip_range(
        self, network: str | IPv4Network, *, port: int | None = None, protocol: str | None = None
    ) -> Self:
        """Flows to a network, such as 192.0.2.0/24."""
        return self.rule("allow", _flow(Network(network), port, protocol))

    def deny_ip_range(
        self, network: str | IPv4Network, *, port: int | None = None, protocol: str | None = None
    ) -> Self:
        """No flows to a network."""
        return self.rule("deny", _flow(Network(network), port, protocol))

    def allow_group(self, name: str, *, port: int | None = None, protocol: str | None = None) -> Self:
        """Flows to the addresses of a group."""
        return self.rule("allow", _flow(Group(name), port, protocol))

    def deny_group(self, name: str, *, port: int | None = None, protocol: str | None = None) -> Self:
        """No flows to the addresses of a group."""
        return self.rule("deny", _flow(Group(name), port, protocol))

    def allow_port(self, port: int, *, protocol: str | None = None) -> Self:
        """Flows to a port of any address, and names looked up for them."""
        return self.rule("allow", _flow(Port(port), None, protocol))

    def deny_port(self, port: int, *, protocol: str | None = None) -> Self:
        """No flows to a port."""
        return self.rule("deny", _flow(Port(port), None, protocol))

    def allow_port_range(self, first: int, last: int, *, protocol: str | None = None) -> Self:
        """Flows to the ports from first to last of any address, and names looked up for them."""
        return self.rule("allow", _flow(PortRange(first, last), None, protocol))

    def deny_port_range(self, first: int, last: int, *, protocol: str | None = None) -> Self:
        """No flows to the ports from first to last."""
        return self.rule("deny", _flow(PortRange(first, last), None, protocol))

    def allow_dns(self) -> Self:
        """Any name may be looked up at the gateway's resolver; no other resolver is reached by this."""
        return self.rule("allow", Protocol("dns"))

    def allow_https(self) -> Self:
        """TCP to port 443 of any address, and names looked up for it."""
        return self.allow_port(443, protocol="tcp")

    def allow_domain(
        self, pattern: str, *, port: int | None = None, protocol: str | None = None, inspect: bool = True
    ) -> Self:
        """A name and the flows to where it leads; `*.pypi.org` is every name below, and not pypi.org itself. inspect: `matchers.Domain`."""
        return self.rule("allow", _flow(Domain(pattern, inspect), port, protocol))

    def deny_domain(
        self, pattern: str, *, port: int | None = None, protocol: str | None = None, inspect: bool = True
    ) -> Self:
        """Not this name; with a port or protocol, not these flows to where it leads."""
        return self.rule("deny", _flow(Domain(pattern, inspect), port, protocol))

    def log_domain(
        self, pattern: str, *, port: int | None = None, protocol: str | None = None, inspect: bool = True
    ) -> Self:
        """Notes queries for a name and flows to it, and decides nothing."""
        return self.rule("log", _flow(Domain(pattern, inspect), port, protocol))

    def ask_domain(
        self, pattern: str, *, port: int | None = None, protocol: str | None = None, inspect: bool = True
    ) -> Self:
        """Whoever runs the gateway is asked about a name and the flows to it."""
        return self.rule("ask", _flow(Domain(pattern, inspect), port, protocol))

    # ---- what is no rule

    def define_group(self, name: str, *networks: str | IPv4Network) -> Self:
        """A group, or another meaning for one that was defined so before; those of `groups.BUILT_IN` mean the same everywhere."""
        return self._with(_groups=AddressGroups({**self.groups, name: networks}))

    def limit(self, **caps: int | None) -> Self:
        """The caps of `GuestLimits` by name; those that are not named stay."""
        try:
            return self._with(limits=replace(self.limits, **caps))
        except (TypeError, ValueError) as error:
            raise PolicyError(f"limits: {error}") from None

    def denying(self, on_deny: OnDeny) -> Self:
        """Whether a denied guest is told at once ("reject") or hears nothing ("drop")."""
        made = NetworkPolicy(on_deny=on_deny)
        return self._with(on_deny=made.on_deny)

    @property
    def groups(self) -> Mapping[str, tuple[IPv4Network, ...]]:
        """The groups that were defined beside the built-in ones."""
        return MappingProxyType(self._groups.defined)

    # ---- decisions

    def decide(self, request: FlowRequest) -> Verdict:
        """Whether the guest may. Pure, and never raises, whatever is in the request."""
        return judge(request, self._book, self._index)

    def explain(self, request: FlowRequest) -> Explanation:
        """The same verdict, and what each rule up to it said."""
        return explain(request, self._book, self._scan)

    @property
    def reads_names(self) -> bool:
        """Whether a rule is about a name."""
        return self._book.has_domains

    @property
    def heeds_host(self) -> bool:
        """Always, but where everything is allowed: of answers, all rules and a default that denies may judge the host's addresses by themselves."""
        return self.default == "deny" or bool(self.rules)

    @cached_property
    def _book(self) -> Book:
        return Book.of(self.rules, self.default, self._groups, silent=self.on_deny == "drop")

    @cached_property
    def _scan(self) -> Scan:
        return Scan(self._book)

    @cached_property
    def _index(self) -> Index:
        return Index(self._book)

    # ---- values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NetworkPolicy) and self._value() == other._value()

    def __hash__(self) -> int:
        return hash(self._value())

    def __repr__(self) -> str:
        return f"<NetworkPolicy: {len(self.rules)} rules, then {self.default}>"

    def _value(self) -> tuple[object, ...]:
        return self.rules, self.default, self.on_deny, self.limits, frozenset(self.groups.items())

    def _check(self, rules: Iterable[Rule]) -> None:
        known = self._groups.names
        for rule in rules:
            for name in groups_in(rule.matcher):
                if name not in known:
                    raise PolicyError(f"no group {name!r}: there are {', '.join(known)}")

    def _with(self, **changes: object) -> Self:
        """A copy with other values, all of which are checked already: ten thousand rules are not checked anew for each one added."""
        made = object.__new__(type(self))
        for name in ("rules", "default", "on_deny", "limits", "_groups"):
            setattr(made, name, changes.get(name, getattr(self, name)))
        return made


def _flow(subject: Matcher, port: int | None, protocol: str | None) -> Matcher:
    """The subject, and the port, and the protocol, as far as they are given."""
    more: list[Matcher] = [] if port is None else [Port(port)]
    if protocol is not None:
        more.append(Protocol(protocol))
    return all_of(subject, *more)
