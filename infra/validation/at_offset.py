"""Validates the models of a task at a log offset, from snapshots and the log; nothing is kept between two calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.datafiles.rows import digest_of
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.snapshots.models import restore
from infra.snapshots.past import PastVersions
from infra.taskfile import LoadedTask
from infra.versions import Versions, announced, read_entry
from schemas.codec import Codec
from schemas.errors import BadRecord, SnapshotError, UsageError
from schemas.records import Entry, Features, Manifest
from streams.aggregates.aggregates import aggregated
from streams.backfill import BackfillEntries
from streams.datafile import Event
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.policies import label_of
from streams.task_model import Model
from streams.validation.material import Replayed
from streams.validation.rules import Validation
from streams.validation.verdict import Earlier, Validated, champion_of, validate

Rows = Sequence[tuple[Features, Any]]
NEWEST: Final = 1000
"""Offsets at the log's end among which the last entry is looked for."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What a validation gives."""

    at: int
    verdicts: tuple[Validated, ...]
    notes: tuple[str, ...]
    """Why a model was not validated."""

    @property
    def passed(self) -> bool:
        """Whether every model was validated and passed."""
        return not self.notes and all(each.passed for each in self.verdicts)


def newest_point(versions: Versions, every: int) -> int:
    """Return the newest log offset to validate at, up to the last committed entry (blocks); 0 before the first.

    Marks of transactions behind that entry do not count: the log's owner has not passed them.
    """
    place = (versions.topics.log, 0)
    end = end_offsets(versions.connection, [place])[place]
    start = max(versions.extent.first, end - NEWEST)
    last = -1
    for message in read_all(versions.connection, *place, start, end) if start < end else ():
        last = message.offset() or 0
    return (last + 1) // every * every


def file_entries(
    loaded: LoadedTask, codec: Codec, file: str, note: Callable[[str], None] = lambda found: None
) -> list[Entry]:
    """Read a data file that is held back as backfill entries, which have the labels that the loop would have given.

    Raises
    ------
    UsageError
        The file cannot be read, or does not fit the task.
    """
    path = loaded.folder / file
    events = list[Event]()
    for row, event in enumerate(loaded.file_events(str(path), note), start=1):
        try:
            request = codec.stored_request(event.request)
        except BadRecord as bad:
            raise UsageError(f"{file}, row {row}: {bad.message}") from bad
        events.append(Event(request, event.outcomes))
    numbered = sorted(enumerate(events, start=1), key=lambda each: each[1].request.ts)
    complete = aggregated(loaded.task, [event for _, event in numbered])
    numbered = [(row, event) for (row, _), event in zip(numbered, complete, strict=True)]
    return list(BackfillEntries(loaded.task, numbered, digest_of(path)[:16]))


