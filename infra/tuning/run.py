"""A tuning run: computes what the race needs, part by part, and reports what came out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from infra.tuning.executors import Executor
from infra.tuning.folder import RunFolder
from infra.tuning.jobs import Configuration, Job
from schemas.errors import UsageError
from streams.baselines import baselines
from streams.race.contest import Contest
from streams.race.history import History, Part, run_part
from streams.race.rules import Race
from streams.task import Task
from streams.task_model import Model


class Tuning:
    """Races configurations over a history.

    Parameters
    ----------
    part
        Entries of a job. The result does not depend on it.
    progress
        Called with the number of entries that all configurations together have passed, and that of a whole run.
    """

    def __init__(
        self,
        task: Task,
        history: History,
        race: Race,
        folder: RunFolder,
        executor: Executor,
        part: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.task, self.history, self.race = task, history, race
        self.folder, self.executor, self.part, self._progress = folder, executor, part, progress
        self._passed: dict[str, tuple[int, bytes | None]] = {}
        """Of each configuration: entries that it has passed, and its state there."""

    def race_of(self, configurations: Sequence[Configuration]) -> Contest:
        """Race configurations; the first one answers at the beginning.

        Raises
        ------
        UsageError
            Two of them have the same name.
        """
        models = {each.model(self.task).name: each for each in configurations}
        if len(models) < len(configurations):
            raise UsageError(
                "two configurations have the same name: their values must differ in letters and digits"
            )
        made = [each.model(self.task) for each in configurations]
        contest = Contest(self.task, self.history, made, self.race)
        self._passed = dict.fromkeys(models, (0, None))
        whole = len(self.history.entries)
        for end in [*range(self.part, whole, self.part), whole]:
            while lacking := contest.advance(end):
                self._compute(contest, {name: models[name] for name in lacking}, end)
        return contest

    def _compute(self, contest: Contest, lacking: dict[str, Configuration], end: int) -> None:
        """Compute parts up to an end; a revived configuration has several, one after the other."""
        while waiting := {name: each for name, each in lacking.items() if self._passed[name][0] < end}:
            jobs = [self._next(name, each) for name, each in waiting.items()]
            missing = list[Job]()
            for job in jobs:
                found = self.folder.load(self._spec(job), job)
                if found is None:
                    missing.append(job)
                else:
                    self._take(contest, job, found)
            for job, part in self.executor.run([self._ready(job) for job in missing]):
                self.folder.store(self._spec(job), job, part)
                self._take(contest, job, part)

    def _next(self, name: str, configuration: Configuration) -> Job:
        start, state = self._passed[name]
        return Job(name, configuration, start, min(start + self.part, len(self.history.entries)), state)

    def _ready(self, job: Job) -> Job:
        if job.start and not job.state:
            raise UsageError(
                f"{self.folder.path}: the state of {job.name} at entry {job.start} is missing: remove it"
            )
        return job

    def _take(self, contest: Contest, job: Job, part: Part) -> None:
        contest.give(job.name, part.scores)
        self._passed[job.name] = job.end, part.state
        done = sum(passed for passed, _ in self._passed.values())
        self._progress(done, len(self._passed) * len(self.history.entries))

    def _spec(self, job: Job) -> str:
        return self.task.spec(job.configuration.model(self.task))


def report_of(contest: Contest) -> dict[str, Any]:
    """Return what came out, as plain data; `digest` is of all that does not depend on how it was computed."""
    rows = contest.leaderboard()
    changes = [asdict(each) for each in contest.changes]
    found: dict[str, Any] = {
        "task": contest.task.name,
        "loss": contest.race.loss_text(contest.task.kind),
        "requests": len(contest.history.requests),
        "matured": contest.fold.promotion.standings.n,
        "served": contest.served_loss(),
        "leaderboard": rows,
        "changes": changes,
    }
    fixed = [{name: value for name, value in row.items() if name != "requests"} for row in rows]
    text = json.dumps([fixed, changes, contest.served, repr(found["served"])], sort_keys=True, default=repr)
    return found | {"digest": hashlib.sha256(text.encode()).hexdigest()[:16], "race": contest.race.digest}


def baseline_rows(contest: Contest) -> list[dict[str, Any]]:
    """Return the rows of the models that know no feature, each in a race of two with the model that leads."""
    task, history, race = contest.task, contest.history, contest.race
    (leader,) = (model for model in contest.models if model.name == contest.leader)
    rows, whole = [], len(history.entries)
    for model in baselines(task, contest.models):
        duel = Contest(task, history, [leader, model], race)
        duel.give(leader.name, contest.scores[leader.name])
        duel.give(model.name, run_part(task, model, history, 0, whole, None).scores)
        duel.advance(whole)
        rows += [row for row in duel.leaderboard() if row["model"] == model.name]
    return rows


def lines_of(task: Task, contest: Contest) -> list[str]:
    """Return the configurations that are not dropped as lines of a task file, the lowest loss first."""
    by_name: dict[str, Model] = {model.name: model for model in contest.models}
    shown = [by_name[row["model"]] for row in contest.leaderboard() if row["status"] != "dropped"]
    return [line_of(model) for model in shown]


def line_of(model: Model) -> str:
    """Return a model as a task file declares it.

    Examples
    --------
    >>> def build(rate):
    ...     return None
    >>> line_of(Model("lr-0-1", build, {"rate": 0.1}))
    "Model('lr-0-1', build, {'rate': 0.1}, OnArrival()),"
    """
    build = getattr(model.build, "__name__", repr(model.build))
    sample = f", sample={model.sample}" if model.sample != 1.0 else ""
    return f"Model({model.name!r}, {build}, {dict(model.parameters)!r}, {model.policy!r}{sample}),"
