"""Writes a data file's history to the training log, each row's facts once whatever happens in between."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from infra.datafiles.rows import digest_of
from infra.kafka.aborted import ProducerFenced
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from infra.subjects import Subjects
from infra.taskfile import LoadedTask
from infra.trusted import unreadable_entry
from schemas.codec import Codec
from schemas.codec.checks import make_command
from schemas.errors import BadRecord, BrokerError, TransactionAborted, UsageError
from schemas.records import Control, Entry, Outcome
from schemas.topics import TaskTopics
from streams.aggregates.aggregates import aggregated
from streams.backfill import PREFIX, BackfillEntries
from streams.datafile import Event

CHUNK: Final = 1_000
"""Entries in one transaction."""
TRIES: Final = 5
LIVE: Final = frozenset({"opened", "labelled", "expired", "late", "revised", "unavailable"})
"""Entries about requests that were served."""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill did."""

    file: str
    """SHA-256 of the data file."""
    requests: int
    """Rows of the file."""
    written: int
    """Entries written by this run."""
    there: int
    """Entries that an earlier run had written."""
    kinds: dict[str, int]
    """All entries of the file by the fact that they state."""
    open: int
    """Requests without an entry: their horizon ends after the newest time in the file."""
    rejected: dict[str, int]
    """Outcomes rejected by the join, by reason."""


