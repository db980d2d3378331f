"""How a metric of a process is declared: its name, its labels, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerMetric:
    """Declaration of a worker's metric."""

    name: str
    """As samples carry it."""
    labels: tuple[str, ...]
    description: str
    action: str = ""
    """What to do about an unexpected value; empty: nothing, or an alert's page has it."""
    count: str = ""
    """The worker's counter that the metric exports; empty: no counter."""
