"""Outcomes from topics that other systems write: which field of a change is which field of an outcome, declared."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal, get_args

from schemas.codec.checks import Make, TaskKind, check_value, makers
from schemas.dialect import WORDS, JsonDialect, NumberForm, TimeForm
from schemas.errors import BadRecord, TaskError
from schemas.features import shown
from schemas.records import Outcome, Value

Format = Literal["debezium", "connect", "json"]
OnDelete = Literal["ignore", "unavailable"]
TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")
ENVELOPE: Final = frozenset({"before", "after", "source", "op", "ts_ms", "ts_us", "ts_ns", "transaction"})
"""Members of a Debezium envelope."""
DELETED: Final = "deleted"
"""The reason of an outcome that a deletion gives."""
SCALARS: Final = (str, bool, int, float, type(None))
MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeMapping:
    """How each record of a foreign topic becomes an outcome.

    Paths name members, with dots between them: `after.status`.

    Parameters
    ----------
    topic
        The foreign topic. It is only read.
    format
        `debezium`: envelopes with `before`, `after` and `op`. `connect`: rows as Kafka Connect's JSON converter
        writes them, also those of Debezium's ExtractNewRecordState, which marks deletions by `__deleted`. `json`:
        any JSON object. The first two may have Connect's `schema` and `payload` around them.
    request_id
        Path of the request: text or a whole number.
    value
        Path of the outcome's value. A null is no outcome yet, and is ignored.
    values
        The outcome of each value that occurs; None: no truth will come, and the value is the reason. Any other is
        rejected. Empty: the value is the outcome.
    ts
        Path of the event time. Empty, for `debezium` only: `source.ts_ms`, when the database made the change.
    time, numbers
        Form of the event time, and whether numbers may be text; see `JsonDialect`.
    revision
        Path of a whole number that grows with each change of a row; empty: a later event time corrects an earlier
        one.
    where
        By path: the value, or the tuple of values, with which a record counts; others are ignored.
    delete
        What the deletion of a row means: `ignore`, or `unavailable`, no truth will come. In an envelope its fields
        are those of `before`, its event time is `source.ts_ms` where `ts` is in the row, and `where` applies
        outside the row only: by default databases report no more than a deleted row's key. Tombstones are ignored.

    Examples
    --------
    >>> orders = OutcomeMapping(
    ...     topic="shop.public.orders",
    ...     format="debezium",
    ...     request_id="after.id",
    ...     value="after.status",
    ...     values={"paid": True, "refused": False},
    ...     where={"after.status": ("paid", "refused")},
    ... )
    >>> change = {"op": "u", "after": {"id": 7, "status": "paid"}, "source": {"ts_ms": 1700000000000}}
    >>> orders.outcome(change, "binary")
    Outcome(request_id='7', ts=1700000000000, value=True, revision=None, reason=None, reporter=None)
    """

    topic: str
    request_id: str
    value: str
    format: Format = "json"
    values: Mapping[Any, Value] = field(default_factory=dict)
    ts: str = ""
    time: TimeForm = "ms"
    numbers: NumberForm = "json"
    revision: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    delete: OnDelete = "ignore"

    def __post_init__(self) -> None:
        where = f"OutcomeMapping(topic={self.topic!r}):"
        topic: object = self.topic
        if not isinstance(topic, str) or not TOPIC.match(topic):
            raise TaskError(f"{where} topic= must be the name of a topic")
        for name, allowed in (("format", get_args(Format)), ("delete", get_args(OnDelete))):
            if getattr(self, name) not in allowed:
                raise TaskError(f"{where} {name}={getattr(self, name)!r} must be one of {', '.join(allowed)}")
        if not self.ts and self.format != "debezium":
            raise TaskError(
                f"{where} ts= must name the field with the event time; a {self.format} record has none"
            )
        if self.format == "json" and self.delete != "ignore":
            raise TaskError(f"{where} delete={self.delete!r} needs format='debezium' or 'connect'")
        paths = {"request_id": self.request_id, "value": self.value, "ts": self.ts, "revision": self.revision}
        for name, path in [*paths.items(), *(("where", path) for path in self.where)]:
            self._check_path(f"{where} {name}=", path, optional=name in {"ts", "revision"})
        if not all(isinstance(each, SCALARS) for each in (*self.values, *self.values.values())):
            raise TaskError(f"{where} values= must map texts, numbers or booleans to values of outcomes")
        self.dialect  # noqa: B018  its declarations are checked

    def _check_path(self, where: str, path: Any, *, optional: bool) -> None:
        if not isinstance(path, str) or (not path and not optional) or (path and "" in path.split(".")):
            raise TaskError(f"{where}{path!r} must be a path such as 'after.status'")
        if path and self.format == "debezium" and path.split(".")[0] not in ENVELOPE:
            raise TaskError(
                f"{where}{path!r} is not in a Debezium envelope: begin with 'after.' for a column, or declare "
                "format='connect' for rows of ExtractNewRecordState"
            )

    @property
    def dialect(self) -> JsonDialect:
        """How the record's times and numbers are written."""
        return JsonDialect(self.time, self.numbers)

    def problems(self, kind: TaskKind) -> list[str]:
        """Say what does not fit a task of this kind."""
        found = []
        for value in self.values.values():
            try:
                check_value(kind, value)
            except BadRecord as bad:
                found.append(f"values= has {value!r}: {bad.message}")
        return found

    def outcome(self, record: dict[str, Any] | None, kind: TaskKind) -> Outcome | None:
        """Give the outcome of a record; None where it is none.

        Parameters
        ----------
        record
            The parsed record; None for a tombstone.

        Raises
        ------
        BadRecord
            Naming the path at fault.
        """
        if record is None:
            return None
        row = self._payload(record)
        deleted = self._is_deletion(row)
        if deleted is None or (deleted and self.delete == "ignore"):
            return None
        if not all(_takes(wanted, _at(row, path)) for path, wanted in self._conditions(deleted=deleted)):
            return None
        if deleted:
            value: Any = None
            reason: str | None = DELETED
        else:
            found = _at(row, self.value)
            if found is None and None not in self.values:
                return None
            value, reason = self._value(found, kind)
        request_id = self._request_id(row, deleted=deleted)
        ts = self._ts(row, deleted=deleted)
        revision = self._revision(row, deleted=deleted)
        try:
            made: Outcome = _maker(kind)(request_id, ts, value, revision, reason)
        except BadRecord as bad:
            path = {"value": self.value, "request_id": self.request_id, "ts": self.ts}.get(
                bad.field, bad.field
            )
            raise BadRecord(bad.reason, f"{path}: {bad.message}", path) from None
        return made

    # ------------------------------------------------------------------ the record's parts

    def _payload(self, record: dict[str, Any]) -> dict[str, Any]:
        if self.format == "json" or record.keys() != {"schema", "payload"}:
            return record
        payload = record["payload"]
        if not isinstance(payload, dict):
            raise BadRecord("wrong_record", "payload must be an object", "payload")
        return payload

    def _is_deletion(self, row: dict[str, Any]) -> bool | None:
        """Whether a row is deleted; None for a message without a row."""
        if self.format == "connect":
            return row.get("__deleted") in (True, "true")
        if self.format == "json":
            return False
        op = row.get("op")
        if op in ("c", "u", "r", "d"):
            return bool(op == "d")
        if op == "m":  # pg_logical_emit_message
            return None
        if op == "t":
            raise BadRecord("wrong_record", "a truncated table names no request", "op")
        raise BadRecord(
            "wrong_record",
            "the record is no Debezium envelope, which has op c, u, r or d; for rows of ExtractNewRecordState "
            "declare format='connect'",
            "op",
        )

    def _conditions(self, *, deleted: bool) -> list[tuple[str, Any]]:
        in_row = deleted and self.format == "debezium"
        return [each for each in self.where.items() if not (in_row and each[0].startswith("after."))]

    def _path(self, path: str, *, deleted: bool) -> str:
        if deleted and self.format == "debezium" and path.startswith("after."):
            return "before." + path.removeprefix("after.")
        return path

    def _request_id(self, row: dict[str, Any], *, deleted: bool) -> str:
        path = self._path(self.request_id, deleted=deleted)
        found = _at(row, path)
        if type(found) not in (str, int):
            reason = "missing_field" if found is None else "wrong_type"
            raise BadRecord(
                reason,
                f"{path} must be the id of the request: text or a whole number, not {_word(found)}",
                path,
            )
        return str(found)

    def _value(self, found: Any, kind: TaskKind) -> tuple[Any, str | None]:
        if not self.values:
            as_text = kind == "multiclass"
            return found if as_text else self.dialect.number(found, self.value), None
        for key, value in self.values.items():
            if type(key) is type(found) and key == found:
                return value, f"{self.value} is {found}"[:200] if value is None else None
        raise BadRecord(
            "out_of_range", f"{self.value} is {shown(found)}, which values= does not list", self.value
        )

    def _ts(self, row: dict[str, Any], *, deleted: bool) -> int:
        if self.format == "debezium" and (not self.ts or (deleted and self.ts.startswith("after."))):
            return JsonDialect().millis(_at(row, "source.ts_ms"), "source.ts_ms")
        found = _at(row, self.ts)
        if found is None:
            raise BadRecord("missing_field", f"{self.ts} is null; it must be the event time", self.ts)
        return self.dialect.millis(found, self.ts)

    def _revision(self, row: dict[str, Any], *, deleted: bool) -> int | None:
        if not self.revision:
            return None
        path = self._path(self.revision, deleted=deleted)
        found = self.dialect.number(_at(row, path), path)
        if type(found) is not int or not -(2**63) <= found < 2**63:
            raise BadRecord("wrong_type", f"{path} must be a 64-bit whole number, not {_word(found)}", path)
        return found


