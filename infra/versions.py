"""Versions as people name them, and the model that a version is: made again from a snapshot and the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from functools import cached_property

from infra.commands import Commands
from infra.inbound import Message
from infra.kafka.admin import topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets, first_offsets
from infra.past import PastSchemas, learn
from infra.snapshots.models import LogPlace, check_probes, opened, stored_manifests
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from infra.trusted import TrustedEntry, unreadable_entry
from schemas.codec import Codec
from schemas.errors import BadRecord, SnapshotError, UsageError
from schemas.records import Command, Control, Entry, Manifest
from schemas.topics import TaskTopics
from streams.model import ModelFold
from streams.roles import Roles
from streams.task_model import Model
from streams.version import Version

CHAMPION = "@champion"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogExtent:
    """What there is of a training log."""

    first: int
    """The oldest offset."""
    end: int
    """The offset after all that is written."""


def log_extent(connection: Connection, task: str) -> LogExtent:
    """Return the extent of a task's log as it is now (blocks)."""
    place = (TaskTopics(task).log, 0)
    return LogExtent(
        first_offsets(connection, [place])[place], end_offsets(connection, [place], False)[place]
    )


def read_entry(codec: Codec, message: Message, skip: Set[TrustedEntry]) -> Entry | None:
    """Read an entry of the log; None where a person has said to skip the record.

    Raises
    ------
    Unreadable
        It is no entry.
    """
    try:
        entry = codec.decode_entry(message.value())
        if entry.command is not None:
            learn(codec, entry.command)
    except BadRecord as bad:
        if (message.topic(), message.offset()) in skip:
            return None
        raise unreadable_entry(message, bad) from bad
    return entry


def announced(connection: Connection, codec: Codec) -> dict[str, Manifest]:
    """Return the manifests that `T.snapshots` announces, by version; of deleted snapshots none (blocks)."""
    found: dict[str, Manifest] = {}
    for message in read_all(connection, TaskTopics(codec.task).snapshots):
        version = bytes(message.key() or b"").decode(errors="replace")
        found.pop(version, None)
        if message.value() is None:
            continue
        try:
            found[version] = codec.decode_manifest(message.value())
        except BadRecord as bad:
            log.warning("skipped the manifest of %.80r: %s", version, bad.message)
    return found


def model_named(text: str, task: str, models: Iterable[str], roles: Roles) -> Version | str:
    """Return the version or the model that a text names.

    Parameters
    ----------
    text
        A version, a model, or `@champion`, also as `TASK@champion`.
    models
        Those that the task file or the log has.

    Raises
    ------
    UsageError
        It is none of them.
    """
    known = list(models)
    if text in (CHAMPION, f"{task}{CHAMPION}"):
        if not roles.champion:
            raise UsageError(f"task {task} has no champion yet: its log has no revision; run a worker first")
        return roles.champion
    if text in known:
        return text
    try:
        version = Version.parse(text)
    except ValueError:
        raise UsageError(
            f"{text!r:.80} is neither a version such as {known[0]}.1@9999, nor a model "
            f"({', '.join(known)}), nor {task}{CHAMPION}"
        ) from None
    if version.model not in known:
        raise UsageError(f"task {task} has no model {version.model!r}; it has {', '.join(known)}")
    return version


