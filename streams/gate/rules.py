"""What a task file says about promotions: the test, its budget of errors, guardrails, steps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, get_args

from schemas.codec.checks import TaskKind
from schemas.dictionary import Boolean, Category, Dictionary
from streams.gate.gain import Gain
from streams.policies import Policy

MS: Final = timedelta(milliseconds=1)
DAY: Final = timedelta(days=1)
LOSSES: Final[dict[TaskKind, tuple[str, ...]]] = {
    "binary": ("brier", "log_loss"),
    "multiclass": ("brier", "log_loss"),
    "regression": ("absolute_error",),
}
"""By kind of task, the first is the default."""
Watched = Literal["calibration", "segment", "missing", "scores"]
WATCHED: Final = get_args(Watched)


class LossRules(Protocol):
    """The settings of a bounded loss."""

    @property
    def loss(self) -> str:
        """Its name; empty: the default of the kind of task."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Of a regression: the range of its outcomes."""

    @property
    def clip(self) -> float:
        """Log loss: the probability below which it no longer rises."""


def loss_problems(given: LossRules, kind: TaskKind) -> Iterator[str]:
    """Say what is wrong with a loss for a kind of task, one sentence each."""
    if given.loss and given.loss not in LOSSES[kind]:
        yield f"loss={given.loss!r} does not fit kind={kind!r}, which has {' or '.join(LOSSES[kind])}"
    if not (type(given.clip) is float and 0.0 < given.clip <= 0.5):
        yield f"clip={given.clip!r} must be a number above 0, at most 0.5"
    bounds: Any = given.bounds
    if kind == "regression" and bounds is None:
        yield "a regression needs bounds=(low, high), the range of its outcomes, for a bounded loss"
    if bounds is not None and kind != "regression":
        yield f"bounds= is for regressions, not for kind={kind!r}"
    elif bounds is not None and not (
        isinstance(bounds, tuple)
        and len(bounds) == 2
        and all(type(each) in (int, float) and math.isfinite(each) for each in bounds)
        and bounds[0] < bounds[1]
    ):
        yield f"bounds={bounds!r} must be two finite numbers, the lower one first"


