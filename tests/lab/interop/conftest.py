"""One kernel agent a session, a fresh namespace for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.interop.kernel import Kernel
from tests.lab.needs import need_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def agent() -> Iterator[Kernel]:
    """The process inside."""
    need_namespaces()
    with Kernel() as made:
        yield made


@pytest.fixture
def kernel(agent: Kernel) -> Iterator[Kernel]:
    """The kernel as a peer, as it is by default."""
    agent.fresh()
    yield agent
    agent.release()
