"""Names through the gateway's resolver with dig: UDP, TCP, answers of all sizes, and upstreams that behave badly."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import GATEWAY, RESOLVER, pings
from tests.lab.needs import need_commands
from tests.lab.world import NAMES, WWW

if TYPE_CHECKING:
    from tests.lab.guest import Guest
    from tests.lab.world import World

CALM_MS = 50.0
SERVFAIL_SECONDS = 15


@pytest.fixture(autouse=True)
def _dig() -> None:
    need_commands("dig", "ping")


def dig(guest: Guest, *words: str) -> str:
    return guest.run("dig", f"@{RESOLVER}", "+tries=1", f"+time={SERVFAIL_SECONDS}", *words).stdout


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_address_by_either_transport(guest: Guest, transport: str) -> None:
    assert dig(guest, transport, "+short", "www.lab.test") == f"{WWW}\n"


def test_cname_is_followed(guest: Guest) -> None:
    assert dig(guest, "+short", "alias.lab.test").split() == ["www.lab.test.", WWW]


def test_other_types_pass(guest: Guest) -> None:
    assert dig(guest, "+short", "text.lab.test", "TXT") == '"one" "two words" "three"\n'


def test_name_that_does_not_exist(guest: Guest) -> None:
    assert "status: NXDOMAIN" in dig(guest, "nowhere.lab.test")


def test_another_resolver_is_reached_past_ours(guest: Guest) -> None:
    assert guest.run("dig", f"@{NAMES}", "+short", "www.lab.test").stdout == f"{WWW}\n"


def test_c54_answer_above_512_bytes_without_edns_is_truncated(guest: Guest) -> None:
    shown = dig(guest, "+noedns", "+ignore", "many.lab.test")
    assert "flags: qr tc" in shown


def test_c54_answer_above_512_bytes_fits_with_edns(guest: Guest) -> None:
    answers = dig(guest, "+notcp", "+ignore", "+bufsize=1232", "+short", "many.lab.test")
    assert len(answers.split()) == 60


def test_c54_answer_above_1232_bytes_comes_by_tcp(guest: Guest) -> None:
    assert "flags: qr tc" in dig(guest, "+bufsize=1232", "+ignore", "huge.lab.test")
    assert len(dig(guest, "+bufsize=1232", "+short", "huge.lab.test").split()) == 200


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("slow", "status: NOERROR"), ("never", "status: SERVFAIL"), ("garbage", "status: SERVFAIL")],
)
def test_c23_bad_upstream_disturbs_nobody(guest: Guest, name: str, wanted: str) -> None:
    """While the upstream answers late, never or with garbage, pings and other names go on; the guest hears in time."""
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(dig, guest, f"{name}.lab.test")
        pinged = pool.submit(guest.run, "ping", "-c", "150", "-i", "0.02", "-q", GATEWAY)
        began = time.monotonic()
        assert dig(guest, "+short", "www.lab.test") == f"{WWW}\n"
        assert time.monotonic() - began < 1.0
        sent, received, longest = pings(pinged.result().stdout)
        assert wanted in asked.result()
    assert received == sent
    assert longest < CALM_MS


def test_c53_upstream_ports_and_identifiers_differ_each_time(guest: Guest, world: World) -> None:
    for number in range(20):
        dig(guest, f"entropy-{number}.lab.test")
    asked = [note for note in world.seen("dns") if note["question"].startswith("entropy-")]
    assert len({note["id"] for note in asked}) > 15
    assert len({note["port"] for note in asked}) > 10
