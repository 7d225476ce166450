"""The thread that works again and again: when it begins, and that closing it waits."""

from __future__ import annotations

import threading

from tallystick.server.store.periodic import PeriodicThread


def test_it_works_again_and_again_until_it_is_closed():
    enough = threading.Event()
    done: list[str] = []

    def work() -> None:
        done.append(threading.current_thread().name)
        if len(done) == 3:
            enough.set()

    thread = PeriodicThread("sweeper", work, 0.001)
    assert enough.wait(30)
    thread.close()
    after = len(done)
    assert set(done) == {"sweeper"}
    assert not any(other.name == "sweeper" for other in threading.enumerate())
    assert len(done) == after


def test_the_first_time_can_be_at_once():
    begun = threading.Event()
    thread = PeriodicThread("rounds", begun.set, 3600, first_s=0)
    assert begun.wait(30)
    thread.close()


def test_by_default_it_waits_first():
    begun = threading.Event()
    PeriodicThread("rounds", begun.set, 3600).close()
    assert not begun.is_set()


def test_closing_waits_for_the_work_under_way():
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)
        ended.set()

    thread = PeriodicThread("slow", work, 3600, first_s=0)
    assert begun.wait(30)
    threading.Timer(0.05, go_on.set).start()
    thread.close()
    assert ended.is_set()


def test_without_background_nothing_runs():
    begun = threading.Event()
    PeriodicThread("none", begun.set, 0.0, background=False).close()
    assert not begun.is_set()


def test_an_error_is_told_and_the_next_time_comes(caplog):
    again = threading.Event()
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("what nobody thought of: a secret")
        again.set()

    thread = PeriodicThread("rounds", work, 0.001)
    assert again.wait(30)
    thread.close()
    assert "rounds failed: ValueError" in caplog.text and "secret" not in caplog.text


class Waits:
    """In place of the event that ends it: how long it would have waited, so many times."""

    def __init__(self, times: int) -> None:
        self.asked: list[float] = []
        self._times = times

    def wait(self, timeout: float) -> bool:
        self.asked.append(timeout)
        return len(self.asked) > self._times


def test_after_the_first_time_it_waits_as_ever():
    done: list[int] = []
    thread = PeriodicThread("rounds", lambda: done.append(1), 600, first_s=5, background=False)
    thread._closing = waits = Waits(3)
    thread._run()
    assert (waits.asked, len(done)) == ([5, 600, 600, 600], 3)
