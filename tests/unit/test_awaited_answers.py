"""Answers that calls wait for: each comes once, or says why it does not."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from infra.inbound import SERVED
from infra.task import awaited_answers
from infra.task.awaited_answers import AwaitedAnswers
from schemas.errors import BadRecord, BrokerError
from schemas.records import DeadLetter, Position
from tests.unit.http_worker import make_http_task

CONTEXT = make_http_task("stay").context


class Read:
    """A record that is read."""

    def __init__(self, topic: str, key: bytes, value: bytes, *, served: bool = True) -> None:
        self._topic, self._key, self._value, self._served = topic, key, value, served

    def topic(self) -> str:
        return self._topic

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def headers(self) -> Any:
        return [(SERVED, b"0")] if self._served else None


class Reading:
    """What the topics give."""

    made = 0
    coming: list[Read]
    broken: BrokerError | None = None

    def __init__(self, context: Any) -> None:
        Reading.made += 1
        if Reading.broken is not None:
            raise Reading.broken

    def poll(self, timeout_s: float) -> None:
        time.sleep(0.005)

    def taken(self) -> list[Read]:
        taken, Reading.coming = Reading.coming, []
        return taken

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(autouse=True)
def _reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited_answers, "_Reading", Reading)
    Reading.made, Reading.coming, Reading.broken = 0, [], None


def letter(source: str, value: bytes) -> Read:
    found = DeadLetter("model_failed", "no score", "", Position(source, 0, 7), b"ada", value, 1)
    return Read("stay.dead-letters", b"ada", CONTEXT.codec.encode(found))


def test_an_answer_is_the_first_served_prediction_or_the_dead_letter_of_what_was_sent() -> None:
    async def run() -> None:
        awaited = AwaitedAnswers(CONTEXT)
        await asyncio.gather(awaited.follow(), awaited.follow())
        answers = [awaited.expect(f"r-{number}", b"sent %d" % number) for number in range(3)]
        Reading.coming = [
            Read("stay.predictions", b"r-0", b"from outside", served=False),
            Read("stay.predictions", b"other", b"of another"),
            Read("stay.dead-letters", b"", b"not readable"),
            letter("stay.outcomes", b"sent 1"),
            Read("stay.predictions", b"r-0", b"first"),
            Read("stay.predictions", b"r-0", b"second"),
            letter("stay.requests", b"sent 1"),
        ]
        assert await answers[0] == b"first"
        with pytest.raises(BadRecord, match="no score"):
            await answers[1]
        assert len(awaited) == 1
        awaited.close()
        with pytest.raises(BrokerError, match="not followed any more"):
            await answers[2]
        assert len(awaited) == 0

    asyncio.run(run())
    assert Reading.made == 1


def test_a_request_is_waited_for_for_a_time_and_the_topics_are_followed_while_there_are_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(awaited_answers, "EXPIRY_S", 0.05)
    monkeypatch.setattr(awaited_answers, "IDLE_S", 0.2)

    async def run() -> None:
        awaited = AwaitedAnswers(CONTEXT)
        with pytest.raises(BrokerError, match="is not followed"):
            awaited.expect("r-0", b"sent")
        await awaited.follow()
        with pytest.raises(BrokerError, match="no answer after"):
            await awaited.expect("r-0", b"sent")
        until = time.monotonic() + 10
        while any(each.name == "answers" for each in threading.enumerate()):
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        await awaited.follow()
        answer = awaited.expect("r-1", b"sent")
        Reading.coming = [Read("stay.predictions", b"r-1", b"there")]
        assert await answer == b"there"
        awaited.close()

    asyncio.run(run())
    assert Reading.made == 2


def test_a_cluster_that_does_not_answer_and_too_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited_answers, "MOST", 1)

    async def run() -> None:
        awaited = AwaitedAnswers(CONTEXT)
        Reading.broken = BrokerError("no broker")
        with pytest.raises(BrokerError, match="cannot be read"):
            await awaited.follow()
        Reading.broken = None
        await awaited.follow()
        answer = awaited.expect("r-0", b"sent")
        with pytest.raises(BrokerError, match="too many requests"):
            awaited.expect("r-1", b"sent")
        Reading.coming = [Read("stay.predictions", b"r-0", b"there")]
        assert await answer == b"there"
        awaited.close()

    asyncio.run(run())