class Versions:
    """The versions of a task's models.

    Parameters
    ----------
    loaded, codec
        The task.
    connection
        The cluster with its log.
    store
        Snapshots to start from; without a fitting one the log is folded from its beginning.
    runtime
        Fingerprint of this process: bits are equal within one.
    skip
        Records of the log that are no entries and are skipped.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        codec: Codec,
        connection: Connection,
        store: SnapshotStore,
        runtime: str,
        skip: Set[TrustedEntry] = frozenset(),
    ) -> None:
        self.loaded, self.codec, self.connection = loaded, codec, connection
        self.store, self.runtime, self.skip = store, runtime, skip
        self.topics = TaskTopics(loaded.task.name)
        self.place = LogPlace(self.topics.log, topic_id(connection, self.topics.log))
        self.extent = log_extent(connection, loaded.task.name)
        PastSchemas(codec, connection, self.topics).learn_all()

    @cached_property
    def decided(self) -> tuple[Roles, list[Control], dict[str, int]]:
        """The commands on `T.control`: see `Commands.history`."""
        return Commands(self.connection, self.codec, "").history()

    @property
    def roles(self) -> Roles:
        """Which models answer, by the commands on `T.control`."""
        return self.decided[0]

    def opening(self, version: Version) -> Command | None:
        """Return the command that has opened a version's revision; None where `T.control` does not have it."""
        number = str(version.revision)
        openings = (each.command for each in self._openings(version.model))
        return next((each for each in openings if each.arguments["revision"] == number), None)

    def _openings(self, model: str) -> Iterator[Control]:
        for audit in self.decided[1]:
            if audit.entry_id and audit.command.model == model and "revision" in audit.command.arguments:
                yield audit

    def fold(
        self, model: Model, version: Version | None, progress: Callable[[int], None] = lambda done: None
    ) -> ModelFold:
        """Make a model as it was at a version.

        Parameters
        ----------
        model
            Of the task file.
        version
            None: the one that answers at the end of the log.
        progress
            Called with the log offset before which all is folded.

        Raises
        ------
        UsageError
            The version does not follow from what there is of the log, or has another specification or runtime.
        """
        fold = ModelFold(self.loaded.task, model, self.runtime)
        self._check(fold, version)
        until = self.extent.end if version is None else version.offset + 1
        if until > self.extent.end:
            raise UsageError(f"{version} is beyond the end of {self.topics.log}, offset {self.extent.end}")
        self._restore(fold, version)
        if fold.next_offset < min(self.extent.first, until):
            raise UsageError(
                f"{self.topics.log} begins at offset {self.extent.first}, and {self.store.uri} has no snapshot "
                f"from which {version or model.name} can be made: set --snapshots to the store of the workers"
            )
        # An offset below the log's first one has been deleted; there is nothing of it to fold.
        for message in self._read(max(fold.next_offset, self.extent.first), until):
            entry, offset = read_entry(self.codec, message, self.skip), message.offset() or 0
            if entry is not None:
                fold.apply(offset, entry)
            if offset % 500 == 0:
                progress(offset)
        return self._at(fold, version or fold.version)

    def _check(self, fold: ModelFold, version: Version | None) -> None:
        """Check that the log has the revision, and that it is a fold's, before anything is folded."""
        mine = (fold.spec, fold.runtime)
        if version is None:
            if not any(_fixed(each.command) == mine for each in self._openings(fold.model.name)):
                raise UsageError(
                    f"the log has no revision of {fold.model.name} with the specification of this task file and "
                    "the runtime of this process: run a worker first, or name an older version with its task file"
                )
            return
        opening = self.opening(version)
        if opening is None:
            raise UsageError(f"the log has no revision {version.revision} of {version.model}")
        if _fixed(opening) != mine:
            raise self._foreign(version)

    def _foreign(self, version: Version) -> UsageError:
        return UsageError(
            f"{version} has another specification or runtime than this task file and this process: use the task "
            f"file and the libraries of then (riverloop models card {self.loaded.reference} {version})"
        )

    def _read(self, start: int, end: int) -> Iterable[Message]:
        return read_all(self.connection, self.topics.log, 0, start, end) if start < end else ()

    def _restore(self, fold: ModelFold, version: Version | None) -> None:
        """Restore the newest usable snapshot that lies on the way to a version, or is that version."""
        for manifest in stored_manifests(self.store, fold.task.name):
            lineage = (manifest.kind, manifest.model, manifest.spec, manifest.runtime, manifest.log_topic_id)
            if lineage != ("model", fold.model.name, fold.spec, self.runtime, self.place.topic_id):
                continue
            on_the_way = version is None or manifest.next_offset <= version.offset + 1
            if not on_the_way and manifest.version != str(version):
                continue
            try:
                stored = self.store.load(fold.task.name, manifest.version)
                fold.restore(opened(stored, fold.model, self.loaded.classes))
                check_probes(fold, stored)
            except SnapshotError as error:
                log.warning("skipped snapshot %s: %s", manifest.version, error)
                fold.restore(ModelFold(fold.task, fold.model, self.runtime).snapshot())
                continue
            return

    def _at(self, fold: ModelFold, version: Version) -> ModelFold:
        """Check that a fold is a version, and let answer what the version names."""
        if version not in (fold.version, fold.learned_version):
            raise UsageError(
                f"{self.topics.log} does not lead to version {version}: at offset {version.offset} the model is "
                f"{fold.learned_version}"
            )
        if not fold.active:
            raise self._foreign(version)
        if fold.version != version:
            # It learned while another state answered; that one is not asked for.
            fold.restore(replace(fold.snapshot(), frozen=None))
        return fold


def _fixed(opening: Command) -> tuple[str | None, str | None]:
    """Return specification and runtime of the revision that a command opens."""
    return opening.arguments.get("spec"), opening.arguments.get("runtime")
