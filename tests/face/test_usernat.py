"""UserNat: its three ways to run, its fairness, its end, and what it makes of a link that will not."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import selectors
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.face.cables import descriptors
from usernat import Config, LinkClosed, UserNat
from usernat.guest import Guest
from usernat.links.memory import memory_pair
from usernat.links.wrapper import LinkWrapper
from usernat.policy import FlowRequest, Policy, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usernat.links.link import Link
    from usernat.stack.device import Frame

BODY = bytes(range(256)) * 8000  # 2 MB


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(BODY)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The URL by which a guest reaches a server on host loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://10.0.2.2:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def loopback() -> Config:
    return Config(host_loopback=True)


def surf(link: Link, url: str) -> None:
    """What any of the three ways must carry."""
    with Guest(link) as guest:
        assert guest.dhcp().lease_s > 0
        assert guest.ping("10.0.2.2") < 5
        reply = guest.http_get(url)
        assert (reply.status, hashlib.sha256(reply.body).digest()) == (200, hashlib.sha256(BODY).digest())


def test_with_a_thread_of_its_own(web: str) -> None:
    ours, theirs = memory_pair()
    with UserNat(loopback(), ours) as nat:
        surf(theirs, web)
        counters = nat.counters()
    assert counters["link.frames_in"] > 0
    assert counters["flows.opened_tcp"] == 1
    assert counters["host.opened"] >= 1


def test_inside_a_foreign_event_loop(web: str) -> None:
    ours, theirs = memory_pair()
    nat = UserNat(loopback(), ours)
    guest = threading.Thread(target=surf, args=(theirs, web))
    guest.start()
    steps = 0
    with selectors.DefaultSelector() as loop:
        loop.register(nat, selectors.EVENT_READ)
        alive = True
        while alive:
            at = nat.poll_at()
            loop.select(None if at is None else max(0.0, at - time.monotonic()))
            alive = nat.process()
            steps += 1
    guest.join()
    assert nat.ended == "the other end of the memory link was closed"
    assert steps < 100_000
    nat.stop()


def test_under_asyncio(web: str) -> None:
    ours, theirs = memory_pair()

    async def main() -> float:
        longest, last = 0.0, time.monotonic()
        async with UserNat(loopback(), ours) as nat:
            surfing = asyncio.create_task(asyncio.to_thread(surf, theirs, web))
            while not surfing.done():
                await asyncio.sleep(0.001)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            await surfing
        assert nat.ended is not None
        return longest

    assert asyncio.run(main()) < 1.0  # the other tasks of the loop go on


def test_serve_async_ends_with_the_guest(web: str) -> None:
    ours, theirs = memory_pair()

    async def main() -> None:
        await asyncio.gather(UserNat(loopback(), ours).serve_async(), asyncio.to_thread(surf, theirs, web))

    asyncio.run(main())


def test_serve_async_can_be_cancelled() -> None:
    ours, theirs = memory_pair()

    async def main() -> None:
        task = asyncio.create_task(UserNat(Config(), ours).serve_async())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = descriptors()
    asyncio.run(main())
    assert {name for name in before if "socket" in name} >= {
        name for name in descriptors() if "socket" in name
    }
    theirs.close()


def test_an_idle_gateway_sleeps() -> None:
    ours, theirs = memory_pair()
    nat = UserNat(Config(), ours)
    end, steps = time.monotonic() + 0.5, 0
    while time.monotonic() < end:
        nat.process(0.5)
        steps += 1
    assert steps < 20
    nat.stop()
    theirs.close()


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_c27_a_guest_that_leaves_takes_its_flows_and_descriptors_with_it() -> None:
    before = descriptors()
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours, theirs = memory_pair()
        with UserNat(loopback(), ours) as nat, Guest(theirs) as guest:
            guest.dhcp()
            streams = [guest.connect("10.0.2.2", server.getsockname()[1]) for _ in range(3)]
            accepted = [server.accept()[0] for _ in streams]
            guest.interface.udp.bind(None, 0).send(b"?", 0xC0000201, 4000)
            guest.interface.udp.bind(None, 0).send(b"not even a question", 0x0A000203, 53)
            guest.interface.echo.bind(77).request(0xC0000201, 1, b"")
            guest.run_until(lambda: False, 0.1)
            assert nat.counters()["flows.open"] >= 4
            assert len(nat.host) >= 4
            guest.close()
            until(lambda: nat.ended is not None)
            assert nat.counters()["flows.open"] == 0
            assert len(nat.host) == 0
            for peer in accepted:
                peer.settimeout(5)
                with contextlib.suppress(ConnectionResetError):
                    assert peer.recv(1) == b""
                peer.close()
    assert descriptors() == before


def test_c27_stopping_closes_everything_however_often() -> None:
    before = descriptors()
    ours, theirs = memory_pair()
    nat = UserNat(Config(), ours)
    nat.start()
    with pytest.raises(RuntimeError):
        nat.start()
    nat.stop()
    nat.stop()
    theirs.close()
    assert nat.ended == "stopped"
    assert nat.poll_at() is None
    assert not nat.process()
    assert descriptors() == before


class Moody(LinkWrapper):
    """A link that takes nothing while it sulks, as one that says EAGAIN or ENOBUFS."""

    def __init__(self, inner: Link) -> None:
        super().__init__(inner)
        self.sulks = False
        self.refused: list[Frame] = []

    def room(self) -> int:
        return 0 if self.refused else self.inner.room()

    def send(self, frames: list[Frame]) -> None:
        if self.sulks:
            self.refused += frames
        else:
            self.inner.send(frames)

    def flush(self) -> None:
        if not self.sulks and self.refused:
            frames, self.refused = self.refused, []
            self.inner.send(frames)

    @property
    def held(self) -> int:
        return len(self.refused)


def test_c26_a_link_that_takes_nothing_for_a_while_loses_nothing_and_does_not_spin(web: str) -> None:
    ours, theirs = memory_pair()
    moody = Moody(ours)
    steps = 0

    class Counting(UserNat):
        def _step(self, timeout: float | None) -> None:
            nonlocal steps
            steps += 1
            super()._step(timeout)

    def moods() -> None:
        nonlocal steps
        for _ in range(3):
            time.sleep(0.05)
            steps, moody.sulks = 0, True
            time.sleep(0.2)
            assert steps < 2000  # a thousand a second is the pace of retries
            moody.sulks = False

    with Counting(loopback(), moody):
        mood = threading.Thread(target=moods)
        mood.start()
        for _ in range(3):
            with contextlib.suppress(LinkClosed):
                surf_again(theirs, web)
        mood.join()
        theirs.close()


def test_c26_a_shortage_of_memory_is_tried_again_within_milliseconds() -> None:
    ours, theirs = memory_pair()
    moody = Moody(ours)
    moody.sulks = True
    nat = UserNat(Config(), moody)
    nat.process()  # the announcements of its addresses are refused
    at = nat.poll_at()
    assert moody.held
    assert at is not None
    assert at - time.monotonic() < 0.01
    moody.sulks = False
    nat.process(1)
    assert not moody.held
    assert theirs.receive(64)
    nat.stop()
    theirs.close()


def surf_again(link: Link, url: str) -> None:
    """Without closing the link."""
    guest = Guest(link)
    guest.dhcp(30)
    assert guest.http_get(url, 60).body == BODY


def test_c27_stop_from_another_thread_ends_a_loop_that_sleeps() -> None:
    before = descriptors()
    for _ in range(20):
        ours, _theirs = memory_pair()
        nat = UserNat(loopback(), ours)
        thread = threading.Thread(target=nat.serve_forever, daemon=True)
        thread.start()
        nat.stop()
        thread.join(5)
        assert not thread.is_alive()
        assert nat.ended == "stopped"
        _theirs.close()
    assert descriptors() == before


class Stops(Policy):
    """A policy that has had enough."""

    nat: UserNat

    def decide(self, _request: FlowRequest) -> Verdict:
        self.nat.stop()
        return Verdict(True)


def test_c27_stop_from_inside_a_step_closes_everything_at_its_end() -> None:
    before = descriptors()
    ours, theirs = memory_pair()
    policy = Stops()
    policy.nat = nat = UserNat(loopback(), ours, policy=policy)

    def surf_in_vain() -> None:
        with pytest.raises(LinkClosed):
            surf(theirs, "http://10.0.2.2:9/")

    guest = threading.Thread(target=surf_in_vain)
    guest.start()
    while nat.process(0.1):
        pass
    guest.join()
    assert nat.ended == "stopped"
    theirs.close()
    assert descriptors() == before


def test_a_flood_on_the_link_does_not_starve_the_host_side(web: str) -> None:
    ours, theirs = memory_pair()

    class Flood(LinkWrapper):
        """Brings junk without end, whatever else there is."""

        def receive(self, limit: int) -> list[tuple[memoryview | bytes, bool]]:
            real = self.inner.receive(limit)
            return [*real, *[(bytes(60), False)] * (limit - len(real))]

        @property
        def pending(self) -> bool:
            return True

    with UserNat(loopback(), Flood(ours)) as nat:
        surf_again(theirs, web)
        assert nat.counters()["link.frames_in"] > 0
        theirs.close()


def test_a_platform_without_a_selector_descriptor_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usernat.usernat.make_selector", selectors.SelectSelector)
    ours, theirs = memory_pair()
    nat = UserNat(Config(), ours)
    with pytest.raises(OSError, match=r"SelectSelector has no descriptor of its own: use start\(\)"):
        nat.fileno()
    nat.stop()
    theirs.close()


def test_every_selector_of_the_platform_works(monkeypatch: pytest.MonkeyPatch, web: str) -> None:
    monkeypatch.setattr("usernat.usernat.make_selector", selectors.SelectSelector)
    ours, theirs = memory_pair()
    with UserNat(loopback(), ours):
        surf(theirs, web)
