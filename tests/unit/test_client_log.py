"""A cluster that is away does not fill the log of a worker."""

from __future__ import annotations

import logging

import pytest

from infra.kafka import client_log
from infra.kafka.client_log import OnceInAWhile


def rejected(client: int, after_ms: int) -> logging.LogRecord:
    text = "FAIL [rdkafka#consumer-%d] [thrd:bootstrap]: Connect to 127.0.0.1:9092 failed (after %dms)"
    return logging.LogRecord("infra.kafka.client", logging.ERROR, "", 0, text, (client, after_ms), None)


def test_lines_that_differ_in_numbers_and_client_only_pass_once_in_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("infra.kafka.client_log.time.monotonic", lambda: now)
    keeper = OnceInAWhile()
    assert [keeper.filter(rejected(n, 50 * n)) for n in range(40)] == [True, *[False] * 39]
    other = logging.LogRecord("infra.kafka.client", logging.WARNING, "", 0, "Disconnected", (), None)
    assert keeper.filter(other)
    now = 131.0
    again = rejected(7, 3)
    assert keeper.filter(again)
    assert again.getMessage().endswith("failed (after 3ms) (repeated 39 times in 31 s)")
    assert not keeper.filter(rejected(1, 1))


def test_it_remembers_a_bounded_number_of_lines() -> None:
    keeper = OnceInAWhile()
    for n in range(1000):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(n))
        assert keeper.filter(logging.LogRecord("x", logging.ERROR, "", 0, name, (), None))
    assert len(keeper._seen) == client_log.MOST


@pytest.mark.parametrize(
    ("why", "passes"),
    [
        ("Coordinator load in progress: retrying", False),
        ("Coordinator not available: retrying", False),
        ("Not coordinator: retrying", False),
        ("Not coordinator", True),
        ("Not authorized", True),
    ],
)
def test_a_coordinator_that_is_asked_again_is_no_news(why: str, passes: bool) -> None:
    line = "GETPID [rdkafka#producer-12] [thrd:main]: Failed to acquire PID from broker %s: Broker: %s"
    record = logging.LogRecord("client", logging.WARNING, "", 0, line, ("TxnCoordinator/1", why), None)
    assert OnceInAWhile().filter(record) is passes
