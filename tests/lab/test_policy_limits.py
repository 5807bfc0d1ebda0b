"""The limits of a policy, as a guest feels them: what is within them goes on, what is beyond is refused at once and ends nothing else."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import GATEWAY
from tests.lab.policed import suspect, wait_for
from tests.lab.servers import peers
from tests.lab.world import PEERS, WWW
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.policed import Suspect
    from tests.lab.world import World

ALLOW = NetworkPolicy.allow_all()
CURL = "curl -sS --max-time 10 -o /dev/null"
MEGABYTE = 1_000_000


@pytest.fixture
def spender(world: World, tmp_path: Path) -> Iterator[Suspect]:
    """A guest that has used up nothing yet."""
    with suspect(world.host, tmp_path) as made:
        yield made


def codes(policed: Suspect, count: int) -> Counter[str]:
    """How many of so many fetches at the same time ended with which status."""
    fetch = f"{{ {CURL} http://{WWW}/bytes/20000 2>/dev/null; echo $?; }} &"
    return Counter(policed.run(f"for n in $(seq {count}); do {fetch} done; wait").split())


def test_flows_at_one_time(spender: Suspect) -> None:
    """Those that stand go on; and their places are free again once they have ended."""
    spender.gateway.obey(ALLOW.limit(flows=5))
    for _ in range(2):
        assert spender.guest.call("clients.connections_held", PEERS, peers.ECHO, 12) == 5
        wait_for(lambda: None if spender.attempt(f"{CURL} http://{WWW}/").status else True)
    assert codes(spender, 1) == {"0": 1}


def test_new_flows_per_second(policed: Suspect) -> None:
    """Twice that many at once, and more only as time goes by."""
    policed.gateway.obey(ALLOW.limit(new_flows_per_second=5))
    outcomes = codes(policed, 60)
    assert 10 <= outcomes["0"] < 40
    assert outcomes["0"] + outcomes["7"] == 60
    policed.run(f"sleep 0.5; {CURL} http://{WWW}/")


@pytest.mark.parametrize("way", ["download", "upload"])
def test_bytes_per_second(policed: Suspect, world: World, way: str) -> None:
    """A second's worth at once, so three megabytes take two seconds; and pings do not wait for them."""
    policed.gateway.obey(ALLOW.limit(**{f"{way}_bytes_per_second": MEGABYTE}))
    fetch = {
        "download": f"{CURL} -w '%{{size_download}} %{{time_total}}' http://{WWW}/bytes/{3 * MEGABYTE}",
        "upload": f"head -c {3 * MEGABYTE} {world.pattern} > /tmp/up && "
        f"{CURL} -T /tmp/up -w '%{{size_upload}} %{{time_total}}' http://{WWW}/upload; rm /tmp/up",
    }
    size, seconds = policed.run(fetch[way]).split()
    assert int(size) == 3 * MEGABYTE
    assert float(seconds) > 1.8


def test_total_bytes(spender: Suspect) -> None:
    """When they are used up the flow ends in the middle, and nothing begins any more; the guest is told so at once."""
    spender.gateway.obey(ALLOW.limit(total_bytes=MEGABYTE))
    spender.run(f"{CURL} http://{WWW}/bytes/500000")
    shown, status, _ = spender.attempt(f"{CURL} -w '%{{size_download}}' http://{WWW}/bytes/5000000")
    assert status in (18, 56), shown  # a part of it, or a reset
    ends = [record for record in spender.gateway.audited() if record["event"] == "end"]
    assert (
        sum(end["bytes_up"] + end["bytes_down"] for end in ends if end["protocol"] == "tcp") <= 1.1 * MEGABYTE
    )
    spender.gateway.decisions()
    spender.refused(f"{CURL} http://{WWW}/")
    spender.refused(f"ping -n -c 1 -W 1 {PEERS}")
    told = [(record["protocol"], record["verdict"], record["rule"]) for record in spender.gateway.decisions()]
    assert told == [("tcp", "deny", "a limit refuses it"), ("icmp", "deny", "a limit refuses it")]
    assert "1 received" in spender.run(f"ping -n -c 1 -W 1 {GATEWAY}")
    spender.gateway.obey(ALLOW)
    spender.run(f"{CURL} http://{WWW}/")
