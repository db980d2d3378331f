"""The episodes of the loss: what is served costs more than of late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.alert import Alert
from schemas.codec.checks import TaskKind
from schemas.records import Score, Value
from streams.drift import texts
from streams.drift.cost import ExcessLoss
from streams.drift.drift_rules import LOSS
from streams.episodes import Alarm, Episodes


class LossEpisodes:
    """Opens an episode when the loss is above its level, and closes it when it is back."""

    def __init__(self, task: str, kind: TaskKind, warm_up: int) -> None:
        self.watch = ExcessLoss(kind, warm_up)
        self.episodes = Episodes(task, LOSS, None, doubles="statistic")
        self._level = 0.0
        """That of the loss when the newest episode opened."""

    def update(
        self, score: Score, label: Value, ts: int, offset: int, moved: Sequence[Alarm]
    ) -> Alert | None:
        """Take a served score and its label; returns the step of an episode that they make.

        Parameters
        ----------
        ts
            Event time of the label, ms.
        offset
            That of the log's entry at which it is judged.
        moved
            What leads the other open episodes.
        """
        watch, episodes = self.watch, self.episodes
        cost = watch.update(score, label, ts)
        if cost is None:
            if episodes.lead is None:
                return None
            # Partitions may be apart in event time: the end does not lie before the beginning.
            end = max(watch.ts, episodes.opened_ts)
            return episodes.close(offset, end, texts.of_recovery(watch, self._level))
        evidence = cost.evidence
        if episodes.lead is None:
            self._level = watch.level
        elif (
            cost.severity in ("warning", episodes.severity)
            and (evidence.value or 0.0) <= 2 * episodes.last_statistic
        ):
            return None
        text = texts.of_loss(watch, evidence, moved)
        alarm = Alarm(LOSS, "up", cost.severity, (0,), evidence, text, score.model, score.version)
        return episodes.alarm(alarm, offset, max(watch.ts, episodes.opened_ts) if episodes.lead else watch.ts)

    def snapshot(self) -> Any:
        """Return the state; that of the episodes is apart, with those of the other families."""
        return self.watch.snapshot(), self._level

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        watched, self._level = state
        self.watch.restore(watched)
