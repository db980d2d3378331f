"""The costs of a task that are measured here: the sizes of its records, and the time that its models take."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Final

from schemas.codec import Codec
from schemas.examples import TS, examples
from schemas.records import Entry, Prediction
from schemas.state import JoinRecord
from streams.examples import synthetic_examples
from streams.learning_time import learn, wants_time
from streams.task import Task

EXAMPLES: Final = 2_000
"""By default, for the time of the models; the first tenth is not counted."""
KEY_BYTES: Final = 36
"""Of a request id, as text of a UUID has it; ids of examples are shorter."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of typical records with their keys."""

    request: int
    prediction: int
    outcome: int
    entry: int
    state: int


def record_sizes(task: Task, *, json: bool = False) -> Sizes:
    """Encode the examples of a task's records, with a score of each of its models.

    Parameters
    ----------
    json
        Whether services send JSON instead of Avro.
    """
    # A key of its own, since none is needed to know a length.
    codec = Codec(task.name, task.kind, task.features, b"only for the length of tokens")
    found = examples(codec)
    prediction, entry, held = found["Prediction"], found["Entry"], found["JoinRecord"]
    assert isinstance(prediction, Prediction)
    assert isinstance(entry, Entry)
    assert isinstance(held, JoinRecord)
    scores = tuple(replace(prediction.scores[0], model=model.name) for model in task.models)
    prediction = replace(prediction, scores=scores)
    more = KEY_BYTES - len(prediction.request_id)

    def size(record: Any, times: int) -> int:
        """Of a record in which the id is so many times, its key included."""
        return len(codec.encode(record)) + times * more + KEY_BYTES

    def sent(record: Any) -> int:
        return len(codec.encode(record, json=True)) + more + KEY_BYTES if json else size(record, 1)

    held = replace(held, prediction=codec.held.take(prediction.request_id, codec.encode(prediction)))
    return Sizes(
        request=sent(found["Request"]),
        prediction=size(prediction, 1),
        outcome=sent(found["Outcome"]),
        # The log has no keys.
        entry=size(replace(entry, prediction=prediction), 2) - KEY_BYTES,
        state=size(held, 0),
    )


def time_of_models(task: Task, count: int = EXAMPLES) -> float:
    """Score and learn synthetic examples with fresh models in River; return the µs of CPU for one, of all models.

    The native core is faster where it knows a pipeline. A model that grows, such as a forest, gets slower.
    """
    bounds = (task.outcome_low, task.outcome_high)
    rows = [*synthetic_examples(task.features, task.kind, count, 1, bounds)]
    warm = len(rows) // 10
    spent = 0.0
    for model in task.models:
        estimator: Any = model.make()
        ask = estimator.predict_one if task.kind == "regression" else estimator.predict_proba_one
        timed = wants_time(estimator)
        started = time.process_time()
        for number, (x, y) in enumerate(rows):
            if number == warm:
                started = time.process_time()
            if number:
                ask(dict(x))
            learn(estimator, dict(x), y, TS + number if timed else None)
        spent += time.process_time() - started
    return spent / (len(rows) - warm) * 1e6
