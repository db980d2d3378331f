"""What a record must satisfy beyond its types, whichever form it came in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, get_args, get_type_hints

from schemas.alert import Alert, Evidence
from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.errors import BadRecord
from schemas.event_time import hint
from schemas.features import shown
from schemas.interval import make_number_score
from schemas.limits import NAME, PARENTS, REASON, TOPIC, check_scores, check_text, check_texts
from schemas.records import (
    Command,
    Control,
    DeadLetter,
    Entry,
    Features,
    Manifest,
    Metric,
    Outcome,
    Position,
    Prediction,
    Punctuation,
    Request,
    Score,
    Value,
)
from schemas.state import (
    AggregatesPosition,
    CountedRequest,
    EarlyOutcome,
    JoinPosition,
    JoinRecord,
    Payload,
    Resolution,
)
from schemas.tally import FeatureTally, Tally

TaskKind = Literal["binary", "multiclass", "regression"]
"""What a task's outcome is: true or false, one of several texts, a number."""
Make = Callable[..., Any]
"""Makes a record of its fields' values, after checking them."""

MAX_TS: Final = 2**53
"""Every JSON reader holds whole numbers below this one exactly; it lies in the year 287396."""
MAX_NUMBER: Final = 1e150
"""Beyond this the square of an outcome's value, or of an error, is no finite number."""
COMMANDS: Final = frozenset(get_args(get_type_hints(Command)["name"]))


def check_id(request_id: str) -> None:
    """Reject a request_id that is empty, too long or starts with NUL."""
    if not 0 < len(request_id) <= NAME.characters:
        raise BadRecord(
            "out_of_range",
            f"request_id must have 1 to {NAME.characters} characters, not {len(request_id):,}",
            "request_id",
        )
    if request_id[0] == "\0":
        raise BadRecord(
            "out_of_range", "request_id must not start with NUL, which marks reserved keys", "request_id"
        )


def check_ts(ts: int) -> None:
    """Reject a time before 1970 or beyond what every JSON reader holds exactly."""
    if not 0 <= ts < MAX_TS:
        raise BadRecord(
            "impossible_time", f"ts must be ms since 1970-01-01 UTC, 0 to 2^53 - 1, not {ts}{hint(ts)}", "ts"
        )


def check_value(kind: TaskKind, value: Any) -> Value:
    """Give the canonical form of an outcome's value.

    Parameters
    ----------
    kind
        `binary` takes true, false, 0 and 1 (as whole or real numbers); `multiclass` takes text;
        `regression` takes finite numbers whose squares are finite. All take None.
    value
        The value as it was sent.

    Raises
    ------
    BadRecord
        `wrong_type` or `out_of_range`, field `value`.
    """
    if value is None:
        return None
    if kind == "binary":
        if isinstance(value, bool):
            return value
        if not isinstance(value, int | float):
            raise BadRecord("wrong_type", "value must be true, false, 0 or 1, not text", "value")
        if value not in (0, 1):
            raise BadRecord("out_of_range", f"value must be true, false, 0 or 1, not {shown(value)}", "value")
        return bool(value)
    if kind == "multiclass":
        if not isinstance(value, str):
            raise BadRecord("wrong_type", f"value must be a class as text, not {shown(value)}", "value")
        check_text(value, NAME, "value")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRecord("wrong_type", f"value must be a number, not {shown(value)}", "value")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadRecord("out_of_range", f"value must be a finite number, not {number}", "value")
    if abs(number) >= MAX_NUMBER:
        raise BadRecord("out_of_range", f"value must lie within ±{MAX_NUMBER:g}, not {number:g}", "value")
    return number + 0.0  # -0.0 becomes 0.0


def make_request(
    request_id: str, ts: int, features: Features, entity_key: str | None = None, parents: tuple[str, ...] = ()
) -> Request:
    """Make a request."""
    check_id(request_id)
    check_ts(ts)
    _check_about(entity_key, parents)
    return Request(request_id, ts, features, entity_key, parents)


def make_prediction(
    request_id: str,
    ts: int,
    features: Features,
    scores: tuple[Score, ...],
    source: Position | None = None,
    entity_key: str | None = None,
    parents: tuple[str, ...] = (),
    propensity: float | None = None,
    log_offset: int | None = None,
) -> Prediction:
    """Make a prediction."""
    check_id(request_id)
    check_ts(ts)
    _check_about(entity_key, parents)
    check_scores(scores)
    if source is not None:
        check_text(source.topic, TOPIC, "source.topic")
    if propensity is not None and not 0 < propensity <= 1:
        raise BadRecord("out_of_range", "propensity must be above 0 and at most 1", "propensity")
    return Prediction(request_id, ts, features, scores, source, entity_key, parents, propensity, log_offset)


def _check_about(entity_key: str | None, parents: tuple[str, ...]) -> None:
    if entity_key is not None:
        check_text(entity_key, NAME, "entity_key")
    if parents:
        check_texts(parents, PARENTS, "parents")


def make_punctuation(ts: int) -> Punctuation:
    """Make a punctuation."""
    check_ts(ts)
    return Punctuation(ts)


