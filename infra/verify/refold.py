"""Refolds the log: every served score and every snapshot must come out again, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from typing import Any

from infra.decoding import Decoder
from infra.snapshots.models import LogPlace
from infra.snapshots.past import PastVersions
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from infra.trusted import TrustedEntry
from infra.verify.answers import Answers
from infra.verify.database import HistoryDatabase
from infra.verify.extent import Extent
from infra.verify.gate import GateProof
from infra.verify.report import Report
from infra.verify.snapshots import Snapshots, ToCompare, is_renamed_later
from infra.verify.source import Source
from infra.verify.validation import ValidationProof
from schemas.codec import Codec
from schemas.records import Entry, Prediction, Score
from schemas.topics import MAX_TOPIC_RECORD_BYTES, TaskTopics
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.task_model import Model
from streams.verify import Difference, check_score
from streams.version import Version


class Refold:
    """Folds the models of a task once more, from the log's beginning or from an anchor snapshot.

    Parameters
    ----------
    loaded
        The task, and what its snapshots may name.
    runtime
        Fingerprint of this process: bit-equality is promised within one.
    store
        Where snapshots lie; None: only those that are announced are compared, by their digests.
    core
        What learns and scores, as in `streams.native.CORES`.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        codec: Codec,
        source: Source,
        database: HistoryDatabase,
        extent: Extent,
        report: Report,
        runtime: str,
        store: SnapshotStore | None,
        skip: Set[TrustedEntry] = frozenset(),
        core: str = "python",
    ) -> None:
        self._skip = skip
        self._loaded, self._codec, self._source = loaded, codec, source
        self._database, self._extent, self.report = database, extent, report
        self._store, self._runtime = store, runtime
        topics = TaskTopics(loaded.task.name)
        self._log = (topics.log, 0)
        self._predictions = topics.predictions
        self._place = LogPlace(topics.log, source.topic_id(topics.log))
        self._core = core
        self._past = PastVersions(
            loaded, store if extent.first[self._log] else None, self._place, self._entries, core
        )
        self.folds = [
            self._fresh(model, text) for model in loaded.task.models for text in self._left_out(model)
        ]
        """A model has one for each of what its revisions leave out."""
        self.snapshots = Snapshots(loaded, store, self._place, runtime, report, self._fresh)

    def _left_out(self, model: Model) -> list[str]:
        """Return what the revisions of a model's specification leave out, in this runtime."""
        query = "SELECT DISTINCT left_out FROM revisions WHERE model = ? AND spec = ? AND runtime = ?"
        about = (model.name, self._loaded.task.spec(model), self._runtime)
        found = {str(text) for (text,) in self._database.rows(query, about)}
        if self._extent.first[self._log] and self._store is not None:
            # The entries that opened them may be cut off; what was stored of them is not.
            found |= {
                each.leave_out
                for each in self._store.manifests(self._loaded.task.name)
                if (each.model, each.spec, each.runtime) == about
            }
        return sorted(found) or [""]

    def _fresh(self, model: Model, left_out: str) -> ModelFold:
        fold = ModelFold(
            self._loaded.task, model, self._runtime, self._core, leave_out=LeaveOut.read(left_out)
        )
        self._past.serve(fold)
        return fold

    def _entries(self, start: int, end: int) -> Iterator[tuple[int, Entry]]:
        decode = Decoder(self._codec.decode_entry, MAX_TOPIC_RECORD_BYTES)
        for message in self._source.read(*self._log, start, end):
            item = decode(message)
            if item.bad is None:
                yield item.at.offset, item.record

    def run(self, tick: Callable[[], None]) -> None:
        """Refold, and compare on the way."""
        extent, report = self._extent, self.report
        first, end = extent.first[self._log], extent.end[self._log]
        if first:
            for model in self._loaded.task.models:
                mine = [each for each in self.folds if each.model.name == model.name]
                without = self.snapshots.start_from_anchors(model.name, mine, first)
                self.folds = [each for each in self.folds if each not in without]
        manifests = self.snapshots.to_compare(extent.manifests, self.folds, end)
        walks = [_Walk(self, fold, manifests) for fold in self.folds]
        decode = Decoder(self._codec.decode_entry, MAX_TOPIC_RECORD_BYTES)
        first_fold = min(self.folds, key=lambda fold: fold.next_offset)
        about = (self._codec, self._database, report, self._predictions)
        proofs = self._proofs(first)
        answers = Answers(first_fold.roles, first_fold.next_offset, *about)
        for message in self._source.read(*self._log, first, end):
            item = decode(message)
            tick()
            if item.bad is not None and (item.at.topic, item.at.offset) in self._skip:
                continue
            if item.bad is not None:
                report.notes.append(f"refolding ended at the unreadable {item.at}")
                break
            for proof in proofs:
                proof.apply(item.at.offset, item.record)
            for walk in walks:
                walk.arrive(item.at.offset)
                walk.fold.apply(item.at.offset, item.record)
            answers.apply(item.at.offset, item.record)
        for proof in proofs:
            proof.arrive(end)
        for walk in walks:
            walk.arrive(walk.fold.next_offset)
        answers.arrive(end)
        for walk in walks:
            walk.finish()
        for fold in sorted(self.folds, key=lambda fold: fold.learned_version.revision):
            learner = fold.learner
            if learner.skipped or learner.stopped:
                report.skipped[fold.model.name] = {
                    "entries": learner.skipped,
                    "newest": [each._asdict() for each in learner.newest],
                    "stopped": learner.stopped._asdict() if learner.stopped else None,
                }
        self._foreign()

    def _proofs(self, first: int) -> list[GateProof | ValidationProof]:
        """Return what takes each entry before the models do."""
        task, extent, found = self._loaded.task, self._extent, list[GateProof | ValidationProof]()
        if task.gate is not None and task.models[1:]:
            announced = extent.manifests.values()
            found.append(GateProof(task, self._place, self._store, announced, first, self.report))
        if task.validation is not None and extent.validations:
            claims = extent.validations
            found.append(ValidationProof(task, self._log[0], self.folds, claims, first, self.report))
        return found

    # ------------------------------------------------------------------ scores

    def scores(self, fold: ModelFold) -> Iterator[tuple[int, str, Prediction, Score]]:
        """Give the scores of a model in the order of what their workers had applied.

        Returns
        -------
        Iterator
            The offset of the last entry applied, the prediction's place, the prediction, the score.
        """
        query = """
            SELECT s.applied, s.p, s.o, s.number, q.record
            FROM scores s CROSS JOIN predictions q ON q.p = s.p AND q.o = s.o
            WHERE s.model = ? ORDER BY s.applied, s.p, s.o, s.number"""
        for applied, p, o, number, record in self._database.rows(query, (fold.model.name,)):
            prediction = self._codec.decode_prediction(record)
            yield applied, f"{self._predictions}[{p}]@{o}", prediction, prediction.scores[number]

    def is_ours(self, fold: ModelFold, version: Version, where: str) -> bool:
        """Whether a version is of the task file's specification and this runtime; counts it if not.

        The log's `revision` entry says so; where the log begins later, the snapshot that refolding began with.
        """
        row = self._database.one(
            "SELECT spec, runtime, left_out FROM revisions WHERE model = ? AND revision = ?",
            (version.model, version.revision),
        )
        mine = self._of(fold)
        if row == (fold.spec, self._runtime, fold.leave_out.text):
            return True
        if any(row == (each.spec, self._runtime, each.leave_out.text) for each in mine):
            return False  # that fold reproduces it
        cut = self._extent.first[self._log] > 0
        if row is None and cut and version.revision == self.snapshots.anchored.get(id(fold)):
            return True
        if fold is not mine[0] or version.revision in {
            self.snapshots.anchored.get(id(each)) for each in mine
        }:
            return False  # it is counted once
        if row is None and not cut:
            what = f"{version}: the log opens no such revision"
            self.report.fail([Difference(what, where, "a revision entry", "none")])
            return False
        self.report.other[fold.model.name] += 1
        return False

    def _of(self, fold: ModelFold) -> list[ModelFold]:
        return [each for each in self.folds if each.model.name == fold.model.name]

    def _foreign(self) -> None:
        """Count the scores of models that the task file does not have, if the log knows them."""
        known = {fold.model.name for fold in self.folds}
        query = """
            SELECT s.model, count(*), min(s.p), min(s.o),
                EXISTS (SELECT 1 FROM revisions r WHERE r.model = s.model)
            FROM scores s GROUP BY s.model"""
        for model, count, p, o, opened_in_log in self._database.rows(query):
            if model in known:
                continue
            if opened_in_log or self._extent.first[self._log]:
                self.report.other[model] += count
            else:
                what = (
                    f"{count} scores are of model {model}, which is neither in the task file nor in the log"
                )
                self.report.fail(
                    [Difference(what, f"{self._predictions}[{p}]@{o}", ", ".join(sorted(known)), model)]
                )


