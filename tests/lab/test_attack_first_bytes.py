"""A guest that says one name and means another, in TLS and in HTTP, against rules that go by names.

No host socket exists before the first bytes were read, so "nothing left" is seen on the wire. No test uses an address that another one has found under
a name: what a guest has found stays bound for a minute at least.
"""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.policed import PATIENCE, REFUSED_SECONDS
from tests.lab.servers.http import FRONT_PAGE
from tests.lab.servers.places import FOUND, LITERAL, OTHER, SHARED
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from tests.lab.departures import Departures
    from tests.lab.policed import Suspect
    from tests.lab.world import World

NAME = "found.lab.test"
POLICY = NetworkPolicy.deny_all().allow_domain(NAME)
CURL = "curl -sS -k --max-time 5"
S_CLIENT = "openssl s_client -brief"
SERVER_HELLO = "160303"  # a handshake record of TLS 1.2 or 1.3


@pytest.fixture
def allowed(policed: Suspect, departures: Departures, world: World) -> Suspect:
    """A guest that may go to one name, and has found out where that is."""
    policed.gateway.obey(POLICY)
    assert FOUND in policed.run(f"dig +short {NAME}")
    world.seen("web")
    departures.taken()
    return policed


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def port_of(scheme: str) -> int:
    return {"http": 80, "https": 443}[scheme]


def test_the_allowed_name(allowed: Suspect, departures: Departures, world: World, scheme: str) -> None:
    assert allowed.run(f"{CURL} {scheme}://{NAME}/") == FRONT_PAGE
    assert [note["to"] for note in world.seen("web")] == [FOUND]
    assert {departure.port for departure in departures.to(FOUND)} == {port_of(scheme)}


def test_c33_the_allowed_name_at_another_address(
    allowed: Suspect, departures: Departures, scheme: str
) -> None:
    """curl --resolve: the name is right, but no resolver has ever said that it is there."""
    allowed.refused(f"{CURL} --resolve {NAME}:{port_of(scheme)}:{LITERAL} {scheme}://{NAME}/")
    assert departures.to(LITERAL) == set()


def test_c33_one_allowed_name_at_the_address_of_another(
    allowed: Suspect, departures: Departures, scheme: str
) -> None:
    """Both may be visited, each where the guest has found it."""
    allowed.gateway.obey(POLICY.allow_domain("victim.lab.test"))
    at = f"--resolve victim.lab.test:{port_of(scheme)}:{FOUND}"
    allowed.refused(f"{CURL} {at} {scheme}://victim.lab.test/")
    assert departures.to(FOUND) == set()


def test_another_name_at_the_allowed_address(allowed: Suspect, departures: Departures, scheme: str) -> None:
    name = "other.lab.test"
    allowed.refused(f"{CURL} --resolve {name}:{port_of(scheme)}:{FOUND} {scheme}://{name}/")
    assert departures.to(FOUND) == set()


def test_the_allowed_address_as_a_literal(allowed: Suspect, departures: Departures, scheme: str) -> None:
    allowed.refused(f"{CURL} {scheme}://{FOUND}/")
    allowed.refused(f"{CURL} -g '{scheme}://[::ffff:{FOUND}]/'")
    assert departures.to(FOUND) == set()


@pytest.mark.parametrize(
    "options",
    [
        "-H 'Host: other.lab.test'",
        "-H 'Host:'",
        f"-H 'Host: {NAME}.evil.test'",
        f"-H 'Host: {NAME}, other.lab.test'",
        "--request-target http://other.lab.test/",
        "-H 'X: 1' -H 'Host : other.lab.test'",
    ],
)
def test_host_that_is_not_the_allowed_name(allowed: Suspect, departures: Departures, options: str) -> None:
    allowed.refused(f"{CURL} {options} http://{NAME}/")
    assert departures.to(FOUND) == set()


@pytest.mark.parametrize(
    "request_head",
    [
        f"GET / HTTP/1.1\r\nHost: {NAME}\r\nHost: other.lab.test\r\n\r\n",
        f"GET / HTTP/1.1\nHost: {NAME}\n\nGET / HTTP/1.1\r\nHost: other.lab.test\r\n\r\n",
        f"GET / HTTP/1.1\r\nX: 1\r\n Host: other.lab.test\r\nHost: {NAME}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {NAME}\0.evil.test\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
    ],
    ids=["two", "bare-lf", "folded", "nul", "old", "no-http"],
)
def test_c39_a_head_that_two_readers_read_differently(
    allowed: Suspect, departures: Departures, request_head: str
) -> None:
    outcome, seconds = allowed.guest.call("first_bytes.said", FOUND, 80, request_head.encode().hex())
    assert outcome == "reset"
    assert seconds < REFUSED_SECONDS
    assert departures.to(FOUND) == set()


