"""The runbook of each family of episodes: one table for the live page and for what is sent to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.learning_steps import FAMILY

EPISODES: Final[Mapping[str, tuple[str, str]]] = {
    "outage": ("No outcomes arrive", "label-outage"),
    "loss": ("Predictions have become worse", "loss-episode"),
    "drift": ("The model or its data has drifted", "drift-episode"),
    FAMILY: ("A model skips entries", "model-skips-entries"),
    "delay": ("The delay of outcomes has changed", "drift-episode"),
}
"""By family: title and runbook. Other families concern the requests."""
REQUESTS: Final = ("The requests have changed", "quality-episode")


def episode(family: str) -> tuple[str, str]:
    """Return the title of a family's episodes and the name of its page in docs/operations/runbooks/.

    Examples
    --------
    >>> episode("outage"), episode("features")[1]
    (('No outcomes arrive', 'label-outage'), 'quality-episode')
    """
    return EPISODES.get(family, REQUESTS)
