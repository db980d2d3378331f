"""A model, exercised: what one process sees of it over synthetic examples."""

from __future__ import annotations

import copy
import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from river import base

from schemas.dictionary import Dictionary
from schemas.errors import SnapshotError, TaskError
from streams.cures import check_form, culprit, cure_of, pure_cure
from streams.examples import CLASSES, synthetic_examples
from streams.learning_time import learn, wants_time
from streams.snapshot import dump, load
from streams.snapshot.components import Component, components, members, static_faults, unseeded
from streams.snapshot.digest import state_digests
from streams.snapshot.scikit import classes_of

EXAMPLES: Final = 300
FIRST_TS: Final = 1_700_000_000_000
SPACING_MS: Final = 3_600_000
"""Event times of the examples, in ms: one an hour."""
CHECKPOINTS: Final = 5
"""How often, after the first learned examples, digests are taken before and after a prediction."""
ORDER: Final = "returns its features in another order"
VALUES: Final = "returns values that differ in their bits"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a component."""

    component: str
    """Its class, and its place in the model."""
    what: str
    """What differs, and what to do."""
    example: int = -1
    """Number of the example; -1: found without running it."""

    def __str__(self) -> str:
        at = f" (example {self.example})" if self.example >= 0 else ""
        return f"{self.component} {self.what}{at}"


@dataclass(frozen=True, slots=True)
class Exercise:
    """What one process saw of a model."""

    model: str
    """Its name."""
    faults: tuple[Fault, ...]
    """Faults found within the process."""
    outputs: Mapping[str, tuple[str, ...]]
    """By component, for each example: digest of its output's feature names in order, colon, of its values."""
    states: Mapping[str, tuple[str, ...]]
    """By component: its state digest after each checkpoint and at the end."""
    checkpoints: tuple[int, ...]
    """The examples after which `states` were taken."""
    unseeded: tuple[str, ...]
    """Components with a `seed` that is None."""


def exercise(
    make: Callable[[], base.Estimator],
    dictionary: Dictionary,
    kind: str,
    examples: int = EXAMPLES,
    seed: int = 1,
    *,
    model: str = "",
    classes: Iterable[type] = (),
    outcomes: tuple[float | None, float | None] = (None, None),
) -> Exercise:
    """Run a fresh model over synthetic examples and record all that another process must see as well.

    Parameters
    ----------
    make
        Makes a fresh model.
    dictionary, kind
        The task's features, and what it asks for.
    examples, seed
        How many examples, from which seed.
    model
        Its name, for messages.
    classes
        The task file's own classes, as `streams.snapshot.load` takes them.
    outcomes
        Lowest and highest outcome of a regression.

    Raises
    ------
    TaskError
        When the model cannot answer or learn from an example allowed by the dictionary.
    SnapshotError
        When it cannot be stored.
    """
    return _Run(make, kind, model, tuple(classes)).over(
        list(synthetic_examples(dictionary, kind, examples, seed, outcomes))
    )


