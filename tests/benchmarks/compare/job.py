"""The job as one would write it by hand: fastavro, River, plain arithmetic; the loop is each contender's.

It is what the hand-written loop and the frameworks share, so that a difference between them is the framework's.
"""

from __future__ import annotations

import io
import math
from typing import Any, Final

import fastavro
from fastavro.types import Schema

from schemas.codec import Codec
from schemas.formats import HEADER_BYTES
from tests.benchmarks.compare.task import FEATURES, bench_task, pipeline

AUC_BINS: Final = 400
TINY: Final = 1e-15
FIELDS: Final[list[dict[str, Any]]] = [
    {"name": "request_id", "type": "string"},
    {"name": "ts", "type": "long"},
    {
        "name": "features",
        "type": {
            "type": "record",
            "name": "Features",
            "fields": [{"name": name, "type": "double"} for name in FEATURES],
        },
    },
    {"name": "score", "type": "double"},
]
PREDICTION: Final[Schema] = fastavro.parse_schema(
    {"type": "record", "name": "HandPrediction", "fields": FIELDS}
)
EXAMPLE: Final[Schema] = fastavro.parse_schema(
    {
        "type": "record",
        "name": "HandExample",
        "fields": [*FIELDS, {"name": "label", "type": "boolean"}],
    }
)


class Job:
    """Decode, predict, learn, measure, encode; the join and Kafka are the caller's."""

    def __init__(self) -> None:
        task = bench_task("bench")
        schemas = Codec(task.name, task.kind, task.features).schemas
        self._request = fastavro.parse_schema(schemas["Request"])
        self._outcome = fastavro.parse_schema(schemas["Outcome"])
        self.model: Any = pipeline()
        self.n = 0
        self.correct = 0
        self.loss = 0.0
        self.bins = ([0] * AUC_BINS, [0] * AUC_BINS)

    def request(self, data: bytes) -> dict[str, Any]:
        """Read a request and score it: the prediction."""
        found: Any = fastavro.schemaless_reader(io.BytesIO(data[HEADER_BYTES:]), self._request, None)
        features = found["features"]
        return {
            "request_id": found["request_id"],
            "ts": found["ts"],
            "features": features,
            "score": self.model.predict_proba_one(features).get(True, 0.0),
        }

    def outcome(self, data: bytes) -> dict[str, Any]:
        """Read an outcome."""
        found: Any = fastavro.schemaless_reader(io.BytesIO(data[HEADER_BYTES:]), self._outcome, None)
        return {"request_id": found["request_id"], "ts": found["ts"], "value": found["value"]}

    def example(self, prediction: dict[str, Any], label: bool) -> bytes:
        """Measure and learn from a pair; gives the example's record."""
        score = prediction["score"]
        self.n += 1
        self.correct += (score > 0.5) == label
        self.loss -= math.log(max(score if label else 1.0 - score, TINY))
        self.bins[label][min(int(score * AUC_BINS), AUC_BINS - 1)] += 1
        self.model.learn_one(prediction["features"], label)
        return written(EXAMPLE, {**prediction, "label": label})

    def metrics(self) -> dict[str, float]:
        """Give accuracy, log loss and the area under the ROC curve, by the bins."""
        negatives, positives = self.bins
        below = area = 0.0
        for no, yes in zip(negatives, positives, strict=True):
            area += yes * (below + no / 2)
            below += no
        pairs = sum(negatives) * sum(positives)
        return {
            "accuracy": self.correct / max(self.n, 1),
            "log_loss": self.loss / max(self.n, 1),
            "auc": area / pairs if pairs else math.nan,
        }


def written(schema: Schema, record: dict[str, Any]) -> bytes:
    """Write a record without a header."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def read_example(data: bytes) -> tuple[float, bool]:
    """Read score and label of an example."""
    found: Any = fastavro.schemaless_reader(io.BytesIO(data), EXAMPLE, None)
    return found["score"], found["label"]
