"""Exports the records of a topic to Parquet files, each record once, whatever ends a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from infra.frames.arrow import TableBuilder
from infra.frames.folder import Folder, Newest, OffsetFiles, about
from infra.frames.source import TaskRows
from schemas.errors import RecordsGone, UsageError
from streams.positions import OffsetRange, Place
from streams.rows import Row

AT_ONCE_BYTES: Final = 64 * 1024 * 1024
"""Of records: a range is written when it has so many, however few its rows are."""


class TimeSpan(NamedTuple):
    """Which rows, by `ts` in ms."""

    since: int | None = None
    until: int | None = None
    """Before which they lie."""

    def has(self, row: Row) -> bool:
        """Whether a row lies within."""
        ts = row["ts"]
        return (self.since is None or ts >= self.since) and (self.until is None or ts < self.until)


@dataclass(slots=True)
class Exported:
    """What a run has done."""

    rows: int = 0
    files: int = 0
    passed_over: int = 0
    """Records that are none of their topic's: dead letters of the workers."""
    completed: int = 0
    """Ranges that an earlier run had begun."""
    deleted: list[str] = field(default_factory=list)
    """Offsets that were deleted before they were exported."""

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


class Export:
    """The export of one topic.

    Parameters
    ----------
    source
        The rows.
    folder
        Where the files lie. They alone say what is exported.
    rows_per_part
        Rows that are written at once: memory holds them, and an interruption costs fewer.
    span
        Which rows. A folder has one span: another one is an error.
    skip_deleted
        Whether to go on where records were deleted before they were exported.
    """

    def __init__(
        self,
        source: TaskRows,
        folder: Folder,
        rows_per_part: int,
        span: TimeSpan = TimeSpan(),  # noqa: B008  immutable
        *,
        skip_deleted: bool = False,
    ) -> None:
        self._source, self._folder, self._rows_per_part = source, folder, rows_per_part
        self._span, self._skip_deleted = span, skip_deleted
        self._builder = TableBuilder(source.rows)
        self._about = {
            **{"what": source.what, "task": source.codec.task, "topic_id": source.topic_id()},
            **{"since": _text(span.since), "until": _text(span.until)},
            "dictionary": source.codec.dictionary.digest,
        }
        self.done = Exported()

    def size(self) -> int:
        """Return how many offsets are to be read at most, for a progress bar."""
        return sum(end - first for first, end in self._source.extents().values())

    def run(self, progress: Callable[[int], None] = lambda done: None) -> Exported:
        """Export what is committed now and is not there yet (blocks).

        Parameters
        ----------
        progress
            Called with the number of offsets that are done.

        Raises
        ------
        UsageError
            The files are of another topic or span, or records were deleted before they were exported.
        BrokerError
            The cluster does not answer.
        """
        passed = 0
        with self._folder as folder:
            newest = folder.newest()
            extents = self._source.extents()
            self._check(newest, extents)
            for place, extent in extents.items():
                start = extent.first
                if place in newest:
                    files, days = newest[place]
                    start = self._complete(files, len(days), extent)
                for at in self._parts(place, start, extent.end):
                    progress(passed + at - extent.first)
                passed += extent.end - extent.first
                progress(passed)
        self.done.passed_over = self._source.passed_over
        return self.done

    def _complete(self, files: OffsetFiles, there: int, extent: OffsetRange) -> int:
        """Complete the newest range, and return the offset from which to go on."""
        place = files.place
        if there < files.files:
            start = self._not_deleted(place, files.first, files.end, extent.first)
            for _, row in self._read(place, start, files.end):
                self._take(row)
            self._write(files)
            self.done.completed += 1
        return self._not_deleted(place, files.end, None, extent.first)

    def _not_deleted(self, place: Place, start: int, end: int | None, first: int) -> int:
        """Return the offset from which a range can be read that begins at `start`."""
        if first <= start:
            return start
        last = first if end is None else min(first, end)
        self.done.deleted.append(f"{place[0]}[{place[1]}]: {start} to {last - 1}")
        if not self._skip_deleted:
            raise UsageError(
                f"{place[0]}[{place[1]}]: offsets {start} to {last - 1} were deleted before they were exported, by "
                "retention, a person or riverloop forget: continue without them with --skip-deleted, and export "
                "more often"
            )
        return last

    def _parts(self, place: Place, start: int, end: int) -> Iterator[int]:
        """Write a range, part by part; gives how far it has come."""
        size = 0
        for offset, row, length in self._sized(place, start, end):
            self._take(row)
            size += length
            if self._builder.count >= self._rows_per_part or (self._builder.count and size >= AT_ONCE_BYTES):
                self._write(OffsetFiles(place, start, offset + 1, 0))
                start, size = offset + 1, 0
                yield start
        if self._builder.count:
            self._write(OffsetFiles(place, start, end, 0))

    def _sized(self, place: Place, start: int, end: int) -> Iterator[tuple[int, Row | None, int]]:
        for message, row in self._read(place, start, end):
            yield message.offset() or 0, row, len(message.value() or b"")

    def _read(self, place: Place, start: int, end: int) -> Iterator[tuple[Any, Row | None]]:
        try:
            yield from self._source.read(place, start, end)
        except RecordsGone as error:
            raise UsageError(
                f"{place[0]}[{place[1]}]: records from offset {start} on were deleted while they were read; run "
                "the command again"
            ) from error

    def _take(self, row: Row | None) -> None:
        if row is not None and self._span.has(row):
            self._builder.add(row)

    def _write(self, files: OffsetFiles) -> None:
        rows, tables = self._builder.count, self._builder.by_day()
        if not files.files:
            files = files._replace(files=len(tables))
        self.done.files += self._folder.write(tables, files, self._about)
        self.done.rows += rows

    def _check(self, newest: Newest, extents: Mapping[Place, OffsetRange]) -> None:
        """Check that the files there are are of this topic and span, before anything is written."""
        where = self._folder.path
        for place, (files, days) in newest.items():
            found, name = about(next(iter(days.values()))), f"{place[0]}[{place[1]}]"
            if found.get("topic_id") != self._about["topic_id"]:
                raise UsageError(
                    f"topic {self._source.topic} was recreated (id {self._about['topic_id']}; {where} is of "
                    f"{found.get('topic_id')}): export to another folder"
                )
            if place not in extents or extents[place].end < files.end:
                raise UsageError(
                    f"{where} has {name} up to offset {files.end}, but ends earlier on the cluster, which lost "
                    "newer records: export to another folder"
                )
            for option in ("since", "until"):
                if found.get(option) != self._about[option]:
                    raise UsageError(
                        f"{where} was exported with another --{option}: repeat that command, or export to "
                        "another folder"
                    )


def _text(ts: int | None) -> str:
    return "" if ts is None else str(ts)