class AtOffset:
    """Validates at one log offset.

    Parameters
    ----------
    versions
        Of the task, as they are now.
    at
        The log offset: all entries before it are applied.
    held_back
        By file: its entries.
    """

    def __init__(self, versions: Versions, at: int, held_back: Mapping[str, Sequence[Entry]]) -> None:
        rules = versions.loaded.task.validation
        assert rules is not None
        self.versions, self.at, self.rules = versions, at, rules
        self._held_back = held_back
        self._past = PastVersions(versions.loaded, versions.store, versions.place, self._entries)

    def run(self) -> Found:
        """Validate each model of the task that the log has a revision of (blocks)."""
        verdicts, notes = list[Validated](), list[str]()
        task, manifests = self.versions.loaded.task, self._manifests()
        window, earlier = self._window(), self._earlier()
        for model in task.models:
            try:
                fold = self.fold(model, self.at)
            except SnapshotError as error:
                notes.append(f"{model.name} is not validated: {error}")
                continue
            if fold.retired:
                continue
            if not fold.active:
                notes.append(
                    f"{model.name} is not validated: before log offset {self.at} the log has no revision with the "
                    "specification of this task file and the runtime of this process"
                )
                continue
            verdicts.append(
                validate(
                    self.rules,
                    task,
                    self.at,
                    fold,
                    window,
                    earlier=earlier,
                    held_back={
                        file: rows_of(each, model, task.kind) for file, each in self._held_back.items()
                    },
                    replayed=self._replayed(fold, manifests),
                )
            )
        return Found(self.at, tuple(verdicts), tuple(notes))

    # ------------------------------------------------------------------ what is looked at

    def fold(self, model: Model, until: int, newest: int | None = None) -> ModelFold:
        """Return a model with all entries before an offset applied.

        Parameters
        ----------
        newest
            Only a snapshot from before this offset is used.

        Raises
        ------
        SnapshotError
            The log is cut, and no snapshot reaches from where it begins.
        """
        versions = self.versions
        task = versions.loaded.task
        leave_out = LeaveOut.read(versions.roles.revisions.left_out(model.name, task.spec(model)))
        fold = ModelFold(task, model, versions.runtime, leave_out=leave_out)
        self._past.serve(fold)
        at_most = until if newest is None else min(until, newest)
        restore(fold, versions.store, versions.place, versions.loaded.classes, at_most=at_most)
        if fold.next_offset < min(versions.extent.first, until):
            raise SnapshotError(
                f"{versions.topics.log} begins at offset {versions.extent.first}, and {versions.store.uri} has no "
                "snapshot from which it can be made: set --snapshots to the store of the workers"
            )
        for offset, entry in self._entries(max(fold.next_offset, versions.extent.first), until):
            fold.apply(offset, entry)
        return fold

    def _entries(self, start: int, end: int) -> Iterator[tuple[int, Entry]]:
        versions = self.versions
        if start >= end:
            return
        for message in read_all(versions.connection, versions.topics.log, 0, start, end):
            entry = read_entry(versions.codec, message, versions.skip)
            if entry is not None:
                yield message.offset() or 0, entry

    def _window(self) -> list[Entry]:
        start = max(0, self.at - self.rules.window)
        if start < self.versions.extent.first:
            raise UsageError(
                f"{self.versions.topics.log} begins at offset {self.versions.extent.first}: the window of "
                f"{self.rules.window:,} offsets before {self.at} is not there any more"
            )
        return [entry for _, entry in self._entries(start, self.at)]

    def _earlier(self) -> Earlier | None:
        """Return the model that answered before, as it was."""
        at = self.at - self.rules.ago
        if not self.rules.ago or at <= 0:
            return None
        folds = dict[str, ModelFold]()
        for model in self.versions.loaded.task.models:
            try:
                folds[model.name] = self.fold(model, at)
            except SnapshotError as error:
                log.warning("%s at log offset %d is not at hand: %s", model.name, at, error)
        roles = next(iter(folds.values())).roles if folds else self.versions.roles
        found = champion_of(roles, folds)
        return None if found is None else Earlier(at, found)

    def _manifests(self) -> list[Manifest]:
        if not self.rules.replay:
            return []
        found = announced(self.versions.connection, self.versions.codec).values()
        place, runtime = self.versions.place.topic_id, self.versions.runtime
        mine = [
            each
            for each in found
            if (each.kind, each.log_topic_id, each.runtime) == ("model", place, runtime)
            and self.at - self.rules.window <= each.next_offset <= self.at
        ]
        return sorted(mine, key=lambda each: -each.next_offset)

    def _replayed(self, fold: ModelFold, manifests: Sequence[Manifest]) -> list[Replayed]:
        """Fold the newest state that workers have announced once more, from an older snapshot."""
        mine = (fold.model.name, fold.spec, fold.leave_out.text)
        for each in manifests:
            if (each.model, each.spec, each.leave_out) != mine:
                continue
            try:
                again = self.fold(fold.model, each.next_offset, max(0, each.next_offset - self.rules.replay))
            except SnapshotError as error:
                log.warning("%s is not folded again: %s", each.version, error)
                return []
            return [Replayed(each.version, each.state_digest, again.learned_digest)]
        return []


def rows_of(entries: Sequence[Entry], model: Model, kind: str) -> Rows:
    """Return features and first label of each entry under a model's policy."""
    found = list[tuple[Features, Any]]()
    for entry in entries:
        label = label_of(model.policy, entry, kind)
        if entry.prediction is None or label is None or label.value is None or label.replaces is not None:
            continue
        found.append((entry.prediction.features, label.value))
    return found


def rules_of(loaded: LoadedTask) -> Validation:
    """Return the validation of a task file.

    Raises
    ------
    UsageError
        It has none.
    """
    rules = loaded.task.validation
    if rules is None:
        raise UsageError(f"task {loaded.task.name} has no validation: set validation=Validation(...)")
    return rules
