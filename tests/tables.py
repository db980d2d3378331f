"""Records made again of the rows of exported files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from pyarrow import dataset, parquet, unify_schemas

from schemas.alert import Alert, Evidence
from schemas.records import Command, Control, Entry, Metric, Outcome, Position, Prediction, Score

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAPS = {"arguments", "progress"}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Give all rows of a folder by partition and offset, times in ms; each lies in the folder of its own day."""
    files = sorted(folder.glob("day=*/*.parquet"))
    whole = unify_schemas([parquet.read_schema(each) for each in files], promote_options="permissive")
    found = []
    for file in files:
        for row in dataset.dataset(file, schema=whole).to_table().to_pylist():
            assert file.parent.name == f"day={row['ts']:%Y-%m-%d}"
            found.append(
                {
                    name: (value - EPOCH) // timedelta(milliseconds=1)
                    if isinstance(value, datetime)
                    else dict(value)
                    if name in MAPS and value is not None
                    else value
                    for name, value in row.items()
                }
            )
    return sorted(found, key=lambda row: (row["partition"], row["offset"]))


def ask(question: str) -> list[tuple[Any, ...]]:
    """Give DuckDB's answer to a question, in a session of its own."""
    with duckdb.connect() as session:
        return session.execute(question).fetchall()


def place(row: Mapping[str, Any], name: str) -> Position | None:
    return Position(**row[name]) if row[name] else None


def prediction_of(row: Mapping[str, Any], ts: str = "ts") -> Prediction | None:
    if row[ts] is None:
        return None
    scores = []
    for name in row:
        if name.startswith("version_") and row[name] is not None:
            column = name.removeprefix("version_")
            model, _, rest = row[name].partition(".")
            assert model.replace("-", "_") == column
            revision, _, offset = rest.partition("@")
            about = (row[f"score_{column}"], row[f"label_{column}"], row[f"failure_{column}"] or "")
            scores.append(Score(model, int(revision), int(offset), *about))
    scores.sort(key=lambda score: score.model != row["served"])
    if scores:
        first = scores[0]
        assert (row["version"], row["score"], row["label"]) == (first.version, first.score, first.label)
    features = {
        name.removeprefix("feature_"): value
        for name, value in row.items()
        if name.startswith("feature_") and value is not None
    }
    names = ("request_id", "entity_key", "propensity", "log_offset")
    found: dict[str, Any] = {name: row[name] for name in names}
    found |= {"ts": row[ts], "features": features, "scores": tuple(scores), "source": place(row, "source")}
    return Prediction(**found, parents=tuple(row["parents"]))


def command_of(row: Mapping[str, Any]) -> Command | None:
    if row["command"] is None:
        return None
    names = {"command": "name", "command_model": "model", "command_id": "id"}
    same = ("arguments", "author", "reason", "authentication", "evidence")
    found = {**{made: row[name] for name, made in names.items()}, **{name: row[name] for name in same}}
    return Command(**found, asked=row["asked"] or 0)


def entry_of(row: Mapping[str, Any]) -> Entry:
    outcome = None
    if row["outcome_ts"] is not None:
        names = {"ts": "outcome_ts", "revision": "outcome_revision", "reason": "outcome_reason"}
        names |= {name: name for name in ("request_id", "value", "reporter")}
        outcome = Outcome(**{made: row[name] for made, name in names.items()})
    same = (
        "entry_id",
        "kind",
        "ts",
        "arrived",
        "corrects",
        "previous",
        "previous_kind",
        "late_by",
        "progress",
    )
    found: dict[str, Any] = {name: row[name] for name in same}
    found |= {name: place(row, name) for name in ("trigger", "prediction_at", "outcome_at")}
    found |= {"prediction": prediction_of(row, "request_ts"), "outcome": outcome}
    return Entry(**found, command=command_of(row), partition=row["time_partition"])


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    names = ("request_id", "ts", "value", "revision", "reason", "reporter")
    return Outcome(**{name: row[name] for name in names})


def metric_of(row: Mapping[str, Any]) -> Metric:
    return Metric(**{name: row[name] for name in Metric.__dataclass_fields__})


def alert_of(row: Mapping[str, Any]) -> Alert:
    evidence = Evidence(**{name: row[f"evidence_{name}"] for name in Evidence.__dataclass_fields__})
    names = Alert.__dataclass_fields__.keys() - {"evidence"}
    return Alert(evidence=evidence, **{name: row[name] for name in names})


def control_of(row: Mapping[str, Any]) -> Control:
    command = command_of(row)
    assert command is not None
    return Control(row["kind"], command, row["ts"], row["entry_id"], row["rejected"])


RECORDS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    **{"log": entry_of, "predictions": prediction_of, "outcomes": outcome_of},
    **{"metrics": metric_of, "alerts": alert_of, "decisions": control_of},
}
"""By kind: what makes the record of a row again."""
