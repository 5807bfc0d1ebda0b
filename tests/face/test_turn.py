"""The loop's turn and the visitors': nobody is locked out, nobody waits for himself."""

from __future__ import annotations

import threading

from usernat.turn import Turn

PATIENCE_S = 10.0


class Loop:
    """Takes its turn again as soon as it has let go of it, and waits inside."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.over = False
        self.inside = False
        self.turn = Turn(self.woken.set)
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.over:
            with self.turn:
                self.inside = True
                self.woken.wait(PATIENCE_S)
                self.woken.clear()
                self.inside = False

    def end(self) -> None:
        self.over = True
        self.woken.set()
        self.thread.join()


def test_visitors_have_their_turn_however_busy_the_loop() -> None:
    loop = Loop()
    loop.thread.start()
    visits: list[bool] = []

    def visit() -> None:
        for _ in range(50):
            with loop.turn.visit():
                visits.append(loop.inside)

    visitors = [threading.Thread(target=visit, daemon=True) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(PATIENCE_S / 2)
    count = len(visits)
    loop.end()
    assert count == 150
    assert not any(visits)


def test_inside_a_step_the_turn_is_had_at_once() -> None:
    calls: list[int] = []
    turn = Turn(lambda: calls.append(1))
    with turn, turn.visit(), turn.visit():
        pass
    assert len(calls) == 2  # each has the loop look again at what is due


def test_a_signal_handler_may_visit_while_its_thread_is_in_the_gate() -> None:
    turn = Turn(lambda: None)
    other = threading.Event()
    let_go = threading.Event()

    def hold() -> None:
        with turn:
            other.set()
            let_go.wait(PATIENCE_S)

    holder = threading.Thread(target=hold)
    holder.start()
    other.wait(PATIENCE_S)
    done = threading.Event()

    def interrupted() -> None:
        with turn._gate, turn.visit():  # the handler comes while the thread is about to take its turn
            done.set()

    visitor = threading.Thread(target=interrupted, daemon=True)
    visitor.start()
    let_go.set()
    assert done.wait(PATIENCE_S)
    holder.join()
    visitor.join()
