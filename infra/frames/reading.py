"""Tables of a task's records for a notebook, read from the cluster or from exported files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from infra.frames.arrow import NO_DAY, TableBuilder, day_of, libraries
from infra.frames.export import TimeSpan
from infra.frames.folder import DAY, Folder
from infra.frames.source import TaskRows
from schemas.errors import UsageError
from streams.cells import millis
from streams.rows import What

Moment = str | datetime
"""A time: text such as `2026-03-01` or `2026-03-01T12:00`, or a datetime; in UTC where it has no zone."""
Read = Callable[[What, TimeSpan], Any]
"""Gives the table of a kind of records whose `ts` lies in a span, by partition and offset."""
RESOLUTIONS: Final = ("labelled", "expired", "late", "revised", "unavailable", "backfill")


def ms_of(name: str, moment: Moment | None) -> int | None:
    """Return a time in ms; None for None.

    Raises
    ------
    UsageError
        It is no time.

    Examples
    --------
    >>> ms_of("since", "1970-01-02"), ms_of("since", datetime(1970, 1, 2, 1)), ms_of("since", None)
    (86400000, 90000000, None)
    """
    if moment is None:
        return None
    try:
        text = moment.isoformat() if isinstance(moment, datetime) else moment
        return millis(text, "UTC")
    except (ValueError, AttributeError):
        raise UsageError(f"{name}={moment!r:.60} is not a date or time; write 2026-03-01T12:00") from None


def from_cluster(rows_of: Callable[[What], TaskRows]) -> Read:
    """Return what reads the topics of a cluster."""

    def read(what: What, span: TimeSpan) -> Any:
        source = rows_of(what)
        builder = TableBuilder(source.rows)
        for place, (first, end) in sorted(source.extents().items()):
            for _, row in source.read(place, first, end):
                if row is not None and span.has(row):
                    builder.add(row)
        return builder.table()

    return read


def from_files(folder: Path, task: str) -> Read:
    """Return what reads exported files: those of the days of a span."""

    def read(what: What, span: TimeSpan) -> Any:
        arrow, parquet = libraries()
        path = folder / f"{task}.{what}"
        files = Folder(path).files()
        if not files:
            raise UsageError(
                f"{path} has no exported files: run riverloop export TASK --what {what} --to {folder}"
            )
        # The schema of all: each file has the features and models of its time.
        schemas = [parquet.read_schema(each).remove_metadata() for each in files]
        schema = arrow.unify_schemas(schemas, promote_options="permissive")
        tables = [_padded(parquet.ParquetFile(each).read(), schema) for each in files if _within(each, span)]
        table = arrow.concat_tables(tables) if tables else schema.empty_table()
        table = _in_span(table, span)
        return table.sort_by([("partition", "ascending"), ("offset", "ascending")])

    return read


def _within(file: Path, span: TimeSpan) -> bool:
    day = file.parent.name.removeprefix(DAY)
    if day == NO_DAY:
        return True
    since, until = (None if each is None else day_of(each) for each in span)
    return (since is None or since == NO_DAY or day >= since) and (
        until is None or until == NO_DAY or day <= until
    )


def _padded(table: Any, schema: Any) -> Any:
    arrow, _ = libraries()
    have = set(table.column_names)
    columns = [
        table[each.name].cast(each.type) if each.name in have else arrow.nulls(len(table), each.type)
        for each in schema
    ]
    return arrow.table(columns, schema=schema)


def _in_span(table: Any, span: TimeSpan, column: str = "ts") -> Any:
    arrow, _ = libraries()
    from pyarrow import compute  # noqa: PLC0415  an extra, and slow to import

    for bound, compare in ((span.since, compute.greater_equal), (span.until, compute.less)):
        if bound is not None:
            table = table.filter(compare(table[column], arrow.scalar(bound, table.schema.field(column).type)))
    return table


def examples(log: Any) -> Any:
    """Return the newest resolution of each request of a table of log entries, in the order of the log.

    A correction stands in place of what it corrects.
    """
    arrow, _ = libraries()
    from pyarrow import compute  # noqa: PLC0415  an extra, and slow to import

    facts = log.filter(compute.is_in(log["kind"], value_set=arrow.array(RESOLUTIONS)))
    newest = facts.group_by(["request_id", "request_ts"]).aggregate([("offset", "max")])
    return facts.filter(compute.is_in(facts["offset"], value_set=newest["offset_max"]))


def known_at(log: Any, offset: int) -> Any:
    """Return the entries up to and including an offset."""
    from pyarrow import compute  # noqa: PLC0415  an extra, and slow to import

    return log.filter(compute.less_equal(log["offset"], offset))


def of_requests(table: Any, span: TimeSpan) -> Any:
    """Return the rows whose requests lie in a span, by the event time of the request."""
    return _in_span(table, span, "request_ts")


def equal(table: Any, column: str, value: str) -> Any:
    """Return the rows that have a value in a column."""
    from pyarrow import compute  # noqa: PLC0415  an extra, and slow to import

    return table.filter(compute.equal(table[column], value))