class _Walk:
    """One model on its way along the log, with the scores and snapshots that are still ahead of it."""

    def __init__(
        self,
        refold: Refold,
        fold: ModelFold,
        manifests: ToCompare,
    ) -> None:
        self.fold, self._refold = fold, refold
        self._begin = fold.next_offset - 1
        self._named = fold.learned_version.offset
        self._scores = refold.scores(fold)
        self._score: Any = next(self._scores, None)
        self._manifests = iter(manifests[fold.model.name, fold.leave_out.text])
        self._manifest = next(self._manifests, None)

    def arrive(self, below: int) -> None:
        """Compare all that was made before an offset is folded, by workers that had applied all before it."""
        while self._score is not None and self._score[0] < below:
            self._reproduce(*self._score)
            self._score = next(self._scores, None)
        version = self.fold.learned_version.offset
        while self._manifest is not None and self._manifest[0].log_offset <= version:
            manifest, stored = self._manifest
            if manifest.log_offset == version and is_renamed_later(self.fold, manifest):
                break
            if manifest.log_offset == version:
                self._refold.snapshots.check(self.fold, manifest, stored)
            elif manifest.log_offset >= self._named:
                self._never(manifest.version, manifest.version)
            self._manifest = next(self._manifests, None)

    def finish(self) -> None:
        """Name what the log did not lead to."""
        while self._score is not None:
            _, where, _, score = self._score
            if self._refold.is_ours(self.fold, version_of(score), where):
                self._never(score.version, where)
            self._score = next(self._scores, None)
        while self._manifest is not None:
            self._never(self._manifest[0].version, self._manifest[0].version)
            self._manifest = next(self._manifests, None)

    def _reproduce(self, applied: int, where: str, prediction: Prediction, score: Score) -> None:
        report, fold = self._refold.report, self.fold
        version = version_of(score)
        if applied < self._begin:
            report.counts["cut"] += 1
        elif self._refold.is_ours(fold, version, where):
            if version != fold.version or applied != fold.next_offset - 1:
                self._never(score.version, where)
                return
            differences = list(check_score(fold.predict(prediction.features), score, where))
            report.fail(differences)
            report.reproduced[score.model] += not differences

    def _never(self, version: str, where: str) -> None:
        what = f"the log does not lead to version {version}"
        self._refold.report.fail([Difference(what, where, version, str(self.fold.version))])


def version_of(score: Score) -> Version:
    """Return the version of a score."""
    return Version(score.model, score.revision, score.offset)
