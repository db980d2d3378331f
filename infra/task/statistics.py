"""Counts and durations of a task in this worker since it started."""

from __future__ import annotations

from collections import Counter
from typing import Final

from streams.metrics.histogram import ANSWER_S, Histogram

STAGES: Final = ("arrival_to_log", "log_to_serving", "arrival_to_serving")
"""Stages of a resolution: from the arrival of its trigger until it is in the log, from there until it is applied
where requests are served, and both. Learning and serving are one process, so an applied entry serves at once."""
CHANNELS: Final = ("topic", "http")
"""How requests arrive and are answered."""


class Statistics:
    """Statistics of one task, for its status page and the exporter.

    Attributes
    ----------
    counts
        Events by name.
    dead_letters
        The dead letters among `counts`, by reason.
    freshness_ms
        Durations of the newest resolutions, from the arrival of the trigger until it is applied here.
    freshness
        Durations of all resolutions by stage (s).
    answers
        Durations by channel, from a request's arrival until its answer is committed or acknowledged (s).
    completed
        By partition: the offset on `T.outcomes` of the newest punctuation whose effects are applied.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.freshness_ms: list[float] = []
        self.freshness = {stage: Histogram() for stage in STAGES}
        self.answers = {channel: Histogram(ANSWER_S) for channel in CHANNELS}
        self.completed: dict[int, int] = {}

    def count_dead_letters(self, counts: Counter[str]) -> None:
        """Count the dead letters of a committed batch; without a commit they come again."""
        self.counts["dead_letters"] += counts.total()
        self.dead_letters.update(counts)
        counts.clear()
