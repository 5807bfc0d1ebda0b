"""The fixture that all tests of the in-process guest start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.face.guest.kit import Network, knows, network

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def net() -> Iterator[Network]:
    with network(resolver=knows("192.0.2.9")) as net:
        net.guest.dhcp()
        yield net
