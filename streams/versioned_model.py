"""A model with what it has learned: it answers under a version, also while it is frozen and learns aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from river import base

from schemas.records import Features, Score, ScoreValue
from streams.failures import describe, is_own
from streams.freezing import freeze, freeze_at
from streams.learner import Learner
from streams.model_state import Frozen, ModelState, intervals_text
from streams.native.fused import FusedPipeline
from streams.scoring import Answer, Untaught, answer, answer_of, gives_interval, interval_of
from streams.snapshot.digest import state_digest
from streams.task import Task
from streams.task_model import Model
from streams.version import Version


class VersionedModel:
    """A model of a task that answers and learns; each state has the name of a version.

    What answers is what learns, unless the model is frozen: then a copy answers.

    Parameters
    ----------
    task, model
        The task, and the model of it.
    core
        Which implementation learns and scores, as in `streams.native.CORES`; empty: the one set for this process.
        State and scores do not depend on it.
    """

    next_offset = 0
    """Of the log, up to which it has learned."""

    def __init__(self, task: Task, model: Model, core: str = "") -> None:
        self.task, self.model = task, model
        pipeline = FusedPipeline(model.make, task.features, task.kind, core)
        self.learner = Learner(model.make, task.kind, task.max_skipped, pipeline)
        self._has_interval = task.kind == "regression" and gives_interval(self.learner.estimator)
        self._untaught: Untaught | None = None
        """It answers until the estimator has learned something."""
        self.past: Callable[[Version], ModelState | None] | None = None
        """Returns the state of an earlier version of this specification, where one is to be frozen."""
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

    # ------------------------------------------------------------------ answering

    def kernel(self, names: tuple[str, ...], kinds: tuple[Any, ...]) -> Any:
        """Return the kernel that scores features of these names and kinds as `predict` does, if there is one."""
        if self.frozen is not None or self.learner.inside:
            return None
        return self.learner.pipeline.kernel(names, kinds, self.learned > 0)

    def predict(self, features: Features) -> Score:
        """Score features with the state as it is; the state's digest does not change.

        Until the first learned example River answers on a throwaway copy: some models make themselves ready
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
        kind = self.task.kind
        score = self.learner.pipeline.score(x, self.learned > 0) if self.frozen is None else None
        if score is not None:
            return answer_of(score, kind)
        if self.learned:
            return answer(self._reading, kind, x)
        if self._untaught is None:
            self._untaught = Untaught(self._reading, kind, x)
        return self._untaught.answer(x)

    def _x(self, features: Features) -> dict[str, Any]:
        """Give a model's `x`: the dictionary's features only, in its order, in a dict of its own."""
        return {name: features[name] for name in self._names if name in features}

    # ------------------------------------------------------------------ freezing

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

    # ------------------------------------------------------------------ the state

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
