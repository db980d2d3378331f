"""The model card: all that a task's log and topics say about a version, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from schemas.alert import Alert
from schemas.dictionary import Dictionary
from schemas.records import Command, Control
from streams.learning_steps import FAMILY as LEARNING
from streams.papers.contested import ContestFacts
from streams.papers.history import PARTS, VersionHistory
from streams.papers.measured import MeasuredMetric
from streams.papers.specification import Specification
from streams.papers.validated import ValidationFacts
from streams.rollout import VALIDATION
from streams.shares import SHARE, UNIT
from streams.version import Version

ANSWERING: Final = frozenset({"promote", "share"})
"""Commands that change the share of every model."""
QUALITY: Final = "quality"
"""The family of alerts whose texts may quote values."""


@dataclass(frozen=True, slots=True)
class StateFacts:
    """What a version has learned."""

    source: str
    """Where the numbers are from; where there are none, why."""
    learned: int | None = None
    skipped: int | None = None
    stopped: int | None = None
    """Log offset at which it has stopped learning; -1: it has not."""
    left_out: str = ""
    """Log offsets that it has left out by command: `FIRST..LAST`, separated by commas."""
    digest: str = ""
    parents: tuple[str, ...] = ()
    """The snapshot that the state goes on from, as its manifest says."""


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """The interval of the log that a version is made of."""

    first_offset: int | None
    last_offset: int | None
    first_ts: int | None
    """Event time of the first entry, ms."""
    last_ts: int | None
    first_request_ts: int | None
    last_request_ts: int | None
    kinds: Mapping[str, int]
    """Entries by kind."""
    labels: int | None
    """First labels that the policy gives; None: the policy is not at hand."""
    log_begins: int
    """The oldest offset of the log."""


@dataclass(frozen=True, slots=True)
class MeasuredPart:
    """Metrics of the scores of a revision in one role."""

    role: str
    scored_by: str
    """Which versions of the revision gave the scores."""
    labels: int
    metrics: tuple[MeasuredMetric, ...]
    segments: Mapping[str, tuple[MeasuredMetric, ...]]
    calibration: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Gain:
    """The comparison of the revision as a shadow with what was served."""

    against: str
    measurement: MeasuredMetric


@dataclass(frozen=True, slots=True)
class EpisodeFacts:
    """An episode, from its first to its newest alert."""

    episode: str
    family: str
    severity: str
    signal: str
    concerns: str
    """The version, the feature, or the task."""
    opened_ts: int
    closed_ts: int | None
    """None while it is open."""
    alarms: int
    text: str


@dataclass(frozen=True, slots=True)
class DecisionFacts:
    """A command that was decided."""

    log_offset: int | None
    command: str
    result: str
    author: str
    authentication: str
    reason: str
    evidence: str
    ts: int
    """Wall clock of the decision, ms."""


@dataclass(frozen=True, slots=True)
class Card:
    """A version's card."""

    task: str
    question: str
    kind: str
    version: str
    model: str
    log_topic: str
    log_end: int
    """The offset before which the log was read."""
    specification: Specification
    role: str = ""
    """At the version's offset."""
    role_now: str = ""
    state: StateFacts | None = None
    training: TrainingFacts | None = None
    measured: tuple[MeasuredPart, ...] = ()
    policy_differs: str = ""
    """Why nothing is measured, or by which other policy labels count; empty: by the revision's."""
    gains: tuple[Gain, ...] = ()
    episodes: tuple[EpisodeFacts, ...] = ()
    alerts_begin: int = 0
    """The oldest offset of `T.alerts`; above 0 earlier alerts are deleted."""
    decisions: tuple[DecisionFacts, ...] = ()
    gate: Mapping[str, Any] | None = None
    """How far the model's rollout is, as `streams.rollout_status` says; None: the gate has decided nothing."""
    contest: ContestFacts | None = None
    """All challengers in the gate, or the race, at the end of the log; None: the task file has no gate."""
    validations: tuple[ValidationFacts, ...] = ()
    """The newest last."""

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        found = asdict(self)
        specification = self.specification
        found["specification"] |= {
            "parameters": specification.parameters,
            "policy": specification.policy,
            "pipeline": specification.pipeline,
            "features": [each._asdict() for each in specification.features],
        }
        for part, facts in zip(found["measured"], self.measured, strict=True):
            part["metrics"] = [each._asdict() for each in facts.metrics]
            part["segments"] = {
                name: [each._asdict() for each in metrics] for name, metrics in facts.segments.items()
            }
        for gain, each in zip(found["gains"], self.gains, strict=True):
            gain["measurement"] = each.measurement._asdict()
        return found


