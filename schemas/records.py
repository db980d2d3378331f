"""The records of the loop, as the code holds them; `schemas/avro/` has the same on the wire.

All times are milliseconds since 1970-01-01 UTC. `ts` is event time, as the producing service reports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from schemas.command_names import CommandName
from schemas.immutable import record

FeatureValue = bool | int | float | str
"""A feature in its canonical form; a missing one has no key."""
Features = Mapping[str, FeatureValue]
"""Features by name, in the order of the task's dictionary."""
Value = bool | float | str | None
"""An outcome's value: bool (binary), str (multiclass), float (regression), None (unavailable)."""
ScoreValue = float | Mapping[str, float] | None
"""P(true) in [0, 1] (binary), class probabilities (multiclass), a number (regression), None (no answer)."""

Kind = Literal[
    "opened", "labelled", "expired", "late", "revised", "unavailable", "time", "backfill", "command"
]
"""What an entry of the training log is; see `Entry`."""
LateBy = Literal["event_time", "arrival"]


@record(frozen=True, slots=True, order=True)
class Position:
    """Where a record lies: topic, partition, offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@record(frozen=True, slots=True)
class Request:
    """One event to be scored."""

    request_id: str
    """Unique within the task, 1 to 200 characters."""
    ts: int
    """Event time of the request."""
    features: Features
    """Canonical features."""
    entity_key: str | None = None
    """Whom or what the request is about (customer, item), where the service says so."""
    parents: tuple[str, ...] = ()
    """Lineage: the request ids, of this or other tasks, whose predictions went into the features."""


@record(frozen=True, slots=True)
class Score:
    """One model's answer."""

    model: str
    """The model's name."""
    revision: int
    """The model's revision. Its entry in the log names its specification and runtime."""
    offset: int
    """The last log entry applied to the model; -1: none."""
    score: ScoreValue
    """The score; None when a model that has learned nothing has no answer, or failed."""
    label: bool | str | None = None
    """The model's decision by River's own rule (largest probability); None for regression or no answer."""
    failure: str = ""
    """Why the model has no score: what its code raised, and where; empty when it did not fail."""
    interval: tuple[float, float] | None = None
    """Lower and upper end of the interval of a number, where the model gives one, in the outcome's unit."""

    @property
    def version(self) -> str:
        """`model.revision@offset`."""
        return f"{self.model}.{self.revision}@{self.offset}"


@record(frozen=True, slots=True)
class Prediction:
    """The answer as served, with the features as seen."""

    request_id: str
    ts: int
    """Event time of the request."""
    features: Features
    scores: tuple[Score, ...]
    """The first is served, the others are shadows; empty for a backfilled example."""
    source: Position | None = None
    """The request's place on `T.requests`; None when it came over HTTP."""
    entity_key: str | None = None
    parents: tuple[str, ...] = ()
    propensity: float | None = None
    """Share in (0, 1] with which the model that answers was drawn; None where no worker served it."""
    log_offset: int | None = None
    """The last entry that the worker had applied: which model answers, and with which versions, follows from it."""


@record(frozen=True, slots=True)
class Outcome:
    """Ground truth for a request, as a service reports it."""

    request_id: str
    ts: int
    """Event time of the outcome, not of its sending."""
    value: Value
    """None: the truth will not come (see `reason`)."""
    revision: int | None = None
    """Rises with each correction; None: a later `ts` corrects an earlier one."""
    reason: str | None = None
    """Why there is no value; required with a null value."""
    reporter: str | None = None
    """The service that reports it."""


@record(frozen=True, slots=True)
class Punctuation:
    """Lockstep only: the input is complete up to and including `ts`."""

    ts: int


