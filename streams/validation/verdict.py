"""A model's verdict at a log offset, and the command that puts it into the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.records import Command, Entry, Features
from streams.model import ModelFold
from streams.policies import label_of
from streams.roles import Roles
from streams.rollout import AT, CONFIGURATION, VALIDATION, VERDICT, VERSION
from streams.scoring import answer
from streams.state_copy import StateCopy
from streams.task import Task
from streams.task_model import Model
from streams.validation.material import Compared, Labelled, Material, Replayed, Result
from streams.validation.rules import Validation

ROOTS: Final = frozenset({"labelled", "expired", "unavailable", "backfill"})
"""Entries that are the first about a request."""
MOST: Final = 400
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Validated:
    """What the checks of a task found about a model."""

    model: str
    version: str
    """That answers at the offset."""
    at: int
    """The log offset: all entries before it are applied."""
    digest: str
    """Of the validation's configuration."""
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(each.passed for each in self.results)

    @property
    def reason(self) -> str:
        """The verdict in a sentence."""
        failed = [f"{each.name}: {each.text}" for each in self.results if not each.passed]
        if failed:
            return "; ".join(failed)[:MOST]
        judged = sum(each.judged for each in self.results)
        rest = len(self.results) - judged
        return f"{judged} checks passed" + (f", {rest} not judged" if rest else "")

    @property
    def evidence(self) -> str:
        """The results as JSON."""
        found = [each.data() for each in self.results]
        return json.dumps({"checks": found}, sort_keys=True, separators=(",", ":"))

    def command(self, author: str, authentication: str, asked: int) -> Command:
        """Return the command that puts it into the log: asked for twice, it is done once.

        Parameters
        ----------
        author, authentication
            Who runs the validation, and how that is known.
        asked
            Wall clock, ms.
        """
        revision = self.version.partition("@")[0]
        arguments = {
            VERSION: self.version,
            AT: str(self.at),
            CONFIGURATION: self.digest,
            VERDICT: "passed" if self.passed else "failed",
        }
        about = (author, self.reason, f"validation-{revision}@{self.at}-{self.digest}", authentication)
        return Command(VALIDATION, self.model, arguments, *about, asked, self.evidence)


class Earlier:
    """The model that answered at an earlier offset, as it was.

    Parameters
    ----------
    at
        The log offset, before which all was applied.
    fold
        Of the model that answered there with the largest share; it may change afterwards.
    """

    def __init__(self, at: int, fold: ModelFold) -> None:
        self.at, self._fold_model, self._kind = at, fold.model, fold.task.kind
        self._names = [each.name for each in fold.task.features if each.personal_data != "left_out"]
        self._estimator = StateCopy(fold.estimator).made(fold.model.make) if fold.learned else None

    def score(self, features: Features) -> Any:
        """Return its score; None where it had learned nothing."""
        if self._estimator is None:
            return None
        x = {name: features[name] for name in self._names if name in features}
        return answer(self._estimator, self._kind, x)[0]


def validate(
    rules: Validation,
    task: Task,
    at: int,
    fold: ModelFold,
    window: Iterable[Entry],
    *,
    earlier: Earlier | None = None,
    held_back: Mapping[str, Sequence[tuple[Features, Any]]] | None = None,
    replayed: Sequence[Replayed] = (),
) -> Validated:
    """Judge a model at a log offset: a function of its arguments, so the same offset has the same verdict.

    Parameters
    ----------
    at
        All entries before it are applied to the fold.
    window
        The entries from `at - rules.window` on, before `at`.
    earlier
        For `BeatsEarlier`.
    held_back
        By file: features and label of its rows.
    replayed
        For `Replay`.
    """
    entries = [each for each in window if each.prediction is not None]
    pairs = [(each, _labelled(each, task, fold.model, fold.version.revision)) for each in entries]
    labelled = [row for _, row in pairs if row is not None]
    since = [(entry, row) for entry, row in pairs if row is not None and _is_since(entry, earlier)]
    material = Material(
        task.kind,
        rules.gain(task.kind),
        lambda features: fold.predict(features).score,
        [each.prediction.features for each in entries if each.kind in ROOTS and each.prediction],
        labelled,
        [Compared(earlier.score(row.features), row.score, row.label) for _, row in since if earlier],
        {
            file: [Labelled(features, fold.predict(features).score, label) for features, label in rows]
            for file, rows in (held_back or {}).items()
        },
        replayed,
    )
    results = tuple(each.judge(material) for each in rules.checks)
    return Validated(fold.model.name, str(fold.version), at, rules.digest, results)


def _labelled(entry: Entry, task: Task, model: Model, revision: int) -> Labelled | None:
    """Return a request with its first label and the score that the revision gave it."""
    label = label_of(model.policy, entry, task.kind)
    if label is None or label.value is None or label.replaces is not None or entry.prediction is None:
        return None
    mine = (model.name, revision)
    score = next((each for each in entry.prediction.scores if (each.model, each.revision) == mine), None)
    return None if score is None else Labelled(entry.prediction.features, score.score, label.value)


def _is_since(entry: Entry, earlier: Earlier | None) -> bool:
    """Whether a request was answered by workers that had applied all that the earlier model had."""
    applied = entry.prediction.log_offset if entry.prediction is not None else None
    return earlier is not None and applied is not None and applied >= earlier.at - 1


def champion_of(roles: Roles, folds: Mapping[str, ModelFold]) -> ModelFold | None:
    """Return the fold of the model with the largest share; None where it is not at hand."""
    return folds.get(roles.champion)
