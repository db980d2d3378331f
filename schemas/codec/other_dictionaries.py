"""Predictions of other dictionaries: the join holds them as they are, and entries carry them as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from schemas.codec import wire
from schemas.codec.avro_form import Schema, header, with_prediction
from schemas.codec.checks import Make
from schemas.codec.readers import Reader
from schemas.codec.topic_numbers import TopicNumbers
from schemas.codec.writers import Writer
from schemas.formats import HEADER_BYTES
from schemas.state import Held, JoinRecord
from schemas.written import Written


class OtherDictionaries:
    """What reads and writes the records that carry a prediction of another dictionary.

    Its features are not mapped to today's: the log keeps what was seen when the request was answered, and each
    model maps it by name.

    Parameters
    ----------
    schemas
        Today's, by record.
    made
        What makes each record of today, by Avro name.
    """

    def __init__(self, schemas: Mapping[str, Schema], topics: TopicNumbers, made: Mapping[str, Make]) -> None:
        self._schemas, self._topics, self._made = schemas, topics, made
        self.writers: dict[bytes, Callable[[Any], bytes]] = {}
        """By the header of such predictions: what writes entries that carry them."""

    def entry_schema(self, prediction: Schema, mark: bytes) -> Schema:
        """Return the schema of entries that carry such predictions; from now on they can be written."""
        entry = with_prediction(self._schemas["Entry"], prediction)
        self.writers[mark] = Writer(entry, header(entry), self._topics).write
        return entry

    def join_reader(self, prediction: Schema) -> tuple[bytes, Reader]:
        """Return the header of the join's records that hold such predictions, and what reads them."""
        joined = with_prediction(self._schemas["JoinRecord"], prediction)
        return header(joined), Reader(joined, self._topics, self._made)

    @staticmethod
    def whole(mark: bytes) -> Callable[[JoinRecord], JoinRecord]:
        """Return what makes a whole record of a prediction that was held without header and id."""
        start = mark + wire.text("-")

        def made_whole(found: JoinRecord) -> JoinRecord:
            payload = found.prediction
            return replace(found, prediction=start + payload) if type(payload) is Held else found

        return made_whole

    def written(self, request_id: str, payload: bytes) -> Written | None:
        """Return a prediction for being written in an entry; None where it is of no other dictionary."""
        mark = payload[:HEADER_BYTES]
        if mark not in self.writers:
            return None
        return Written(wire.text(request_id) + payload[wire.after_text(payload, HEADER_BYTES) :], mark)
