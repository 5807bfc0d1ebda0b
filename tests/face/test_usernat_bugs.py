"""UserNat: a bug is never swallowed, whoever runs the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from usernat import Config, LinkClosed, UserNat
from usernat.guest import Guest
from usernat.links.memory import memory_pair
from usernat.policy import Policy

if TYPE_CHECKING:
    from usernat.policy import FlowRequest, Verdict


def test_a_bug_reaches_whoever_runs_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    def run_once(nat: UserNat) -> None:
        nat.process()

    def run_async(nat: UserNat) -> None:
        asyncio.run(nat.serve_async())

    for run in (run_once, run_async):
        ours, theirs = memory_pair()
        nat = UserNat(Config(), ours)
        monkeypatch.setattr(nat.gateway, "serve", broken)
        with pytest.raises(ZeroDivisionError):
            run(nat)
        assert nat.ended == "the gateway failed: ZeroDivisionError()"
        nat.stop()
        theirs.close()


class Broken(Policy):
    """A policy with a bug."""

    def decide(self, _request: FlowRequest) -> Verdict:
        raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_thread_ends_the_gateway_and_is_raised_by_stop() -> None:
    ours, theirs = memory_pair()
    nat = UserNat(Config(host_loopback=True), ours, policy=Broken())
    nat.start()
    with Guest(theirs) as guest:
        guest.dhcp()
        with pytest.raises(LinkClosed):
            guest.connect("10.0.2.2", 80)
    with pytest.raises(ZeroDivisionError):
        nat.stop()
    assert nat.ended == "the gateway failed: ZeroDivisionError()"
    nat.stop()


def test_a_bug_after_the_task_was_cancelled_is_still_told() -> None:
    async def main() -> None:
        ours, theirs = memory_pair()
        nat = UserNat(Config(host_loopback=True), ours)
        task = asyncio.create_task(nat.serve_async())
        await asyncio.sleep(0.01)
        assert nat._runner is not None
        task.cancel()
        assert not nat._runner.finished.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not nat._runner.finished.cancelled()
        theirs.close()

    asyncio.run(main())