class _Run:
    def __init__(
        self, make: Callable[[], base.Estimator], kind: str, name: str, classes: tuple[type, ...]
    ) -> None:
        fresh = make()
        self.live: Any = fresh
        self.make = make
        self.restored: Any = None
        self.before: dict[str, str] | None = None
        """The states since the last learned example, where they were taken."""
        self.kind, self.name, self.classes = kind, name, classes
        self.faults = [Fault(place, what) for place, what in static_faults(fresh)]
        self.unseeded = tuple(unseeded(fresh))
        self.timed = wants_time(fresh)
        self.told = classes_of(members(fresh)) if kind == "multiclass" else ()
        places = [each.place for each in components(fresh)]
        self.outputs: dict[str, list[str]] = {place: [] for place in places}
        self.states: dict[str, list[str]] = {place: [] for place in places}

    def over(self, examples: list[tuple[dict[str, Any], Any]]) -> Exercise:
        if self.faults:  # known before it runs
            examples = []
        count = len(examples)
        half = count // 2
        checkpoints = sorted({0, 1, 2, count - 1, *range(0, count, max(1, count // CHECKPOINTS))})
        for number, (x, target) in enumerate(examples):
            y = self.told[CLASSES.index(target) % len(self.told)] if self.told else target
            self._example(number, x, y)
            if number == half:
                try:
                    self.restored = load(dump(self.live), self.make(), self.classes)
                except SnapshotError as error:
                    raise SnapshotError(f"model {self.name!r}: {error}") from error
            self.before = None
            if number in checkpoints:
                self.before = _states(self.live)
                for place, digest in self.before.items():
                    self.states[place].append(digest)
        self._compare_states(count - 1)
        return Exercise(
            self.name,
            tuple(self.faults),
            {place: tuple(outputs) for place, outputs in self.outputs.items()},
            {place: tuple(states) for place, states in self.states.items()},
            tuple(checkpoints),
            self.unseeded,
        )

    def _example(self, number: int, x: dict[str, Any], y: Any) -> None:
        # As the model's fold does: before the first learned example a copy answers, since some models make
        # themselves ready for what they see first.
        subject = self.live if number else copy.deepcopy(self.live)
        try:
            first = _outputs(subject, x, self.kind)
            second = _outputs(subject, x, self.kind)
        except Exception as error:
            raise self._failed(subject, "answer", error, number, x, None) from error
        for place, output in first.items():
            self.outputs[place].append(output)
        self._differing(first, second, f"when it predicts again{pure_cure(subject)}", number)
        if self.before is not None:
            after = _states(subject)
            for place, digest in self.before.items():
                if after[place] != digest:
                    self._fault(place, f"changes its state when it predicts{pure_cure(subject)}", number)
                    break
        if self.restored is not None and not self.faults:
            self._restored_example(number, x, y, first)
        try:
            learn(self.live, dict(x), y, self._time(number))
        except Exception as error:
            raise self._failed(self.live, "learn from", error, number, x, y) from error

    def _time(self, number: int) -> int | None:
        return FIRST_TS + number * SPACING_MS if self.timed else None

    def _restored_example(self, number: int, x: dict[str, Any], y: Any, live: Mapping[str, str]) -> None:
        try:
            outputs = _outputs(self.restored, x, self.kind)
            learn(self.restored, dict(x), y, self._time(number))
        except Exception as error:
            place = culprit(self.restored, error)
            self._fault(place, f"fails after being stored and read: {type(error).__name__}: {error}", number)
            return
        self._differing(live, outputs, "after being stored and read", number)

    def _compare_states(self, number: int) -> None:
        if self.faults or self.restored is None or self.before is None:
            return
        restored = _states(self.restored)
        for place, digest in self.before.items():
            if restored[place] != digest:
                self._fault(place, "has another state after being stored and read", number)
                return

    def _differing(self, one: Mapping[str, str], other: Mapping[str, str], when: str, number: int) -> None:
        for place, output in one.items():
            if output != other[place]:
                order = output.split(":")[0] != other[place].split(":")[0]
                self._fault(place, f"{ORDER if order else VALUES} {when}", number)
                return

    def _fault(self, place: str, what: str, number: int) -> None:
        if not self.faults:  # what follows from the first is no news
            self.faults.append(Fault(place, what, number))

    def _failed(
        self, model: Any, verb: str, error: Exception, number: int, x: Mapping[str, Any], y: Any
    ) -> TaskError:
        place = culprit(model, error)
        if cure := cure_of(model, error, self.kind):
            return TaskError(f"model {self.name!r}: {place} cannot {verb} an example: {cure}")
        outcome, cure = "", "Restrict the values in the dictionary, or change the model to accept it"
        if y is not None and self.kind == "regression":
            outcome = f" with the outcome {y!r}"
            cure = f"Set outcome_low= and outcome_high= of the task if the outcome cannot occur. {cure}"
        return TaskError(
            f"model {self.name!r}: {place} cannot {verb} an example allowed by the dictionary: "
            f"{type(error).__name__}: {error} (synthetic example {number}: {dict(x)!r:.300}{outcome}). {cure}"
        )


def _states(model: Any) -> dict[str, str]:
    parts = components(model)
    digests = state_digests(each.estimator for each in parts)
    return dict(zip((each.place for each in parts), digests, strict=True))


def _outputs(model: Any, x: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Give the digest of every transformer's output for an example; for the others, of the answer."""
    answer = model.predict_one(dict(x)) if kind == "regression" else model.predict_proba_one(dict(x))
    check_form(answer, kind)
    out = {}
    for each in components(model):
        transforms = each.before is not None
        out[each.place] = _digest(
            each.estimator.transform_one(_input(each, dict(x))) if transforms else answer
        )
    return out


def _input(component: Component, x: dict[str, Any]) -> dict[str, Any]:
    for step in component.before or ():
        x = step.transform_one(x)
    return x


def _digest(output: Any) -> str:
    if not isinstance(output, Mapping):
        return f":{_bits(output)}"
    names = hashlib.blake2b("\0".join(map(repr, output)).encode(), digest_size=8).hexdigest()
    values = "\0".join(sorted(f"{name!r}={_bits(value)}" for name, value in output.items()))
    return f"{names}:{hashlib.blake2b(values.encode(), digest_size=8).hexdigest()}"


def _bits(value: Any) -> str:
    if isinstance(value, float) and not math.isnan(value):
        return struct.pack("<d", value).hex()
    return repr(value)
