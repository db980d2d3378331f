"""The pace of a workload: up to the limit, slowly beyond it, and not at all during a pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.pace import TRICKLE_S, Pace


class Sending:
    """Sends blocks of ten requests in a thread, as the sender does."""

    def __init__(self) -> None:
        self.sent = 0
        self.drained = self.renewed = 0
        self.pace = Pace(self._drain, self._renew)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _drain(self) -> None:
        self.drained += 1

    def _renew(self) -> None:
        self.renewed += 1

    def _run(self) -> None:
        while self.pace.wait(self.sent + 10):
            self.sent += 10


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.fixture
def sending() -> Iterator[Sending]:
    made = Sending()
    yield made
    made.pace.stop()
    made.thread.join(60)
    assert not made.thread.is_alive()


def test_nothing_is_sent_beyond_the_limit_and_a_lower_one_changes_nothing(sending: Sending) -> None:
    until(lambda: sending.pace.waiting)
    assert sending.sent == 0
    sending.pace.raise_limit(45)
    until(lambda: sending.sent == 40)
    sending.pace.raise_limit(10)
    sending.pace.raise_limit(60)
    until(lambda: sending.sent == 60)
    until(lambda: sending.pace.waiting)
    assert len(sending.pace.pauses) >= 2
    assert all(since <= end for since, end in sending.pace.pauses)


def test_a_trickle_goes_on_slowly_beyond_the_limit_and_ends(sending: Sending) -> None:
    began = time.monotonic()
    sending.pace.trickle_for(4 * TRICKLE_S)
    until(lambda: sending.sent >= 20)
    assert time.monotonic() - began >= 1.9 * TRICKLE_S
    until(lambda: time.monotonic() > began + 6 * TRICKLE_S and sending.pace.waiting)
    sent = sending.sent
    assert 20 <= sent <= 50
    time.sleep(2 * TRICKLE_S)
    assert sending.sent == sent


def test_a_pause_drains_first_sends_nothing_and_renews_the_clients_afterwards(sending: Sending) -> None:
    sending.pace.pause()
    assert sending.pace.drained.wait(60)
    assert (sending.drained, sending.renewed) == (1, 0)
    sent = sending.sent
    sending.pace.raise_limit(None)
    time.sleep(0.2)
    assert sending.sent == sent
    sending.pace.resume()
    until(lambda: sending.sent > sent)
    assert (sending.drained, sending.renewed) == (1, 1)