class Backfill:
    """The backfill of one data file.

    Parameters
    ----------
    loaded, codec
        The task; the codec with its token key where features are personal data.
    subjects
        The keys of the codec's tokens.
    note
        Called with each unusual form that was found in the file.

    Raises
    ------
    UsageError
        When the file does not fit the task; names the row.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        codec: Codec,
        connection: Connection,
        path: Path,
        subjects: Subjects | None = None,
        note: Callable[[str], None] = lambda found: None,
    ) -> None:
        task = loaded.task
        self._codec, self._connection = codec, connection
        self._subjects = subjects or Subjects()
        names = TaskTopics(task.name)
        self._topic, self._control = names.log, names.control
        events = enumerate(loaded.file_events(str(path), note), start=1)
        numbered = sorted(((row, self._canonical(row, event)) for row, event in events), key=_time)
        complete = aggregated(task, [event for _, event in numbered])
        numbered = [(row, event) for (row, _), event in zip(numbered, complete, strict=True)]
        self.requests = len(numbered)
        self.file = digest_of(path)
        self.history = BackfillEntries(task, numbered, self.file[:16])
        # One id per task and file: who starts it ends what another run of the same file left open.
        self._runner = TransactionRunner(connection, f"riverloop.{task.name}.backfill.{self.file[:16]}")

    def _canonical(self, row: int, event: Event) -> Event:
        """Give an event as serving would have stored it: tokens put in, personal data left out."""
        codec = self._codec
        try:
            request = codec.stored_request(event.request)
            outcomes = [codec.decode_outcome(codec.encode(_with_reason(each))) for each in event.outcomes]
        except BadRecord as bad:
            raise UsageError(f"row {row}: {bad.field + ': ' if bad.field else ''}{bad.message}") from bad
        return Event(request, tuple(each for each in outcomes if isinstance(each, Outcome)))

    def run(
        self,
        *,
        force: bool = False,
        progress: Callable[[int], None] = lambda done: None,
        author: str = "",
        reason: str = "",
        at: int = 0,
    ) -> Backfilled:
        """Write what is not in the log yet, with an audit in the first transaction.

        Parameters
        ----------
        author, reason, at
            Of the audit; `at` is the wall clock, ms.
        force
            Also when live entries are in the log.
        progress
            Called with the number of entries that are in the log.

        Raises
        ------
        UsageError
            When the log has live entries, or has other entries of this file than the task file makes now, or for an
            author or a reason that is too long for the audit.
        BrokerError
            When the cluster does not do what is asked, or another run of the same file has taken over.
        """
        try:
            audit = make_command("backfill", "", {"file": self.file}, author, reason)
        except BadRecord as bad:
            raise UsageError(f"the audit's {bad.message}") from bad
        tries = 0
        before: int | None = None
        try:
            while True:
                # First the id: once it is ours, no earlier run can add anything.
                asyncio.run(self._runner.start())
                entries = iter(self.history)
                there = self._skip(entries, force)
                before = there if before is None else before
                progress(there)
                try:
                    self._write_keys()
                    for number, chunk in enumerate(_chunks(entries)):
                        arguments = {"file": self.file, "first": str(there)}
                        done = replace(audit, arguments=arguments)
                        self._write(chunk, [] if number else [Control("audit", done, at)])
                        tries, there = 0, there + len(chunk)
                        progress(there)
                    break
                except ProducerFenced as error:
                    raise BrokerError(
                        f"another backfill of this file has replaced this one: {error}"
                    ) from error
                except TransactionAborted as error:
                    # Whether it is in the log only the log can say, so it is read again.
                    tries += 1
                    if tries == TRIES:
                        raise BrokerError(f"{TRIES} transactions in a row failed: {error}") from error
        finally:
            asyncio.run(self._runner.close())
        history = self.history
        before = before or 0
        return Backfilled(
            file=self.file,
            requests=self.requests,
            written=there - before,
            there=before,
            kinds=dict(sorted(history.kinds.items())),
            open=history.open,
            rejected=dict(sorted(history.rejected.items())),
        )

    def _write(self, entries: list[Entry], audits: list[Control]) -> None:
        records = [OutRecord(self._topic, None, self._codec.encode(entry), 0) for entry in entries]
        key = self._codec.task.encode()
        records += [OutRecord(self._control, key, self._codec.encode(audit), 0) for audit in audits]
        self._runner.run(records, {}, b"")

    def _write_keys(self) -> None:
        """Write the keys of those whom the file is about, before anything that was made with them."""
        records = self._subjects.records("backfill")
        for start in range(0, len(records), CHUNK):
            self._runner.run(records[start : start + CHUNK], {}, b"")
        self._subjects.commit("backfill")

    def _same(self, expected: Entry | None, entry: Entry) -> bool:
        """Whether an entry is the expected one; tokens aside, since somebody may have been forgotten."""
        if expected is None or expected.prediction is None or entry.prediction is None:
            return expected == entry
        masked = self._codec.protection.masked
        return replace(expected, prediction=masked(expected.prediction)) == replace(
            entry, prediction=masked(entry.prediction)
        )

    def _skip(self, entries: Iterator[Entry], force: bool) -> int:
        """Take from the entries those that are in the log; gives their number."""
        place = (self._topic, 0)
        try:
            # Open transactions included: they may hide what an earlier run committed.
            end = end_offsets(self._connection, [place], committed=False)[place]
        except BrokerError as error:
            raise BrokerError(f"{error}; create the topics: riverloop topics create") from error
        mine = f"{PREFIX}{self.file[:16]}/"
        there, live = 0, 0
        for message in read_all(self._connection, *place, end=end):
            try:
                entry = self._codec.decode_entry(message.value())
            except BadRecord as bad:
                raise unreadable_entry(message, bad) from bad
            live += entry.kind in LIVE
            if entry.entry_id.startswith(mine):
                expected = next(entries, None)
                if not self._same(expected, entry):
                    made = expected.entry_id if expected else "nothing"
                    raise UsageError(
                        f"{self._topic}[0]@{message.offset()}: entry {entry.entry_id} differs from the "
                        f"task's entry for this data file ({made}): the horizon, features or data mapping "
                        "has changed since the backfill began; restore it, or use new topics"
                    )
                there += 1
        if live and not force:
            rest = next(entries, None)
            if rest is not None:
                raise UsageError(
                    f"{self._topic} has {live:,} entries of served requests, after which models would learn "
                    "the history. Run backfill before serving starts, or use --force"
                )
        return there


def _time(numbered: tuple[int, Event]) -> int:
    return numbered[1].request.ts


def _with_reason(outcome: Outcome) -> Outcome:
    if outcome.value is not None or outcome.reason:
        return outcome
    return replace(outcome, reason="no value in the data file")


def _chunks(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while chunk := list(itertools.islice(entries, CHUNK)):
        yield chunk
