"""The gate of a task as a fold of its log: it proposes which model answers, and carries nothing out.

The same log gives the same decisions at the same offsets under the same ids, whoever folds it. A proposal stands
until the log has a command that changes which model answers, or until the evidence no longer supports it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from schemas.records import Entry, Prediction, Value
from streams.fold import BaseFold
from streams.gate.decision import Decision
from streams.gate.held import OFFSET, Extra, Held, Item, Who, width
from streams.gate.outages import Outages
from streams.gate.promotion import OUTAGE, Plan, Promotion
from streams.gate.rules import MS, Gate
from streams.policies import DefaultAtHorizon, OnArrival, label_of
from streams.roles import Roles
from streams.task import Task

RESOLVED: Final = frozenset({"labelled", "expired", "late", "revised", "unavailable"})
PLAIN: Final = (OnArrival, DefaultAtHorizon)
"""Policies by which an outcome in time is the label, and silence has one label or none: read here, for speed."""
CACHED: Final = 256
"""Combinations of revisions whose tests are remembered."""


class GateFold(BaseFold[Entry]):
    """Tests each challenger against the model that answers, and proposes steps, promotions and rollbacks.

    A request counts when its cohort is whole: when the log is complete up to the end of the cohort plus `wait` and
    the join's grace. It counts once, with the scores as they were stamped and the label that it has then. A request
    without a label counts as the label that speaks most against each verdict.

    Parameters
    ----------
    task
        The task; its first model answers until the log says otherwise.
    gate
        By default that of the task.
    models
        Names of the models that compete; all of the task's by default.
    """

    name = "gate"

    def __init__(self, task: Task, gate: Gate | None = None, models: Sequence[str] | None = None) -> None:
        self.task, self.gate = task, gate or task.gate or Gate()
        gain = self.gate.gain(task.kind)
        self._gain, self._range = gain.function(task.kind), gain.range_of
        policy = self.gate.policy or task.models[0].policy
        self._label = partial(label_of, policy, kind=task.kind)
        self._plain = type(policy) in PLAIN
        self._silence: Value = policy.value if isinstance(policy, DefaultAtHorizon) else None
        horizon_ms = task.horizon // MS
        self._age = self.gate.wait_ms(task.horizon)
        self._wait = self._age + task.grace // MS
        self._segments = tuple(each.feature for each in self.gate.guardrails if each.feature)
        self.held = Held(width(horizon_ms), self.gate.held)
        self.outages = Outages(horizon_ms)
        names = tuple(models or (model.name for model in task.models))
        self.promotion = Promotion(task.name, self.gate, self.gate.loss_text(task.kind), names)
        self.late = 0
        """Entries of requests whose cohort had been counted."""
        self.mark = -1
        """Event time up to which the log is complete, ms."""
        self._times: dict[int, int] = {}
        self._closed = -1
        """End of the newest cohort that was counted."""
        self._due = math.inf
        """`mark` from which the oldest cohort counts."""
        self._whos: dict[tuple[str | int, ...], Who] = {}

    @property
    def spec(self) -> str:
        """See `Monitor.spec`."""
        policies = "; ".join(f"{model.name} {model.policy!r}" for model in self.task.models)
        return f"{self.task.kind} {self.task.horizon} {self.task.grace}\n{policies}\n{self.gate.describe()}"

    def begin(self, roles: Roles) -> None:
        """Begin behind the log's beginning, where that was cut off: with the roles there, and no test."""
        self.promotion.begin(roles)
        self.next_offset = roles.next_offset

    # ------------------------------------------------------------------ the fold

    def _apply(self, offset: int, entry: Entry) -> None:
        if entry.command is not None:
            self.promotion.command(offset, entry, self.mark)
            return
        prediction = entry.prediction
        if prediction is not None and entry.kind in RESOLVED:
            if entry.outcome is not None:
                self.outages.outcome(entry.ts)
            if len(prediction.scores) > 1:
                self._take(offset, entry, prediction)
        progress = entry.progress
        if progress is not None and entry.partition is not None:
            self.outages.progress(entry.partition, entry.ts, progress.get("predictions", 0))
            now = progress.get("stream_time")
            if now is not None:  # a partition that has had nothing yet holds nothing up
                self._times[entry.partition] = now
                self.mark = max(self.mark, min(self._times.values()))
            if self.mark >= self._due and not self.outages.suspected:
                self._release(offset)

    def _take(self, offset: int, entry: Entry, prediction: Prediction) -> None:
        ts, request_id, held = prediction.ts, prediction.request_id, self.held
        if ts < self._closed:
            self.late += 1
            return
        if held.halvings and not held.drawn(request_id):
            return
        start = ts - ts % held.width_ms
        cohort = held.cohorts.get(start) or self._begin(start)
        new = request_id not in cohort
        if not new and entry.ts - ts > self._age:
            return  # its time was over
        value: Value
        if entry.kind == "labelled" and entry.outcome is not None and self._plain:
            value = entry.outcome.value
        elif entry.kind == "expired" and self._plain:
            value = self._silence
        else:
            label = self._label(entry)
            if label is None and not new:
                return  # the policy makes nothing of this correction
            value = None if label is None else label.value
        scores, share = prediction.scores, prediction.propensity
        if len(scores) == 2:  # one challenger, written out for speed
            a, b = scores
            key: tuple[str | int, ...] = (a.model, a.revision, b.model, b.revision)
            values: tuple[Any, ...] = (a.score, b.score)
        else:
            key = tuple([part for each in scores for part in (each.model, each.revision)])
            values = tuple([each.score for each in scores])
        who = self._whos.get(key)
        if who is None:
            who = self._whos[key] = tuple([(each.model, each.revision) for each in scores])
        guarded = self._segments or (share is not None and share < 1.0)
        item: Item = (
            ts,
            offset,
            who,
            values,
            value,
            entry.outcome is None,
            self._extra(prediction) if guarded else None,
        )
        cohort[request_id] = item
        if new:
            held.count += 1
            if held.count > held.most:
                held.thin()

    def _begin(self, start: int) -> dict[str, Item]:
        self._due = min(self._due, start + self.held.width_ms + self._wait)
        return self.held.cohorts.setdefault(start, {})

    def _extra(self, prediction: Prediction) -> Extra:
        share = prediction.propensity
        levels = tuple([str(prediction.features.get(name, "")) for name in self._segments])
        at = -1 if prediction.log_offset is None else prediction.log_offset
        return 1.0 if share is None else share, prediction.entity_key or prediction.request_id, at, levels

    # ------------------------------------------------------------------ whole cohorts

    def _release(self, offset: int) -> None:
        for start, items in self.held.due(self.mark - self._wait):
            self._closed = start + self.held.width_ms
            if items:
                self._count(items)
                offsets = min(map(OFFSET, items)), max(map(OFFSET, items))
                for test in self.promotion.tests.values():
                    if not test.closed:
                        test.settle(start, self._closed, offsets)
        self._find_due()
        if len(self._whos) > CACHED:
            self._whos.clear()
            self.promotion.plans.clear()
        blocked = "" if self.outages.live else OUTAGE
        self.promotion.judge(offset, self.mark, blocked, 0.5**self.held.halvings)

    def _find_due(self) -> None:
        oldest = min(self.held.cohorts, default=None)
        self._due = math.inf if oldest is None else oldest + self.held.width_ms + self._wait

    def _count(self, items: list[Item]) -> None:
        gain, promotion, spans = self._gain, self.promotion, self.outages.spans
        guarded = bool(self.gate.guardrails)
        last: Who | None = None
        plan: Plan = ()
        for ts, _, who, scores, label, silent, extra in items:
            if who is not last:
                last = who
                found = promotion.plans.get(who)
                plan = promotion.plan(who, self.mark) if found is None else found
            known = label is not None and not (silent and spans and self.outages.hit(ts))
            if known:
                for ours, other, test in plan:
                    test.gains.append(gain(scores[ours], scores[other], label))
            else:
                for ours, other, test in plan:
                    test.take_range(*self._range(scores[ours], scores[other]))
            if guarded or extra is not None:
                self._guard(plan, who, scores, label if known else None, extra)

    def _guard(self, plan: Plan, who: Who, scores: Sequence[Any], label: Any, extra: Extra | None) -> None:
        share, key, asked, levels = extra or (1.0, "", -1, ())
        shared = "" if share == 1.0 else self.promotion.shared_with(asked)
        for ours, other, test in plan:
            a, b = scores[ours], scores[other]
            gain = 0.0 if label is None else self._gain(a, b, label)
            at = iter(levels)
            for harm in test.harms:
                harm.take(a, b, label, gain, next(at) if harm.rule.feature else "")
            # A model that failed is answered for by another; then the share says nothing about the draw.
            if shared == who[other][0] and None not in scores and min(ours, other) == 0:
                test.shared(round(share if other == 0 else 1.0 - share, 6), key, other == 0)  # of millionths

    # ------------------------------------------------------------------ what it says

    def decisions(self, since: int = 0) -> list[Decision]:
        """Return the newest decisions at a log offset or after it, in their order."""
        return self.promotion.book.since(since)

    def proposal(self) -> Decision | None:
        """Return the decision that asks for a command now."""
        return self.promotion.proposal()

    def unlogged(self) -> list[Decision]:
        """Return the decisions that stand and that the log does not have, in their order."""
        return self.promotion.book.unlogged()

    # ------------------------------------------------------------------ state

    def snapshot(self) -> Any:
        """See `Fold.snapshot`."""
        return {
            "next_offset": self.next_offset,
            "held": self.held.snapshot(),
            "outages": self.outages.snapshot(),
            "promotion": self.promotion.snapshot(),
            "times": dict(self._times),
            "marks": [self.late, self.mark, self._closed],
        }

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset = state["next_offset"]
        self.held.restore(state["held"])
        self.outages.restore(state["outages"])
        self.promotion.restore(state["promotion"])
        self._times = dict(state["times"])
        self.late, self.mark, self._closed = state["marks"]
        self._find_due()
