"""Answers given over HTTP, remembered so that a repeated request gets the first one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Delivery
from schemas.errors import BrokerError


class Sends(Protocol):
    """What is needed of `infra.kafka.writer.Writer`."""

    def send(self, record: OutRecord) -> Delivery:
        """See `Writer.send`."""


class Answer:
    """An answer, and the delivery of the prediction behind it.

    Parameters
    ----------
    body
        What the caller gets, as JSON.
    record
        The prediction for the topic.
    """

    __slots__ = ("_delivery", "_record", "body")

    def __init__(self, body: bytes, record: OutRecord) -> None:
        self.body = body
        self._record: OutRecord | None = record
        self._delivery: Delivery | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether the prediction is on the topic, as far as is known."""
        return self._record is None

    @property
    def under_way(self) -> bool:
        """Whether its acknowledgement is waited for."""
        return self._delivery is not None and not self._delivery.done()

    def send(self, writer: Sends) -> None:
        """See to its delivery, unless it is acknowledged or under way.

        A record whose delivery failed is sent again byte for byte: should the first one be on the topic after
        all, it says the same.

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

    async def wait(self) -> None:
        """Wait until it is acknowledged.

        Raises
        ------
        BrokerError
            When it is not.
        """
        if self._delivery is not None:
            # Several callers may wait for one delivery; who gives up must not end it for the others.
            await asyncio.shield(self._delivery)
        elif self._record is not None:
            raise BrokerError(f"{self._record.topic}: not sent")


class Remembered:
    """The newest answers by request_id; the least recently used go first.

    Parameters
    ----------
    most
        So many are kept; those whose acknowledgement is waited for are kept beyond that.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, request_id: str) -> Answer | None:
        """Give the answer to a request; None when there is none."""
        found = self._answers.get(request_id)
        if found is not None:
            self._answers.move_to_end(request_id)
        return found

    def add(self, request_id: str, answer: Answer) -> None:
        """Remember an answer."""
        self._answers[request_id] = answer
        while len(self._answers) > self.most:
            oldest = next(iter(self._answers))
            if oldest == request_id or self._answers[oldest].under_way:
                break
            del self._answers[oldest]
