"""Optuna proposes configurations, round by round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.tuning.jobs import Configuration
from infra.tuning.run import Tuning
from schemas.errors import UsageError
from streams.race.contest import Contest

ROUND: Final = 8
"""Configurations that are proposed at once, whatever the number of processes, so that it changes nothing."""


@dataclass(frozen=True, slots=True)
class Range:
    """Values of a parameter, from the lowest to the highest."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read `LOW..HIGH` or `LOW..HIGH:log`; whole numbers give whole numbers.

        Raises
        ------
        ValueError
            It is neither.

        Examples
        --------
        >>> Range.parse("0.001..1:log")
        Range(low=0.001, high=1.0, log=True, whole=False)
        >>> Range.parse("3..10").whole
        True
        """
        span, _, scale = text.partition(":")
        low, dots, high = span.partition("..")
        if not dots or scale not in ("", "log"):
            raise ValueError(f"{text!r} is not LOW..HIGH or LOW..HIGH:log")
        whole = all(each.strip().lstrip("+-").isdigit() for each in (low, high))
        found = cls(float(low), float(high), scale == "log", whole)
        if not found.low < found.high or (found.log and found.low <= 0.0):
            raise ValueError(f"{text!r}: LOW must be below HIGH, and above 0 for a logarithmic scale")
        return found


def search(
    tuning: Tuning,
    base: str,
    space: dict[str, Range],
    trials: int,
    seed: int,
    note: Callable[[str], None] = lambda text: None,
) -> Contest:
    """Race what Optuna's TPE sampler proposes, and in the end all of it together.

    Each round is a race of its configurations with the best one so far. Optuna gets the loss of each: that of the
    leader less the gain, so one that was dropped early counts by the requests on which both were compared.

    Raises
    ------
    UsageError
        Optuna is not installed.
    """
    try:
        import optuna  # noqa: PLC0415  an extra
    except ImportError:
        raise UsageError("a search needs the extra: pip install 'riverloop[optuna]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(ROUND, trials), constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    tried: dict[str, Configuration] = {}
    best: str | None = None
    while (left := trials - len(study.trials)) > 0:
        asked = [study.ask() for _ in range(min(ROUND, left))]
        names = [_name(tuning, Configuration(base, _values(trial, space)), tried) for trial in asked]
        racing = list(dict.fromkeys(([best] if best else []) + names))
        contest = tuning.race_of([tried[name] for name in racing])
        losses = {row["model"]: row["loss"] for row in contest.leaderboard()}
        for trial, name in zip(asked, names, strict=True):
            value = losses[name]
            if math.isfinite(value):
                study.tell(trial, value)
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        best = contest.leader
        note(f"round of {len(asked)}: {best} leads with a loss of {losses[best]:.4f}")
    return tuning.race_of(list(tried.values()))


def _values(trial: Any, space: dict[str, Range]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, each in space.items():
        if each.whole:
            found[name] = trial.suggest_int(name, int(each.low), int(each.high), log=each.log)
        else:
            value = trial.suggest_float(name, each.low, each.high, log=each.log)
            found[name] = float(f"{value:.4g}")
    return found


def _name(tuning: Tuning, configuration: Configuration, tried: dict[str, Configuration]) -> str:
    name = configuration.model(tuning.task).name
    tried.setdefault(name, configuration)
    return name


def grid(base: str, values: dict[str, Sequence[Any]]) -> list[Configuration]:
    """Return the configurations of a grid; the last parameter changes first."""
    rows: list[dict[str, Any]] = [{}]
    for name, each in values.items():
        rows = [row | {name: value} for row in rows for value in each]
    return [Configuration(base, row) for row in rows]
