"""The requests that are scored: rows of a data file, or requests of the training log, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from typing import Any, Protocol

from infra.datafiles.rows import FileForm, digest_of, rows
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.taskfile import LoadedTask
from infra.trusted import TrustedEntry
from infra.versions import LogExtent, read_entry
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.records import Entry, Request
from schemas.topics import TaskTopics
from streams.aggregates.aggregates import aggregated
from streams.datafile import Event

ROOTS = frozenset({"labelled", "expired", "unavailable", "backfill"})
"""Entries that are the first about a request, where they correct none."""


class Requests(Protocol):
    """Requests in an order that is the same each time."""

    def identity(self) -> dict[str, Any]:
        """Return what fixes the requests and their order, as plain data."""

    def __iter__(self) -> Iterator[Request]:
        """Read the requests, as serving stores them."""


class FileRequests:
    """The requests of a data file, in the order of its rows.

    Parameters
    ----------
    loaded, codec
        The task. Personal data are put in their stored form with the codec's keys.
    given
        The file; None: the task's own.
    note
        Called with each unusual form that was found in it.
    """

    def __init__(
        self, loaded: LoadedTask, codec: Codec, given: str | None, note: Callable[[str], None]
    ) -> None:
        self._loaded, self._codec, self._given, self._note = loaded, codec, given, note
        self.path = loaded.data_path(given)

    def identity(self) -> dict[str, Any]:
        """See `Requests.identity`."""
        return {"data": digest_of(self.path)}

    def count(self) -> int:
        """Count the rows, which reads the file once."""
        data = self._loaded.task.data
        form = FileForm.of(data, data.columns(self._loaded.task.features)) if data else FileForm()
        return sum(1 for _ in rows(self.path, form))

    def __iter__(self) -> Iterator[Request]:
        asked = self._codec.protection.asked
        events: Iterable[Event] = self._loaded.file_events(self._given, self._note)
        if self._loaded.task.aggregates:  # they follow from the other rows: all are read first
            rows_, task = list(events), self._loaded.task
            order = sorted(range(len(rows_)), key=lambda row: rows_[row].request.ts)
            complete = aggregated(task, [rows_[row] for row in order])
            for row, event in zip(order, complete, strict=True):
                rows_[row] = event
            events = rows_
        for event in events:
            yield asked(event.request)


@dataclass(frozen=True, slots=True)
class Span:
    """Which requests of the log: by log offset, or by event time of the request, in ms."""

    since: int | None = None
    until: int | None = None
    """Before which they lie."""
    by_time: bool = False

    def offsets(self, extent: LogExtent) -> tuple[int, int]:
        """Return the log offsets to read, the second one excluded."""
        if self.by_time:
            return extent.first, extent.end
        since = extent.first if self.since is None else max(self.since, extent.first)
        return since, extent.end if self.until is None else min(self.until, extent.end)

    def has(self, request: Request) -> bool:
        """Whether a request lies within, as far as times say."""
        if not self.by_time:
            return True
        return (self.since is None or request.ts >= self.since) and (
            self.until is None or request.ts < self.until
        )


class LogRequests:
    """The requests of a task's training log, in the order of the entries that resolve them.

    A request is there once: with its first resolution, or as a backfilled example.

    Parameters
    ----------
    span
        Which of them.
    extent
        Of the log, as it was when the run began.
    skip
        Records of the log that are no entries and are skipped.
    """

    def __init__(
        self,
        codec: Codec,
        connection: Connection,
        span: Span,
        extent: LogExtent,
        skip: Set[TrustedEntry] = frozenset(),
    ) -> None:
        self._codec, self._connection, self._skip = codec, connection, skip
        self._topic = TaskTopics(codec.task).log
        self.span, self.extent = span, extent
        self.passed = 0
        """Log records that have been read."""

    def identity(self) -> dict[str, Any]:
        """See `Requests.identity`."""
        start, end = self.span.offsets(self.extent)
        found: dict[str, Any] = {"log": [start, end]}
        if self.span.by_time:
            found["times"] = [self.span.since, self.span.until]
        return found

    def ending(self, end: int) -> LogRequests:
        """Return the same requests up to another end of the log.

        Raises
        ------
        UsageError
            The log ends before that.
        """
        if end > self.extent.end:
            raise UsageError(
                f"{self._topic} ends at offset {self.extent.end}, before {end}: it was made again"
            )
        extent = replace(self.extent, end=end)
        return LogRequests(self._codec, self._connection, self.span, extent, self._skip)

    def __iter__(self) -> Iterator[Request]:
        start, end = self.span.offsets(self.extent)
        if start >= end:
            return
        for message in read_all(self._connection, self._topic, 0, start, end):
            self.passed += 1
            entry = read_entry(self._codec, message, self._skip)
            request = None if entry is None else _request(entry)
            if request is not None and self.span.has(request):
                yield request


def _request(entry: Entry) -> Request | None:
    prediction = entry.prediction
    if prediction is None or entry.kind not in ROOTS or entry.corrects is not None:
        return None
    names = (prediction.request_id, prediction.ts, prediction.features)
    return Request(*names, prediction.entity_key, prediction.parents)
