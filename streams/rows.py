"""Records as flat rows with typed columns: what tables for people are made of.

Personal data are what today's dictionary says: a feature or field that it leaves out is left out, and of one that
is tokenised only tokens are given, whatever an older dictionary has stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Final, Literal

from schemas.alert import Alert
from schemas.codec.checks import TaskKind
from schemas.dictionary import Dictionary
from schemas.features import PersonalData
from schemas.records import Command, Control, Entry, Outcome, Position, Prediction
from schemas.tokens import FIELD_TOKEN, TOKEN_LENGTH

What = Literal["log", "predictions", "outcomes", "metrics", "alerts", "decisions"]
WHAT: Final[tuple[What, ...]] = ("log", "predictions", "outcomes", "metrics", "alerts", "decisions")
ColumnType = Literal[
    "text", "long", "double", "boolean", "time", "texts", "position", "map_text", "map_long", "map_double"
]
"""`time`: ms since 1970-01-01 UTC; `position`: topic, partition, offset; `map_long`: whole numbers by text."""
Row = dict[str, Any]
"""Values by column; what is missing has no key or is None."""
FEATURE: Final = "feature_"
"""Begins the columns of features."""
_AVRO: Final[Mapping[str, ColumnType]] = MappingProxyType(
    {"double": "double", "long": "long", "boolean": "boolean", "string": "text"}
)
_TOKEN: Final = re.compile(rf"[0-9a-f]{{{TOKEN_LENGTH}}}")
_COMMAND: Final[Mapping[str, ColumnType]] = MappingProxyType(
    {
        **{"command": "text", "command_model": "text", "arguments": "map_text", "author": "text"},
        **{"reason": "text", "command_id": "text", "authentication": "text", "asked": "time"},
        "evidence": "text",
    }
)
_PLACE: Final[Mapping[str, ColumnType]] = MappingProxyType(
    {"partition": "long", "offset": "long", "written": "time"}
)
"""Where the record lies, and when it was written there; who reads the topic adds it."""
_METRIC: Final[Mapping[str, ColumnType]] = MappingProxyType(
    {
        **{"ts": "time", "name": "text", "value": "double", "unit": "text", "model": "text"},
        **{"version": "text", "role": "text", "window": "text", "segment": "text", "count": "long"},
        **{"log_offset": "long", "task": "text"},
    }
)
_ALERT: Final[Mapping[str, ColumnType]] = MappingProxyType(
    {
        **{"ts": "time", "episode": "text", "state": "text", "severity": "text", "family": "text"},
        **{"signal": "text", "direction": "text", "model": "text", "version": "text", "feature": "text"},
        **{"alarms": "long", "held_back": "boolean", "log_offset": "long", "opened_ts": "time"},
        **{"text": "text", "request_id": "text", "exception": "text"},
        **{"evidence_detector": "text", "evidence_statistic": "text", "evidence_value": "double"},
        **{"evidence_threshold": "double", "evidence_reference": "double"},
        **{"evidence_reference_count": "long", "evidence_recent": "double", "evidence_recent_count": "long"},
    }
)
_VALUES: Final[Mapping[TaskKind, ColumnType]] = MappingProxyType(
    {"binary": "boolean", "multiclass": "text", "regression": "double"}
)


class Rows:
    """Makes rows of the records of one kind.

    Parameters
    ----------
    what
        Which records: `log` takes `Entry`, `decisions` takes `Control`, the others what their names say.
    kind
        The task's: it decides the types of values, scores and labels.
    dictionary
        The task's.
    models
        Names of its models: their columns are there even where no record has a score of theirs.

    Examples
    --------
    >>> from schemas.dictionary import Number
    >>> from schemas.records import Score
    >>> rows = Rows("predictions", "binary", Dictionary(Number(name="x")), ["lr"])
    >>> row = rows.row(Prediction("a", 5, {"x": 1.0}, (Score("lr", 1, 9, 0.25, False),)))
    >>> row["ts"], row["served"], row["version"], row["score_lr"], row["feature_x"]
    (5, 'lr', 'lr.1@9', 0.25, 1.0)
    >>> rows.columns["feature_x"], rows.columns["label_lr"]
    ('double', 'boolean')
    """

    def __init__(self, what: What, kind: TaskKind, dictionary: Dictionary, models: list[str]) -> None:
        self.what, self._dictionary = what, dictionary
        self._value: ColumnType = _VALUES[kind]
        self._score: ColumnType = "map_double" if kind == "multiclass" else "double"
        self._features = {
            each.name: (each.personal_data == "tokenised", each.missing)
            for each in dictionary
            if each.personal_data != "left_out"
        }
        self.columns: dict[str, ColumnType] = {**_PLACE, **self._columns()}
        """Their types by name, in order. A model that is no more of the task adds its own when it is met."""
        if what in ("log", "predictions"):
            for name in self._features:
                self.columns[FEATURE + name] = _AVRO[dictionary.by_name[name].avro]
            for model in models:
                self._add_model(model)
        made: Mapping[What, Callable[[Any], Row]] = {
            **{"log": self._entry, "predictions": self._served, "outcomes": self._outcome},
            **{"metrics": asdict, "alerts": _alert, "decisions": _decision},
        }
        self.row = made[what]
        """Makes the row of a record, without its place."""

    def _columns(self) -> Mapping[str, ColumnType]:
        prediction: dict[str, ColumnType] = {
            **{"request_id": "text", "entity_key": "text", "parents": "texts", "source": "position"},
            **{"propensity": "double", "log_offset": "long", "served": "text", "version": "text"},
            **{"score": self._score, "label": self._label, "failure": "text"},
        }
        columns: Mapping[What, Mapping[str, ColumnType]] = {
            "log": {
                **{"ts": "time", "kind": "text", "entry_id": "text", "trigger": "position"},
                **{"arrived": "time", "prediction_at": "position", "outcome_at": "position"},
                **{"request_ts": "time", **prediction, "value": self._value, "outcome_ts": "time"},
                **{"outcome_revision": "long", "outcome_reason": "text", "reporter": "text"},
                **{"corrects": "text", "previous": self._value, "previous_kind": "text", "late_by": "text"},
                **{"time_partition": "long", "progress": "map_long", **_COMMAND},
            },
            "predictions": {"ts": "time", **prediction},
            "outcomes": {
                **{"ts": "time", "request_id": "text", "value": self._value, "revision": "long"},
                **{"reason": "text", "reporter": "text", "forwarded": "boolean"},
            },
            "metrics": _METRIC,
            "alerts": _ALERT,
            "decisions": {"ts": "time", "kind": "text", "entry_id": "text", "rejected": "text", **_COMMAND},
        }
        return columns[self.what]

    @property
    def _label(self) -> ColumnType:
        return "boolean" if self._value == "boolean" else "text"

    def _add_model(self, model: str) -> None:
        types = {"score": self._score, "version": "text", "label": self._label, "failure": "text"}
        for name, typed in types.items():
            self.columns[column_of(name, model)] = typed

    # ------------------------------------------------------------------ records

    def _entry(self, entry: Entry) -> Row:
        row: Row = {
            **{"ts": entry.ts, "kind": entry.kind, "entry_id": entry.entry_id, "arrived": entry.arrived},
            **{"trigger": _place(entry.trigger), "prediction_at": _place(entry.prediction_at)},
            **{"outcome_at": _place(entry.outcome_at), "corrects": entry.corrects},
            **{"previous": entry.previous, "previous_kind": entry.previous_kind, "late_by": entry.late_by},
            **{"time_partition": entry.partition, "progress": entry.progress},
        }
        if entry.prediction is not None:
            row |= self._prediction(entry.prediction, "request_ts")
        if entry.outcome is not None:
            outcome = entry.outcome
            row |= {"value": outcome.value, "outcome_ts": outcome.ts, "outcome_revision": outcome.revision}
            row |= {"outcome_reason": outcome.reason, "reporter": self._reporter(outcome)}
            row.setdefault("request_id", outcome.request_id)
        if entry.command is not None:
            row |= _command(entry.command)
        return row

    def _served(self, prediction: Prediction) -> Row:
        return self._prediction(prediction, "ts")

    def _prediction(self, prediction: Prediction, ts: str) -> Row:
        kept = self._dictionary
        row: Row = {
            **{"request_id": prediction.request_id, ts: prediction.ts},
            "entity_key": _field(kept.entity_key, prediction.entity_key),
            "parents": [each for each in prediction.parents if _field(kept.parents, each) is not None],
            **{"source": _place(prediction.source), "propensity": prediction.propensity},
            "log_offset": prediction.log_offset,
        }
        for number, score in enumerate(prediction.scores):
            if column_of("score", score.model) not in self.columns:
                self._add_model(score.model)
            found = {"score": score.score, "version": score.version, "label": score.label}
            found["failure"] = score.failure or None
            if number == 0:
                row |= {"served": score.model, **found}
            row |= {column_of(name, score.model): value for name, value in found.items()}
        for name, (tokenised, missing) in self._features.items():
            value = prediction.features.get(name)
            if tokenised and value != missing and not _is_token(value):
                value = None
            row[FEATURE + name] = value
        return row

    def _outcome(self, outcome: Outcome) -> Row:
        return {
            **{"ts": outcome.ts, "request_id": outcome.request_id, "value": outcome.value},
            **{"revision": outcome.revision, "reason": outcome.reason, "reporter": self._reporter(outcome)},
        }

    def _reporter(self, outcome: Outcome) -> str | None:
        return _field(self._dictionary.reporter, outcome.reporter)

    def without_tokens(self, row: Row) -> Row:
        """Return a row in which nothing is left of what the dictionary has tokenised."""
        fields = ("entity_key", "parents", "reporter")
        names = (each if each in fields else FEATURE + each for each in self._dictionary.tokenised)
        return row | {name: None for name in names if name in self.columns}


def column_of(name: str, model: str) -> str:
    """Return the column of a model's score, version, label or failure; no two models share one.

    Examples
    --------
    >>> column_of("score", "lr-fast")
    'score_lr_fast'
    """
    return f"{name}_{model.replace('-', '_')}"


def _field(personal: PersonalData, value: str | None) -> str | None:
    if value is None or personal == "none":
        return value
    if personal == "left_out" or not value.startswith(FIELD_TOKEN):
        return None
    return value if _is_token(value.removeprefix(FIELD_TOKEN)) else None


def _is_token(value: object) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _place(position: Position | None) -> Row | None:
    if position is None:
        return None
    return {"topic": position.topic, "partition": position.partition, "offset": position.offset}


def _command(command: Command) -> Row:
    return {
        **{"command": command.name, "command_model": command.model, "arguments": command.arguments},
        **{"author": command.author, "reason": command.reason, "command_id": command.id},
        **{"authentication": command.authentication, "asked": command.asked or None},
        "evidence": command.evidence,
    }


def _decision(control: Control) -> Row:
    found = {"ts": control.ts, "kind": control.kind, "entry_id": control.entry_id}
    return found | {"rejected": control.rejected} | _command(control.command)


def _alert(alert: Alert) -> Row:
    row = asdict(alert)
    return row | {f"evidence_{name}": value for name, value in row.pop("evidence").items()}
