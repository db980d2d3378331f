"""The pure core: join, training log, folds, versions, drivers. No Kafka, no clock, no files."""

from streams.cells import millis, number
from streams.datafile import DataFile, Event
from streams.drift.drift_rules import DriftRules, Watch
from streams.driver import MemoryDriver
from streams.gate.rules import Gate, Guardrail
from streams.grid import Grid
from streams.metrics.metric_rules import MetricRules
from streams.policies import DefaultAtHorizon, OnArrival
from streams.quality.quality_rules import QualityRules
from streams.race.rules import Race
from streams.select import Select
from streams.task import Model, Task

__all__ = [
    "DataFile",
    "DefaultAtHorizon",
    "DriftRules",
    "Event",
    "Gate",
    "Grid",
    "Guardrail",
    "MemoryDriver",
    "MetricRules",
    "Model",
    "OnArrival",
    "QualityRules",
    "Race",
    "Select",
    "Task",
    "Watch",
    "millis",
    "number",
]
