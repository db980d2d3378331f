"""Records to bytes and back, for one task."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from schemas.alert import Alert
from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.cloudevents import EventFields
from schemas.codec import json_form
from schemas.codec.avro_form import RECORDS, Schema, assemble, header
from schemas.codec.checks import RECORD_TYPES, TaskKind, makers
from schemas.codec.held import HeldPredictions
from schemas.codec.other_dictionaries import OtherDictionaries
from schemas.codec.record_reader import Data, RecordReader
from schemas.codec.topic_numbers import TopicNumbers
from schemas.codec.writers import Writer, rest_of_entry
from schemas.dialect import OWN, JsonDialect
from schemas.dictionary import Dictionary
from schemas.errors import BadRecord
from schemas.records import (
    Control,
    DeadLetter,
    Entry,
    Manifest,
    Metric,
    Outcome,
    Prediction,
    Punctuation,
    Request,
)
from schemas.state import (
    AggregateRecord,
    AggregatesPosition,
    CountedRequest,
    Held,
    JoinPosition,
    JoinRecord,
    Resolution,
    StateRecord,
)
from schemas.subject_keys import SubjectKeys
from schemas.tally import Tally
from schemas.tokens import Protection
from schemas.written import Written, WrittenEntry

Record = (
    Request
    | Prediction
    | Outcome
    | Punctuation
    | Entry
    | JoinRecord
    | Resolution
    | JoinPosition
    | CountedRequest
    | AggregatesPosition
    | DeadLetter
    | Manifest
    | Control
    | Metric
    | Alert
    | Tally
    | Applied
    | AuditLink
)


class Codec:
    """Writes and reads the records of one task.

    Readers take JSON and Avro single-object encoding, distinguished by the first bytes. Whatever the bytes, a
    reader gives a record or raises `BadRecord`; what it gives is canonical, so that reading back what was
    written gives an equal record, bit for bit.

    Parameters
    ----------
    task
        The task's name, for messages.
    kind
        What its outcome is: `binary`, `multiclass` or `regression`.
    token_key
        The subjects' keys, of which the tokens are made that stand for personal data. A task's token key alone
        gives keys that nobody can destroy: for runs that store nothing.
    serving
        Whether requests will be read: then a dictionary with personal data may need the keys.
    request_json, outcome_json
        How services write times and numbers of requests and outcomes in JSON.

    Raises
    ------
    TaskError
        Without the key that `serving` needs.

    Examples
    --------
    >>> from schemas.dictionary import Dictionary, Number
    >>> codec = Codec("cancel", "binary", Dictionary(Number(name="LeadTime", unit="days")))
    >>> request = codec.decode_request(b'{"request_id": "b-1", "ts": 1700000, "features": {"LeadTime": 3}}')
    >>> request.features
    {'LeadTime': 3.0}
    >>> codec.decode_request(codec.encode(request)) == request
    True
    """

    def __init__(
        self,
        task: str,
        kind: TaskKind,
        dictionary: Dictionary,
        token_key: bytes | SubjectKeys | None = None,
        *,
        serving: bool = False,
        request_json: JsonDialect = OWN,
        outcome_json: JsonDialect = OWN,
    ) -> None:
        self.task = task
        self.kind: TaskKind = kind
        self.dictionary = dictionary
        self._stored = dictionary.stored()
        keys = SubjectKeys(token_key) if isinstance(token_key, bytes) else token_key
        self.protection = Protection(dictionary, keys, serving=serving)
        """Puts what comes in in the form in which it is stored."""
        self._topics = TopicNumbers(task)
        self.schemas: dict[str, Schema] = {
            name: assemble(name, dictionary.asked if name == "Request" else dictionary) for name in RECORDS
        }
        """By record: the schema that is written today, self-contained."""
        marks = {name: header(schema) for name, schema in self.schemas.items()}
        self.fingerprints = {name: mark[2:].hex() for name, mark in marks.items()}
        """By record: that schema's fingerprint, 16 hex digits in the order of the bytes on the wire."""
        self._writers: dict[type[Any], Callable[[Any], bytes]] = {
            RECORD_TYPES[name]: Writer(schema, marks[name], self._topics).write
            for name, schema in self.schemas.items()
        }
        self._writers[WrittenEntry] = rest_of_entry
        self.dialects: dict[type[Any], JsonDialect] = {Request: request_json, Outcome: outcome_json}
        """How services write JSON, by record."""
        self._others = OtherDictionaries(self.schemas, self._topics, makers(kind))
        about = (self.schemas, marks, self._topics, self._others, self.dialects)
        self.reader = RecordReader(task, kind, dictionary, *about)
        """Reads records, and takes the schemas of further ones."""
        self.held = HeldPredictions(marks["Prediction"], self.decode_prediction, self._others)
        """Predictions in the form in which the join holds them."""

    def __repr__(self) -> str:
        return f"Codec({self.task!r}, {self.kind!r}, {len(self.dictionary)} features)"

    def encode(self, record: Record, *, json: bool = False) -> bytes:
        """Write a record: Avro single-object encoding, or its JSON form.

        What was served under an older dictionary may lack a feature that today's schema requires. Nothing is
        put in its place: the prediction, and what the log says of it, goes as JSON.

        Raises
        ------
        BadRecord
            For a record that does not follow its schema.
        """
        if isinstance(record, JoinRecord) and json and type(record.prediction) is Held:
            record = replace(record, prediction=self.held.read("", record.prediction))
        if json:
            sent = self.sent(record) if type(record) is Request else record
            return json_form.dump(sent, self._shown_time(record))
        try:
            if type(record) is Entry and type(record.prediction) is Written and record.prediction.mark:
                return self._others.writers[record.prediction.mark](record)
            return self._writers[type(record)](record)
        except KeyError as error:
            if self._is_older(record):
                return json_form.dump(record)
            raise BadRecord(
                "missing_field",
                f"task {self.task}: {type(record).__name__} cannot be written without {error}",
            ) from error
        except (TypeError, AttributeError, ValueError, OverflowError, struct.error) as error:
            raise BadRecord(
                "wrong_type", f"task {self.task}: {type(record).__name__} cannot be written: {error}"
            ) from error

    def _shown_time(self, record: Record) -> dict[str, Any]:
        """Give the time of a record in the form in which its services write it."""
        if isinstance(record, Request | Outcome) and (dialect := self.dialects[type(record)]).time != "ms":
            return {"ts": dialect.written(record.ts)}
        return {}

    def _is_older(self, record: Record) -> bool:
        prediction = record.prediction if isinstance(record, Entry | JoinRecord) else record
        if not isinstance(prediction, Prediction):
            return False
        return any(not each.nullable and each.name not in prediction.features for each in self._stored)

    def event_fields(self, record: type[Any]) -> EventFields | None:
        """Return what completes a record by its CloudEvent's attributes; None where the task declares none."""
        dialect = self.dialects[record]
        return EventFields(record.__name__, dialect) if dialect.cloudevents else None

    def topic_bytes(self, topic: str) -> bytes:
        """Return how a position names a topic on the wire."""
        return self._topics.written[topic]

    def decode_request(self, data: Data) -> Request:
        """Read a record of `T.requests`: its features become canonical, tokens are put in."""
        return self.protection.asked(self.decode_sent(data))

    def decode_sent(self, data: Data) -> Request:
        """Read a record of `T.requests` with personal data in plain: for comparing, not for storing."""
        return self.reader.read(data, (Request,))

    def sent(self, request: Request) -> Request:
        """Give a request as it is sent: without the features that serving adds."""
        added = self.dictionary.added
        if not added:
            return request
        features = {name: value for name, value in request.features.items() if name not in added}
        return replace(request, features=features)

    def stored_request(self, request: Request) -> Request:
        """Give a request of a data file as serving stores it: with the features that serving adds, from its row.

        Raises
        ------
        BadRecord
            When the dictionary rejects it.
        """
        found = self.decode_request(self.encode(request))
        if not self.dictionary.added:
            return found
        return replace(found, features=self.dictionary.complete(found.features, request.features))

    def decode_prediction(self, data: bytes | None) -> Prediction:
        """Read a record of `T.predictions`; its features are taken as they were stored.

        One that was not served here is put in its stored form by `protection` first.
        """
        return self.reader.read(data, (Prediction,))

    def decode_outcome(self, data: Data) -> Outcome | Punctuation:
        """Read a record of `T.outcomes`; the value is canonical for the task's kind, the reporter as stored."""
        wanted: tuple[type[Outcome | Punctuation], ...] = (Outcome, Punctuation)
        found = self.reader.read(data, wanted)
        return self.protection.outcome(found) if isinstance(found, Outcome) else found

    def decode_entry(self, data: bytes | None) -> Entry:
        """Read a record of `T.log`; features are taken as they were stored."""
        return self.reader.read(data, (Entry,))

    def decode_state(self, data: bytes | None) -> StateRecord:
        """Read a record of `T.join-state`."""
        wanted: tuple[type[StateRecord], ...] = (JoinRecord, Resolution, JoinPosition)
        found = self.reader.read(data, wanted)
        if isinstance(found, JoinRecord) and isinstance(found.prediction, Prediction):
            # From JSON or an older schema: in today's form where that is possible.
            held = self.held.take("-", self.encode(replace(found.prediction, request_id="-")))
            return replace(found, prediction=held) if type(held) is Held else found
        return found

    def decode_aggregates(self, data: bytes | None) -> AggregateRecord:
        """Read a record of `T.aggregates`."""
        wanted: tuple[type[AggregateRecord], ...] = (CountedRequest, AggregatesPosition)
        return self.reader.read(data, wanted)

    def decode_dead_letter(self, data: bytes | None) -> DeadLetter:
        """Read a record of `T.dead-letters`."""
        return self.reader.read(data, (DeadLetter,))

    def decode_manifest(self, data: bytes | None) -> Manifest:
        """Read a record of `T.snapshots` or a snapshot's `manifest.json`."""
        return self.reader.read(data, (Manifest,))

    def decode_control(self, data: bytes | None) -> Control:
        """Read a request or an audit of `T.control`."""
        return self.reader.read(data, (Control,))

    def decode_from_control(self, data: bytes | None) -> Control | Applied:
        """Read a record of `T.control`, also one by which a worker says how far it is."""
        wanted: tuple[type[Control | Applied], ...] = (Control, Applied)
        return self.reader.read(data, wanted)

    def decode_audit(self, data: bytes | None) -> Control | Applied | AuditLink:
        """Read any record of `T.control`."""
        wanted: tuple[type[Control | Applied | AuditLink], ...] = (Control, Applied, AuditLink)
        return self.reader.read(data, wanted)

    def decode_metric(self, data: bytes | None) -> Metric:
        """Read a record of `T.metrics`."""
        return self.reader.read(data, (Metric,))

    def decode_alert(self, data: bytes | None) -> Alert:
        """Read a record of `T.alerts`."""
        return self.reader.read(data, (Alert,))

    def decode_tally(self, data: bytes | None) -> Tally:
        """Read a record of `T.quality`."""
        return self.reader.read(data, (Tally,))
