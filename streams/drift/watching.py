"""The signals of one model, each with its detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from schemas.codec.checks import TaskKind
from schemas.records import Score, Value
from streams.drift.budget import Share
from streams.drift.detector import Change, Detector
from streams.drift.drift_rules import DELAY, DriftRules, Watch
from streams.drift.signals import Signal, signal


class ModelWatch:
    """Watches the signals of one model.

    A new revision is our own doing and no drift: with its first score all starts again, and scores of older
    revisions are skipped.

    Parameters
    ----------
    share
        How many false alarms each signal's detector may raise.
    labels
        Whether it watches the label mean; one model per policy does.
    """

    def __init__(self, rules: DriftRules, kind: TaskKind, share: Share, *, labels: bool) -> None:
        self.rules, self.kind, self.share = rules, kind, share
        self.watches = tuple(
            watch
            for watch in rules.watches
            if watch.signal != DELAY
            and (labels or watch.signal != "label_mean")
            and signal(watch.signal, kind) is not None
        )
        self._revision, self._past = "", set[str]()
        self._start()

    def _start(self) -> None:
        self.seen = 0
        self._pairs: list[tuple[Watch, Signal, Detector]] = []
        for watch in self.watches:
            made = signal(watch.signal, self.kind)
            assert made is not None
            rate = self.share.of(watch.signal)
            self._pairs.append((watch, made, watch.make(rate, self.rules.cool_down, made.span)))

    def update(self, score: Score, label: Value) -> Sequence[tuple[Watch, Change]]:
        """Take a score and its label; returns what changed for the worse."""
        found: Sequence[tuple[Watch, Change]] = ()
        revision = f"{score.model}.{score.revision}"
        if revision != self._revision:
            if revision in self._past:
                return found
            if self._revision:
                self._past.add(self._revision)
                self._start()
            self._revision = revision
        self.seen += 1
        judged = self.seen > self.rules.warm_up
        for watch, made, detector in self._pairs:
            number = made.of(score, label)
            if number is not None and judged:
                change = made.report(detector.update(number))
                if change is not None:
                    found = (*found, (watch, change))
        return found

    def levels(self) -> Iterator[tuple[Watch, float, int]]:
        """Return each signal's mean since its last change, and the numbers it rests on."""
        for watch, _, detector in self._pairs:
            level = detector.level
            if level is not None:
                yield watch, *level

    def snapshot(self) -> Any:
        """Return the state."""
        states = [(made.snapshot(), detector.snapshot()) for _, made, detector in self._pairs]
        return self._revision, sorted(self._past), self.seen, states

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        self._revision, past, self.seen, states = state
        self._past = set(past)
        for (_, made, detector), (numbers, found) in zip(self._pairs, states, strict=True):
            made.restore(numbers)
            detector.restore(found)