def gain_of(given: LossRules, kind: TaskKind) -> Gain:
    """Return what computes a loss, and gains under it."""
    low, high = given.bounds or (0.0, 1.0)
    return Gain(given.loss or LOSSES[kind][0], given.clip, (float(low), float(high)))


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A harm that a challenger must not do, whatever it gains.

    Parameters
    ----------
    watch
        `calibration`: its mean score is further from the share of positives than `limit` (binary).
        `segment`: in a level of `feature` its loss is higher by more than `limit`.
        `missing`: it gives no score more often, by more than `limit`.
        `scores`: its scores differ from the other's by more than `limit`, on average (binary).
    limit
        In [0, 1).
    kind
        `guardrail` rolls back and ends the test. `signal` holds the steps until it is over.
    feature
        Of a `segment`: a category or boolean.
    """

    watch: Watched
    limit: float
    kind: Literal["guardrail", "signal"] = "guardrail"
    feature: str = ""

    @property
    def name(self) -> str:
        """`calibration`, `missing`, `scores`, or `segment FEATURE`."""
        return f"{self.watch} {self.feature}" if self.feature else self.watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """How a challenger is compared with the model that answers, and when it takes its place.

    Parameters
    ----------
    loss
        `brier` (the default of classifiers), `log_loss` (clipped) or `absolute_error` (regression).
    bounds
        Of a regression: the range of its outcomes. Errors are clipped to it.
    clip
        Log loss: the probability below which the loss no longer rises.
    alpha
        Chance of promoting a model that is not better, in all tests of the gate together.
    harm_alpha
        Chance of a false alarm of a guardrail, in all tests together.
    margin
        A gain within plus or minus this makes two models equivalent; 0: never.
    least
        Matured requests before a verdict.
    recent
        A challenger whose gain over this many of the newest matured requests is not positive is not promoted.
    budget
        Matured requests with a label after which a test ends as it stands.
    until
        Event time after which a test ends as it stands.
    guardrails
        See `Guardrail`.
    steps
        Percentages of the requests that a winner answers, one after the other; the last is 100.
    hold
        Event time between two steps.
    decide
        `propose`: each step needs an approval. `promote`: none does. A rollback of a step never does.
    policy
        Which facts are labels; by default that of the models, which must then have the same.
    wait
        Age at which a request counts with whatever label it has then; at least the task's horizon, its default.
    held
        Requests that are held at most until they count. Beyond it a drawn half of all requests is tested.
    owner
        Who is asked when a test ends without a verdict.
    valid
        Wall clock time in which a proposal can be approved; afterwards the gate proposes anew.
    """

    loss: Literal["", "brier", "log_loss", "absolute_error"] = ""
    bounds: tuple[float, float] | None = None
    clip: float = 0.01
    alpha: float = 0.05
    harm_alpha: float = 0.01
    margin: float = 0.0
    least: int = 500
    recent: int = 500
    budget: int = 100_000
    until: timedelta = timedelta(days=730)
    guardrails: tuple[Guardrail, ...] = ()
    steps: tuple[int, ...] = (1, 5, 25, 50, 100)
    hold: timedelta = DAY
    decide: Literal["propose", "promote"] = "propose"
    policy: Policy | None = None
    wait: timedelta | None = None
    held: int = 200_000
    owner: str = ""
    valid: timedelta = timedelta(days=7)

    def problems(
        self, kind: TaskKind, features: Dictionary, policies: tuple[Policy, ...], horizon: timedelta
    ) -> Iterator[str]:
        """Say what is wrong with it for a task, one sentence each."""
        yield from loss_problems(self, kind)
        yield from self._number_problems()
        for name, least in (
            ("until", MS),
            ("hold", timedelta(0)),
            ("wait", horizon),
            ("valid", MS),
        ):
            span: object = getattr(self, name)
            if span is None and name == "wait":
                continue
            if not isinstance(span, timedelta) or span < least:
                yield f"{name}={span!r} must be a timedelta of at least {least}"
        steps: Any = self.steps
        if (
            not isinstance(steps, tuple)
            or not steps
            or any(type(each) is not int for each in steps)
            or steps[-1] != 100
            or list(steps) != sorted(set(steps))
            or steps[0] < 1
        ):
            yield f"steps={steps!r} must be whole percentages that rise to 100, for example (1, 10, 100)"
        if self.decide not in ("propose", "promote"):
            yield f"decide={self.decide!r} must be 'propose' or 'promote'"
        if type(self.owner) is not str:
            yield f"owner={self.owner!r} must be a text"
        yield from self._policy_problems(policies)
        yield from self._guardrail_problems(kind, features)

    def _number_problems(self) -> Iterator[str]:
        for name in ("alpha", "harm_alpha"):
            chance: Any = getattr(self, name)
            if not (type(chance) is float and 0.0 < chance < 0.5):
                yield f"{name}={chance!r} must be a number above 0 and below 0.5"
        margin: Any = self.margin
        if not (type(margin) in (int, float) and 0.0 <= margin < 1.0):
            yield f"margin={margin!r} must be a number from 0 to below 1, on the scale of the loss"
        for name in ("least", "recent", "budget", "held"):
            count: Any = getattr(self, name)
            if type(count) is not int or count < 1:
                yield f"{name}={count!r} must be a whole number of at least 1"
            elif name == "budget" and type(self.least) is int and count < self.least:
                yield f"budget={count} must be at least least={self.least}"

    def _policy_problems(self, policies: tuple[Policy, ...]) -> Iterator[str]:
        if self.policy is None:
            if len({repr(each) for each in policies}) > 1:
                yield "the models have several policies: name the one that decides with policy="
        elif isinstance(self.policy, type) or not callable(getattr(self.policy, "label", None)):
            yield f"policy={self.policy!r} is not a policy instance, such as OnArrival()"

    def _guardrail_problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        guardrails: Any = self.guardrails
        if not isinstance(guardrails, tuple) or not all(isinstance(each, Guardrail) for each in guardrails):
            yield "guardrails= must be a tuple of Guardrail(...)"
            return
        names = [each.name for each in self.guardrails]
        if len(set(names)) != len(names):
            yield f"two guardrails watch the same ({', '.join(names)})"
        for each in self.guardrails:
            limit: Any = each.limit
            if each.watch not in WATCHED:
                yield f"Guardrail({each.watch!r}) is not one of {', '.join(WATCHED)}"
            if not (type(limit) in (int, float) and 0.0 <= limit < 1.0):
                yield f"Guardrail({each.name!r}): limit={limit!r} must be a number from 0 to below 1"
            if each.kind not in ("guardrail", "signal"):
                yield f"Guardrail({each.name!r}): kind={each.kind!r} must be 'guardrail' or 'signal'"
            if each.watch in ("calibration", "scores") and kind != "binary":
                yield f"Guardrail({each.watch!r}) is for kind='binary'"
            feature = features.by_name.get(each.feature)
            if each.watch != "segment":
                if each.feature:
                    yield f"Guardrail({each.watch!r}) has no feature"
            elif not isinstance(feature, Category | Boolean):
                yield f"Guardrail('segment'): {each.feature!r} is not a category or boolean of the task"
            elif feature.personal_data != "none":
                yield f"Guardrail('segment'): {each.feature!r} is personal data, which a decision must not show"

    def gain(self, kind: TaskKind) -> Gain:
        """Return what computes the gains."""
        return gain_of(self, kind)

    def loss_text(self, kind: TaskKind) -> str:
        """Say in words what is compared."""
        gain = self.gain(kind)
        if gain.loss == "log_loss":
            return f"log loss, clipped at {-math.log(self.clip):.3f} nats and divided by that"
        if gain.loss == "absolute_error":
            return f"absolute error within {gain.bounds[0]:g} to {gain.bounds[1]:g}, divided by that range"
        return "Brier loss"

    def wait_ms(self, horizon: timedelta) -> int:
        """Return the age at which a request counts, in ms."""
        return (self.wait or horizon) // MS

    def describe(self) -> str:
        """Return the configuration in a form that a person can read, one setting per line."""
        shown: list[tuple[str, Any]] = [(each.name, getattr(self, each.name)) for each in fields(self)]
        return "\n".join(f"{name}={value!r}" for name, value in shown)

    @property
    def digest(self) -> str:
        """Digest of the configuration (16 hex digits): a decision names it."""
        return hashlib.sha256(self.describe().encode()).hexdigest()[:16]
