"""The lab's fixtures: one pretend internet and one QEMU guest a session, one gateway with its namespace guest a module."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.departures import Departures
from tests.lab.guest import Guest, namespace_guest
from tests.lab.needs import need_commands, need_namespaces
from tests.lab.policed import Suspect, suspect
from tests.lab.served import ServedGuest, served_guest
from tests.lab.world import World
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The pretend internet."""
    need_namespaces()
    need_commands("curl", "openssl")
    with World(sys.executable, tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="module")
def guest(world: World) -> Iterator[Guest]:
    """A guest of `usernat run` with all defaults."""
    with namespace_guest(world.host) as made:
        yield made


@pytest.fixture(scope="module", params=[1500, 65520], ids=["mtu1500", "mtu65520"])
def guest_of_mtu(world: World, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest at each of the two MTUs that matter most."""
    with namespace_guest(world.host, "--mtu", str(request.param)) as made:
        yield made


@pytest.fixture(scope="session")
def qemu_served(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGuest]:
    """The QEMU guest, for all modules: it takes seconds to boot."""
    with served_guest(world.host, tmp_path_factory.mktemp("qemu")) as made:
        yield made


@pytest.fixture
def qemu(qemu_served: ServedGuest) -> ServedGuest:
    """The same, under a policy that allows all."""
    qemu_served.gateway.obey(NetworkPolicy.allow_all())
    return qemu_served


@pytest.fixture(scope="module")
def policed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suspect]:
    """A namespace guest whose policy each test sets."""
    need_commands("dig", "ping")
    with suspect(world.host, tmp_path_factory.mktemp("policed")) as made:
        yield made


@pytest.fixture(scope="module")
def departures(world: World) -> Iterator[Departures]:
    """What leaves the host."""
    watched = Departures(world.host)
    yield watched
    watched.close()
