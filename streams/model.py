"""A model as a fold of the training log: it learns from entries and from nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from schemas.errors import SnapshotError
from schemas.records import Command, Entry, Prediction
from streams.failures import describe, is_own
from streams.fold import BaseFold
from streams.leave_out import NOTHING, LeaveOut
from streams.model_state import ModelState
from streams.native.scanned import ScannedFact
from streams.policies import checked_label, silent
from streams.revisions import LEFT_OUT, Revision
from streams.roles import ModelRole, Roles
from streams.skipped import SkippedEntry
from streams.task import Task
from streams.task_model import Model
from streams.version import Version
from streams.versioned_model import VersionedModel


class ModelFold(VersionedModel, BaseFold[Entry]):
    """A model of a task, folded up to a position of the log.

    The log itself says which revisions are active: a `revision` command names the specification and the
    runtime that it opens, and all that were opened stay active side by side. The state does not depend on it: a
    revision is folded from the log's beginning. Only the version's name does, and whether the fold may answer.

    Parameters
    ----------
    task, model
        The task, and the model of it.
    runtime
        Fingerprint of the libraries and the processor that bit-equality is promised for.
    equals
        Further runtimes that give the same bits, as was proven.
    core
        Which implementation learns and scores, as in `streams.native.CORES`; empty: the one set for this process.
        State and scores do not depend on it.
    leave_out
        What this revision of the model never learns from.
    """

    def __init__(
        self,
        task: Task,
        model: Model,
        runtime: str = "",
        core: str = "",
        equals: Collection[str] = (),
        leave_out: LeaveOut = NOTHING,
    ) -> None:
        super().__init__(task, model, core)
        self.runtime = runtime
        self.runtimes = frozenset({runtime, *equals})
        """Those whose revisions and snapshots are this fold's."""
        self.spec = task.spec(model)
        self.leave_out = leave_out
        """A fold is of one revision: specification, runtime and what is left out are its identity."""
        self.roles = Roles(task.name)
        """Of all models of the task, at the same offset."""
        self.revision: Revision | None = None
        """The newest revision in the log of this identity; None: it may not answer."""

    @property
    def active(self) -> bool:
        """Whether the log has a revision of this specification and runtime: the fold may answer."""
        return self.revision is not None

    @property
    def retired(self) -> bool:
        """Whether it neither scores nor learns."""
        return self.roles.role(self.model.name).retired_at >= 0

    # ------------------------------------------------------------------ the fold

    def _apply(self, offset: int, entry: Entry) -> None:
        if entry.kind == "command" and entry.command is not None:
            before = self.roles.role(self.model.name)
            self.roles.apply(offset, entry)
            if entry.command.model == self.model.name:
                self._command(offset, entry.command, before)
            return
        if self.leave_out and self.leave_out.covers(offset, entry):
            return
        if self.learner.stopped is None and entry.prediction is not None and not self.retired:
            self._learn(offset, entry, entry.prediction)

    def _learn(self, offset: int, entry: Entry, prediction: Prediction) -> None:
        try:
            label = checked_label(self.model.policy, entry, self.task.kind)
            value = None if label is None else label.value
        except BaseException as error:
            if not is_own(error):
                raise
            self.learner.skip(SkippedEntry(offset, prediction.request_id, describe(error)), entry.ts)
            return
        if value is None:
            return  # what was learned from a label that no longer holds stays learned: River cannot unlearn
        if self.frozen is None:
            self._untaught = None
        x = self._x(prediction.features)
        if self.learner.learn(offset, entry.ts, prediction.request_id, x, value, prediction.ts):
            self._set_version(self.learned_version.revision, offset)

    @property
    def learns_rows(self) -> bool:
        """Whether a kernel learns scanned labelled entries, and what it learns answers."""
        return self.learner.pipeline.is_fused and self.frozen is None and not self._is_idle

    def learn_rows(self, offsets: Sequence[int], examples: Any) -> int:
        """Learn labelled entries in the kernel, as `apply` does; gives how many, the others have done nothing.

        The examples are what a scanner has made of entries that give first labels under this model's policy.
        """
        count = self.learner.learn_rows(offsets, examples)
        if count:
            self._untaught = None
            self.next_offset = offsets[count - 1] + 1
            self._set_version(self.learned_version.revision, offsets[count - 1])
        return count

    @property
    def _is_idle(self) -> bool:
        """Whether it learns nothing from labelled entries."""
        return self.retired or self.learner.stopped is not None

    def facts_left(self, offset: int) -> int | None:
        """How many scanned labelled entries it can learn from an offset on; None: any number.

        It ends before an entry at which anything would be reported.
        """
        if self.leave_out or offset < self.next_offset or self.learner.is_behind:
            return 0
        return self.learner.steps.left if self.learner.steps.is_open else None

    def learn_fact(self, offset: int, fact: ScannedFact) -> None:
        """Learn a scanned entry, as `apply` does; the policy is plain."""
        self.next_offset = offset + 1
        value = silent(self.model.policy) if fact.value is None else fact.value
        if value is None or self._is_idle:
            return
        if self.frozen is None:
            self._untaught = None
        x, about = self._x(fact.features), (offset, fact.ts, fact.request_id)
        if self.learner.learn(*about, x, value, fact.asked):
            self._set_version(self.learned_version.revision, offset)

    def pass_to(self, offset: int) -> None:
        """Go on from an offset: no entry below it teaches anything that has not been learned."""
        self.next_offset = max(self.next_offset, offset)

    def _command(self, offset: int, command: Command, before: ModelRole) -> None:
        if command.name == "freeze" and command.arguments.get("spec") == self.spec:
            self._freeze_at(offset, command.arguments)
        elif command.name == "freeze" and before.frozen_at < 0:
            self._freeze(offset)
        elif command.name == "resume" and before.frozen_at >= 0:
            if command.arguments.get("mode") == "skip":
                self._skip(before.frozen_at, offset)
            else:
                self._thaw(skip=False)
        elif command.name == "retire" and self.frozen is not None:
            # What it learned aside since then is dropped with it.
            self._skip(before.frozen_at, offset)
        elif command.name == "restore" and before.retired_at >= 0:
            self._leave_out(before.retired_at, offset)
        if command.name == "rollback":
            self._rename()
        elif "revision" in command.arguments:
            self._open(offset)

    def _rename(self) -> None:
        """Until the log has a revision of its identity, its versions have the number that it would get."""
        if self.revision is None:
            self._set_version(self.next_revision, self.learned_version.offset)

    def _open(self, offset: int) -> None:
        """Take the name of a revision that the log has just opened, if it is of this specification and runtime."""
        opened = self._find_revision()
        if opened == self.revision:
            return self._rename()  # another one
        assert opened is not None
        self.revision = opened
        self._set_version(opened.number, offset)
        if self.frozen is not None:
            self.frozen = replace(self.frozen, version=self.learned_version)
            self.version = self.learned_version
        return None

    def _find_revision(self) -> Revision | None:
        return self.roles.revisions.find(self.model.name, self.spec, self.runtimes, self.leave_out.text)

    @property
    def next_revision(self) -> int:
        """The number of the next revision of this model, or the one that a rollback has set apart for this fold."""
        waiting = self.roles.revisions.rollbacks.get(self.model.name)
        if waiting and (waiting.mode, waiting.spec, waiting.left_out) == (
            "rebuild",
            self.spec,
            self.leave_out.text,
        ):
            return waiting.number
        return self.roles.revisions.next_number(self.model.name)

    def next_opening(self) -> dict[str, str]:
        """Return the arguments by which a command opens the next revision of this specification."""
        names = {"spec": self.spec, "runtime": self.runtime, "dictionary": self.task.features.digest}
        names |= {LEFT_OUT: self.leave_out.text} if self.leave_out else {}
        return {"revision": str(self.next_revision)} | names

    def opening(self) -> Command:
        """Give the command that makes this fold's specification and runtime active."""
        reason = "specification or runtime changed" if self.next_revision > 1 else "first revision"
        return Command("revision", self.model.name, self.next_opening(), reason=reason)

    # ------------------------------------------------------------------ state

    def snapshot(self) -> ModelState:
        """See `Fold.snapshot`. The estimator is the live one: write it before the next entry.

        Raises
        ------
        SnapshotError
            When the process failed while the model learned an entry: its state is that of no offset.
        """
        learner = self.learner
        if learner.inside:
            raise SnapshotError(f"{self.version} is in the middle of log offset {self.next_offset - 1}")
        return ModelState(
            version=str(self.learned_version),
            learned=learner.learned,
            next_offset=self.next_offset,
            failures=learner.snapshot(),
            roles=self.roles.snapshot(),
            left_out=self.left_out,
            frozen=self.frozen,
            estimator=learner.pipeline.reading,
        )

    def restore(self, state: ModelState) -> None:
        """See `Fold.restore`."""
        self.frozen, self.left_out = state.frozen, state.left_out
        self.learned_version = Version.parse(state.version)
        self.version = self.learned_version if state.frozen is None else state.frozen.version
        self.next_offset, self._untaught = state.next_offset, None
        self.learner.restore(state.estimator, state.learned, state.failures)
        self.roles.restore(state.roles)
        self.revision = self._find_revision()

    def take_over(self, other: ModelFold) -> None:
        """Go on as another revision's fold of the same specification, which is at the same offset."""
        assert (other.spec, other.next_offset) == (self.spec, self.next_offset)
        self.leave_out = other.leave_out
        self.restore(other.snapshot())
