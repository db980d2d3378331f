"""The history in a temporary SQLite file: memory stays bounded however long the history is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

CACHE_KIB: Final = 64 * 1024
AT_ONCE: Final = 2_000

TABLES: Final = """
CREATE TABLE requests (p INT, o INT, id TEXT, digest BLOB, arrived INT, PRIMARY KEY (p, o)) WITHOUT ROWID;
CREATE TABLE predictions (
    p INT, o INT, id TEXT, ts INT, source_p INT, source_o INT,
    digest BLOB, asked BLOB, arrived INT, record BLOB, model TEXT, revision INT, applied INT,
    PRIMARY KEY (p, o)) WITHOUT ROWID;
CREATE TABLE outcomes (
    p INT, o INT, id TEXT, ts INT, value TEXT, revision INT, digest BLOB, arrived INT,
    from_p INT, from_o INT, punctuation INT, PRIMARY KEY (p, o)) WITHOUT ROWID;
CREATE TABLE dead_letters (side TEXT, p INT, o INT, at TEXT);
CREATE TABLE join_records (
    p INT, id TEXT, status TEXT, prediction_o INT, digest BLOB, loose BLOB, entry_id TEXT,
    PRIMARY KEY (p, id)) WITHOUT ROWID;
CREATE TABLE early (p INT, o INT, id TEXT, PRIMARY KEY (p, o)) WITHOUT ROWID;
CREATE INDEX early_by_id ON early (p, id);
CREATE TABLE entries (
    at INT PRIMARY KEY, entry_id TEXT, kind TEXT, cause TEXT, number INT, within INT, root INT,
    prediction_p INT, prediction_o INT, prediction BLOB, loose BLOB,
    outcome_p INT, outcome_o INT, outcome BLOB, id TEXT, value TEXT, revision INT, ts INT);
CREATE TABLE chains (
    p INT, o INT, entry_id TEXT, kind TEXT, value TEXT, revision INT, ts INT, late_by TEXT, within_id TEXT,
    PRIMARY KEY (p, o)) WITHOUT ROWID;
CREATE TABLE scores (model TEXT, applied INT, revision INT, p INT, o INT, number INT);
CREATE TABLE revisions (
    model TEXT, revision INT, spec TEXT, runtime TEXT, dictionary TEXT, left_out TEXT,
    PRIMARY KEY (model, revision));
"""
# Made when everything is in: that is faster, and only the checks need them. An index of what may be missing leaves
# the missing out: otherwise SQLite counts them all as one key, and reads the whole table for each question.
INDEXES: Final = """
CREATE INDEX predictions_by_source ON predictions (source_p, source_o) WHERE source_p IS NOT NULL;
CREATE INDEX predictions_by_id ON predictions (p, id, o);
CREATE INDEX outcomes_by_origin ON outcomes (from_p, from_o) WHERE from_p IS NOT NULL;
CREATE INDEX dead_letters_by_source ON dead_letters (side, p, o);
CREATE INDEX entries_by_id ON entries (entry_id);
CREATE INDEX entries_by_cause ON entries (cause, number) WHERE cause IS NOT NULL;
CREATE INDEX entries_by_prediction ON entries (prediction_p, prediction_o) WHERE prediction_p IS NOT NULL;
CREATE INDEX entries_by_outcome ON entries (outcome_p, outcome_o) WHERE outcome_p IS NOT NULL;
CREATE INDEX entries_by_request ON entries (id, outcome_p, outcome_o) WHERE id IS NOT NULL;
CREATE INDEX predictions_by_applied ON predictions (applied, p, o);
CREATE INDEX scores_by_applied ON scores (model, applied, p, o, number);
"""


class HistoryDatabase:
    """A task's history as tables.

    Parameters
    ----------
    path
        A file that does not exist yet; the caller removes it.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        # A proof that is interrupted is made anew, so nothing needs to survive.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}", "temp_store=FILE"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(TABLES)
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add rows; one with the key of another replaces it."""
        made = iter(rows)
        first = next(made, None)
        if first is None:
            return
        places = ", ".join("?" * len(first))
        statement = f"INSERT OR REPLACE INTO {table} VALUES ({places})"  # noqa: S608  our own names
        self._db.execute(statement, first)
        self._db.executemany(statement, made)

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        """Change something."""
        self._db.execute(statement, values)

    def index(self) -> None:
        """Make the indexes: after the last insert, before the first check."""
        for statement in INDEXES.strip().split(";\n"):
            self._db.execute(statement.rstrip(";"))
        self._db.execute("ANALYZE")

    def one(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        """Give a query's first row; None when there is none."""
        return self._db.execute(query, values).fetchone()

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        """Give a query's rows as they are found."""
        return iter(self._db.execute(query, values))


def fill(database: HistoryDatabase, table: str, rows: Iterable[tuple[Any, ...]]) -> int:
    """Add rows, some thousand at once; gives their number."""
    count = 0
    for chunk in chunks(rows):
        database.insert(table, chunk)
        count += len(chunk)
    return count


def chunks(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Cut rows into lists of some thousand."""
    made = iter(rows)
    while chunk := list(islice(made, AT_ONCE)):
        yield chunk
