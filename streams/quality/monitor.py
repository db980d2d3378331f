"""The owner's side: adds up the workers' tallies and says what is not as it was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from schemas.dictionary import Dictionary
from schemas.paths import OTHER, known_paths
from schemas.tally import Tally
from streams.episodes import Episodes
from streams.fold import BaseMonitor, Measurement
from streams.quality.judge import DRIFT, MOVED, Finding, Verdict, came_before, judge, together
from streams.quality.means import MeanWatch
from streams.quality.measured import of_feature
from streams.quality.quality_rules import QualityRules
from streams.quality.reference import Reference
from streams.quality.request_findings import odd_hour, requests_findings, stands_still
from streams.quality.seasons import Seasons, added
from streams.quality.tally import CELL_MS, Total, rejection, warnings
from streams.quality.volume import Hour, Volume

SCHEMA: Final = re.compile(r"json|[0-9a-f]{16}")
"""How a request may be written: `json`, or the fingerprint of its schema."""


class QualityMonitor(BaseMonitor[Tally]):
    """A fold of `T.quality`: the same tallies in the same order raise the same alerts at the same offsets.

    Minutes of event time are closed in order. The first requests become the reference, which then stays; what
    comes after is judged in windows. Where tallies come within the grace of their minute, how they were cut
    and which workers counted makes no difference.

    Parameters
    ----------
    rules
        Sizes and the budget of false alarms.
    """

    def __init__(self, task: str, dictionary: Dictionary, rules: QualityRules | None = None) -> None:
        super().__init__()
        self.task, self.dictionary = task, dictionary
        self.rules = rules = rules or QualityRules()
        self.features = tuple(each for each in dictionary if each.personal_data != "left_out")
        self.alpha = rules.alpha(len(self.features))
        self.sum = Total()
        """All that was ever counted, without the features' bins."""
        self.window = Total()
        self.judged_at = 0
        """Windows judged so far."""
        self.references: dict[str, Reference] = {}
        self.base = Total()
        """The window of which the reference was taken, without the features' bins."""
        self.verdicts: dict[str, Verdict] = {}
        """Of the newest window."""
        self.volume = Volume(rules.budget)
        self.hour: Hour | None = None
        self.newest = 0
        self.late = 0
        """Requests whose minute was closed when they were counted; they count in the next one."""
        self._paths = known_paths(dictionary)
        self._cells: dict[int, Total] = {}
        self._closed = 0
        self._means = self._mean_watches()
        self._changed: dict[str, tuple[int, str]] = {}
        """By feature that may go stale: when its value last changed, and its bin."""
        self._stale: set[str] = set()
        self._open: dict[str, Episodes] = {}
        """By family, in the order of their opening."""
        self._opened: Counter[str] = Counter({DRIFT: 0})
        """Episodes so far, by family."""
        self._lasting = 0
        """Windows in which values were moved since the episode about that opened."""
        self.seasons = Seasons()
        """The judged windows of a year."""
        self._recent: list[Total] = []
        """The newest windows: as many as make up a reference."""
        self._found: set[str] = set()
        """Families that had a finding since the last window's end."""

    @property
    def name(self) -> str:
        """Its key in snapshots and of its records."""
        return "quality"

    @property
    def spec(self) -> str:
        """What fixes the meaning of its state."""
        return f"{self.rules!r} {self.features!r}"

    # ------------------------------------------------------------------ the fold

    def _apply(self, offset: int, tally: Tally) -> None:
        tally = self._named(tally)
        self.sum.add(replace(tally, features={}))
        cell = tally.ts
        if not tally.requests and not self._closed <= cell <= self.newest:
            # Rejections alone say nothing about event time: their worker may have known none.
            cell = min(self._cells, default=self._closed)
        elif cell < self._closed:
            self.late += tally.requests
            cell = self._closed
        self._cells.setdefault(cell, Total()).add(tally)
        if tally.requests:
            self.newest = max(self.newest, tally.ts)
        for each in sorted(self._cells):
            if each + CELL_MS + self.rules.grace_ms <= self.newest:
                self._close(each, self._cells.pop(each), offset)

    def _named(self, tally: Tally) -> Tally:
        """Return a tally with a bounded set of names, since they become labels and are shown."""
        rejected: Counter[str] = Counter()
        for kind, count in tally.rejected.items():
            reason, _, field = kind.partition(" ")
            rejected[rejection(reason, field, self._paths)] += count
        written: Counter[str] = Counter()
        for name, count in tally.written.items():
            written[name if SCHEMA.fullmatch(name) else OTHER] += count
        names = self.dictionary.by_name
        features = {name: each for name, each in tally.features.items() if name in names}
        warned = warnings(tally.warned, features, self._paths)
        return replace(tally, rejected=rejected, written=written, warned=warned, features=features)

    def flush(self) -> None:
        """Close the minutes that are open, at the end of a replay."""
        for each in sorted(self._cells):
            self._close(each, self._cells.pop(each), self.next_offset - 1)

    def _close(self, ts: int, cell: Total, offset: int) -> None:
        if not self._closed and not cell.requests:
            self.window.add(cell)  # rejected before there was any event time
            return
        self._closed = ts + CELL_MS
        for hour in self.volume.add(ts, cell.requests):
            self.hour = hour
            if hour.odd:
                self._take(odd_hour(hour), offset, ts)
            else:
                self._step(["requests.volume"], offset, ts)
        self._staleness(ts, cell, offset)
        self.window.add(cell)
        if not self.references:
            if self.window.requests >= self.rules.reference:
                self._learn()
            return
        for name, watch in self._means.items():
            reference = self.references[name]
            finding = watch.update(reference, cell.of(name)) if reference.present else None
            if finding is None:
                continue
            now = added(name, *self._recent[-1:], self.window)
            if not came_before(reference, now, self.seasons.year_ago(ts, name), self.rules):
                self._take(finding, offset, ts)
        if self.window.requests >= self.rules.window:
            self._judge(offset, ts)

    def _learn(self) -> None:
        self.references = {each.name: Reference.of(each, self.window.of(each.name)) for each in self.features}
        self.base, self.window = self.window, Total()
        self.base.features = {}

    def _judge(self, offset: int, ts: int) -> None:
        moved: list[Finding] = []
        for each in self.features:
            then = self.seasons.year_ago(ts, each.name)
            now = self.window.of(each.name)
            verdict = judge(self.references[each.name], now, self.rules, self.alpha, then)
            self.verdicts[each.name] = verdict
            moved += [finding for finding in verdict.findings if finding.signal in MOVED]
            for finding in verdict.findings:
                if finding.signal not in MOVED:
                    self._take(finding, offset, ts)
        whole = together(moved, opened=DRIFT in self._open)
        for finding in (*((whole,) if whole else ()), *requests_findings(self.base, self.window, self.alpha)):
            self._take(finding, offset, ts)
        stale = {f"feature.{name}" for name in self._stale}
        found = self._found | stale
        self._lasting += DRIFT in found
        self._step([each for each in self._open if each not in {"requests.volume", *found}], offset, ts)
        self._found = set()
        self.judged_at += 1
        self.seasons.add(ts, self.window)
        self._recent = [*self._recent, self.window][-self.rules.kept :]
        self.window = Total()
        self._adopt(offset, ts)

    def _adopt(self, offset: int, ts: int) -> None:
        """Take what has lasted as the new reference."""
        episode = self._open.get(DRIFT)
        if episode is None or episode.quiet or self._lasting < self.rules.adopt:
            return
        for each in self._recent:
            self.window.add(each)
        count = self.window.requests
        self._learn()
        self._means, self._recent = self._mean_watches(), []
        why = f"The features have not changed back: the last {count:,} requests are the new reference."
        self._raise(self._open.pop(DRIFT).close(offset, ts, why))

    def _take(self, finding: Finding, offset: int, ts: int) -> None:
        family = finding.family
        self._found.add(family)
        if family not in self._open:
            self._open[family] = self._episodes(family)
            self._opened[family] += 1
            if family == DRIFT:
                self._lasting = 0
        self._raise(self._open[family].alarm(finding.alarm, offset, ts))

    def _episodes(self, family: str) -> Episodes:
        return Episodes(self.task, family, self.rules.patience, doubles="statistic")

    def _step(self, families: Iterable[str], offset: int, ts: int) -> None:
        """Count a window without a finding for these families; closes what has been quiet for long."""
        for family in families:
            episode = self._open.get(family)
            if episode is None or episode.lead is None:
                continue
            self._raise(episode.step(offset, ts, f"Ended: {episode.lead.text}"))
            if episode.lead is None:
                del self._open[family]

    def _staleness(self, ts: int, cell: Total, offset: int) -> None:
        for each in self.features:
            after = each.stale_after_s
            if after is None:
                continue
            bins = cell.of(each.name).bins
            since, before = self._changed.setdefault(each.name, (ts, ""))
            if bins and [*bins] != [before]:
                self._changed[each.name] = (ts, next(iter(bins)) if len(bins) == 1 else "")
                self._stale.discard(each.name)
            elif ts - since > after * 1000 and each.name not in self._stale:
                self._stale.add(each.name)
                self._take(stands_still(each.name, (ts - since) / 1000, after), offset, ts)

    # ------------------------------------------------------------------ what it says

    def measurements(self) -> Iterator[Measurement]:
        """Return the current values. Changes nothing."""
        total, rejected = self.sum.requests, sum(self.sum.rejected.values())
        yield Measurement("requests", total, "count", total)
        yield Measurement("requests_rejected", rejected, "count", total + rejected)
        yield Measurement("requests_repeated", self.sum.repeated, "count", total)
        yield Measurement("requests_disordered", self.sum.disordered, "count", total)
        yield Measurement("requests_counted_late", self.late, "count", total)
        for reason, count in sorted(self.sum.rejected.items()):
            yield Measurement("rejected", count, "count", count, segment=reason)
        for kind, count in sorted(self.sum.warned.items()):
            yield Measurement("warned", count, "count", count, segment=kind)
        for family, count in sorted(self._opened.items()):
            labels = {"count": total, "segment": family, "monitor": self.name}
            yield Measurement("open_episodes", float(family in self._open), "count", **labels)  # type: ignore[arg-type]
            yield Measurement("episodes", count, "count", **labels)  # type: ignore[arg-type]  # as named above
        for name, verdict in self.verdicts.items():
            yield from of_feature(name, verdict)

    def snapshot(self) -> Any:
        """Return the state: plain data and River's ADWIN."""
        return {
            "next_offset": self.next_offset,
            "times": [self.newest, self._closed, self.late, self.judged_at],
            "totals": [self.sum.state(), self.window.state(), self.base.state()],
            "seasons": self.seasons.state(),
            "recent": [each.state() for each in self._recent],
            "cells": {cell: total.state() for cell, total in self._cells.items()},
            "references": {name: each.state() for name, each in self.references.items()},
            "means": {name: each.state() for name, each in self._means.items()},
            "volume": self.volume.state(),
            "changed": {name: list(each) for name, each in self._changed.items()},
            "stale": sorted(self._stale),
            "found": sorted(self._found),
            "episodes": {family: each.snapshot() for family, each in self._open.items()},
            "opened": dict(self._opened),
            "lasting": self._lasting,
        }

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave; the newest window's verdicts come with the next one."""
        self.next_offset = state["next_offset"]
        self.newest, self._closed, self.late, self.judged_at = state["times"]
        self.sum, self.window, self.base = map(Total.of_state, state["totals"])
        self.seasons.restore(state["seasons"])
        self._recent = [Total.of_state(each) for each in state["recent"]]
        self._cells = {cell: Total.of_state(each) for cell, each in state["cells"].items()}
        by_name = self.dictionary.by_name
        self.references = {
            name: Reference.of_state(by_name[name], each) for name, each in state["references"].items()
        }
        self._means = self._mean_watches()
        for name, each in state["means"].items():
            self._means[name].restore(each)
        self.volume.restore(state["volume"])
        self._changed = {name: (since, before) for name, (since, before) in state["changed"].items()}
        self._stale, self._found = set(state["stale"]), set(state["found"])
        self._open = {family: self._episodes(family) for family in state["episodes"]}
        for family, each in state["episodes"].items():
            self._open[family].restore(each)
        self._opened, self._lasting = Counter(state["opened"]), state["lasting"]
        self._pending = []

    def _mean_watches(self) -> dict[str, MeanWatch]:
        delta = self.rules.delta(len(self.features))
        watched = (each for each in self.features if each.word in ("number", "integer") and each.watch)
        return {each.name: MeanWatch(delta, self.rules.block) for each in watched}
