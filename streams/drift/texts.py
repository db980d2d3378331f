"""The sentences of alerts."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.alert import Evidence
from streams.drift.cost import ExcessLoss
from streams.drift.detector import Change
from streams.drift.drift_rules import DELAY
from streams.drift.outage import LabelOutage
from streams.episodes import Alarm

MEANS = {
    "excess_log_loss": "the relation between features and outcome has changed",
    "error": (
        "decisions are incorrect more often; if the excess log loss has not changed, requests are harder or "
        "the base rate has moved"
    ),
    "label_mean": "the base rate has moved",
    "score_mean": "scores have moved, and outcomes have not",
}
UNITS = {"excess_log_loss": " nats"}


def of_change(signal: str, model: str, change: Change, unit: str = "") -> str:
    """Say what changed.

    Parameters
    ----------
    model
        Empty when it concerns all of the task.
    change
        What the detector found.
    unit
        Put behind the means, where the signal has none of its own.
    """
    evidence = change.evidence
    went = "rose" if change.direction == "up" else "fell"
    if signal == DELAY:
        pace = "slower" if change.direction == "up" else "faster"
        return (
            f"Outcomes arrive {pace} than before: their mean rank among earlier delays {went} from "
            f"{evidence.reference:.2f} to {evidence.recent:.2f} over the last {evidence.recent_count:,}."
        )
    name = signal.replace("_", " ") + (f" of {model}" if model else "")
    unit = UNITS.get(signal, unit)
    return (
        f"The {name} {went} from {evidence.reference:.3g} to {evidence.recent:.3g}{unit} over the last "
        f"{evidence.recent_count:,} resolutions: {MEANS[signal]}."
    )


def of_outage(feed: LabelOutage, what: str) -> str:
    """Say that outcomes stopped."""
    return (
        f"No outcome for the last {feed.run:,} {what}, of which {feed.share:.1%} had one before: outcomes "
        "have stopped. Label alarms are held back until they arrive again."
    )


def of_loss(watch: ExcessLoss, evidence: Evidence, moved: Sequence[Alarm]) -> str:
    """Say what the served answers cost more than of late, and what has moved."""
    assert evidence.recent is not None
    assert evidence.reference is not None
    names = [f"{each.signal.replace('_', ' ')}{f' of {each.model}' if each.model else ''}" for each in moved]
    why = f" Also moved: {', '.join(names)}." if names else ""
    return (
        f"The {watch.name} of served predictions rose to {evidence.recent:.3g}{watch.unit} over the last "
        f"{evidence.recent_count:,} labels; its recent level is {evidence.reference:.3g}.{why}"
    )


def of_recovery(watch: ExcessLoss, before: float) -> str:
    """Say why an episode of the loss ends: it is back, or has stayed."""
    if watch.level > 1.1 * before:
        now = f"{watch.level:.3g}{watch.unit}"
        return f"The {watch.name} has stayed high: its level is now {now}, before {before:.3g}."
    return f"The {watch.name} is back at its level of {watch.level:.3g}{watch.unit}."
