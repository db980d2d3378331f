"""Metrics of `riverloop hooks run` for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.notify.courier import Courier
from infra.notify.metrics import HOOK_METRICS


class HookExporter(Collector):
    """Makes the samples of all destinations at the scrape."""

    def __init__(self, task: str, couriers: Sequence[Courier]) -> None:
        self._task, self._couriers = task, couriers

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        own = HOOK_METRICS["riverloop_hook_failing"]
        failing = GaugeMetricFamily(own.name, own.description, labels=own.labels)
        own = HOOK_METRICS["riverloop_hook_attempts_total"]
        attempts = CounterMetricFamily(own.name, own.description, labels=own.labels)
        for each in self._couriers:
            labels, counts = (self._task, each.destination.name), each.counts
            failing.add_metric(labels, float(counts.failing))
            attempts.add_metric((*labels, "delivered"), counts.delivered)
            attempts.add_metric((*labels, "failed"), counts.failed)
        yield failing
        yield attempts

    def serve(self, address: str, port: int) -> None:
        """Answer `/metrics` from a thread that ends with the process."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        start_http_server(port, address, registry)
