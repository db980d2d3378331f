"""A model as a fold of the training log: it learns from entries and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from river import base

from schemas.errors import SnapshotError
from schemas.records import Command, Entry, Features, Prediction, Score, ScoreValue
from streams.failures import describe, is_own
from streams.fold import BaseFold
from streams.freezing import freeze, freeze_at
from streams.learner import Learner, SkippedEntry
from streams.leave_out import NOTHING, LeaveOut
from streams.model_state import Frozen, ModelState, intervals_text
from streams.native.fused import FusedPipeline
from streams.native.scanned import ScannedFact
from streams.policies import checked_label
from streams.revisions import LEFT_OUT, Revision
from streams.roles import ModelRole, Roles
from streams.scoring import Answer, Untaught, answer, answer_of, gives_interval, interval_of
from streams.snapshot.digest import state_digest
from streams.task import Model, Task
from streams.version import Version


class ModelFold(BaseFold[Entry]):
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
        self.task, self.model, self.runtime = task, model, runtime
        self.runtimes = frozenset({runtime, *equals})
        """Those whose revisions and snapshots are this fold's."""
        self.spec = task.spec(model)
        self.leave_out = leave_out
        """A fold is of one revision: specification, runtime and what is left out are its identity."""
        self.past: Callable[[Version], ModelState | None] | None = None
        """Returns the state of an earlier version of this specification, where one is to be frozen."""
        pipeline = FusedPipeline(model.make, task.features, task.kind, core)
        self.learner = Learner(model.make, task.kind, task.max_skipped, pipeline)
        self._has_interval = task.kind == "regression" and gives_interval(self.learner.estimator)
        self._untaught: Untaught | None = None
        """It answers until the estimator has learned something."""
        self.roles = Roles(task.name)
        """Of all models of the task, at the same offset."""
        self.revision: Revision | None = None
        """The newest revision in the log of this identity; None: it may not answer."""
        self.left_out: tuple[tuple[int, int], ...] = ()
        """Log offsets, first and last, that it has left out by command."""
        self.frozen: Frozen | None = None
        self.version = Version(model.name, 1, -1)
        """Of what answers."""
        self.learned_version = self.version
        """Of what learns: another one while the model is frozen."""
        self._names = tuple(f.name for f in task.features if f.personal_data != "left_out")

    def _set_version(self, revision: int, offset: int) -> None:
        self.learned_version = Version(self.model.name, revision, offset)
        if self.frozen is None:
            self.version = self.learned_version

    @property
    def active(self) -> bool:
        """Whether the log has a revision of this specification and runtime: the fold may answer."""
        return self.revision is not None

    @property
    def estimator(self) -> base.Estimator:
        """The River model that answers."""
        estimator: base.Estimator = self.learner.estimator if self.frozen is None else self.frozen.estimator
        return estimator

    @property
    def _reading(self) -> Any:
        """The same, for anyone who does not change what it knows."""
        return self.learner.pipeline.reading if self.frozen is None else self.frozen.estimator

    def prepare(self) -> str:
        """Make the kernel before the first example needs it; gives why River learns and scores, or nothing."""
        return self.learner.pipeline.prepare()

    @property
    def learned(self) -> int:
        """Examples that the model that answers has learned."""
        return self.learner.learned if self.frozen is None else self.frozen.learned

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

        The examples are what a scanner has made of entries that give their outcomes' values as first labels.
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
        """Learn a scanned labelled entry, as `apply` does."""
        self.next_offset = offset + 1
        if self._is_idle:
            return
        if self.frozen is None:
            self._untaught = None
        x, about = self._x(fact.features), (offset, fact.ts, fact.request_id)
        if self.learner.learn(*about, x, fact.value, fact.asked):
            self._set_version(self.learned_version.revision, offset)

    def kernel(self, names: tuple[str, ...], kinds: tuple[Any, ...]) -> Any:
        """Return the kernel that scores features of these names and kinds as `predict` does, if there is one."""
        may = self.learned and self.frozen is None and not self.learner.inside
        return self.learner.pipeline.kernel(names, kinds) if may else None

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

    def _freeze_at(self, offset: int, arguments: Mapping[str, str]) -> None:
        """Let the state of an earlier version answer; the fold's own goes on learning.

        Raises
        ------
        SnapshotError
            The state of the version is not at hand, or not the one that the command names.
        """
        version = Version.parse(arguments["version"])
        state = None if self.past is None else self.past(version)
        self.frozen = freeze_at(offset, version, state, arguments["digest"], self.model)
        self.version, self._untaught = version, None

    def _freeze(self, offset: int) -> None:
        """Let a copy of the state answer; the state itself goes on learning, for `resume --catch-up`."""
        try:
            frozen = freeze(offset, self.version, self.learner, self.model)
        except BaseException as error:
            if not is_own(error):
                raise
            # The same in every replica: what cannot be copied stops learning for good.
            self.learner.stop(offset, f"its state cannot be copied: {describe(error)}")
            return
        self.frozen, self._untaught = frozen, None

    def _thaw(self, *, skip: bool) -> None:
        frozen, self.frozen, self._untaught = self.frozen, None, None
        if frozen is not None and skip:
            self.learner.restore(frozen.estimator, frozen.learned, frozen.failures)
            self.learned_version = frozen.version
        self.version = self.learned_version

    def _skip(self, since: int, until: int) -> None:
        """Drop what was learned aside while frozen, and note it."""
        since = since if self.frozen is None else self.frozen.since
        self._thaw(skip=True)
        self._leave_out(since, until)

    def _leave_out(self, since: int, until: int) -> None:
        """Note an interval between two commands that the model has not learned from."""
        if since + 1 < until:
            self.left_out = (*self.left_out, (since + 1, until - 1))

    @property
    def left_out_text(self) -> str:
        """The log offsets that it has left out: `FIRST..LAST`, separated by commas."""
        return intervals_text(self.left_out)

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

    # ------------------------------------------------------------------ serving

    def predict(self, features: Features) -> Score:
        """Score features with the state as it is; the state's digest does not change.

        Until the first learned example this happens on a throwaway copy: some models make themselves ready
        for the features they see first, and predicting must not decide what those are.

        A model that raises, or whose score is not a finite number, has no score, and its `failure` says why.
        In the middle of an entry it must not be asked: its score would be that of no version.
        """
        assert not self.learner.inside, (
            f"{self.version} is in the middle of log offset {self.next_offset - 1}"
        )
        score: ScoreValue = None
        label: bool | str | None = None
        failure, interval = "", None
        try:
            score, label = self._answer(self._x(features))
            if self._has_interval and self.learned:
                interval = interval_of(self._reading, self._x(features))
        except BaseException as error:
            if not is_own(error):
                raise
            failure = describe(error)
            score = label = None
        about = (self.model.name, self.version.revision, self.version.offset)
        return Score(*about, score, label, failure, interval)

    def _answer(self, x: dict[str, Any]) -> Answer:
        if self.learned:
            score = self.learner.pipeline.score(x) if self.frozen is None else None
            kind = self.task.kind
            return answer(self._reading, kind, x) if score is None else answer_of(score, kind)
        if self._untaught is None:
            self._untaught = Untaught(self._reading, self.task.kind, x)
        return self._untaught.answer(x)

    def _x(self, features: Features) -> dict[str, Any]:
        """Give a model's `x`: the dictionary's features only, in its order, in a dict of its own."""
        return {name: features[name] for name in self._names if name in features}

    # ------------------------------------------------------------------ state

    @property
    def digest(self) -> str:
        """Canonical digest of the state that answers."""
        return state_digest(self._reading)

    @property
    def learned_digest(self) -> str:
        """Canonical digest of the state that learns."""
        return state_digest(self.learner.pipeline.reading)

    @property
    def is_named(self) -> bool:
        """Whether no other state has the name of what learns.

        A revision that is opened while the model is frozen names both what answers and what learns, until that has
        learned another entry.
        """
        frozen = self.frozen
        return (
            frozen is None or frozen.version != self.learned_version or frozen.learned == self.learner.learned
        )

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
