"""The lab's fixtures: one pretend internet a session, one gateway with its guest a module."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import Guest, namespace_guest
from tests.lab.needs import need_commands, need_namespaces
from tests.lab.world import World

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
