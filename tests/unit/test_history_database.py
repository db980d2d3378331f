from __future__ import annotations

from pathlib import Path

import pytest

from infra.verify.database import HistoryDatabase

LOOKUPS = [
    ("entries", "prediction_p = 1 AND prediction_o = 7"),
    ("entries", "outcome_p = 1 AND outcome_o = 7"),
    ("entries", "id = 'r-7' AND outcome_p = 1"),
    ("entries", "cause = 'log/7'"),
    ("predictions", "source_p = 1 AND source_o = 7"),
]


@pytest.mark.parametrize(("table", "condition"), LOOKUPS)
def test_what_has_no_counterpart_is_looked_up_by_index(tmp_path: Path, table: str, condition: str) -> None:
    """A log of backfilled entries, and predictions made over HTTP: each lookup read the whole table."""
    database = HistoryDatabase(tmp_path / "history.sqlite")
    database.insert("entries", ((at, f"e{at}", "backfill", *[None] * 15) for at in range(5_000)))
    database.insert("predictions", ((0, o, f"q{o}", 5, *[None] * 9) for o in range(5_000)))
    database.index()
    query = f"EXPLAIN QUERY PLAN SELECT ts FROM {table} WHERE {condition}"
    plan = [row[3] for row in database.rows(query)]
    database.close()
    assert all(step.startswith("SEARCH") for step in plan), plan
