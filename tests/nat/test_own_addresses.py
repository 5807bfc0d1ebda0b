"""Which addresses are the host's own, in a namespace of the test's own: secondary ones too, whatever the host may bind or route."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.netns import Namespace, join

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, SECOND, ALIAS, SERVED, NEIGHBOUR = (
    "198.51.100.1",
    "198.51.100.2",
    "203.0.113.5",
    "192.0.2.77",
    "198.51.100.77",
)
OWN = {FIRST, SECOND, ALIAS, SERVED}
OTHERS = {NEIGHBOUR, "198.51.100.255", "8.8.8.8", "224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"}
SAYS = """
import sys
from usernat.nat.host_datagram import is_own_address
from usernat.stack.addr import parse_ip
print(*(text for text in sys.argv[1:] if is_own_address(parse_ip(text))))
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Namespace]:
    try:
        near = Namespace()
    except OSError as error:
        pytest.skip(f"needs network namespaces: {error}")
    with near, Namespace(near) as far:
        join(near, "out", far, "in")
        near.ip(f"addr add {FIRST}/24 dev out")
        near.ip(f"addr add {SECOND}/24 dev out")  # its route says that it sends from the first
        near.ip(f"addr add {ALIAS}/32 dev lo")
        near.ip("route add local 192.0.2.0/24 dev lo")
        near.ip(f"route add default via {NEIGHBOUR}")
        yield near


@pytest.mark.parametrize(
    "setting", ["net.ipv4.ip_nonlocal_bind", "net.ipv4.conf.all.route_localnet", "net.ipv4.ip_forward"]
)
def test_c28_own_are_all_that_the_host_answers_for(place: Namespace, setting: str) -> None:
    place.sysctl(setting, "1")
    try:
        said = place.run(sys.executable, "-c", SAYS, *sorted(OWN | OTHERS))
    finally:
        place.sysctl(setting, "0")
    assert set(said.stdout.split()) == OWN
