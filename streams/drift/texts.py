"""The sentences of alerts."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.alert import Evidence
from streams.drift.cost import ExcessLoss
from streams.drift.detector import Change
from streams.drift.outage import LabelOutage
from streams.drift.rules import DELAY
from streams.episodes import Alarm

MEANS = {
    "excess_log_loss": "what the features mean has changed, not only how often",
    "error": "it is wrong more often; with a calm excess log loss, requests became harder or the base rate moved",
    "label_mean": "the base rate has moved",
    "score_mean": "the model answers otherwise, and the truth does not follow",
}
UNITS = {"excess_log_loss": " nats"}


def of_change(signal: str, model: str, change: Change, unit: str = "") -> str:
    """Say what changed.

    Parameters
    ----------
    signal
        Its name.
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
            f"Outcomes come {pace} than they did: their mean rank among earlier delays {went} from "
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
        f"No outcome with the last {feed.run:,} {what}, where {feed.share:.1%} used to come with one: the feed of "
        f"outcomes stopped. Labels are not judged until it is back."
    )


def of_loss(watch: ExcessLoss, evidence: Evidence, moved: Sequence[Alarm]) -> str:
    """Say what the served answers cost more than of late, and what has moved."""
    assert evidence.recent is not None
    assert evidence.reference is not None
    names = [f"{each.signal.replace('_', ' ')}{f' of {each.model}' if each.model else ''}" for each in moved]
    why = f" Moved as well: {', '.join(names)}." if names else ""
    return (
        f"The {watch.name} of what is served rose to {evidence.recent:.3g}{watch.unit} over the last "
        f"{evidence.recent_count:,} labels; its recent level is {evidence.reference:.3g}.{why}"
    )


def of_recovery(watch: ExcessLoss, before: float) -> str:
    """Say why an episode of the loss ends: it is back, or has stayed."""
    if watch.level > 1.1 * before:
        now = f"{watch.level:.3g}{watch.unit}"
        return f"The {watch.name} has stayed high: its level is {now} now, and was {before:.3g}."
    return f"The {watch.name} is back at its level of {watch.level:.3g}{watch.unit}."
