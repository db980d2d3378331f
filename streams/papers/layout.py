"""A model card as a document: what is not known is said, and nothing else is added."""

from __future__ import annotations

from collections.abc import Iterator

from streams.papers.card import Card, MeasuredPart, StateFacts, TrainingFacts
from streams.papers.contest_layout import contest_blocks, validation_blocks
from streams.papers.document import UNKNOWN, Block, Code, Heading, Paragraph, Table, fields, when
from streams.papers.measured import MeasuredMetric
from streams.papers.specification import FeatureFacts, Specification


def card_blocks(card: Card) -> list[Block]:
    """Return a card's blocks."""
    return [
        Heading(f"Model card of {card.version}", 1),
        Paragraph(
            f"Made from {card.log_topic} before offset {card.log_end:,} and from the topics of task {card.task}. "
            "Times are UTC."
        ),
        *_question(card),
        *_training(card.training, card.state),
        *_specification(card.specification),
        *_features(card.specification),
        *_metrics(card),
        *_episodes(card),
        *contest_blocks(card.contest, card.gate),
        *validation_blocks(card.validations),
        *_decisions(card),
    ]


def _question(card: Card) -> Iterator[Block]:
    yield Heading("Question")
    yield Paragraph(card.question)
    rows = [
        ("task", card.task),
        ("kind", card.kind),
        *card.specification.task.items(),
        ("role at this version", card.role or UNKNOWN),
        ("role now", card.role_now or UNKNOWN),
    ]
    yield fields(rows)


def _training(training: TrainingFacts | None, state: StateFacts | None) -> Iterator[Block]:
    yield Heading("Training history")
    rows = list[tuple[str, str]]()
    if training is None or training.first_offset is None:
        yield Paragraph("The log has no entry up to this version but commands.")
    else:
        rows += [
            ("log offsets", f"{training.first_offset} to {training.last_offset}"),
            ("times of the entries", f"{when(training.first_ts)} to {when(training.last_ts)}"),
            (
                "times of the requests",
                f"{when(training.first_request_ts)} to {when(training.last_request_ts)}",
            ),
            ("entries", ", ".join(f"{kind} {count:,}" for kind, count in training.kinds.items())),
            ("labels that the policy gives", _count(training.labels)),
        ]
    if state is not None:
        stopped = (
            UNKNOWN if state.stopped is None else "no" if state.stopped < 0 else f"at offset {state.stopped}"
        )
        left_out = state.left_out or (UNKNOWN if state.learned is None else "nothing")
        rows += [
            ("examples learned", _count(state.learned)),
            ("entries skipped", _count(state.skipped)),
            ("stopped learning", stopped),
            ("log offsets left out by command", left_out),
            ("digest of the state", state.digest or UNKNOWN),
            ("continued from", ", ".join(state.parents) or "the beginning of the log, as far as is known"),
            ("source of these numbers", state.source),
        ]
    yield fields(rows)
    if training is not None and training.log_begins:
        yield Paragraph(
            f"The log begins at offset {training.log_begins:,}: earlier entries were deleted and are not counted "
            "here."
        )


def _specification(found: Specification) -> Iterator[Block]:
    yield Heading("Specification")
    rows = [
        ("digest", found.digest or UNKNOWN),
        ("label policy", found.policy or UNKNOWN),
        ("data dictionary", found.dictionary or UNKNOWN),
        ("runtime", found.runtime or UNKNOWN),
        ("libraries", found.runtime_text or UNKNOWN),
        ("git commit of the task file", found.commit or UNKNOWN),
        ("source", found.source or "neither a snapshot nor the task file has this specification"),
    ]
    yield fields(rows)
    if not found.text:
        return
    if found.parameters:
        yield Table(("parameter", "value"), list(found.parameters.items()))
    else:
        yield Paragraph("The model has no parameters.")
    yield Code(found.pipeline)


