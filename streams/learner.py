"""A model that learns: an example on which its code raises leaves no trace in its state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from river import base

from schemas.records import Features
from streams.failures import NoCopy, NotFinite, check_finite, describe, is_own
from streams.finite import count_not_finite, is_huge
from streams.learning_steps import RATE_OVER, Steps
from streams.learning_time import learn, wants_time
from streams.native.fused import FusedPipeline
from streams.skipped import NEWEST, SkippedEntry, Stopped
from streams.state_copy import StateCopy

LEAST_KEPT: Final = 1_000
MOST_KEPT: Final = 10_000
BYTES_PER_EXAMPLE: Final = 8
"""A copy of the state is taken after as many examples as its stored form has bytes, divided by this, within the
bounds above: about an object for each example, some µs. So copying costs a small part of learning."""


class Learner:
    """An estimator and the examples that it has learned, one by one, wholly or not at all.

    River's `learn_one` changes a model step by step and cannot undo. So a copy of the state some hundred
    examples back is kept with the examples since: when `learn_one` raises, or the model then has no finite score
    for that same example, the state before it is made again from them. Where a kernel learns, it undoes such an
    example itself, and no copies are kept.

    Parameters
    ----------
    make
        Makes an estimator with nothing learned yet.
    kind
        What the outcome is, as in `Task`.
    most
        Entries skipped among the last 1,000 labelled ones; with one more the model stops learning.
    pipeline
        The estimator with its kernel; by default River's alone.
    """

    def __init__(
        self,
        make: Callable[[], base.Estimator],
        kind: str,
        most: int,
        pipeline: FusedPipeline | None = None,
    ) -> None:
        self._make = make
        self.pipeline = FusedPipeline(make) if pipeline is None else pipeline
        self._ask: Literal["predict_one", "predict_proba_one"]
        self._ask = "predict_one" if kind == "regression" else "predict_proba_one"
        self._most = most
        self.learned = 0
        self.skipped = 0
        """Entries, altogether."""
        self.recent: tuple[int, ...] = ()
        """Of those among the last 1,000 labelled entries: the number of each labelled entry."""
        self.newest: tuple[SkippedEntry, ...] = ()
        self.stopped: Stopped | None = None
        self.steps = Steps(most)
        """What is to be published of what was skipped."""
        self.learned_to = -1
        """The newest entry learned."""
        self.inside = False
        """Whether the state is that of the middle of an example: nothing may be done with it any more."""
        self.puts_off = False
        """Whether what takes long is left to `catch_up`, whose call comes before anything else of the model's."""
        self.keeps_copies = True
        """False: an example on which its code raises ends the fold (`NoCopy`), which is to be begun again."""
        self._base: StateCopy | None = None
        self._since: deque[tuple[Features, Any, int]] = deque()
        self._timed = wants_time(self.pipeline.reading)
        self._every = 0
        self._why_no_copy = ""
        self._failed: tuple[SkippedEntry, int] | None = None
        """What has failed and is put off."""

    def learn(
        self,
        offset: int,
        ts: int,
        request_id: str,
        features: Features,
        value: Any,
        asked: int | None = None,
    ) -> bool:
        """Learn an example; gives whether it was learned.

        Parameters
        ----------
        offset, ts, request_id
            Of the entry, to name it when it is skipped.
        features
            The model's `x`.
        value
            Its label.
        asked
            The request's event time in ms; None: the entry's.

        Raises
        ------
        NoCopy
            The example failed, and no copies are kept.
        """
        if self.pipeline.learn(features, value):
            if self._every:
                self._forget()
            return self._count(offset, ts)
        asked = ts if asked is None else asked
        kept = self.pipeline.kept or not self.keeps_copies
        if not kept and (not self.puts_off or self._every == 0):
            self._keep_in_time()
        self.inside = True
        try:
            self._one(self.estimator, features, value, asked)
        except BaseException as error:
            if not is_own(error):
                raise
            if not self.pipeline.kept and not self.keeps_copies:
                raise NoCopy(f"log offset {offset}: {describe(error)}") from None
            self._failed = SkippedEntry(offset, request_id, describe(error)), ts
            if not self.puts_off:
                self.catch_up()
            return False
        self.inside = False
        if not kept:
            self._since.append((features, value, asked))
        return self._count(offset, ts)

    def learn_rows(self, offsets: Sequence[int], examples: Any) -> int:
        """Learn examples in the kernel; gives how many, the others have done nothing.

        It ends before the example that closes an episode.
        """
        if self.stopped is not None or self.is_behind:
            return 0
        most = min(len(offsets), self.steps.left) if self.steps.is_open else len(offsets)
        count = self.pipeline.learn_rows(examples, most)
        if count:
            if self._every:
                self._forget()
            self.learned += count
            self.learned_to = offsets[count - 1]
            if self.steps.is_open:
                self.steps.learned_many(count)
        return count

    def _count(self, offset: int, ts: int) -> Literal[True]:
        self.learned += 1
        self.learned_to = offset
        if self.steps.is_open:
            self.steps.learned(offset, ts)
        return True

    @property
    def estimator(self) -> Any:
        """River's estimator, as it is now."""
        return self.pipeline.estimator

    @estimator.setter
    def estimator(self, estimator: Any) -> None:
        self.pipeline.estimator = estimator

    @property
    def lately(self) -> int:
        """Entries skipped among the last 1,000 labelled ones."""
        number = self.learned + self.skipped
        return sum(each > number - RATE_OVER for each in self.recent)

    @property
    def is_behind(self) -> bool:
        """Whether there is something to catch up with."""
        copies = self.keeps_copies and not self.pipeline.is_fused
        return self._failed is not None or (copies and len(self._since) >= self._every)

    def catch_up(self) -> None:
        """Make the state again after an example that failed, or copy it: for a large state it takes seconds."""
        if self._failed is None:
            return self._keep_in_time()
        (entry, ts), self._failed = self._failed, None
        self._rebuild(entry.offset)
        self.inside = False
        return self.skip(entry, ts)

    def stop(self, offset: int, why: str) -> None:
        """Stop learning, at an entry that no code of the model has seen."""
        self.stopped = Stopped(offset, why)

    def skip(self, entry: SkippedEntry, ts: int) -> None:
        """Count an entry as skipped; above the rate the model stops learning."""
        self.skipped += 1
        number = self.learned + self.skipped
        self.recent = (*(each for each in self.recent if each > number - RATE_OVER), number)
        self.newest = (*self.newest, entry)[-NEWEST:]
        place = (entry.offset, ts, entry.request_id, entry.exception)
        self.steps.skipped(*place, self.learned_to, len(self.recent))
        if len(self.recent) > self._most and self.stopped is None:
            count = f"{len(self.recent)} of the last {min(number, RATE_OVER):,} labelled entries were skipped"
            self.stopped = Stopped(entry.offset, f"{count}, more than {self._most}; last: {entry.exception}")
        if self.stopped is not None:
            self.steps.stopped(self.stopped.why)

    def _one(self, estimator: Any, features: Features, value: Any, asked: int) -> None:
        # Such an example spoils a mean or a variance at once, and the scores some examples later.
        huge = is_huge(features, value)
        before = count_not_finite(estimator) if huge else 0
        # A dict for each call: code of the task file may change it.
        learn(estimator, dict(features), value, asked if self._timed else None)
        if huge and count_not_finite(estimator) > before:
            raise NotFinite("a number of the state is no longer finite")
        check_finite(getattr(estimator, self._ask)(dict(features)))

    def _keep_in_time(self) -> None:
        if self._every == 0 or len(self._since) >= self._every:
            self._keep()

    def _keep(self) -> None:
        self._since.clear()
        try:
            self._base = StateCopy(self.pipeline.reading)
        except BaseException as error:
            if not is_own(error):
                raise
            # Only the next failure tells that there is none: then every replica is at the same entry.
            self._base, self._every, self._why_no_copy = None, MOST_KEPT, describe(error)
        else:
            self._every = min(max(self._base.size // BYTES_PER_EXAMPLE, LEAST_KEPT), MOST_KEPT)

    def _forget(self) -> None:
        """Let go of the copy: the kernel has learned since, and keeps what is needed itself."""
        self._base, self._every = None, 0
        self._since.clear()

    def _rebuild(self, offset: int) -> None:
        why = self._why_no_copy
        if self.pipeline.kept:
            try:
                return self.pipeline.put_back()
            except BaseException as error:
                if not is_own(error):
                    raise
                why = describe(error)
        if self._base is not None:
            try:
                rebuilt = self._base.made(self._make)
                for example in self._since:
                    self._one(rebuilt, *example)
                self.estimator = rebuilt
                return self._keep()
            except BaseException as error:
                if not is_own(error):
                    raise
                # The same code, state and examples gave no exception before: it depends on something else.
                why = describe(error)
        # It stays as it is, with a part of the example in it: the same in every replica.
        self.stopped = Stopped(offset, f"its state cannot be restored: {why}")
        return None

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """Give what was skipped, as plain data."""
        return {
            "skipped": self.skipped,
            "recent": list(self.recent),
            "newest": [list(each) for each in self.newest],
            "stopped": None if self.stopped is None else list(self.stopped),
            "learned_to": self.learned_to,
            "steps": self.steps.snapshot(),
        }

    def restore(self, estimator: base.Estimator, learned: int, state: Mapping[str, Any]) -> None:
        """Go on from a state that `snapshot` gave, and the estimator of then."""
        self.estimator, self.learned, self.inside = estimator, learned, False
        self.skipped, self.recent = state["skipped"], tuple(state["recent"])
        self.newest = tuple(SkippedEntry(*each) for each in state["newest"])
        self.stopped = None if state["stopped"] is None else Stopped(*state["stopped"])
        self.learned_to = state["learned_to"]
        self.steps.restore(state["steps"])
        self._failed = None
        self._forget()
