"""Requests over HTTP that must be counted in order: they go to their topic, to the worker of their entity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.http.prediction_cache import AwaitedAnswer
from agents.http.problems import dump
from infra.kafka.transaction import Headers, OutRecord
from infra.task.awaited_answers import AwaitedAnswers
from infra.task.context import TaskContext
from infra.task.entity_places import EntityPlaces
from schemas.records import Prediction, Request


class ByTopic:
    """Sends requests of a task with aggregates to the partitions of their entities.

    Parameters
    ----------
    awaited
        Gives their predictions.
    """

    def __init__(self, context: TaskContext, awaited: AwaitedAnswers) -> None:
        self._context, self._places = context, EntityPlaces(context)
        self._awaited = awaited
        self.follow = awaited.follow
        self.decode = context.codec.decode_sent
        """Reads a request with personal data in plain: the worker that serves it makes the tokens."""

    def answer(
        self, request: Request, sent: Any, headers: Headers, body: Callable[[Prediction], bytes]
    ) -> AwaitedAnswer:
        """Return the answer to a request, which is to be sent.

        Parameters
        ----------
        request
            With personal data in plain.
        sent
            As the caller has sent it: the bytes of Avro, or parsed JSON.

        Raises
        ------
        BrokerError
            Too many requests wait.
        """
        context = self._context
        if isinstance(sent, bytes):
            value = sent
        else:
            value = dump(sent | {"ts": context.codec.dialects[Request].written(request.ts)})
        key, number = self._places.place(request) or (request.request_id.encode(), None)
        record = OutRecord(context.topics.requests, key, value, number, headers)
        coming = self._awaited.expect(request.request_id, value)
        return AwaitedAnswer(record, coming, lambda found: body(context.codec.decode_prediction(found)))
