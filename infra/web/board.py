"""The board of a task: its metrics, alerts and versions from its topics, as data for the page."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from infra.web.history import History, Row
from infra.web.rates import Rate
from infra.web.snapshots import Snapshots
from schemas.alert import Alert
from schemas.records import Metric
from streams.metrics.extra import better
from streams.metrics.registry import METRICS
from streams.metrics.shadow_comparison import AGAINST
from streams.task import Task

QUALITY: Final = frozenset(each.name for each in METRICS if each.kinds)
"""Metrics of a model."""
OVER_TIME: Final = frozenset({"coverage", "waiting", "oldest_waiting", "signal_mean", "feature_psi"})
"""Those that have a history, beside the quality of the rolling window."""
RESOLVED: Final = ("labelled", "expired", "late", "revised", "unavailable")
RATED: Final = ("requests", "requests_rejected", "predictions", "outcomes", "resolved", "learned", *RESOLVED)
UNITS: Final = {each.name: {"unit": each.unit, "better": each.better} for each in METRICS}
SLICES: Final = ("windows", "segments", "revisions", "confusion", "classes")
"""Of a model's quality."""
MOST_EPISODES: Final = 100
MOST_MARKS: Final = 100
MOST_FRESH: Final = 200
BURST_MS: Final = 700
"""Metrics of one burst are published within this time."""