def test_server_name_that_is_not_the_allowed_one(allowed: Suspect, departures: Departures) -> None:
    assert "TLSv1" in allowed.run(f"{S_CLIENT} -connect {FOUND}:443 -servername {NAME} </dev/null")
    departures.taken()
    for name in ("-servername other.lab.test", f"-servername {NAME}.evil.test", "-noservername"):
        allowed.refused(f"{S_CLIENT} -connect {FOUND}:443 {name} </dev/null")
    assert departures.to(FOUND) == set()


def test_c33_a_hello_in_pieces_is_read_whole(allowed: Suspect, departures: Departures) -> None:
    """Nothing leaves before the name has come, in however many segments it comes."""
    assert allowed.guest.call("first_bytes.hello_in_pieces", FOUND, 443, NAME, 12)[0] == SERVER_HELLO
    departures.taken()
    for name in ("other.lab.test", f"{NAME}.evil.test"):
        assert allowed.guest.call("first_bytes.hello_in_pieces", FOUND, 443, name, 12)[0] == "reset"
    assert departures.to(FOUND) == set()


def test_encrypted_client_hello(allowed: Suspect, departures: Departures) -> None:
    """The outer name is the allowed one; which is meant, only the server could tell."""
    assert allowed.guest.call("first_bytes.plain_hello", FOUND, 443, NAME)[0] == SERVER_HELLO
    departures.taken()
    outcome, seconds = allowed.guest.call("first_bytes.encrypted_hello", FOUND, 443, NAME)
    assert outcome == "reset"
    assert seconds < REFUSED_SECONDS
    assert departures.to(FOUND) == set()


def test_quic_hides_its_name(allowed: Suspect, departures: Departures) -> None:
    assert allowed.guest.call("datagrams.error_after_sending", FOUND, 443) == "No route to host"
    assert departures.to(FOUND) == set()


def test_redirect_to_a_forbidden_name(allowed: Suspect, departures: Departures, world: World) -> None:
    """By name there is none, by number there is no way."""
    for target in ("other.lab.test", OTHER, FOUND):
        allowed.refused(f"{CURL} -L http://{NAME}/to/{target}")
    assert [note["path"] for note in world.seen("web")] == [
        f"/to/{name}" for name in ("other.lab.test", OTHER, FOUND)
    ]
    assert departures.to(OTHER) == set()


def test_c33_a_denied_name_is_denied_at_any_address(
    policed: Suspect, departures: Departures, world: World
) -> None:
    """All but one name is allowed: it is refused at literal addresses too, and so is who hides the name. Others go there."""
    policed.gateway.obey(NetworkPolicy.allow_all().deny_domain("other.lab.test"))
    at = f"--resolve other.lab.test:443:{LITERAL} --resolve other.lab.test:80:{LITERAL}"
    departures.taken()
    policed.refused("getent ahostsv4 other.lab.test")
    policed.refused(f"{CURL} {at} https://other.lab.test/")
    policed.refused(f"{CURL} {at} http://other.lab.test/")
    policed.refused(f"{S_CLIENT} -connect {LITERAL}:443 -noservername </dev/null")
    assert policed.guest.call("first_bytes.encrypted_hello", LITERAL, 443, "www.lab.test")[0] == "reset"
    assert departures.taken() == set()
    world.seen("web")
    assert policed.run(f"{CURL} --resolve www.lab.test:443:{LITERAL} https://www.lab.test/") == FRONT_PAGE
    assert [note["to"] for note in world.seen("web")] == [LITERAL]


def test_c32_names_at_one_address_stay_apart(policed: Suspect, departures: Departures) -> None:
    """The guest has found both; the rule that allows one of them says nothing of the other, in either order."""
    policed.gateway.obey(NetworkPolicy.allow_all())
    assert policed.run("dig +short one.shared.lab.test two.shared.lab.test").split() == [SHARED, SHARED]
    for allowed, other in (("one", "two"), ("two", "one")):
        policed.gateway.obey(NetworkPolicy.deny_all().allow_domain(f"{allowed}.shared.lab.test"))
        assert policed.run(f"{CURL} https://{allowed}.shared.lab.test/") == FRONT_PAGE
        departures.taken()
        policed.refused(
            f"{CURL} --resolve {other}.shared.lab.test:443:{SHARED} https://{other}.shared.lab.test/"
        )
        assert departures.to(SHARED) == set()


def test_c34_a_flow_that_stands_outlives_its_policy(policed: Suspect) -> None:
    """It was decided once. What is new is decided by the new policy."""
    policed.gateway.obey(POLICY)
    half = ("-T", "-", "-H", "Transfer-Encoding:", "-H", "Content-Length: 6")
    upload = policed.guest.start(
        "curl", "-sS", *half, f"http://{NAME}/upload", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert upload.stdin is not None
    upload.stdin.write(b"old")
    upload.stdin.flush()
    policed.gateway.audited_until(
        lambda record: (record["event"], record["name"], record["port"]) == ("decision", NAME, 80)
    )
    policed.gateway.obey(NetworkPolicy.deny_all())
    policed.refused(f"{CURL} http://{NAME}/")
    answer, _ = upload.communicate(b"new", timeout=PATIENCE)
    assert answer.decode() == hashlib.sha256(b"oldnew").hexdigest()