def check_mappings(mappings: object, kind: TaskKind, own: Collection[str], where: str) -> None:
    """Reject mappings that a task cannot have.

    Parameters
    ----------
    own
        Names of the task's own topics.
    where
        Begins the messages.

    Raises
    ------
    TaskError
        Naming the mapping's topic, and what is wrong with it.
    """
    if not isinstance(mappings, tuple | list) or not all(isinstance(x, OutcomeMapping) for x in mappings):
        raise TaskError(f"{where} must be a tuple of OutcomeMapping(...)")
    names = [each.topic for each in mappings]
    for mapping in mappings:
        place = f"{where} topic {mapping.topic!r}"
        if names.count(mapping.topic) > 1:
            raise TaskError(f"{place} has two mappings")
        if mapping.topic in own:
            raise TaskError(f"{place} is a topic of the task")
        for problem in mapping.problems(kind):
            raise TaskError(f"{place}: {problem}")


@cache
def _maker(kind: TaskKind) -> Make:
    return makers(kind)["Outcome"]


def _at(row: Any, path: str) -> Any:
    """Give the member at a path.

    Raises
    ------
    BadRecord
        `missing_field`, naming the path.
    """
    found, seen = row, list[str]()
    for name in path.split("."):
        if not isinstance(found, dict):
            at = ".".join(seen)
            raise BadRecord("missing_field", f"{path} is missing: {at} is {_word(found)}", path)
        found = found.get(name, MISSING)
        seen.append(name)
        if found is MISSING:
            raise BadRecord("missing_field", f"{path} is missing: there is no {'.'.join(seen)}", path)
    return found


def _takes(wanted: Any, found: Any) -> bool:
    allowed = wanted if isinstance(wanted, tuple | list | set | frozenset) else (wanted,)
    return any(type(each) is type(found) and each == found for each in allowed)


def _word(value: Any) -> str:
    return WORDS.get(type(value), "a number")
