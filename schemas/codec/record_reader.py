"""What bytes say: records of one task, read with the schema that they were written with."""

from __future__ import annotations

import json as json_text
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fastavro.schema import SchemaParseException, UnknownType

from schemas.codec import json_form
from schemas.codec.avro_form import Schema, header
from schemas.codec.checks import RECORD_TYPES, TaskKind, makers
from schemas.codec.other_dictionaries import OtherDictionaries
from schemas.codec.plain_data import Check, checker
from schemas.codec.readers import Reader
from schemas.codec.topic_numbers import TopicNumbers
from schemas.codec.wire import Malformed
from schemas.dialect import JsonDialect, plain_reader
from schemas.dictionary import Dictionary, Integer, Number
from schemas.errors import BadRecord
from schemas.formats import GUID_MARK, HEADER_BYTES, REGISTRY_MARK, detect
from schemas.records import Outcome, Prediction
from schemas.state import JoinRecord
from schemas.tokens import request_plan, stored_plan

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


class RecordReader:
    """Reads the records of one task with the schemas that it knows: today's, and those that were registered.

    Parameters
    ----------
    task, kind, dictionary
        The task's name, what its outcome is, and its features.
    schemas, marks
        By record: the schema of today, and the mark of its single-object encoding.
    topics
        Numbers for the topics that positions name.
    others
        Takes the predictions of other dictionaries.
    dialects
        How services write JSON, by record.
    """

    def __init__(
        self,
        task: str,
        kind: TaskKind,
        dictionary: Dictionary,
        schemas: Mapping[str, Schema],
        marks: Mapping[str, bytes],
        topics: TopicNumbers,
        others: OtherDictionaries,
        dialects: Mapping[type[Any], JsonDialect],
    ) -> None:
        self._task, self._schemas, self._topics, self._others = task, schemas, topics, others
        asked, past, made = dictionary.asked, dictionary.past().canonical, makers(kind)
        canonical = {
            "Request": asked.canonical,
            **dict.fromkeys(("Prediction", "Entry", "JoinRecord"), past),
        }
        plans = {
            "Request": request_plan(asked),
            **dict.fromkeys(("Prediction", "Entry"), stored_plan(dictionary)),
        }
        self._readers: dict[bytes, _Known] = {}
        self._checks: dict[type[Any], Check] = {}
        for name, schema in schemas.items():
            record = RECORD_TYPES[name]
            self._readers[marks[name]] = _Known(record, Reader(schema, topics, made, plans.get(name)))
            self._checks[record] = checker(schema, made, canonical.get(name, dict))
        self._prediction_mark = marks["Prediction"]
        numeric = frozenset(each.name for each in dictionary if isinstance(each, Number | Integer))
        value = () if kind == "multiclass" else ("value",)
        self._plain = {
            record: plain_reader(dialect, numeric, ("revision", *value) if record is Outcome else ())
            for record, dialect in dialects.items()
            if not dialect.is_own
        }
        self.learn_later: Callable[[bytes, bool], None] | None = None
        """Called with an unknown fingerprint: it may register further schemas."""
        self.unframe: Callable[[bytes, type[Any]], bytes] | None = None
        """Gives a value with Schema Registry framing in another encoding; None: no registry is set."""

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
                "unknown_schema", f"not a record schema of task {self._task}: {error!r:.200}"
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

    def read(self, data: Data, wanted: tuple[type[T], ...]) -> T:
        """Read a record of one of some types.

        Parameters
        ----------
        wanted
            The types; JSON that does not say its type is of the first.

        Raises
        ------
        BadRecord
            Whatever is wrong with the bytes.
        """
        if not isinstance(data, bytes):
            return self._decode_json(data, wanted)
        known = self._readers.get(data[:HEADER_BYTES]) or self._learned_later(data, wanted)
        if known is None:
            if self.unframe is not None and data.startswith((REGISTRY_MARK, GUID_MARK)):
                return self.read(self.unframe(data, wanted[0]), wanted)
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
            raise BadRecord("unknown_schema", f"task {self._task} has no schema with the fingerprint {mark}")
        found = data if isinstance(data, dict) else json_form.parse(data or b"")
        said = found.get("record")
        name = json_form.BY_WORD.get(said) if isinstance(said, str) else None
        record = RECORD_TYPES[name] if name else wanted[0]
        if record not in wanted:
            raise _wrong_record(record, wanted)
        if (plain := self._plain.get(record)) is not None:
            found = plain(found)
        return self._checks[record](found)  # type: ignore[no-any-return]

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
        reader = known.reader if known.check is not None else Reader(self._schemas[name], self._topics)
        try:
            found, at = reader.read(data, HEADER_BYTES, len(data))
        except DAMAGE as error:
            raise BadRecord("malformed", f"the record is damaged: {_damage(error)}") from None
        if at != len(data):
            raise BadRecord("malformed", f"the record has {len(data) - at} bytes after its end")
        return "avro", found


def _wrong_record(found: type[Any], wanted: tuple[type[Any], ...]) -> BadRecord:
    names = " or ".join(json_form.record_word(each.__name__) for each in wanted)
    said = json_form.record_word(found.__name__)
    return BadRecord("wrong_record", f"this topic carries records of type {names}, not {said}")


def _damage(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "text that is not valid UTF-8"
    return str(error) if isinstance(error, Malformed) else "it ends early"
