"""Rows and tables of records of every kind of task."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from infra.frames.arrow import NO_DAY, TableBuilder, libraries
from infra.frames.folder import Folder, OffsetFiles, about
from schemas import Boolean, Category, Dictionary, Integer, Number
from schemas.codec import Codec
from schemas.codec.checks import TaskKind
from schemas.errors import UsageError
from schemas.examples import examples
from schemas.records import Entry, Metric, Prediction, Score
from streams.rows import Rows, What
from tests.tables import EPOCH, MAPS, RECORDS

FEATURES = Dictionary(
    *(Number(name="x"), Integer(name="n", optional=True), Boolean(name="b"), Category(name="c")),
    entity_key="none",
    parents="none",
    reporter="none",
)
TYPES: dict[str, What] = {
    **{"Entry": "log", "Prediction": "predictions", "Outcome": "outcomes", "Metric": "metrics"},
    **{"Alert": "alerts", "Control": "decisions"},
}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Give a row with times in ms and maps as dicts, as `tests.tables` reads it."""
    scores = {name for name in row if name == "score" or name.startswith("score_")}
    for name, value in row.items():
        if isinstance(value, datetime):
            row[name] = (value - EPOCH) // timedelta(milliseconds=1)
        elif value is not None and (name in MAPS or (name in scores and isinstance(value, list))):
            row[name] = dict(value)
    return row


@pytest.mark.parametrize("kind", get_args(TaskKind))
def test_a_table_has_all_of_a_record(kind: TaskKind) -> None:
    codec, seen = Codec("shop", kind, FEATURES), set()
    for record in examples(codec).values():
        what = TYPES.get(type(record).__name__)
        if what is None:
            continue
        rows = Rows(what, kind, FEATURES, ["lr"])
        builder = TableBuilder(rows)
        builder.add(rows.row(record) | {"partition": 0, "offset": 7, "written": 9})
        (row,) = builder.table().to_pylist()
        assert RECORDS[what](plain(row)) == record
        seen.add(what)
    assert seen == set(TYPES.values())


def test_a_model_that_is_no_more_of_the_task_has_columns_and_names_do_not_collide() -> None:
    rows = Rows("predictions", "binary", FEATURES, ["lr"])
    builder = TableBuilder(rows)
    for scores in ((), (Score("lr", 1, 2, 0.5, True), Score("old-one", 3, 4, None, None, "it raised"))):
        builder.add(rows.row(Prediction("score", 5, {"x": 1.0}, scores)))
    first, second = builder.table().to_pylist()
    assert (first["score_old_one"], first["served"]) == (None, None)
    assert (second["version_old_one"], second["failure_old_one"]) == ("old-one.3@4", "it raised")
    assert (second["served"], second["score"], second["failure"]) == ("lr", 0.5, None)


def test_rows_lie_by_day_and_a_time_that_has_none_is_kept(tmp_path: Path) -> None:
    metric = next(
        each for each in examples(Codec("shop", "binary", FEATURES)).values() if type(each) is Metric
    )
    rows = Rows("metrics", "binary", FEATURES, [])
    builder = TableBuilder(rows)
    for ts in (86_400_000, 5, 10**15, 86_399_999):
        builder.add(rows.row(replace(metric, ts=ts)))
    tables = builder.by_day()
    assert {day: len(table) for day, table in tables.items()} == {"1970-01-01": 2, "1970-01-02": 1, NO_DAY: 1}
    assert builder.count == 0
    files = OffsetFiles(("shop.metrics", 0), 0, 4, len(tables))
    with Folder(tmp_path) as folder:
        assert folder.write(tables, files, {"topic_id": "one"}) == 3
        assert folder.write(tables, files, {"topic_id": "two"}) == 0
        with pytest.raises(UsageError, match="another process is writing"):
            Folder(tmp_path).__enter__()
    assert {about(each)["topic_id"] for each in folder.files()} == {"one"}
    assert list(folder.newest()) == [("shop.metrics", 0)]


def test_an_exported_file_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "shop.log-0-000000000000-000000000004-of1.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"cannot be read .* remove the files of that name"):
        about(path)


def test_without_pyarrow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'riverloop\[parquet\]'"):
        libraries()


def test_an_entry_without_a_request_has_only_its_own_columns() -> None:
    rows = Rows("log", "binary", FEATURES, ["lr"])
    row = rows.row(Entry("e", "time", 5, partition=1, progress={"waiting": 3}))
    assert row.get("request_id") is None
    assert (row["time_partition"], row["progress"]) == (1, {"waiting": 3})
