"""The in-process link between two threads: no frame and no wake-up is lost."""

from __future__ import annotations

import selectors
import threading

from usernat.links.memory import memory_pair
from usernat.stack.device import Capabilities, Frame


def test_two_threads_lose_nothing() -> None:
    one, other = memory_pair()
    count = 3000
    echoed: list[bytes] = []

    def echo() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(one, selectors.EVENT_READ)
            done = 0
            while done < count:
                assert one.pending or selector.select(10)
                for frame, _ in one.receive(7):
                    while not one.room():
                        selector.select(0.01)
                    one.send([Frame([frame])])
                    done += 1

    thread = threading.Thread(target=echo)
    thread.start()
    with selectors.DefaultSelector() as selector:
        selector.register(other, selectors.EVENT_READ)
        sent = 0
        while len(echoed) < count:
            if sent < count and (room := min(other.room(), 5, count - sent)):
                other.send([Frame([(sent + offset).to_bytes(4, "big")]) for offset in range(room)])
                sent += room
            elif not other.pending:
                assert selector.select(10)
            echoed += [bytes(frame) for frame, _ in other.receive(64)]
    thread.join()
    assert [int.from_bytes(frame, "big") for frame in echoed] == list(range(count))
    assert one.counters.overflow == other.counters.overflow == 0
    one.close()
    other.close()


def test_offload_marks_cross_as_a_checksum_that_is_vouched_for() -> None:
    one, other = memory_pair(Capabilities(tx_checksum=True, tx_segmentation=65535))
    one.send([Frame([b"large" * 1000], gso_size=1460, csum_start=34, csum_offset=16), Frame([b"small"])])
    assert other.receive(64) == [(b"large" * 1000, True), (b"small", False)]
    one.close()
    other.close()