def _features(found: Specification) -> Iterator[Block]:
    yield Heading("Data dictionary")
    if not found.features:
        yield Paragraph(
            "The features of this dictionary are not known: no revision on the control topic has them."
        )
        return
    yield Paragraph(f"{found.features_source} An empty cell is not declared.")
    names = {"name": "feature", "limits": "range or levels", "personal": "personal data"}
    yield Table([names.get(name, name) for name in FeatureFacts._fields], found.features)


def _metrics(card: Card) -> Iterator[Block]:
    yield Heading("Metrics")
    if card.policy_differs:
        yield Paragraph(card.policy_differs)
    if not card.measured:
        yield Paragraph("No score of this revision has a label.")
        return
    yield Paragraph(
        "Of the scores of this revision as they were given before the outcome was known. An interval holds at all "
        "times together, with 95 % confidence. A metric that is a mean has one from 100 labels on."
    )
    for part in card.measured:
        by = card.version if part.scored_by == "this version" else part.scored_by
        labels = "1 label" if part.labels == 1 else f"{part.labels:,} labels"
        yield Heading(f"{part.role.capitalize()}, scores by {by}: {labels}", 3)
        yield Table(("metric", "value", "95 % interval", "unit"), [_metric(each) for each in part.metrics])
        yield from _segments(part)
        if part.calibration:
            yield Table(
                ("scores from", "to", "labels", "mean score", "base rate"),
                [
                    (
                        f"{row['from']:g}",
                        f"{row['to']:g}",
                        f"{int(row['count']):,}",
                        f"{row['mean_score']:.4f}",
                        f"{row['base_rate']:.4f}",
                    )
                    for row in part.calibration
                ],
            )
    if card.gains:
        yield Heading("As a shadow", 3)
        rows = [
            (each.against, *_metric(each.measurement), f"{each.measurement.labels:,}") for each in card.gains
        ]
        yield Table(("against", "gain", "value", "95 % interval", "unit", "labels"), rows)


def _segments(part: MeasuredPart) -> Iterator[Block]:
    if not part.segments:
        return
    names = list(dict.fromkeys(each.name for metrics in part.segments.values() for each in metrics))
    rows = []
    for segment, metrics in part.segments.items():
        values = {each.name: str(each) for each in metrics}
        count = f"{metrics[0].labels:,}" if metrics else "0"
        rows.append((segment, count, *(values.get(name, "") for name in names)))
    yield Table(("segment", "labels", *names), rows)


def _metric(found: MeasuredMetric) -> tuple[str, str, str, str]:
    ends = "none" if found.low is None or found.high is None else f"{found.low:.4f} to {found.high:.4f}"
    return (found.name, f"{found.value:.4f}", ends, found.unit)


def _episodes(card: Card) -> Iterator[Block]:
    yield Heading("Drift and alerts")
    if card.alerts_begin:
        yield Paragraph("Older alerts were deleted from the topic; only the remaining ones are listed.")
    if not card.episodes:
        yield Paragraph("The topic of alerts has no episode about this revision or its task.")
        return
    rows = [
        (
            when(each.opened_ts),
            "open" if each.closed_ts is None else when(each.closed_ts),
            each.severity,
            each.family,
            each.signal,
            each.concerns,
            f"{each.alarms:,}",
            each.text,
        )
        for each in card.episodes
    ]
    yield Table(("opened", "closed", "severity", "family", "signal", "concerns", "alarms", "text"), rows)


def _decisions(card: Card) -> Iterator[Block]:
    yield Heading("Decisions")
    if not card.decisions:
        yield Paragraph("The control topic has no command about this model.")
        return
    rows = [
        (
            "" if each.log_offset is None else str(each.log_offset),
            when(each.ts),
            each.command,
            each.result,
            each.author,
            each.authentication,
            each.reason,
            each.evidence,
        )
        for each in card.decisions
    ]
    columns = ("log offset", "decided", "command", "result", "by", "known by", "reason", "evidence")
    yield Table(columns, rows)


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"
