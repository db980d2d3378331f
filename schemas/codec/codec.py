"""Records to bytes and back, for one task."""

from __future__ import annotations

import json as json_text
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from fastavro.schema import SchemaParseException, UnknownType

from schemas.alert import Alert
from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.cloudevents import EventFields
from schemas.codec import json_form, wire
from schemas.codec.avro_form import RECORDS, Schema, assemble, header
from schemas.codec.checks import RECORD_TYPES, TaskKind, makers
from schemas.codec.other_dictionaries import OtherDictionaries
from schemas.codec.plain_data import Check, checker
from schemas.codec.readers import Reader
from schemas.codec.topic_numbers import TopicNumbers
from schemas.codec.wire import Malformed
from schemas.codec.writers import Writer, rest_of_entry
from schemas.dialect import OWN, JsonDialect, plain_reader
from schemas.dictionary import Dictionary, Integer, Number
from schemas.errors import BadRecord
from schemas.formats import GUID_MARK, HEADER_BYTES, REGISTRY_MARK, detect
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
    Payload,
    Resolution,
    StateRecord,
)
from schemas.subject_keys import SubjectKeys
from schemas.tally import Tally
from schemas.tokens import Protection, request_plan, stored_plan
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
T = TypeVar("T")
DAMAGE: Final = (IndexError, struct.error, UnicodeDecodeError, Malformed)
"""What the generated readers raise on bytes that do not follow their schema."""
NO_SCHEMA: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError, SyntaxError)
"""What making a reader of foreign text raises; a syntax error is lists nested deeper than Python's loops may."""
Data = bytes | dict[str, Any] | None
"""A record's value: bytes, or a JSON object that is parsed already."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A schema that can be read; `check` makes a record of the plain data that an older schema gives."""

    record: type[Any]
    reader: Reader
    check: Check | None = None


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
        past = dictionary.past().canonical
        keys = SubjectKeys(token_key) if isinstance(token_key, bytes) else token_key
        self.protection = Protection(dictionary, keys, serving=serving)
        """Puts what comes in in the form in which it is stored."""
        asked = dictionary.asked
        canonical = {
            "Request": asked.canonical,
            **dict.fromkeys(("Prediction", "Entry", "JoinRecord"), past),
        }
        plans = {
            "Request": request_plan(asked),
            **dict.fromkeys(("Prediction", "Entry"), stored_plan(dictionary)),
        }
        made, self._topics = makers(kind), TopicNumbers(task)
        self.schemas: dict[str, Schema] = {
            name: assemble(name, asked if name == "Request" else dictionary) for name in RECORDS
        }
        """By record: the schema that is written today, self-contained."""
        self.fingerprints: dict[str, str] = {}
        """By record: that schema's fingerprint, 16 hex digits in the order of the bytes on the wire."""
        self._writers: dict[type[Any], Callable[[Any], bytes]] = {}
        self._readers: dict[bytes, _Known] = {}
        self._checks: dict[type[Any], Check] = {}
        for name, schema in self.schemas.items():
            mark, record = header(schema), RECORD_TYPES[name]
            self.fingerprints[name] = mark[2:].hex()
            self._writers[record] = Writer(schema, mark, self._topics).write
            self._readers[mark] = _Known(record, Reader(schema, self._topics, made, plans.get(name)))
            self._checks[record] = checker(schema, made, canonical.get(name, dict))
        self._others = OtherDictionaries(self.schemas, self._topics, made)
        self.dialects: dict[type[Any], JsonDialect] = {Request: request_json, Outcome: outcome_json}
        """How services write JSON, by record."""
        numeric = frozenset(each.name for each in dictionary if isinstance(each, Number | Integer))
        value = () if kind == "multiclass" else ("value",)
        self._plain = {
            record: plain_reader(dialect, numeric, ("revision", *value) if record is Outcome else ())
            for record, dialect in self.dialects.items()
            if not dialect.is_own
        }
        self._prediction_mark = header(self.schemas["Prediction"])
        self._writers[WrittenEntry] = rest_of_entry
        self.learn_later: Callable[[bytes, bool], None] | None = None
        """Called with an unknown fingerprint: it may register further schemas."""
        self.unframe: Callable[[bytes, type[Any]], bytes] | None = None
        """Gives a value with Schema Registry framing in another encoding; None: no registry is set."""

    def __repr__(self) -> str:
        return f"Codec({self.task!r}, {self.kind!r}, {len(self.dictionary)} features)"

    def register(self, schema: str) -> str:
        """Add a schema that older records were written with; give its fingerprint (16 hex digits).

        Records are read with the schema they were written with. A feature that it lacks is missing: in a
        request today's dictionary says what that means, in what was served nothing is put in its place. No
        default of a schema ever becomes a feature.

        Parameters
        ----------
        schema
            A self-contained record schema as JSON text.

        Raises
        ------
        BadRecord
            `unknown_schema`, for what is not a schema of one of the loop's records.
        """
        try:
            found = json_text.loads(schema)
            mark = header(found)
            record = RECORD_TYPES[found["name"].split(".")[-1]]
            if record not in self._checks:
                raise KeyError(found["name"])
            if mark not in self._readers:
                self._readers[mark] = _Known(record, Reader(found, self._topics), self._checks[record])
            if record is Prediction and mark != self._prediction_mark:
                join_mark, reader = self._others.join_reader(found)
                self._readers[join_mark] = _Known(JoinRecord, reader, self._others.whole(mark))
                self.register(json_text.dumps(self._others.entry_schema(found, mark)))
        except (*NO_SCHEMA, SchemaParseException, UnknownType) as error:
            raise BadRecord(
                "unknown_schema", f"not a record schema of task {self.task}: {error!r:.200}"
            ) from error
        return mark[2:].hex()

    def register_writer(self, schema: Schema, record: type[Any]) -> bytes:
        """Add the schema of another writer of a record; gives the mark of its single-object encoding.

        The fields that it has must be those of the record. A field that is a feature may be of another type, as in
        JSON; its namespace, and names of inner records, may be any.

        Raises
        ------
        BadRecord
            `unknown_schema`, where it is no Avro schema or has a type that is not supported.
        """
        try:
            mark = header(schema)
            if mark not in self._readers:
                self._readers[mark] = _Known(record, Reader(schema, self._topics), self._checks[record])
        except (*NO_SCHEMA, SchemaParseException, UnknownType) as error:
            raise BadRecord("unknown_schema", f"it cannot be read: {error!r:.200}") from error
        return mark

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
            record = replace(record, prediction=self.held_prediction("", record.prediction))
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
        return self._decode(data, (Request,))

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
        return self._decode(data, (Prediction,))

    def held(self, request_id: str, data: bytes) -> bytes:
        """Give the form in which the join holds a prediction that was read before.

        Parameters
        ----------
        request_id
            Its request.
        data
            Its record: kept whole where it is not written with today's schema.
        """
        start = self._prediction_mark + wire.text(request_id)
        return Held(data[len(start) :]) if data.startswith(start) else data

    def held_prediction(self, request_id: str, payload: Payload) -> Prediction:
        """Read a prediction that the join holds."""
        if isinstance(payload, Prediction):
            return replace(payload, request_id=request_id)
        if type(payload) is Held:
            # A stand-in: the key around it was checked when it was taken.
            payload = self._prediction_mark + wire.text("-") + payload
        return replace(self.decode_prediction(payload), request_id=request_id)

    def written_prediction(self, request_id: str, payload: Payload) -> Prediction:
        """Give a prediction that the join holds for being written again, in an entry.

        Its bytes are taken over as they are, also those of another dictionary. Nothing but writing it can be done
        with what this gives.
        """
        if type(payload) is Held:
            return Written(wire.text(request_id) + payload)
        if isinstance(payload, bytes) and (found := self._others.written(request_id, payload)) is not None:
            return found
        return self.held_prediction(request_id, payload)

    def decode_outcome(self, data: Data) -> Outcome | Punctuation:
        """Read a record of `T.outcomes`; the value is canonical for the task's kind, the reporter as stored."""
        wanted: tuple[type[Outcome | Punctuation], ...] = (Outcome, Punctuation)
        found = self._decode(data, wanted)
        return self.protection.outcome(found) if isinstance(found, Outcome) else found

    def decode_entry(self, data: bytes | None) -> Entry:
        """Read a record of `T.log`; features are taken as they were stored."""
        return self._decode(data, (Entry,))

    def decode_state(self, data: bytes | None) -> StateRecord:
        """Read a record of `T.join-state`."""
        wanted: tuple[type[StateRecord], ...] = (JoinRecord, Resolution, JoinPosition)
        found = self._decode(data, wanted)
        if isinstance(found, JoinRecord) and isinstance(found.prediction, Prediction):
            # From JSON or an older schema: in today's form where that is possible.
            held = self.held("-", self.encode(replace(found.prediction, request_id="-")))
            return replace(found, prediction=held) if type(held) is Held else found
        return found

    def decode_aggregates(self, data: bytes | None) -> AggregateRecord:
        """Read a record of `T.aggregates`."""
        wanted: tuple[type[AggregateRecord], ...] = (CountedRequest, AggregatesPosition)
        return self._decode(data, wanted)

    def decode_dead_letter(self, data: bytes | None) -> DeadLetter:
        """Read a record of `T.dead-letters`."""
        return self._decode(data, (DeadLetter,))

    def decode_manifest(self, data: bytes | None) -> Manifest:
        """Read a record of `T.snapshots` or a snapshot's `manifest.json`."""
        return self._decode(data, (Manifest,))

    def decode_control(self, data: bytes | None) -> Control:
        """Read a request or an audit of `T.control`."""
        return self._decode(data, (Control,))

    def decode_from_control(self, data: bytes | None) -> Control | Applied:
        """Read a record of `T.control`, also one by which a worker says how far it is."""
        wanted: tuple[type[Control | Applied], ...] = (Control, Applied)
        return self._decode(data, wanted)

    def decode_audit(self, data: bytes | None) -> Control | Applied | AuditLink:
        """Read any record of `T.control`."""
        wanted: tuple[type[Control | Applied | AuditLink], ...] = (Control, Applied, AuditLink)
        return self._decode(data, wanted)

    def decode_metric(self, data: bytes | None) -> Metric:
        """Read a record of `T.metrics`."""
        return self._decode(data, (Metric,))

    def peek(self, data: bytes | None) -> tuple[str, dict[str, Any]]:
        """Give what bytes say, as plain data and unchecked: for people who look at what was rejected.

        Returns
        -------
        tuple
            The form, `json` or `avro`, and the fields. Nothing is canonical, no token is put in: personal data
            are there as they were sent.

        Raises
        ------
        BadRecord
            When the bytes cannot be read at all, or not to their end.
        """
        known = self._readers.get(data[:HEADER_BYTES]) if data else None
        if data is None or known is None:
            detect(data)
            return "json", json_form.parse(data or b"")
        name = known.record.__name__
        reader = known.reader if known.check is not None else Reader(self.schemas[name], self._topics)
        try:
            found, at = reader.read(data, HEADER_BYTES, len(data))
        except DAMAGE as error:
            raise BadRecord("malformed", f"the record is damaged: {_damage(error)}") from None
        if at != len(data):
            raise BadRecord("malformed", f"the record has {len(data) - at} bytes after its end")
        return "avro", found

    def decode_alert(self, data: bytes | None) -> Alert:
        """Read a record of `T.alerts`."""
        return self._decode(data, (Alert,))

    def decode_tally(self, data: bytes | None) -> Tally:
        """Read a record of `T.quality`."""
        return self._decode(data, (Tally,))

    def _decode(self, data: Data, wanted: tuple[type[T], ...]) -> T:
        if not isinstance(data, bytes):
            return self._decode_json(data, wanted)
        known = self._readers.get(data[:HEADER_BYTES]) or self._learned_later(data, wanted)
        if known is None:
            if self.unframe is not None and data.startswith((REGISTRY_MARK, GUID_MARK)):
                return self._decode(self.unframe(data, wanted[0]), wanted)
            return self._decode_json(data, wanted)
        if known.record not in wanted:
            raise _wrong_record(known.record, wanted)
        reader, end = known.reader, len(data)
        try:
            found, at = reader.read(data, HEADER_BYTES, end)
        except BadRecord as error:
            path, exact = reader.where(error.__traceback__)
            field = path if exact else f"{path}.{error.field}".strip(".")
            raise BadRecord(error.reason, error.message, field) from None
        except DAMAGE as error:
            path, _ = reader.where(error.__traceback__)
            raise BadRecord("malformed", f"the record is damaged at {path}: {_damage(error)}", path) from None
        if at != end:
            raise BadRecord("malformed", f"the record has {end - at} bytes after its end")
        return found if known.check is None else known.check(found)  # type: ignore[no-any-return]

    def _learned_later(self, data: bytes, wanted: tuple[type[Any], ...]) -> _Known | None:
        mark = data[:HEADER_BYTES]
        if self.learn_later is not None and len(mark) == HEADER_BYTES and detect(data) == "avro":
            self.learn_later(mark, Prediction in wanted)
        return self._readers.get(mark)

    def _decode_json(self, data: Data, wanted: tuple[type[T], ...]) -> T:
        if not isinstance(data, dict) and detect(data) == "avro":
            mark = (data or b"")[2:HEADER_BYTES].hex()
            raise BadRecord("unknown_schema", f"task {self.task} has no schema with the fingerprint {mark}")
        found = data if isinstance(data, dict) else json_form.parse(data or b"")
        said = found.get("record")
        name = json_form.BY_WORD.get(said) if isinstance(said, str) else None
        record = RECORD_TYPES[name] if name else wanted[0]
        if record not in wanted:
            raise _wrong_record(record, wanted)
        if (plain := self._plain.get(record)) is not None:
            found = plain(found)
        return self._checks[record](found)  # type: ignore[no-any-return]


def _wrong_record(found: type[Any], wanted: tuple[type[Any], ...]) -> BadRecord:
    names = " or ".join(json_form.record_word(each.__name__) for each in wanted)
    said = json_form.record_word(found.__name__)
    return BadRecord("wrong_record", f"this topic carries records of type {names}, not {said}")


def _damage(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "text that is not valid UTF-8"
    return str(error) if isinstance(error, Malformed) else "it ends early"
