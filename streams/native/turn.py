"""The turn: which records are scanned only, and a join's state in the native table; or Python for both.

A plan is made from the task's schemas when a worker starts. What it does not know has no plan and takes the Python
way, record by record: JSON, an older schema, whatever is rejected, outcomes before their predictions, corrections.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from schemas.codec import Codec
from schemas.formats import AVRO_MARK
from streams import native
from streams.join.join_rules import JoinRules
from streams.join.pending import MemoryStore
from streams.native.plan import NotFused
from streams.native.records import RecordPlan, plan_of
from streams.native.table import TableStore

PREDICTION: Final = [
    *("request_id", "ts", "features", "scores", "source", "entity_key", "parents", "propensity"),
    "log_offset",
]
"""The fields that `views.hpp` reads, in its order."""
OUTCOME: Final = ["request_id", "ts", "value", "revision", "reason", "reporter"]
ENTRY: Final = [
    *("entry_id", "kind", "ts", "trigger", "arrived", "prediction_at", "outcome_at", "prediction", "outcome"),
    *("corrects", "previous", "previous_kind", "late_by", "command", "partition", "progress"),
]
ANSWERS: Final = {"binary": 1, "regression": 2, "multiclass": 3}
"""By kind of task: the branch of an outcome's value."""


REPORTERS: Final = {"none": 1, "left_out": 2}
"""A reporter that is kept, or dropped; any other is the reference's."""


class ScanPlan(NamedTuple):
    """What a scan of a task's records is made from."""

    predictions: RecordPlan
    outcomes: RecordPlan
    entries: RecordPlan
    prediction_mark: bytes
    outcome_mark: bytes
    entry_mark: bytes
    answer: int
    reporter: int
    """How one is stored, of `REPORTERS`."""


def mark(codec: Codec, record: str) -> bytes:
    """Return the header of a record of today's schema."""
    return AVRO_MARK + bytes.fromhex(codec.fingerprints[record])


def module() -> Any:
    """Return the compiled module of the turn; None where Python is set, or it is not built."""
    return None if native.chosen() == "python" else native.turn_module()


def scan_of(codec: Codec) -> Any:
    """Make the scan of a task's predictions and outcomes; None where they are read in Python."""
    built, plan = module(), _plan(codec)
    return None if built is None or plan is None else built.Scan(plan)


def facts_of(codec: Codec) -> Any:
    """Make the scan of a task's log; None where it is read in Python."""
    if native.chosen() == "python" or native.log_module() is None or codec.kind == "multiclass":
        return None
    plan = _plan(codec)
    return None if plan is None else native.log_module().FactScan(plan)


def _plan(codec: Codec) -> ScanPlan | None:
    schemas = codec.schemas
    for record, fields in (("Prediction", PREDICTION), ("Outcome", OUTCOME), ("Entry", ENTRY)):
        if [each["name"] for each in schemas[record]["fields"]] != fields:
            return None
    try:
        plans = plan_of(schemas["Prediction"]), plan_of(schemas["Outcome"]), plan_of(schemas["Entry"])
    except NotFused:
        return None
    marks = mark(codec, "Prediction"), mark(codec, "Outcome"), mark(codec, "Entry")
    reporter = REPORTERS.get(codec.dictionary.reporter, 0)
    return ScanPlan(*plans, *marks, ANSWERS[codec.kind], reporter)


def store_in_memory(codec: Codec, rules: JoinRules) -> MemoryStore | TableStore:
    """Make an empty state of a join: in the native table where it is built, else in Python."""
    built = module()
    if built is None:
        return MemoryStore()
    marks = mark(codec, "Entry"), mark(codec, "JoinRecord"), mark(codec, "Resolution")
    return TableStore(built.Table(rules, marks, codec.topic_bytes), rules)
