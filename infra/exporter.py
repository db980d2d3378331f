"""What a worker reports to Prometheus: a collector that makes every sample at the scrape, from state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from infra.worker_metrics import WORKER_METRICS
from infra.worker_views import ModelView, TaskView, WorkerView
from schemas.reasons import REASONS
from streams.fold import Measurement
from streams.metrics.histogram import Histogram
from streams.metrics.registry import EXTRA, METRICS, UNITS, Declared
from streams.roles import Role
from streams.shares import UNIT

ROLES: Final = get_args(Role)
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Exporter(Collector):
    """Makes the samples of all tasks of a worker.

    Nothing is kept between scrapes but the highest value of each counter of the log: what an aborted transaction
    takes back comes again, and a counter that fell meanwhile would be taken for one that began anew.

    Parameters
    ----------
    views
        Gives what there is to show, at each scrape.
    version, runtime
        Of the worker.
    worker
        Gives what belongs to no task, at each scrape.
    """

    def __init__(
        self,
        views: Callable[[], Iterable[TaskView]],
        version: str,
        runtime: str,
        worker: Callable[[], WorkerView] = WorkerView,
    ) -> None:
        self._views, self._worker = views, worker
        self._build = {"version": version, "runtime": runtime}
        self._highest: dict[tuple[str, ...], float] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """Return the page that Prometheus reads, as `CONTENT_TYPE` says."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Make all families, each once."""
        views = list(self._views())
        build = InfoMetricFamily("riverloop_build", WORKER_METRICS["riverloop_build_info"].description)
        build.add_metric((), self._build)
        yield build
        yield from self._of_worker(self._worker())
        yield from self._gauges(views)
        yield from self._counters(views)
        yield self._spans("riverloop_answer_seconds", [(view.task, view.answers) for view in views])
        yield self._spans("riverloop_freshness_seconds", [(view.task, view.freshness) for view in views])
        by_name = {view.task: self._by_name(view.measurements) for view in views}
        for declared in METRICS:
            mine = {task: found.get(declared.name, ()) for task, found in by_name.items()}
            yield from self._measured(declared, mine)
        yield from self._extra(views)

    # ------------------------------------------------------------------ the worker's own

    @classmethod
    def _of_worker(cls, view: WorkerView) -> Iterator[Metric]:
        own = WORKER_METRICS["riverloop_cluster_reachable"]
        reachable = GaugeMetricFamily(own.name, own.description)
        reachable.add_metric((), view.reachable)
        yield reachable
        own = WORKER_METRICS["riverloop_http_requests_total"]
        calls = CounterMetricFamily(own.name, own.description, labels=own.labels)
        for (route, status), count in sorted(view.calls.items()):
            calls.add_metric((route, str(status)), count)
        yield calls
        own = WORKER_METRICS["riverloop_http_seconds"]
        spans = HistogramMetricFamily(own.name, own.description, labels=own.labels)
        for route, each in sorted(view.spans.items()):
            spans.add_metric((route,), *cls._buckets(each))
        yield spans
        own = WORKER_METRICS["riverloop_event_loop_blocked_seconds_total"]
        blocked = CounterMetricFamily(own.name, own.description)
        blocked.add_metric((), view.blocked_s)
        yield blocked

    @staticmethod
    def _gauges(views: Sequence[TaskView]) -> Iterator[Metric]:
        def family(name: str, samples: Iterable[tuple[Sequence[str], float | None]]) -> Metric:
            made = GaugeMetricFamily(
                name, WORKER_METRICS[name].description, labels=WORKER_METRICS[name].labels
            )
            for labels, value in samples:
                if value is not None:
                    made.add_metric(labels, value)
            return made

        simple: dict[str, Callable[[TaskView], float | None]] = {
            "riverloop_ready": lambda view: view.ready,
            "riverloop_owner": lambda view: view.here.owner,
            "riverloop_join_partitions": lambda view: view.here.partitions,
            "riverloop_join_waiting": lambda view: view.here.waiting,
            "riverloop_log_next_offset": lambda view: view.next_offset,
            "riverloop_log_end_offset": lambda view: view.places.end,
            "riverloop_log_stable_offset": lambda view: view.places.stable,
            "riverloop_command_waiting_seconds": lambda view: view.here.asked_s,
            "riverloop_validation_lag_ratio": lambda view: view.validation_lag,
            "riverloop_warming_entries_left": lambda view: view.here.warming_left,
        }
        for name, value in simple.items():
            yield family(name, [((view.task,), value(view)) for view in views])
        yield family(
            "riverloop_topic_rejected",
            [
                ((view.task, what), float(bool(what)))
                for view in views
                for what in sorted(view.rejected) or [""]
            ],
        )
        models = [(view.task, model) for view in views for model in view.models]
        yield family(
            "riverloop_model_revision_info",
            [((task, each.name, each.revision, each.spec), 1) for task, each in models if each.active],
        )
        roles = [((view.task, name), each) for view in views for name, each in view.roles.items()]
        every = [((*of, role), role == each.role) for of, each in roles for role in ROLES]
        yield family("riverloop_model_role", every)
        yield family("riverloop_model_share_ratio", [(of, each.share / UNIT) for of, each in roles])
        yield family("riverloop_model_frozen", [(of, each.frozen_at >= 0) for of, each in roles])
        failed = [((view.task, name), each) for view in views for name, each in view.fails_validation.items()]
        yield family("riverloop_validation_failed", failed)
        yield family(
            "riverloop_command_offset",
            [((view.task, *of), offset) for view in views for of, offset in view.commands.items()],
        )
        yield family("riverloop_model_learned", [((task, each.name), each.learned) for task, each in models])
        yield family("riverloop_model_stopped", [((task, each.name), each.stopped) for task, each in models])
        yield family("riverloop_model_skipped_ratio", [((of, m.name), m.skipped_share) for of, m in models])
        lags = [((view.task, topic), lag) for view in views for topic, lag in sorted(view.places.lag.items())]
        yield family("riverloop_lag_records", lags)
        spans = [
            ((each.task, topic), lag) for each in views for topic, lag in sorted(each.places.lag_s.items())
        ]
        yield family("riverloop_lag_seconds", spans)

    @staticmethod
    def _counters(views: Sequence[TaskView]) -> Iterator[Metric]:
        for each in WORKER_METRICS.values():
            if each.count:
                made = CounterMetricFamily(each.name, each.description, labels=each.labels)
                for view in views:
                    made.add_metric((view.task,), view.counts.get(each.count, 0))
                yield made
        by_model: dict[str, Callable[[ModelView], int]] = {
            "riverloop_model_skipped_total": lambda model: model.skipped,
            "riverloop_model_failures_total": lambda model: model.failures,
        }
        for name, count in by_model.items():
            made = CounterMetricFamily(
                name, WORKER_METRICS[name].description, labels=WORKER_METRICS[name].labels
            )
            for view in views:
                for model in view.models:
                    made.add_metric((view.task, model.name), count(model))
            yield made
        own = WORKER_METRICS["riverloop_dead_letters_total"]
        dead_letters = CounterMetricFamily(own.name, own.description, labels=own.labels)
        for view in views:
            # All reasons from the start: a counter that appears with its first dead letter hides it.
            for reason in sorted({*REASONS, *view.dead_letters}):
                dead_letters.add_metric((view.task, reason), view.dead_letters.get(reason, 0))
        yield dead_letters

    @classmethod
    def _spans(cls, name: str, by_task: Iterable[tuple[str, Mapping[str, Histogram]]]) -> Metric:
        own = WORKER_METRICS[name]
        made = HistogramMetricFamily(own.name, own.description, labels=own.labels)
        for task, histograms in by_task:
            for label, spans in histograms.items():
                made.add_metric((task, label), *cls._buckets(spans))
        return made

    @staticmethod
    def _buckets(spans: Histogram) -> tuple[list[tuple[str, float]], float]:
        buckets = [(str(bound), float(count)) for bound, count in spans.buckets()]
        return [*buckets, ("+Inf", float(spans.count))], spans.sum_s

    # ------------------------------------------------------------------ the monitors'

    @staticmethod
    def _by_name(measurements: Sequence[Measurement]) -> dict[str, list[Measurement]]:
        found: dict[str, list[Measurement]] = {}
        for each in measurements:
            found.setdefault(each.name, []).append(each)
        return found

    def _measured(self, declared: Declared, by_task: Mapping[str, Sequence[Measurement]]) -> Iterator[Metric]:
        """Make the family of a declared metric: none where nobody measured it."""
        name = declared.exported
        make = CounterMetricFamily if declared.counter else GaugeMetricFamily
        made = make(name, f"{declared.formula} ({declared.unit})", labels=declared.labels)
        seen: set[tuple[str, ...]] = set()
        for task, measurements in by_task.items():
            for each in measurements:
                labels = (task, *(getattr(each, label) for label in declared.labels[1:]))
                # A model's newest revision comes first. What the older ones did lies on T.metrics: a version
                # as a label would be a new series with every revision.
                if labels not in seen:
                    seen.add(labels)
                    value = self._kept(name, labels, each.value) if declared.counter else each.value
                    made.add_metric(labels, value)
        if seen:
            yield made

    @staticmethod
    def _extra(views: Sequence[TaskView]) -> Iterator[Metric]:
        """Make the family of the tasks' own metrics: none where there are none."""
        labels = (*EXTRA.labels, "metric")
        made = GaugeMetricFamily(EXTRA.exported, f"{EXTRA.formula} ({EXTRA.unit})", labels=labels)
        for view in views:
            for each in view.measurements:
                if each.name not in UNITS:
                    named = (getattr(each, label) for label in EXTRA.labels[1:])
                    made.add_metric((view.task, *named, each.name), each.value)
        if made.samples:
            yield made

    def _kept(self, name: str, labels: tuple[str, ...], value: float) -> float:
        kept = self._highest[name, *labels] = max(value, self._highest.get((name, *labels), value))
        return kept