class Board:
    """The data of a task's page, as a fold of `T.metrics`, `T.alerts` and `T.snapshots`.

    All workers of a task fold the same records, so their pages are equal. State of one worker (its lag, its
    versions) is not part of it.

    Parameters
    ----------
    task
        The task.
    served_at
        Whether a model answered after the entry at a log offset, None where that is not known. Of its metrics those
        in that role are shown.
    """

    def __init__(self, task: Task, served_at: Callable[[str, int], bool | None] | None = None) -> None:
        self.task, self._served_at = task, served_at
        self.history = {"log": History(), "requests": History()}
        """By what it follows: the training log, and the tallies of what comes in."""
        self.rates = {name: Rate() for name in RATED}
        self._loop: dict[str, float] = {}
        self._models: dict[str, dict[str, Any]] = {}
        self._calibration: dict[str, dict[str, dict[str, Any]]] = {}
        self._gains: dict[str, dict[str, Any]] = {}
        self._labels: dict[str, dict[str, Any]] = {}
        self._signals: dict[str, dict[str, Any]] = {}
        self._features: dict[str, dict[str, Any]] = {}
        self._episodes: dict[str, dict[str, Any]] = {}
        self.snapshots = Snapshots()
        self._marks: deque[dict[str, Any]] = deque(maxlen=MOST_MARKS)
        self._revisions: dict[str, str] = {}
        self._bursts: dict[str, tuple[int, int]] = {}
        """By model, empty for the loop: the log offsets of the newest burst of metrics and the one before."""
        self._open: dict[str, tuple[int, int, int, dict[str, float]]] = {}
        """By history, the row that is being filled: log offset, published at, event time, values."""
        self.fresh: deque[tuple[int, str, Row]] = deque(maxlen=MOST_FRESH)
        """Rows that were added to a history since somebody last took them away, each with its number."""
        self.closed = 0
        """Rows that were ever added to a history: the number of the newest."""
        self.metrics_at = 0
        """When the newest metric was published, ms."""
        self.stream_time = 0
        """Event time up to which the log is measured, ms."""

    # ------------------------------------------------------------------ what comes over the topics

    def metric(self, metric: Metric, at: int) -> None:
        """Take a metric.

        Parameters
        ----------
        at
            When it was published, ms.
        """
        name, segment, offset = metric.name, metric.segment, metric.log_offset
        if name.startswith("gate_"):
            return  # each worker has the gate itself
        self.metrics_at = max(self.metrics_at, at)
        value: dict[str, Any] = {"value": metric.value, "count": metric.count}
        if not name.startswith(
            ("feature_", "requests", "rejected", "warned")
        ):  # which go by another topic's offsets
            newest, _ = self._bursts.get(metric.model, (-1, -1))
            if offset != newest:
                self._bursts[metric.model] = offset, newest
        if segment.startswith("score="):
            bins = self._calibration.setdefault(metric.model, {})
            bins.setdefault(segment, {})[name.removeprefix("calibration_")] = metric.value
            bins[segment]["count"] = metric.count
        elif segment.startswith(AGAINST):
            _, _, end = name.partition("_gain")
            shown = self._gains.setdefault(metric.model, {})
            shown |= {
                "shadow": metric.version,
                "against": segment.removeprefix(AGAINST),
                "count": metric.count,
                "offset": offset,
            }
            shown[end.removeprefix("_") or "gain"] = metric.value
        elif name in QUALITY or name in self.task.metrics.extra:
            self._quality(metric, at)
        elif name == "signal_mean":
            self._signals.setdefault(metric.model, {})[segment] = value | {"unit": metric.unit}
            self._column(metric, at, f"signal_mean|{metric.model}|{segment}")
        elif name.startswith("feature_"):
            shown = self._features.setdefault(segment, {})
            shown |= {name.removeprefix("feature_"): metric.value, "count": metric.count}
            if name == "feature_psi":
                self._column(metric, at, f"feature_psi||{segment}")
        elif name in {"outcome_delay", "report_delay", "label_rate"}:
            self._labels.setdefault(name, {})[segment or metric.window] = value | {"offset": offset}
        elif name == "warned":
            self._loop[f"warned {segment}"] = metric.value
        elif not segment:
            self._of_loop(metric, at)

    def _quality(self, metric: Metric, at: int) -> None:
        name, model, window = metric.name, metric.model, metric.window
        served = self._served_at(model, metric.log_offset) if self._served_at else None
        if served is not None and served != (metric.role == "served"):
            return  # what it did in another role stays on the topic
        rules = self.task.metrics
        self.stream_time = max(self.stream_time, metric.ts)
        shown = self._models.setdefault(model, {name: {} for name in SLICES})
        if name == "confusion":
            place = shown["confusion"].setdefault(metric.segment, {})
        elif name.startswith("class_"):
            place = shown["classes"].setdefault(metric.segment, {})
        elif metric.segment:
            place = shown["segments"].setdefault(metric.segment, {})
        elif "@" not in metric.version:
            place = shown["revisions"].setdefault(metric.version, {})
        else:
            place = shown["windows"].setdefault(window, {})
            shown |= {"role": metric.role, "version": metric.version}
            self._mark(metric, at)
            if window == rules.rolling_name:
                self._column(metric, at, f"{name}|{model}|")
        place |= {name: metric.value, "count": metric.count, "offset": metric.log_offset}

    def _of_loop(self, metric: Metric, at: int) -> None:
        name = metric.name
        self._loop[name] = metric.value
        if name in self.rates:
            self.rates[name].observe(at, metric.value)
        if name == "waiting":
            # Published after the counters of its burst: all that was predicted and does not wait is resolved.
            self.rates["resolved"].observe(at, self._loop.get("predictions", metric.value) - metric.value)
        if name in OVER_TIME:
            self._column(metric, at, f"{name}||")
        if name in {"waiting", "requests"}:
            for rated in ("requests",) if name == "requests" else ("predictions", "resolved"):
                speed = self.rates[rated].per_second(at)
                if speed is not None:
                    self._column(metric, at, f"{rated}_rate||", speed)

    def _column(self, metric: Metric, at: int, column: str, value: float | None = None) -> None:
        """Put a value into the row of its burst; a row ends when the next one begins."""
        name = "requests" if metric.name.startswith(("feature_", "requests")) else "log"
        row = self._open.get(name)
        if row is None or row[0] != metric.log_offset:
            if row is not None:
                self._close(name)
            row = self._open[name] = metric.log_offset, at, metric.ts, {}
        row[3][column] = metric.value if value is None else value

    def _close(self, name: str) -> None:
        _, at, ts, values = self._open.pop(name)
        self.history[name].add(at, ts, values)
        self.closed += 1
        self.fresh.append((self.closed, name, self.history[name].rows[-1]))

    def settle(self, now_ms: int) -> None:
        """End the rows whose burst is over: what comes later begins a row of its own."""
        for name in [name for name, row in self._open.items() if row[1] < now_ms - BURST_MS]:
            self._close(name)

    def _mark(self, metric: Metric, at: int) -> None:
        """Note that a model's revision or role is another than before."""
        now = f"{metric.version.rpartition('@')[0]} {metric.role}"
        before = self._revisions.get(metric.model)
        self._revisions[metric.model] = now
        if before is not None and now != before:
            self._marks.append(
                {"at": at, "ts": metric.ts, "model": metric.model, "what": f"{before} → {now}"}
            )

    def alert(self, alert: Alert, at: int) -> None:
        """Take a step of an episode."""
        evidence = alert.evidence
        kept = self._episodes.pop(alert.episode, {})
        self._episodes[alert.episode] = {
            "episode": alert.episode,
            "state": alert.state,
            "severity": alert.severity,
            "family": alert.family,
            "signal": alert.signal,
            "direction": alert.direction,
            "model": alert.model,
            "version": alert.version,
            "feature": alert.feature,
            "alarms": alert.alarms,
            "held_back": alert.held_back,
            "opened_at": kept.get("opened_at", at),
            "opened_ts": alert.opened_ts,
            "at": at,
            "ts": alert.ts,
            # What it was about; the last step says only why it ended.
            "text": kept.get("text", alert.text) if alert.state == "closed" else alert.text,
            "ended": alert.text if alert.state == "closed" else "",
            "evidence": {name: getattr(evidence, name) for name in evidence.__slots__},
        }
        while len(self._episodes) > MOST_EPISODES:
            closed = (name for name, each in self._episodes.items() if each["state"] == "closed")
            del self._episodes[next(closed, next(iter(self._episodes)))]

    # ------------------------------------------------------------------ what is shown

    def facts(self) -> dict[str, Any]:
        """Return what does not change while the worker runs."""
        task, extra = self.task, better(self.task.metrics.extra)
        return {
            "task": task.name,
            "question": task.question,
            "kind": task.kind,
            "horizon_s": task.horizon.total_seconds(),
            "rolling": task.metrics.rolling_name,
            "window": task.metrics.window_name,
            "models": [model.name for model in task.models],
            "features": {
                each.name: {"unit": each.unit, "type": type(each).__name__.lower()} for each in task.features
            },
            "units": UNITS | {name: {"unit": "own", "better": way} for name, way in extra.items()},
            "extra": [*extra],
        }

    def loop(self, now_ms: int) -> dict[str, Any]:
        """Return counts and rates (1/s) of the loop's stages at a time."""
        found: dict[str, Any] = {"values": dict(sorted(self._loop.items())), "metrics_at": self.metrics_at}
        found["stream_time"] = self.stream_time
        found["rates"] = {name: _rounded(rate.per_second(now_ms)) for name, rate in self.rates.items()}
        found["counts"] = {name: rate.value for name, rate in self.rates.items()}
        return found

    def sections(self) -> dict[str, Any]:
        """Return everything else that is shown now, by section, in JSON's types; without the history."""
        return {
            "quality": {model: self._current(model) for model in self._ordered(self._models)},
            "calibration": {
                model: [{"scores": name, **bins[name]} for name in sorted(bins)]
                for model, bins in self._calibration.items()
            },
            "gains": {model: gain for model in self._ordered(self._gains) if (gain := self._gain(model))},
            "labels": {name: self._fresh_of("", slices) for name, slices in self._labels.items()},
            "signals": {model: self._signals[model] for model in self._ordered(self._signals)},
            "features": self._features,
            "episodes": list(reversed(self._episodes.values())),
            "versions": {"snapshots": self.snapshots.rows(), "marks": list(self._marks)},
        }

    def _current(self, model: str) -> dict[str, Any]:
        found = self._models[model]
        slices = {name: self._fresh_of(model, found[name]) for name in SLICES}
        return found | slices

    def _gain(self, model: str) -> dict[str, Any]:
        """Return how a shadow compares; nothing once it is no longer compared."""
        found = dict(self._gains[model])
        return found if found.pop("offset") >= min(self._bursts[model]) else {}

    def _fresh_of(self, model: str, slices: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the slices that were measured in the last two bursts: of the others nothing is left."""
        least = min(self._bursts[model])
        return {
            name: {key: value for key, value in each.items() if key != "offset"}
            for name, each in slices.items()
            if each["offset"] >= least
        }

    def histories(self) -> dict[str, Any]:
        """Return the histories by column, but for the rows that are being filled."""
        return {name: history.columns() for name, history in self.history.items()}

    def _ordered(self, names: Iterable[str]) -> list[str]:
        order = [model.name for model in self.task.models]
        return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 3)
