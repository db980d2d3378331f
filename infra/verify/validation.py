"""Validations in verification: verdicts come out again at their offsets, as far as the log decides them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from infra.verify.report import Report
from schemas.records import Command, Entry
from streams.model import ModelFold
from streams.rollout import AT, CONFIGURATION, VERDICT, VERSION
from streams.task import Task
from streams.validation.verdict import Earlier, Validated, champion_of, validate
from streams.verify import Difference


class ValidationProof:
    """Judges again at the offsets of the log's validations, and compares.

    A check of a file or of announced states does not follow from the log. Its result is taken as it was written;
    the comparison of snapshots covers the states.

    Parameters
    ----------
    folds
        The models, which take each entry after this does.
    claims
        The validations of the log, each with its offset.
    first
        Where the log begins.
    """

    def __init__(
        self,
        task: Task,
        topic: str,
        folds: Sequence[ModelFold],
        claims: Sequence[tuple[int, Command]],
        first: int,
        report: Report,
    ) -> None:
        assert task.validation is not None
        self._task, self._topic, self._rules, self._report = task, topic, task.validation, report
        self._first, self._folds = first, folds
        self._claims: dict[int, list[tuple[int, Command]]] = {}
        for offset, command in claims:
            if command.arguments[CONFIGURATION] != self._rules.digest:
                report.counts["other_validations"] += 1
            elif int(command.arguments[AT]) > offset:
                what = f"{command.id} is about entries behind it"
                at = command.arguments[AT]
                report.fail([Difference(what, f"{topic}[0]@{offset}", f"at most {offset}", at)])
            else:
                self._claims.setdefault(int(command.arguments[AT]), []).append((offset, command))
        ago = self._rules.ago
        self._kept_at = {at - ago for at in self._claims if ago and at > ago}
        self._earlier: dict[int, Earlier] = {}
        self._stops = sorted({*self._claims, *self._kept_at}, reverse=True)
        self._window = deque[tuple[int, Entry]]()

    def arrive(self, offset: int) -> None:
        """Judge up to an offset, before which all is applied to the folds."""
        folds = self._folds
        while self._stops and self._stops[-1] <= offset:
            at = self._stops.pop()
            for claim in self._claims.get(at, ()):
                self._check(at, *claim)
            self._earlier.pop(at - self._rules.ago, None)
            if at in self._kept_at:
                active = {fold.model.name: fold for fold in folds if fold.active}
                champion = champion_of(folds[0].roles, active)
                if champion is not None:
                    self._earlier[at] = Earlier(at, champion)

    def apply(self, offset: int, entry: Entry) -> None:
        """Take the next entry."""
        self.arrive(offset)
        if not self._stops:
            self._window.clear()
            return
        self._window.append((offset, entry))
        while self._window and self._window[0][0] < self._stops[-1] - self._rules.window:
            self._window.popleft()

    def _check(self, at: int, offset: int, command: Command) -> None:
        version = command.arguments[VERSION]
        folds = self._folds
        fold = next((each for each in folds if str(each.version) == version and each.active), None)
        where = f"{self._topic}[0]@{offset}"
        if fold is None:
            revision = version.partition("@")[0]
            if any(f"{each.version}".partition("@")[0] == revision for each in folds if each.active):
                what = f"{command.id}: the log does not lead to version {version}"
                self._report.fail([Difference(what, where, version, "another")])
            else:
                self._report.counts["other_validations"] += 1
            return
        start = at - self._rules.window
        if self._first > max(0, start):
            self._report.counts["other_validations"] += 1
            return
        window = [entry for number, entry in self._window if start <= number < at]
        earlier = self._earlier.get(at - self._rules.ago) if self._rules.ago else None
        mine = validate(self._rules, self._task, at, fold, window, earlier=earlier)
        said, made = results_of(command), self._made(mine)
        passed = all(each.get("passed") is True for each in said.values())
        if {name: each for name, each in said.items() if name in made} != made or set(said) != {
            each.name for each in self._rules.checks
        }:
            what = f"the results of {command.id} are not what the log gives"
            self._report.fail([Difference(what, where, json.dumps(made), json.dumps(said))])
        elif (command.arguments[VERDICT] == "passed") != passed:
            what = f"the verdict of {command.id} is not that of its results"
            expected = "passed" if passed else "failed"
            self._report.fail([Difference(what, where, expected, command.arguments[VERDICT])])
        else:
            self._report.counts["validations"] += 1

    def _made(self, validated: Validated) -> dict[str, Any]:
        """Return the results that follow from the log, by check."""
        pairs = zip(self._rules.checks, validated.results, strict=True)
        return {check.name: result.data() for check, result in pairs if check.from_log}


def results_of(command: Command) -> Mapping[str, Mapping[str, Any]]:
    """Return the results that a validation's command says, by check; none of one that cannot be read."""
    try:
        return {str(each["name"]): each for each in json.loads(command.evidence)["checks"]}
    except (ValueError, KeyError, TypeError):
        return {}
