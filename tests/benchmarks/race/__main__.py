"""Eight learning rates under true label delays: `python -m tests.benchmarks.race [--days D ...] [--start S]`.

Served is the mean Brier loss of what would have answered, over all bookings of the hotel and their last labels. The
first learning rate answers until the race has whole cohorts; a request is whole after some days, with the label
that it has then, and models learn from later labels all the same.

- live: the loop in memory, whose log has the race's commands.
- tune: `streams.race.contest`, which `riverloop tune` runs, on scores that were made model by model.
- River's successive halving, which scores again at the label, as one model of the loop.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from river import metrics, model_selection

from agents.cli.common import table
from infra.taskfile import LoadedTask, examples, load_task
from schemas.records import ScoreValue
from streams import native
from streams.datafile import Event
from streams.driver import MemoryDriver
from streams.gate.replay import LossBook, replay
from streams.grid import Grid
from streams.race.contest import Contest
from streams.race.history import from_events, run_part
from streams.race.rules import Race
from streams.task import Task
from streams.task_model import Model
from tests.benchmarks.gate.pairs import TRUE_DATES

RATES: Final = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FIRST: Final = (0.0003, 0.001, 0.003, 0.01)
"""Learning rates that answer at the beginning."""
DAYS: Final = (180, 365)


def models_of(loaded: LoadedTask, first: float) -> tuple[Model, ...]:
    """Return the models, the one with a learning rate first."""
    lr = replace(loaded.task.models[0], parameters={})
    found = Grid(lr, {"learning_rate": RATES}).models()
    return tuple(sorted(found, key=lambda each: each.parameters["learning_rate"] != first))


def delayed(loaded: LoadedTask, models: Sequence[Model], days: int, race: Race) -> Task:
    """Return the task, whose requests are whole after some days; later labels are joined and learned."""
    return replace(
        loaded.task,
        models=tuple(models),
        horizon=timedelta(days=days),
        revision_horizon=timedelta(days=800),
        gate=race,
    )


def tuned(task: Task, events: Sequence[Event], columns: dict[str, list[ScoreValue]]) -> float:
    """Return the served loss of a contest; scores do not depend on the horizon, so they are made once."""
    history = from_events(task, events)
    assert isinstance(task.gate, Race)
    contest = Contest(task, history, task.models, task.gate)
    end = len(history.entries)
    while lacking := contest.advance(end):
        for name in lacking:
            if name not in columns:
                columns[name] = run_part(task, task.model(name), history, 0, end, None).scores
            contest.give(name, columns[name])
    return contest.served_loss()


def halving(loaded: LoadedTask, events: Sequence[Event]) -> float:
    """Return the loss of River's successive halving over the same learning rates, as one model of the loop."""
    lr = loaded.task.models[0]

    def build() -> Any:
        return model_selection.SuccessiveHalvingClassifier(
            [lr.build(rate) for rate in RATES],
            metric=metrics.LogLoss(),
            budget=len(events) * 2,
            eta=2,
            verbose=False,
        )

    task = replace(loaded.task, models=(Model("halving", build, {}, lr.policy),), gate=None)
    book = LossBook(task, lr.policy, Race().gain(task.kind))
    for _ in MemoryDriver(task, folds=[book], keep_log=False).run(events):
        pass
    return book.served()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--days", type=int, nargs="+", default=list(DAYS))
    parser.add_argument("--start", choices=("first", "least_sure"), default="first")
    parser.add_argument("--burn-in", type=int, default=Race().least)
    args = parser.parse_args()
    native.choose("auto")
    loaded = load_task(str(examples() / TRUE_DATES))
    events = list(loaded.events(None, args.limit))
    rows: list[list[Any]] = []
    fixed: dict[str, float] = {}
    columns: dict[str, list[ScoreValue]] = {}
    for days in args.days:
        for first in FIRST:
            task = delayed(loaded, models_of(loaded, first), days, Race(start=args.start, least=args.burn_in))
            report = replay(task, events)
            fixed = report["fixed"]
            rows.append(
                [f"{days} days", first, report["served"], tuned(task, events, columns), report["promotions"]]
            )
    table(
        f"served Brier loss, {len(events):,} requests",
        ["whole after", "first rate", "live", "tune", "changes"],
        rows,
    )
    alone = [[name, loss] for name, loss in sorted(fixed.items(), key=lambda each: each[1])]
    table(
        "one model alone",
        ["model", "Brier loss"],
        [*alone, ["River's successive halving, log loss", halving(loaded, events)]],
    )


if __name__ == "__main__":
    main()
