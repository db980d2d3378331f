"""Contender: Quix Streams, with a dict for the join or with its own interval join."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.benchmarks.compare.job import PREDICTION, Job, written
from tests.benchmarks.compare.run_config import RunConfig

HOUR_MS: Final = 3_600_000


def main(given: RunConfig) -> None:
    """Run until ended."""
    from quixstreams import Application

    exactly_once = given.options["guarantee"] == "exactly-once"
    app: Any = Application(
        broker_address=given.bootstrap,
        consumer_group=given.group,
        auto_offset_reset="earliest",
        processing_guarantee=given.options["guarantee"],
        state_dir=Path(given.folder) / "state",
        auto_create_topics=exactly_once,  # the changelogs of its state
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
        producer_extra_config={"linger.ms": 5, "retry.backoff.ms": 2} if exactly_once else {"linger.ms": 5},
        loglevel="WARNING",
    )
    raw = {"value_deserializer": "bytes", "value_serializer": "bytes", "key_serializer": "bytes"}
    requests, outcomes, predictions, examples = (
        app.topic(name, **raw) for name in (given.requests, given.outcomes, given.predictions, given.examples)
    )
    if exactly_once:
        interval_join(app, requests, outcomes, predictions, examples)
    else:
        dict_join(app, requests, outcomes, predictions, examples)
    app.run()


def dict_join(app: Any, requests: Any, outcomes: Any, predictions: Any, examples: Any) -> None:
    """Join in two dicts."""
    job = Job()
    waiting: dict[str, dict[str, Any]] = {}
    early: dict[str, bool] = {}

    def request(value: bytes) -> dict[str, Any]:
        return job.request(value)

    def write(prediction: dict[str, Any]) -> bytes:
        return written(PREDICTION, prediction)

    def remember(prediction: dict[str, Any]) -> bytes | None:
        label = early.pop(prediction["request_id"], None)
        if label is not None:
            return job.example(prediction, label)
        waiting[prediction["request_id"]] = prediction
        return None

    def outcome(value: bytes) -> bytes | None:
        found = job.outcome(value)
        prediction = waiting.pop(found["request_id"], None)
        if prediction is not None:
            return job.example(prediction, found["value"])
        early[found["request_id"]] = found["value"]
        return None

    scored = app.dataframe(requests).apply(request)
    scored.apply(write).to_topic(predictions)
    scored.apply(remember).filter(is_something).to_topic(examples)
    app.dataframe(outcomes).apply(outcome).filter(is_something).to_topic(examples)


def interval_join(app: Any, requests: Any, outcomes: Any, predictions: Any, examples: Any) -> None:
    """Join by Quix Streams' own operator, on its state store with a changelog."""
    job = Job()

    def write(prediction: dict[str, Any]) -> bytes:
        return written(PREDICTION, prediction)

    def merge(prediction: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
        return {**prediction, "label": outcome["value"]}

    def learn(merged: dict[str, Any]) -> bytes:
        label = merged.pop("label")
        return job.example(merged, label)

    scored = app.dataframe(requests).apply(job.request)
    scored.apply(write).to_topic(predictions)
    truth = app.dataframe(outcomes).apply(job.outcome)
    joined = scored.join_interval(
        truth, how="inner", on_merge=merge, grace_ms=HOUR_MS, backward_ms=HOUR_MS, forward_ms=HOUR_MS
    )
    joined.apply(learn).to_topic(examples)


def is_something(value: bytes | None) -> bool:
    """Whether there is an example to write.

    Examples
    --------
    >>> is_something(None)
    False
    """
    return value is not None
