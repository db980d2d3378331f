"""Scores and outcomes over Kafka: one class for threads, one for asyncio, on one producer thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from concurrent.futures import Future
from typing import Any, Self, Unpack

from infra.client.calls import Answer, OutcomeOptions, RequestOptions, outcome_fields, request_fields
from infra.client.contract import Contract, Encoding
from infra.client.predictions import Predictions
from infra.client.sending import Exchange
from infra.clock import now_ms
from infra.kafka.connection import Connection


class _OverKafka:
    """Contract, connection and exchange of both clients."""

    def __init__(
        self,
        contract: Contract,
        bootstrap: str,
        properties: Mapping[str, str] | None = None,
        *,
        encoding: Encoding = "json",
        timeout_s: float = 10.0,
    ) -> None:
        self._connection = Connection(bootstrap, properties or {})
        self._contract, self._encoding, self._timeout_s = contract, encoding, timeout_s
        self._exchange = Exchange(contract, self._connection, timeout_s)

    def _request(self, request_id: str, features: Mapping[str, Any], options: RequestOptions) -> bytes:
        fields = {"ts": now_ms()} | request_fields(request_id, features, **options)
        return self._contract.encode("request", fields, self._encoding)

    def _report(self, request_id: str, value: Any, options: OutcomeOptions) -> Future[None]:
        fields = outcome_fields(request_id, value, now_ms(), **options)
        data = self._contract.encode("outcome", fields, self._encoding)
        return self._exchange.send(self._contract.topic("outcomes"), request_id, data)


class KafkaClient(_OverKafka):
    """A task's topics; threads may share it.

    Parameters
    ----------
    contract
        The task's exported contract.
    bootstrap
        The cluster, ``HOST:PORT``, or several separated by commas.
    properties
        librdkafka properties of the connection, such as ``security.protocol``.
    encoding
        Of requests and outcomes, ``json`` or ``avro``. Predictions are read in both.
    timeout_s
        How long `score` waits for its prediction, and `report` for Kafka's acknowledgement, in s.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait until what was sent is acknowledged, for `timeout_s` at most, and stop."""
        self._exchange.close()

    def score(
        self, request_id: str, features: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Answer:
        """Send a request and wait for its prediction; arguments as of `HttpClient.score`.

        The first call also opens a consumer of `T.predictions` without a group, which reads all new ones.

        Raises
        ------
        TimeoutError
            No prediction in time. The worker may still answer; `T.dead-letters` has what it rejected.
        BrokerError
            Kafka did not acknowledge the request.
        BadRecord
            The request does not follow its Avro schema.
        """
        data = self._request(request_id, features, options)
        answered = self._exchange.ask(request_id, data)
        try:
            return Answer.of_prediction(answered.result(self._timeout_s))
        finally:
            self._exchange.forget(request_id, answered)

    def report(self, request_id: str, value: Any, **options: Unpack[OutcomeOptions]) -> None:
        """Report an outcome; Kafka has acknowledged it when this returns. Arguments as of `HttpClient.report`.

        Raises
        ------
        BrokerError, BadRecord
            As in `score`.
        """
        self._report(request_id, value, options).result()

    def predictions(self, group: str) -> Generator[dict[str, Any], None, None]:
        """Read `T.predictions` from the group's position, at first from the oldest, without end.

        A prediction counts as read when the next one is asked for, so a service that is stopped in between gets
        it again. Close the iterator to leave the group.

        Raises
        ------
        BrokerError
            The cluster rejects the consumer.
        UsageError
            The export lacks the schema of a prediction.
        """
        with Predictions(self._contract, self._connection, group) as source:
            while True:
                if (found := source.next(1.0)) is not None:
                    yield found
                    source.done()


class AsyncKafkaClient(_OverKafka):
    """The same for asyncio, in an ``async with`` block.

    Parameters
    ----------
    contract, bootstrap, properties, encoding, timeout_s
        As of `KafkaClient`.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await asyncio.to_thread(self._exchange.close)

    async def score(
        self, request_id: str, features: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Answer:
        """Send a request and wait for its prediction, as `KafkaClient.score`."""
        data = self._request(request_id, features, options)
        # In a thread, since the first call finds the ends of the predictions.
        answered = await asyncio.to_thread(self._exchange.ask, request_id, data)
        try:
            async with asyncio.timeout(self._timeout_s):
                fields = await asyncio.wrap_future(answered)
                return Answer.of_prediction(fields)
        finally:
            self._exchange.forget(request_id, answered)

    async def report(self, request_id: str, value: Any, **options: Unpack[OutcomeOptions]) -> None:
        """Report an outcome, as `KafkaClient.report`."""
        await asyncio.wrap_future(self._report(request_id, value, options))

    async def predictions(self, group: str) -> AsyncGenerator[dict[str, Any], None]:
        """Read `T.predictions`, as `KafkaClient.predictions`; close it with `aclose`."""
        source = await asyncio.to_thread(Predictions, self._contract, self._connection, group)
        try:
            while True:
                if (found := await asyncio.to_thread(source.next, 1.0)) is not None:
                    yield found
                    source.done()
        finally:
            await asyncio.to_thread(source.close)