def make_command(
    name: Any,
    model: str,
    arguments: Mapping[str, str] | None = None,
    author: str = "",
    reason: str = "",
    id: str = "",
    authentication: str = "",
    asked: int = 0,
    evidence: str = "",
) -> Command:
    """Make a command."""
    if name not in COMMANDS:
        raise BadRecord("out_of_range", f"name must be one of {', '.join(sorted(COMMANDS))}", "name")
    check_text(model, NAME, "model")
    check_text(author, NAME, "author")
    check_text(reason, REASON, "reason")
    check_text(id, NAME, "id")
    check_text(authentication, NAME, "authentication")
    check_text(evidence, REASON, "evidence")
    return Command(name, model, arguments or {}, author, reason, id, authentication, asked, evidence)


def make_entry(
    entry_id: str | None,
    kind: Any,
    ts: int,
    trigger: Position | None = None,
    arrived: int | None = None,
    prediction_at: Position | None = None,
    outcome_at: Position | None = None,
    prediction: Prediction | None = None,
    outcome: tuple[Any, ...] | None = None,
    *rest: Any,
    **named: Any,
) -> Entry:
    """Make an entry: its trigger gives the id that it does not have, its prediction the outcome's request."""
    check_ts(ts)
    if entry_id is None:
        if trigger is None:
            raise BadRecord("missing_field", "entry_id is required without a trigger", "entry_id")
        entry_id = f"{trigger}#0"
    if outcome is not None:
        if prediction is None:
            raise BadRecord("missing_field", "an entry with an outcome needs its prediction", "prediction")
        outcome_at = outcome_at or trigger
    reported = None if outcome is None or prediction is None else Outcome(prediction.request_id, ts, *outcome)
    places = (trigger, arrived, prediction_at, outcome_at)
    return Entry(entry_id, kind, ts, *places, prediction, reported, *rest, **named)


def make_join_record(
    prediction_at: Position | None = None,
    request_ts: int | None = None,
    resolution: Resolution | None = None,
    early: tuple[EarlyOutcome, ...] = (),
    prediction: Payload | None = None,
) -> JoinRecord:
    """Make what the join holds: early outcomes, or a prediction with its position and time."""
    if isinstance(prediction, Prediction):
        request_ts = prediction.ts
    if prediction is None:
        missing = "" if early and resolution is None else "prediction" if resolution else "early"
    elif prediction_at is None:
        missing = "prediction_at"
    else:
        missing = "request_ts" if request_ts is None else ""
    if missing:
        raise BadRecord("missing_field", f"the state of a request needs {missing}", missing)
    return JoinRecord(prediction_at, request_ts, resolution, early, prediction)


def make_held(
    ts: int,
    features: Features,
    scores: tuple[Score, ...],
    source: Position | None = None,
    entity_key: str | None = None,
    parents: tuple[str, ...] = (),
    propensity: float | None = None,
    log_offset: int | None = None,
) -> Prediction:
    """Make a prediction whose request_id is not known yet, as the join holds it."""
    rest = (source, entity_key, parents, propensity, log_offset)
    return replace(make_prediction("-", ts, features, scores, *rest), request_id="")


def _outcome_makers(task_kind: TaskKind) -> dict[str, Make]:
    def check(value: Any, reason: str | None, reporter: str | None) -> Value:
        if value is None and not reason:
            raise BadRecord("missing_field", "an outcome without a value requires a reason", "reason")
        if reason is not None:
            check_text(reason, REASON, "reason")
        if reporter is not None:
            check_text(reporter, NAME, "reporter")
        return check_value(task_kind, value)

    def make_outcome(
        request_id: str,
        ts: int,
        value: Any,
        revision: int | None = None,
        reason: str | None = None,
        reporter: str | None = None,
    ) -> Outcome:
        check_id(request_id)
        check_ts(ts)
        return Outcome(request_id, ts, check(value, reason, reporter), revision, reason, reporter)

    def make_entry_outcome(
        value: Any, revision: int | None = None, reason: str | None = None, reporter: str | None = None
    ) -> tuple[Any, ...]:
        return check(value, reason, reporter), revision, reason, reporter

    return {"Outcome": make_outcome, "EntryOutcome": make_entry_outcome}


RECORD_TYPES: Final[dict[str, type[Any]]] = {
    each.__name__: each
    for each in (
        *(Request, Prediction, Outcome, Punctuation, Entry, JoinRecord, Resolution, JoinPosition),
        *(CountedRequest, AggregatesPosition),
        *(DeadLetter, Manifest, Control, Metric, Alert, Tally, Applied, AuditLink),
        *(Position, Score, Command, EarlyOutcome, Evidence, FeatureTally),
    )
}
"""The code's classes by their Avro names."""


def makers(kind: TaskKind) -> dict[str, Make]:
    """Give what makes each record, by its Avro name, for a task of this kind."""
    scores: dict[str, Make] = {"Score": make_number_score} if kind == "regression" else {}
    return RECORD_TYPES | {
        **scores,
        "Request": make_request,
        "Prediction": make_prediction,
        **_outcome_makers(kind),
        "Punctuation": make_punctuation,
        "Command": make_command,
        "Entry": make_entry,
        "JoinRecord": make_join_record,
        "HeldPrediction": make_held,
    }
