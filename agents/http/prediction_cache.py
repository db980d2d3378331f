"""A cache of answers over HTTP, so that a repeated request gets the first answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Delivery
from schemas.errors import BadRecord, BrokerError

if TYPE_CHECKING:
    from infra.shared.predictions import Mine


class Sends(Protocol):
    """Sends records, as `infra.kafka.writer.Writer` does."""

    def send(self, record: OutRecord) -> Delivery:
        """See `Writer.send`."""


class Answer:
    """An answer, and the delivery of the prediction behind it.

    Parameters
    ----------
    body
        The answer, as JSON.
    record
        The prediction for the topic; None: it is there already.
    """

    __slots__ = ("_delivery", "_record", "body", "mine", "on_acknowledged")

    def __init__(self, body: bytes, record: OutRecord | None = None) -> None:
        self.body = body
        self.mine: Mine | None = None
        """This worker's claim to it; None without a shared store."""
        self.on_acknowledged: Callable[[Answer], None] | None = None
        """Called once, when Kafka has acknowledged the prediction."""
        self._record = record
        self._delivery: Delivery | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether Kafka has acknowledged the prediction."""
        return self._record is None

    @property
    def under_way(self) -> bool:
        """Whether the acknowledgement is pending."""
        return self._delivery is not None and not self._delivery.done()

    def send(self, writer: Sends) -> None:
        """Send the prediction, unless it is acknowledged or under way.

        After a failed delivery the same bytes are sent again, in case the first ones are on the topic after all.

        Raises
        ------
        BrokerError
            When it cannot be sent now.
        """
        if self._delivery is not None and self._delivery.done():
            self._delivered(self._delivery)  # its own call of this comes a turn of the event loop later
        if self._record is None or self.under_way:
            return
        self._delivery = writer.send(self._record)
        self._delivery.add_done_callback(self._delivered)

    def _delivered(self, delivery: Delivery) -> None:
        if not delivery.cancelled() and delivery.exception() is None:
            self._record = self._delivery = None
            self._on_topic()

    def _on_topic(self) -> None:
        if (act := self.on_acknowledged) is not None:
            self.on_acknowledged = None
            act(self)

    async def wait(self) -> None:
        """Wait until it is acknowledged.

        Raises
        ------
        BrokerError
            When it is not.
        """
        if self._delivery is not None:
            # Several callers may wait for one delivery; a cancelled caller must not cancel it for the others.
            await asyncio.shield(self._delivery)
        elif self._record is not None:
            raise BrokerError(f"{self._record.topic}: not sent")


class AwaitedAnswer(Answer):
    """The answer to a request that lies on its topic, where another worker may serve it.

    Parameters
    ----------
    record
        The request.
    answer
        Resolved with the prediction, or with what came instead.
    body
        Makes the answer of the prediction.
    """

    __slots__ = ("_answer", "_make")

    def __init__(
        self, record: OutRecord, answer: asyncio.Future[bytes], body: Callable[[bytes], bytes]
    ) -> None:
        super().__init__(b"", record)
        self._answer, self._make = answer, body
        answer.add_done_callback(self._came)

    @property
    def acknowledged(self) -> bool:
        """Whether the prediction is on its topic."""
        return bool(self.body)

    @property
    def under_way(self) -> bool:
        """Whether the request waits for Kafka, or for its prediction."""
        return super().under_way or (self._record is None and not self._answer.done())

    @property
    def failed(self) -> bool:
        """Whether the request gets no prediction, or is not waited for any longer."""
        return self._answer.done() and not self.body

    def send(self, writer: Sends) -> None:
        """Send the request, unless it is acknowledged or under way; raises as `Answer.send`."""
        if not self._answer.done():
            super().send(writer)

    def _delivered(self, delivery: Delivery) -> None:
        if not delivery.cancelled() and delivery.exception() is None:
            self._record = self._delivery = None

    def _came(self, answer: asyncio.Future[bytes]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            try:
                self.body = self._make(answer.result())
            except BadRecord:  # a worker with a later version of the package wrote it
                return
            self._on_topic()

    async def wait(self) -> None:
        """Wait for the prediction.

        Raises
        ------
        BadRecord
            The request went to the dead letters.
        BrokerError
            The request is not acknowledged, or is not waited for any longer.
        """
        if not self._answer.done():
            await super().wait()
        await asyncio.shield(self._answer)
        if not self.body:
            raise BrokerError("the prediction cannot be read")


class PredictionCache:
    """The newest answers by request_id; the least recently used go first.

    Parameters
    ----------
    most
        Maximum number of answers; unacknowledged ones are kept beyond it.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, request_id: str) -> Answer | None:
        """Return the answer to a request, or None."""
        found = self._answers.get(request_id)
        if isinstance(found, AwaitedAnswer) and found.failed:
            del self._answers[request_id]  # whoever asks again sends it again
            return None
        if found is not None:
            self._answers.move_to_end(request_id)
        return found

    def add(self, request_id: str, answer: Answer) -> None:
        """Add an answer."""
        self._answers[request_id] = answer
        while len(self._answers) > self.most:
            oldest = next(iter(self._answers))
            if oldest == request_id or self._answers[oldest].under_way:
                break
            del self._answers[oldest]