def role_text(share: int, role: str, frozen: bool) -> str:
    """Return a role in words.

    Examples
    --------
    >>> role_text(900_000, "served", True)
    'served 0.9, frozen'
    """
    text = f"{role} {share / UNIT:g}" if share else role
    return f"{text}, frozen" if frozen else text


def training_facts(history: VersionHistory, log_begins: int) -> TrainingFacts:
    """Return the training history that a log gives."""
    first, last = history.first or (None, None), history.last or (None, None)
    low, high = history.requests or (None, None)
    labels = None if history.model is None else history.labels
    times = (first[1], last[1], low, high)
    return TrainingFacts(first[0], last[0], *times, dict(sorted(history.kinds.items())), labels, log_begins)


def measured_parts(history: VersionHistory) -> tuple[MeasuredPart, ...]:
    """Return the metrics of a revision by role and part, those with labels."""
    found = []
    order = {part: number for number, part in enumerate(PARTS)}
    for (role, part), scores in sorted(
        history.measured.items(), key=lambda each: (each[0][0], order[each[0][1]])
    ):
        if not scores.whole.n:
            continue
        segments = {name: tuple(each.metrics()) for name, each in scores.segments().items()}
        table = tuple(scores.whole.tally.table())
        found.append(MeasuredPart(role, part, scores.whole.n, tuple(scores.whole.metrics()), segments, table))
    return tuple(found)


def gains(history: VersionHistory) -> tuple[Gain, ...]:
    """Return the comparisons of the revision as a shadow."""
    by_segment: dict[str, dict[str, Any]] = {}
    for each in history.gains():
        name = each.name.removesuffix("_low").removesuffix("_high")
        by_segment.setdefault(each.segment, {"name": name})[each.name.removeprefix(name)] = each
    return tuple(
        Gain(
            segment.partition("=")[2],
            MeasuredMetric(
                ends["name"],
                ends[""].value,
                ends["_low"].value,
                ends["_high"].value,
                ends[""].count,
                ends[""].unit,
            ),
        )
        for segment, ends in by_segment.items()
    )


def episodes(alerts: Iterable[Alert], version: Version, dictionary: Dictionary) -> tuple[EpisodeFacts, ...]:
    """Return the episodes that concern a revision, or all of its task, in the order in which they opened.

    Texts that may quote a value are left out where the dictionary has personal data, and so are request ids.
    """
    careful = bool(dictionary.tokenised) or any(each.personal_data != "none" for each in dictionary)
    revision = f"{version.model}.{version.revision}@"
    newest: dict[str, Alert] = {}
    first_text: dict[str, str] = {}
    for alert in alerts:
        if alert.model not in {"", version.model}:
            continue
        if alert.version and alert.model and not alert.version.startswith(revision):
            continue
        newest[alert.episode] = alert
        first_text.setdefault(alert.episode, _alert_text(alert, careful))
    return tuple(
        EpisodeFacts(
            each.episode,
            each.family,
            each.severity,
            each.signal,
            each.version or (f"feature {each.feature}" if each.feature else "the task"),
            each.opened_ts,
            each.ts if each.state == "closed" else None,
            each.alarms,
            first_text[each.episode],
        )
        for each in sorted(newest.values(), key=lambda each: (each.opened_ts, each.episode))
    )


def _alert_text(alert: Alert, careful: bool) -> str:
    if alert.family == LEARNING:
        return f"{alert.signal} at log offset {alert.log_offset}: {alert.exception}".removesuffix(": ")
    if alert.family == QUALITY and careful:
        return "not shown: the task has personal data"
    return alert.text


def concerns(command: Command, model: str) -> bool:
    """Whether a command changes what a model does."""
    return command.model == model or command.name in ANSWERING or f"{SHARE}{model}" in command.arguments


def decisions(audits: Iterable[Control], model: str, offsets: Mapping[str, int]) -> tuple[DecisionFacts, ...]:
    """Return the commands about a model, rejected ones as well, in the order in which they were decided.

    Parameters
    ----------
    offsets
        Log offsets by entry id.
    """
    found = []
    for audit in audits:
        command = audit.command
        if not concerns(command, model) or command.name == VALIDATION:
            continue
        shares = [
            f"{key.removeprefix(SHARE)}={value}" for key, value in command.arguments.items() if SHARE in key
        ]
        mode = [f"--{command.arguments['mode']}"] if "mode" in command.arguments else []
        name = " ".join(part for part in (command.name, command.model, *shares, *mode) if part)
        found.append(
            DecisionFacts(
                offsets.get(audit.entry_id),
                name,
                f"rejected: {audit.rejected}" if audit.rejected else "done",
                command.author or "riverloop",
                command.authentication or "the worker",
                command.reason,
                command.evidence,
                audit.ts,
            )
        )
    return tuple(found)
