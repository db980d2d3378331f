"""The sentences of alerts."""

from __future__ import annotations

from streams.drift.detector import Change
from streams.drift.outage import LabelOutage
from streams.drift.rules import DELAY

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
