"""What a task file says: one question asked of a stream of requests, and the models that compete on it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from schemas.codec import Codec
from schemas.dialect import OWN, JsonDialect
from schemas.dictionary import Dictionary
from schemas.errors import TaskError
from schemas.event_time import EARLIEST, EPOCH
from schemas.subject_keys import SubjectKeys
from schemas.topics import topics
from streams.aggregates.aggregate import LATENESS, Aggregate, with_aggregates
from streams.chain import After, check_after
from streams.datafile import DataFile
from streams.drift.drift_rules import DriftRules
from streams.gate.rules import Gate
from streams.grid import Grid, with_challengers
from streams.lookup import Lookup, adding
from streams.mapping import OutcomeMapping, check_mappings
from streams.metrics.metric_rules import MetricRules, check_metrics
from streams.own_bodies import own_bodies
from streams.own_code import own_modules
from streams.quality.quality_rules import QualityRules
from streams.snapshot.digest import state_digest
from streams.suited import INSTEAD, KINDS, range_problem
from streams.task_model import Model
from streams.validation.rules import Validation

TASK_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_SPANS: Final = (
    *("horizon", "revision_horizon", "early_horizon", "grace", "max_ahead", "tolerance", "lateness"),
)
EARLY_BUDGET_BYTES: Final = 128 * 1024 * 1024
"""Room for about 160,000 outcomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question asked of a stream of requests.

    Parameters
    ----------
    name
        Lower-case letters, digits, hyphens: the first part of its topics.
    question
        The question in a sentence, for pages and cards.
    kind
        What the outcome is: true or false, a class, a number.
    horizon
        An outcome with an event time up to the request's plus this is in time.
    models
        In an empty log the first is the champion, whose score is the answer. The others are shadows until a command
        says otherwise.
    challengers
        Further models, from a grid of parameters.
    revision_horizon
        How long after the deadline a late or corrected outcome is still joined.
    early_horizon
        How long an outcome waits for its prediction, in stream time.
    early_budget_bytes
        Memory, in bytes and for each partition, of all outcomes that wait for their predictions. Beyond it
        the newcomer is a dead letter `too_many_early`.
    grace
        How long an expiry waits beyond the deadline for outcomes on their way.
    max_ahead
        How far a record's event time may lie ahead of its arrival.
    earliest
        The first event time that is taken, with its time zone. A time in seconds lies before 2000, and is rejected.
    tolerance
        How far an outcome's time may lie before its request's.
    metrics
        How what was served is measured: windows and segments.
    aggregates
        Features about the earlier requests of the same entity; they need no place in `features`.
    lateness
        How far a request's event time may lie before the newest of its partition and still have aggregates.
    drift
        What is watched for drift, with which detectors, at which rate of false alarms.
    quality
        How the requests' quality and the drift of their features are judged.
    gate
        When a shadow has won against the model that answers: a `Gate`, or a `Race` of all models; None: nothing is
        proposed.
    validation
        Checks that models must pass, beside the loop; None: there are none.
    fallback
        The model whose score is the answer when the champion's code raises or gives no finite score; None: such a
        request is a dead letter `model_failed`.
    max_skipped
        Of the last 1,000 labelled entries, how many a model may skip because its code raised; with one more it
        stops learning.
    data
        How a data file maps to requests and outcomes; None when there is none.
    outcomes_from
        Topics of other systems, whose changes are outcomes.
    request_json, outcome_json
        How services write times and numbers in the JSON of requests and outcomes, on topics and over HTTP.
    outcome_low, outcome_high
        Between which the outcomes of a regression lie, for models that cannot learn from others, such as behind a
        logarithm. The load check makes its examples by it.
    lookup
        Features that requests do not carry, and where serving reads them.
    after
        The task whose predictions are requests of this one; None: services send them.
    """

    name: str
    question: str
    features: Dictionary
    horizon: timedelta
    models: tuple[Model, ...]
    challengers: Grid | None = None
    kind: Literal["binary", "multiclass", "regression"] = "binary"
    revision_horizon: timedelta = timedelta(days=30)
    early_horizon: timedelta = timedelta(days=1)
    early_budget_bytes: int = EARLY_BUDGET_BYTES
    grace: timedelta = timedelta(minutes=1)
    max_ahead: timedelta = timedelta(minutes=5)
    earliest: datetime = EARLIEST
    tolerance: timedelta = timedelta(0)
    metrics: MetricRules = field(default_factory=MetricRules)
    aggregates: tuple[Aggregate, ...] = ()
    lateness: timedelta = LATENESS
    drift: DriftRules = field(default_factory=DriftRules)
    quality: QualityRules = field(default_factory=QualityRules)
    gate: Gate | None = None
    validation: Validation | None = None
    fallback: str | None = None
    max_skipped: int = 10
    data: DataFile | None = None
    outcomes_from: tuple[OutcomeMapping, ...] = ()
    request_json: JsonDialect = OWN
    outcome_json: JsonDialect = OWN
    outcome_low: float | None = None
    outcome_high: float | None = None
    lookup: tuple[Lookup, ...] = ()
    after: After | None = None

    def __post_init__(self) -> None:
        where = f"task {self.name!r}"
        if not TASK_NAME.match(self.name) or len(self.name) > 100:
            raise TaskError(f"{where}: a name must consist of lower-case letters, digits and single hyphens")
        if self.kind not in KINDS:
            instead = INSTEAD.get(str(self.kind))
            cure = f"; set kind={instead}" if instead else ""
            raise TaskError(f"{where}: kind={self.kind!r} is not one of {', '.join(KINDS)}{cure}")
        if not isinstance(self.features, Dictionary):
            raise TaskError(f"{where}: features= must be a Dictionary(...)")
        # Also without a look-up: what is none is refused.
        object.__setattr__(self, "features", adding(self.features, self.lookup, where))
        for name in _SPANS:
            span = getattr(self, name)
            if not isinstance(span, timedelta):
                raise TaskError(f"{where}: {name}= must be a timedelta, for example timedelta(days=30)")
            if span < timedelta(0) or (name == "horizon" and not span):
                raise TaskError(f"{where}: {name}={span} must be positive")
        object.__setattr__(self, "features", with_aggregates(self.features, self.aggregates, where))
        self._check_earliest()
        budget: object = self.early_budget_bytes
        if type(budget) is not int or budget < 0:
            raise TaskError(f"{where}: early_budget_bytes={budget!r} must be a whole number of at least 0")
        self._check_shape()
        if self.challengers is not None:
            object.__setattr__(self, "models", with_challengers(self.models, self.challengers, where))
        check_metrics(self.metrics, self.kind, self.features, f"{where}: metrics=")
        self._check_rules("drift", DriftRules, lambda rules: rules.problems(self.kind))
        policies = tuple(model.policy for model in self.models)
        about = (self.kind, self.features, policies, self.horizon)
        self._check_rules("gate", Gate, lambda rules: rules.problems(*about))
        self._check_rules("validation", Validation, lambda rules: rules.problems(self.kind, self.features))
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise TaskError(f"{where}: two models have the same name ({', '.join(names)})")
        for model in self.models:
            model.check(self.name, self.kind)
        if self.fallback is not None and self.fallback not in names[1:]:
            shadows = ", ".join(names[1:]) or "there is none"
            raise TaskError(f"{where}: fallback={self.fallback!r} must name a shadow ({shadows})")
        most: object = self.max_skipped
        if type(most) is not int or not 0 <= most < 1000:
            raise TaskError(f"{where}: max_skipped={most!r} must be a whole number from 0 to 999")

    def _check_earliest(self) -> None:
        where = f"task {self.name!r}"
        earliest: object = self.earliest
        if not isinstance(earliest, datetime) or earliest.utcoffset() is None:
            example = "datetime(2000, 1, 1, tzinfo=UTC)"
            raise TaskError(
                f"{where}: earliest= must be a datetime with its time zone, for example {example}"
            )
        if earliest < EPOCH:
            raise TaskError(f"{where}: earliest={earliest} must be 1970 or later, since ts is not negative")

    def _check_shape(self) -> None:
        where = f"task {self.name!r}"
        if problem := range_problem(self.kind, self.outcome_low, self.outcome_high):
            raise TaskError(f"{where}: {problem}")
        if not isinstance(self.models, tuple | list):
            raise TaskError(
                f"{where}: models= must be a tuple of Model(...), not {type(self.models).__name__}"
            )
        for model in self.models:
            if not isinstance(model, Model):
                raise TaskError(f"{where}: models= holds a {type(model).__name__}, not a Model(...)")
        if self.data is not None and not isinstance(self.data, DataFile):
            raise TaskError(f"{where}: data= must be a DataFile(...), not {type(self.data).__name__}")
        own = {spec.name for spec in topics(self.name, 1)}
        check_mappings(self.outcomes_from, self.kind, own, f"{where}: outcomes_from=")
        check_after(self.after, self.features, Task, f"{where}: after=")
        for name in ("request_json", "outcome_json"):
            if not isinstance(dialect := getattr(self, name), JsonDialect):
                raise TaskError(f"{where}: {name}= must be a JsonDialect(...), not {type(dialect).__name__}")
        if not isinstance(self.quality, QualityRules):
            raise TaskError(f"{where}: quality= must be QualityRules(...), not {type(self.quality).__name__}")
        if not self.models:
            raise TaskError(f"{where}: models= needs at least one Model(...)")

    def _check_rules(self, name: str, made: type, problems: Callable[[Any], Iterable[str]]) -> None:
        where, rules = f"task {self.name!r}: {name}=", getattr(self, name)
        if rules is None and name != "drift":
            return
        if not isinstance(rules, made):
            raise TaskError(f"{where} must be {made.__name__}(...), not {type(rules).__name__}")
        for problem in problems(rules):
            raise TaskError(f"{where}{made.__name__}: {problem}")

    def codec(self, keys: bytes | SubjectKeys | None = None, *, serving: bool = False) -> Codec:
        """Make the codec of the task's records.

        Parameters
        ----------
        keys, serving
            See `Codec`.

        Raises
        ------
        TaskError
            Without the key that `serving` needs.
        """
        json = {"request_json": self.request_json, "outcome_json": self.outcome_json}
        return Codec(self.name, self.kind, self.features, keys, serving=serving, **json)

    def model(self, name: str) -> Model:
        """Give the model of that name.

        Raises
        ------
        TaskError
            Naming the models there are.
        """
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models)
        raise TaskError(f"task {self.name!r} has no model {name!r}; it has {known}")

    @property
    def foreign_topics(self) -> dict[str, str]:
        """The topics outside the task that its workers read, each with its processor in `streams.topology`."""
        found = dict.fromkeys((each.topic for each in self.outcomes_from), "outcomes-from")
        return found if self.after is None else found | {self.after.topic: "after"}

    @property
    def tolerance_ms(self) -> int:
        """`tolerance` in ms."""
        return self.tolerance // timedelta(milliseconds=1)

    def spec(self, model: Model) -> str:
        """Digest of what fixes a revision (16 hex digits).

        Pipeline, parameters, policy, code of the task file and imported code, kind, dictionary, aggregates, and
        how many entries may be skipped.
        """
        # Not the description for people: a set in it has another order in every process.
        made = model.make()
        parts = [model.name, dict(model.parameters), model.policy, made, *own_modules(made)]
        parts += own_bodies([made, model.policy])
        described = f"{self.kind}\n{self.features.digest}\n{state_digest(parts)}\n{self.max_skipped}"
        for each in self.aggregates:
            described += f"\n{each.described()}"
        return hashlib.sha256(described.encode()).hexdigest()[:16]
