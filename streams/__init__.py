"""The pure core: join, training log, folds, versions, drivers. No Kafka, no clock, no files."""

from schemas.dialect import JsonDialect
from streams.aggregates.aggregate import Aggregate
from streams.amrules import AMRules
from streams.anomalies import AnomalyClassifier
from streams.cells import millis, number
from streams.chain import After
from streams.datafile import DataFile, Event
from streams.drift.drift_rules import DriftRules, Watch
from streams.driver import MemoryDriver
from streams.gate.rules import Gate, Guardrail
from streams.grid import Grid
from streams.lookup import Lookup
from streams.mapping import OutcomeMapping
from streams.metrics.metric_rules import MetricRules
from streams.policies import DefaultAtHorizon, OnArrival
from streams.pure import pure
from streams.quality.quality_rules import QualityRules
from streams.race.rules import Race
from streams.select import Select
from streams.task import Task
from streams.task_model import Model
from streams.validation.behaviour import Direction, Invariant, Replay, ScoreRange
from streams.validation.checks import BeatsBaseRate, BeatsEarlier, HeldBack, Loss
from streams.validation.rules import Validation

__all__ = [
    "AMRules",
    "After",
    "Aggregate",
    "AnomalyClassifier",
    "BeatsBaseRate",
    "BeatsEarlier",
    "DataFile",
    "DefaultAtHorizon",
    "Direction",
    "DriftRules",
    "Event",
    "Gate",
    "Grid",
    "Guardrail",
    "HeldBack",
    "Invariant",
    "JsonDialect",
    "Lookup",
    "Loss",
    "MemoryDriver",
    "MetricRules",
    "Model",
    "OnArrival",
    "OutcomeMapping",
    "QualityRules",
    "Race",
    "Replay",
    "ScoreRange",
    "Select",
    "Task",
    "Validation",
    "Watch",
    "millis",
    "number",
    "pure",
]
