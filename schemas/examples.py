"""One example of every record of a task, the same at every call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from schemas.alert import Alert, Evidence
from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.codec import Codec, Record
from schemas.codec.checks import TaskKind
from schemas.dictionary import Boolean, Category, Feature, Integer
from schemas.records import (
    Command,
    Control,
    DeadLetter,
    Entry,
    FeatureValue,
    Manifest,
    Metric,
    Outcome,
    Position,
    Prediction,
    Punctuation,
    Request,
    Score,
    ScoreValue,
    Value,
)
from schemas.state import AggregatesPosition, CountedRequest, JoinPosition, JoinRecord, Resolution
from schemas.tally import FeatureTally, Tally
from schemas.tokens import token
from schemas.topics import TaskTopics

TS: Final = 1_700_000_000_000
"""14 November 2023, 22:13:20 UTC."""
DAY: Final = 86_400_000
SPEC, RUNTIME, DIGEST = "0f1e2d3c4b5a6978", "8796a5b4c3d2e1f0", "00112233445566778899aabbccddeeff"
VALUES: Final[Mapping[TaskKind, Value]] = {"binary": True, "multiclass": "a class", "regression": 12.5}
SCORES: Final[Mapping[TaskKind, ScoreValue]] = {
    "binary": 0.25,
    "multiclass": {"a class": 0.75, "another class": 0.25},
    "regression": 11.75,
}
LABELS: Final[Mapping[TaskKind, bool | str | None]] = {
    "binary": False,
    "multiclass": "a class",
    "regression": None,
}


def example_value(feature: Feature) -> FeatureValue:
    """Return a value inside the feature's range or levels."""
    if isinstance(feature, Boolean):
        return True
    if isinstance(feature, Category):
        return feature.levels[0] if feature.levels else "example"
    low, high = getattr(feature, "low", None), getattr(feature, "high", None)
    number = low if low is not None else high if high is not None else 1
    return math.ceil(number) if isinstance(feature, Integer) else float(number)


def usable(codec: Codec, now: int) -> dict[str, Record]:
    """Return a valid request and its outcome by Avro name, with times at `now` (ms)."""
    found = examples(codec)
    request, outcome = found["Request"], found["Outcome"]
    assert isinstance(request, Request)
    assert isinstance(outcome, Outcome)
    # A horizon may be short, and an outcome must not lie ahead of its arrival.
    return {"Request": replace(request, ts=now), "Outcome": replace(outcome, ts=now + 1)}


def examples(codec: Codec) -> dict[str, Record]:
    """Return an example of each record that lies on a task's topics, by Avro name."""
    task, kind, dictionary = codec.task, codec.kind, codec.dictionary
    names = TaskTopics(task)
    sent = {each.name: example_value(each) for each in dictionary if each.personal_data != "left_out"}
    seen = {
        name: token(b"an example", name, str(value))
        if dictionary.by_name[name].personal_data == "tokenised"
        else value
        for name, value in sent.items()
    }
    asked, answered = Position(names.requests, 0, 41), Position(names.predictions, 0, 40)
    reported = Position(names.outcomes, 0, 7)
    version = "champion.1@1234"
    score = Score("champion", 1, 1234, SCORES[kind], LABELS[kind])
    prediction = Prediction("r-0001", TS, seen, (score,), asked, propensity=1.0, log_offset=1240)
    outcome = Outcome("r-0001", TS + DAY, VALUES[kind], 1, None, "billing")
    held = JoinRecord(
        answered, TS, prediction=codec.held.take(prediction.request_id, codec.encode(prediction))
    )
    command = Command("freeze", "champion", {}, "ada", "odd outcomes since noon", "c-0001", "token", TS)
    manifest = Manifest(
        version=version,
        parents=("champion.1@1000",),
        kind="model",
        task=task,
        model="champion",
        revision=1,
        log_topic=names.log,
        log_topic_id="vPeOCWypqUOSepEvx0cbog",
        log_offset=1234,
        next_offset=1236,
        learned=1100,
        spec=SPEC,
        spec_text="StandardScaler | LogisticRegression",
        state_digest=DIGEST,
        state_sha256=DIGEST * 2,
        dictionary=dictionary.digest,
        schemas=codec.fingerprints,
        runtime=RUNTIME,
        runtime_text="Python 3.11, River 0.26.1",
        metrics={"accuracy": 0.75},
        author="worker",
        git_commit="",
        created_at=TS + DAY,
        probes_sha256=DIGEST * 2,
    )
    return {
        "Request": codec.sent(Request("r-0001", TS, sent, "customer-7")),
        "Prediction": prediction,
        "Outcome": outcome,
        "Punctuation": Punctuation(TS),
        "Entry": Entry(
            entry_id=f"{reported}#0",
            kind="labelled",
            ts=TS + DAY,
            trigger=reported,
            arrived=TS + DAY + 250,
            prediction_at=answered,
            outcome_at=reported,
            prediction=prediction,
            outcome=outcome,
        ),
        "JoinRecord": held,
        "Resolution": Resolution(reported, 0, "labelled", None, VALUES[kind], 1, DAY),
        "JoinPosition": JoinPosition(TS, 41, 8, {"labelled": 7}),
        "CountedRequest": CountedRequest("customer-7", TS, 42, {"value": 19.5}),
        "AggregatesPosition": AggregatesPosition(TS, 43, "vPeOCWypqUOSepEvx0cbog", "entity_key"),
        "DeadLetter": DeadLetter(
            "missing_field",
            "request_id is required",
            "request_id",
            Position(names.requests, 0, 42),
            b"r-0002",
            b'{"ts":1700000000000}',
            TS + 250,
            "web-shop",
        ),
        "Manifest": manifest,
        "Control": Control("request", command, TS),
        "Metric": Metric(
            "accuracy",
            0.75,
            "ratio",
            "champion",
            version,
            "served",
            "all",
            1100,
            1234,
            TS + DAY,
            "channel=web",
            "orders",
        ),
        "Alert": Alert(
            episode=f"{task}/drift@1234",
            state="opened",
            severity="warning",
            family="drift",
            signal="excess_log_loss",
            direction="up",
            model="champion",
            version=version,
            feature="",
            evidence=Evidence(
                "DirectionalAdwin(delta=0.002)", "difference of means", 0.25, 0.125, 0.0, 900, 0.25, 120
            ),
            alarms=1,
            held_back=False,
            log_offset=1234,
            ts=TS + DAY,
            opened_ts=TS + DAY,
            text="The excess log loss of champion rose from 0.0 to 0.25 nats: what the features mean has changed.",
        ),
        "Tally": Tally(
            slot="worker-1",
            way="topic",
            ts=TS // 60_000 * 60_000,
            width_ms=60_000,
            requests=3,
            rejected={"wrong_type features.LeadTime": 1},
            written={"json": 3},
            warned={"unknown_field features.LeadTime": 1},
            features={"LeadTime": FeatureTally({"0.0": 1, "30.0": 1}, 1, 0, 31.0)},
        ),
        "Applied": Applied("worker-1", 1241, TS, {f"{task}/command/c-0001": 1241}),
        "AuditLink": AuditLink(2, "9f" * 32, ("1c" * 32, "e0" * 32), TS),
    }
