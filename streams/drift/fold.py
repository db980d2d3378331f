"""Drift of one task as a fold of its training log: the signals of its models, delays, and the outcome feed.

Time is the entries' own, and counts are of entries, so the same log raises the same alerts at the same offsets,
however it was cut and whoever folded it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from datetime import timedelta
from typing import Any, Final

from schemas.alert import Evidence
from schemas.records import Entry, Score, Value
from streams.drift import budget, texts
from streams.drift.delay import DelayDrift
from streams.drift.detector import Change
from streams.drift.drift_rules import DELAY, OUTAGE, SEVERITY, WATCHED, Watch
from streams.drift.loss import LossEpisodes
from streams.drift.outage import LabelOutage
from streams.drift.watching import ModelWatch
from streams.episodes import Alarm, Episodes
from streams.fold import BaseMonitor, Measurement
from streams.policies import label_of
from streams.task import Task
from streams.task_model import Model

RESOLVED: Final = frozenset({"labelled", "expired", "late", "revised", "unavailable"})
KEPT: Final = 2_000
"""Resolutions that are kept unjudged at most, while an outage is suspected."""
PLAIN: Final = 6
"""Fields of a score that are kept: all but its interval."""

Judged = tuple[list[tuple[int, Score, Value, bool]], tuple[int, int] | None, int]
"""What one entry gives to judge: place of the model, its score, the label, whether the loss takes it; the
event times of request and outcome; its own event time."""


class DriftFold(BaseMonitor[Entry]):
    """Watches a task for drift, and tells its episodes.

    - A first label is judged once, with the score that was served. A correction (`revised`, a late outcome after
      a label was given) changes nothing here: what was judged was judged, in the order of the log.
    - A backfilled example was never served, so it is not judged.
    - While a label outage is suspected, resolutions are kept; they are judged when an outcome comes, and dropped
      when it is an outage. What was asked before its end is not judged either, where silence teaches: its labels
      are made of silence.

    Parameters
    ----------
    task
        The task; `task.drift` says what is watched and how.
    """

    name = "drift"

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task, self.rules = task, task.drift
        rules = self.rules
        delay = next((watch for watch in rules.watches if watch.signal == DELAY), None)
        firsts: dict[str, Model] = {}
        for model in task.models:
            firsts.setdefault(repr(model.policy), model)
        signals = [each.signal for each in rules.watches]
        share = budget.Share(rules.one_false_alarm_in, signals, len(task.models))
        self.models = [
            ModelWatch(rules, task.kind, share, labels=firsts[repr(model.policy)] is model)
            for model in task.models
        ]
        self.delay = DelayDrift(delay.make(share.of(DELAY), rules.cool_down, 1.0)) if delay else None
        self._delay_watch = delay
        self._deadlines, self._requests = LabelOutage(), LabelOutage()
        self.feeds = {"deadlines": self._deadlines, "requests": self._requests}
        self.drift = Episodes(task.name, "drift", rules.cool_down)
        self.delays = Episodes(task.name, "delay", rules.cool_down)
        self.outage = Episodes(task.name, "outage", None)
        self.cost = LossEpisodes(task.name, task.kind, rules.warm_up) if rules.loss else None
        self._horizon_ms = task.horizon // timedelta(milliseconds=1)
        self._served = task.models[0].name
        """The model that answered the newest request judged."""
        self._judged = 0
        self._first: int | None = None
        """Event time of the oldest request that was resolved."""
        self._until = -1
        """What was asked before this event time (ms) was hit by an outage."""
        self._silence_teaches = False
        self._asked: dict[int, int] = {}
        """Predictions so far, by the inputs' partition."""
        self._kept: list[Judged] = []

    @property
    def spec(self) -> str:
        """See `Monitor.spec`."""
        models = "; ".join(f"{model.name} {model.policy!r}" for model in self.task.models)
        return f"{self.task.kind}\n{models}\n{self.rules.describe()}"

    # ------------------------------------------------------------------ the fold

    def _apply(self, offset: int, entry: Entry) -> None:
        if entry.kind in RESOLVED:
            self._feed(offset, entry)
            self._resolution(offset, entry)
        if entry.progress is not None:
            self._progress(offset, entry)

    def _resolution(self, offset: int, entry: Entry) -> None:
        item = self._to_judge(entry)
        if item is None:
            return
        if self._suspicious:
            self._kept.append(item)
            if len(self._kept) <= KEPT:
                return
            self._judge(self._kept.pop(0), offset, entry.ts)
            return
        if self._kept:
            kept, self._kept = self._kept, []
            for each in kept:
                self._judge(each, offset, entry.ts)
        self._judge(item, offset, entry.ts)

    def _to_judge(self, entry: Entry) -> Judged | None:
        prediction, outcome = entry.prediction, entry.outcome
        if prediction is None or self.outage.lead is not None:
            return None
        found: list[tuple[int, Score, Value, bool]] = []
        # After an outage outcomes come first, and silence only with the next deadlines: no measure of the loss.
        measured = not (
            self._silence_teaches and self._until >= 0 and entry.ts < self._until + self._horizon_ms
        )
        for place, model in enumerate(self.task.models):
            label = label_of(model.policy, entry, self.task.kind)
            if label is None or label.value is None or label.replaces is not None:
                continue
            for score in prediction.scores:
                if score.model == model.name:
                    self._silence_teaches = self._silence_teaches or outcome is None
                    found.append((place, score, label.value, measured and score is prediction.scores[0]))
                    break
        spans = None
        if outcome is not None and entry.kind in {"labelled", "late"}:
            spans = (prediction.ts, outcome.ts)
        if prediction.ts < self._until:
            return None if self._silence_teaches else (found, None, entry.ts)
        return (found, spans, entry.ts) if found or spans else None

    def _judge(self, item: Judged, offset: int, ts: int) -> None:
        found, spans, when = item
        for place, score, label, served in found:
            self._served = score.model if served else self._served
            if served and self.cost is not None:
                moved = [each.lead for each in (self.drift, self.delays) if each.lead is not None]
                self._raise(self.cost.update(score, label, when, offset, moved))
            for watch, change in self.models[place].update(score, label):
                self._raise(self.drift.alarm(self._alarm(watch, place, score, change), offset, ts))
        if spans and self.delay and self._delay_watch:
            slower = self.delay.update(*spans)
            if slower is not None:
                alarm = self._alarm(self._delay_watch, 0, None, slower)
                self._raise(self.delays.alarm(alarm, offset, ts))
        self._judged += 1
        for episodes in (self.drift, self.delays):
            if episodes.lead is not None:
                self._raise(episodes.step(offset, ts))

    def _alarm(self, watch: Watch, place: int, score: Score | None, change: Change) -> Alarm:
        # The label mean and delays are the task's own.
        model = "" if score is None or watch.signal == "label_mean" else self.task.models[place].name
        severity = watch.severity or "info"
        return Alarm(
            watch.signal,
            change.direction,
            severity,
            (int(self.task.models[place].name != self._served), WATCHED.index(watch.signal), place),
            change.evidence,
            texts.of_change(watch.signal, model, change),
            model,
            score.version if score is not None and model else "",
        )

    # ------------------------------------------------------------------ the outcome feed

    def _feed(self, offset: int, entry: Entry) -> None:
        if not self.rules.outage:
            return
        deadlines, requests = self._deadlines, self._requests
        before = deadlines.state, requests.state
        if entry.outcome is not None:
            if self._can_expire(entry):
                deadlines.outcome(entry.ts)
            requests.outcome(entry.ts)
        elif entry.kind == "expired":
            deadlines.silence(entry.ts)
        if (deadlines.state, requests.state) != before:
            self._outage(offset, entry.ts)

    def _can_expire(self, entry: Entry) -> bool:
        """Whether a deadline could have passed by now: a stream that has just begun shows outcomes only."""
        if entry.prediction is not None:
            asked = entry.prediction.ts
            self._first = asked if self._first is None else min(self._first, asked)
        return self._first is not None and entry.ts >= self._first + self._horizon_ms

    def _progress(self, offset: int, entry: Entry) -> None:
        count = (entry.progress or {}).get("predictions", 0)
        partition = entry.partition or 0
        new = count - self._asked.get(partition, 0)
        if new > 0 and self.rules.outage:
            self._asked[partition] = count
            self._requests.silence(entry.ts, new)
            self._outage(offset, entry.ts)

    def _outage(self, offset: int, ts: int) -> None:
        dead = next((name for name, feed in self.feeds.items() if feed.state == "open"), None)
        if dead is not None and self.outage.lead is None:
            self._kept = []
            feed = self.feeds[dead]
            evidence = Evidence(
                f"LabelOutage({dead})",
                "number of predictions without an outcome",
                float(feed.run),
                float(feed.threshold),
                feed.share,
                feed.outcomes + feed.silences,
                0.0,
                feed.run,
            )
            text = texts.of_outage(feed, dead)
            alarm = Alarm(OUTAGE, "none", SEVERITY[OUTAGE], (0,), evidence, text)
            self._raise(self.outage.alarm(alarm, offset, ts))
        elif dead is None and self.outage.lead is not None:
            self._until = ts
            self._raise(self.outage.close(offset, ts, "Outcomes arrive again."))
        for episodes in self._all:
            if episodes is not self.outage:
                self._raise(episodes.hold(self.outage.lead is not None, offset, ts))

    @property
    def _suspicious(self) -> bool:
        return self._deadlines.state == "suspected" or self._requests.state == "suspected"

    # ------------------------------------------------------------------ what it tells

    @property
    def _all(self) -> tuple[Episodes, ...]:
        families = self.drift, self.delays, self.outage
        return (*families, self.cost.episodes) if self.cost else families

    def measurements(self) -> Iterator[Measurement]:
        """See `Monitor.measurements`."""
        for episodes in self._all:
            labels = {"count": self._judged, "segment": episodes.family, "monitor": self.name}
            is_open = float(episodes.lead is not None)
            yield Measurement("open_episodes", is_open, "count", **labels)  # type: ignore[arg-type]  # as named above
            yield Measurement("episodes", float(episodes.opened), "count", **labels)  # type: ignore[arg-type]
        for model, watched in zip(self.task.models, self.models, strict=True):
            for watch, level, count in watched.levels():
                yield Measurement(
                    "signal_mean",
                    level,
                    "nats" if watch.signal == "excess_log_loss" else "ratio",
                    count,
                    model=model.name,
                    role="served" if model.name == self._served else "shadow",
                    segment=watch.signal,
                )

    # ------------------------------------------------------------------ state

    def snapshot(self) -> Any:
        """See `Fold.snapshot`."""
        return {
            "next_offset": self.next_offset,
            "judged": self._judged,
            "served": self._served,
            "first": self._first,
            "until": self._until,
            "silence_teaches": self._silence_teaches,
            "asked": dict(self._asked),
            "kept": [
                (
                    [(place, astuple(score)[:PLAIN], label, served) for place, score, label, served in found],
                    spans,
                    ts,
                )
                for found, spans, ts in self._kept
            ],
            "models": [watched.snapshot() for watched in self.models],
            "delay": self.delay.snapshot() if self.delay else None,
            "feeds": {name: feed.snapshot() for name, feed in self.feeds.items()},
            "cost": self.cost.snapshot() if self.cost else None,
            "episodes": [each.snapshot() for each in self._all],
        }

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset, self._judged = state["next_offset"], state["judged"]
        self._first, self._served = state["first"], state["served"]
        self._until, self._silence_teaches = state["until"], state["silence_teaches"]
        self._asked = dict(state["asked"])
        self._kept = [
            ([(place, Score(*score), label, served) for place, score, label, served in found], spans, ts)
            for found, spans, ts in state["kept"]
        ]
        for watched, one in zip(self.models, state["models"], strict=True):
            watched.restore(one)
        if self.delay:
            self.delay.restore(state["delay"])
        if self.cost:
            self.cost.restore(state["cost"])
        for name, feed in self.feeds.items():
            feed.restore(state["feeds"][name])
        for episodes, one in zip(self._all, state["episodes"], strict=True):
            episodes.restore(one)
        self._pending = []