@record(frozen=True, slots=True)
class Command:
    """An entry that changes what folds do, from its own offset on.

    `replay`, `forget`, `topics`, `accept` and `backfill` occur in the audit only.
    """

    name: CommandName
    model: str
    """The model it concerns; empty for all of the task."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    author: str = ""
    """Who asked for it."""
    reason: str = ""
    """Why."""
    id: str = ""
    """Chosen by whoever asks: a repeated one is done once. Empty: nobody asked for it."""
    authentication: str = ""
    """How the author is known: `token`, `none` (HTTP without tokens), `os_user`, `stated`; empty: the worker."""
    asked: int = 0
    """Wall clock of the request; 0: nobody asked for it."""
    evidence: str = ""
    """What the author based it on."""


@record(frozen=True, slots=True)
class Entry:
    """One record of the training log: a fact from the join, a backfilled example, or a command.

    Facts carry no policy's opinion: whether an `expired` is a negative is for a fold to say.
    """

    entry_id: str
    """The trigger's position and an index: `topic[partition]@offset#index`."""
    kind: Kind
    ts: int
    """Event time at which the fact came to hold: the outcome's ts, the deadline of an expiry, stream time."""
    trigger: Position | None = None
    """The record that caused the entry; None for an idle advance of time."""
    arrived: int | None = None
    """When the trigger arrived in Kafka: freshness is measured from it."""
    prediction_at: Position | None = None
    """Where the prediction lies."""
    outcome_at: Position | None = None
    """Where the outcome lies."""
    prediction: Prediction | None = None
    outcome: Outcome | None = None
    corrects: str | None = None
    """`revised`, `late`, a late `unavailable`: the entry that this one corrects."""
    previous: Value = None
    """With `corrects`: the value that stood before."""
    previous_kind: Kind | None = None
    """With `corrects`: the kind of the entry that is corrected, so that a fold need not remember it."""
    late_by: LateBy | None = None
    """After an expiry: the outcome's own ts lies after the deadline, or only its arrival did. Corrections of a
    late fact keep it, so that a fold need not look further back than one entry."""
    command: Command | None = None
    partition: int | None = None
    """`time`: the partition of the inputs whose stream time advanced; with `progress`: that it is about."""
    progress: Mapping[str, int] | None = None
    """Counters of the partition's join after this entry, on the last entry of a batch: how often each row of the
    join's table applied, scores served by model and group (`score lr 2`: 0.2 to 0.3), and `waiting`, `stream_time`,
    `oldest_waiting` (ms)."""


@record(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, with all that is needed to mend and replay it."""

    reason: str
    """Code from `schemas.reasons.REASONS`."""
    message: str
    """A sentence for the producing service."""
    field: str
    """The field at fault; empty when it is the whole record."""
    source: Position | None
    """Where the record lay; None when it came over HTTP."""
    key: bytes | None
    value: bytes | None
    """The original bytes, unchanged."""
    arrived: int
    """Kafka's timestamp of the record (arrival)."""
    producer: str | None = None
    """Client id or service, where known."""


@record(frozen=True, slots=True)
class Manifest:
    """What a snapshot is; stored beside its state and announced on `T.snapshots`."""

    version: str
    parents: tuple[str, ...]
    """Versions that this one was made from."""
    kind: Literal["model", "metrics"]
    """A model's state, or that of the metric folds."""
    task: str
    model: str
    revision: int
    log_topic: str
    log_topic_id: str
    log_offset: int
    """Last applied offset: the state is the fold of the log up to and including it."""
    next_offset: int
    """Where to go on reading."""
    learned: int
    """Examples learned."""
    spec: str
    spec_text: str
    """The specification in a form that a person can read."""
    state_digest: str
    """Canonical digest of the state."""
    state_sha256: str
    """Digest of the stored bytes."""
    dictionary: str
    """Digest of the feature dictionary."""
    schemas: Mapping[str, str]
    """Schema fingerprints by record name."""
    runtime: str
    runtime_text: str
    metrics: Mapping[str, float]
    """The model's cumulative metrics at this point, where known."""
    author: str
    git_commit: str
    created_at: int
    """Wall clock."""
    signature: str = ""
    """HMAC-SHA256 over the rest, where a key is given."""
    probes_sha256: str = ""
    """Digest of the stored probes."""
    skipped: int = 0
    """Labelled entries that the model has not learned from, because its code raised."""
    stopped: int = -1
    """The log offset at which the model has stopped learning; -1 while it learns."""
    left_out: str = ""
    """Log offsets that the model has left out by command: `FIRST..LAST`, separated by commas."""
    audit_size: int = 0
    """Records of `T.control` in the audit chain when the snapshot was taken."""
    audit_head: str = ""
    """Hash of the last of them; empty: unknown."""
    leave_out: str = ""
    """What its revision leaves out of the log: the text of a `streams.leave_out.LeaveOut`."""


@record(frozen=True, slots=True)
class Control:
    """A request for a command, or the audit of what was done."""

    kind: Literal["request", "audit"]
    command: Command
    ts: int
    """Wall clock: of the request, or of the decision."""
    entry_id: str = ""
    """`audit`: the entry in the training log."""
    rejected: str = ""
    """`audit`: why it was not done; empty when it was."""


@record(frozen=True, slots=True)
class Metric:
    """One measurement of the served predictions or of the loop."""

    name: str
    """As in the reference page, for example `accuracy`."""
    value: float
    unit: str
    """`ratio`, `nats`, `seconds`, `count`, or `outcome`: that of the outcome itself."""
    model: str
    """Empty for a measurement of the loop."""
    version: str
    role: Literal["served", "shadow", "loop"]
    window: str
    """What of the stream it covers: `all`, or the window's name."""
    count: int
    """Resolutions that it rests on."""
    log_offset: int
    """Last entry that went into it."""
    ts: int
    """Event time of that entry."""
    segment: str = ""
    """`feature=level`, a quantile such as `p99`, or the signal; empty: not split."""
    task: str = ""
    """The task's name."""
